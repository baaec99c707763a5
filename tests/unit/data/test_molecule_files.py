import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.rdkit_molecules import perceive
from pipeline.chemistry.stability import stability
from pipeline.core.errors import InputError
from pipeline.data.molecule_files import Invalid, read_molecule_files, report
from pipeline.data.molecule_parquet import write_molecules

WATER = "3\nwater\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n"
METHANE = "5\n\nC 0 0 0\nH 0.63 0.63 0.63\nH -0.63 -0.63 0.63\nH -0.63 0.63 -0.63\nH 0.63 -0.63 -0.63\n"
MOL = """ammonia


  4  0
    0.0000    0.0000    0.0000 N
    0.9400    0.0000    0.3600 H
   -0.4700    0.8141    0.3600 H
   -0.4700   -0.8141    0.3600 H
M  END
"""
BROKEN = "2\nbroken\nC nan 0 0\nH 0 0 1\n"
EMPTY = "0\nnothing\n"
SELENIUM = "1\nselenium\nSe 0 0 0\n"
UNREADABLE = "1\nodd\nXx 0 0 0\n"


def read(path: Path, invalid: Invalid = "refuse") -> Molecules:
    return read_molecule_files(path, invalid=invalid).data.molecules


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.xyz", WATER.encode()),
        ("m.XYZ", WATER.replace("\n", "\r\n").encode()),
        ("m.extxyz", WATER.replace("\n", "\r").encode()),
        ("m.xyz", WATER.encode("utf-8-sig")),
        ("m.xyz", WATER.encode("utf-16")),
        ("m.xyz", WATER.replace("water", "\u00c5ngstr\u00f6m").encode("latin-1")),
        ("m.xyz", b"\xef\xbb\xbf\n" + WATER.encode("utf-8-sig")),
        ("m.xyz.gz", gzip.compress(WATER.encode())),
        ("m.xyz", gzip.compress(WATER.encode())),
        ("molecule_000.txt", WATER.encode()),
        ("molecule", gzip.compress(WATER.encode())),
    ],
)
def test_a_file_is_what_its_name_or_its_beginning_says(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    molecules = read(tmp_path / name)
    assert molecules.sizes.tolist() == [3]
    assert molecules.atomic_numbers.tolist() == [8, 1, 1]
    assert molecules.positions[1].tolist() == [np.float32(0.96), 0, 0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
@pytest.mark.parametrize("title", ["\u00c5ngstr\u00f6m \u00b0", "\u00fc"])
def test_a_title_is_kept_in_any_usual_encoding(tmp_path: Path, title: str, encoding: str) -> None:
    (tmp_path / "m.xyz").write_bytes(WATER.replace("water", title).encode(encoding))
    reading = read_molecule_files(tmp_path / "m.xyz", invalid="refuse")
    assert [str(one) for one in reading.data.columns["title"]] == [title]


@pytest.mark.parametrize("name", ["m.sdf", "m.mol", "m.sd", "m.sdf.gz"])
def test_mol_files_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(MOL.encode()) if name.endswith(".gz") else MOL.encode())
    assert read(tmp_path / name).atomic_numbers.tolist() == [7, 1, 1, 1]


def test_a_folder_is_all_that_is_in_it_by_name(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.sdf").write_text(MOL)
    (tmp_path / "b" / "1.parquet").mkdir()
    write_molecules(tmp_path / "b" / "1.parquet" / "part-0.parquet", Molecules.from_list([([6], [[1, 2, 3]])]))
    (tmp_path / "b" / "1.parquet" / "_SUCCESS").write_text("")
    (tmp_path / "a.xyz").write_text(METHANE + WATER)
    (tmp_path / "c.txt").write_text(WATER)
    (tmp_path / "._a.xyz").write_text("not a molecule")
    (tmp_path / "notes.txt").write_text("12 molecules\nC 0 0 0\n")
    counted: list[int] = []
    reading = read_molecule_files(tmp_path, invalid="refuse", advance=counted.append)
    assert reading.data.molecules.sizes.tolist() == [5, 3, 1, 4, 3]
    assert reading.data.index.tolist() == list(range(5))
    assert sum(counted) == 5
    assert reading.data.columns["title"].to_pylist() == [None, "water", None, "ammonia", "water"]
    assert report([reading]) == [
        "5 molecules from 4 files",
        "not read, not molecules in a known format: b/1.parquet/_SUCCESS, notes.txt",
    ]


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.xyz").write_text(WATER)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    # Root, as whom containers run tests, may read everything.
    def scan(path: str) -> object:
        if Path(path).name in (".hidden", "locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    for path in (tmp_path, tmp_path / "locked"):
        with pytest.raises(PermissionError, match="locked"):
            read(path)
    (tmp_path / "locked").rmdir()
    assert read(tmp_path).sizes.tolist() == [3]


def test_what_can_be_read_only_once_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(InputError, match=f"{path}: a pipe or a device, which can be read only once"):
            read(path)
    (tmp_path / "m.xyz").write_text(WATER)
    assert report([read_molecule_files(tmp_path, invalid="refuse")])[1].endswith("format: pipe")


@pytest.mark.parametrize("suffix", [".xyz", ".sdf", ".parquet"])
def test_a_molecule_keeps_its_shape_far_from_the_origin(tmp_path: Path, suffix: str) -> None:
    """There float32 has steps of a quarter of an angstrom."""
    shape, far = np.array([[0, 0, 0], [0.94, 0, 0.36], [-0.47, 0.8141, 0.36]]), np.array([3e6, 0, -4e6])
    places = [shape, shape + far, shape + far * 1e6]
    path = tmp_path / f"m{suffix}"
    if suffix == ".parquet":
        pq.write_table(
            pa.table({"atomic_numbers": [[7, 1, 1]] * 3, "positions": [one.tolist() for one in places]}), path
        )
    elif suffix == ".sdf":
        blocks = [
            "far\n\n\n  0  0  0     0  0            999 V3000\nM  V30 COUNTS 3 0 0 0 0\nM  V30 BEGIN ATOM\n"
            + "".join(f"M  V30 {n} N {x:.4f} {y:.4f} {z:.4f} 0\n" for n, (x, y, z) in enumerate(one))
            + "M  V30 END ATOM\nM  END\n$$$$\n"
            for one in places
        ]
        path.write_text("".join(blocks))
    else:
        path.write_text("".join("3\n\n" + "".join(f"N {x:.4f} {y:.4f} {z:.4f}\n" for x, y, z in one) for one in places))
    near, moved, farther = (positions for _, positions in read(path))
    np.testing.assert_array_equal(near, shape.astype(np.float32))
    np.testing.assert_allclose(moved - moved[0], shape, atol=1e-4)
    np.testing.assert_allclose(farther - farther[0], shape, atol=2e-3)  # as float64 has it


def test_titles_tags_and_smiles_are_kept(tmp_path: Path, test_data: Path) -> None:
    data = read_molecule_files(test_data / "molecules64.sdf", invalid="refuse").data
    assert len(data.molecules) == 64
    assert data.molecules.smiles is not None
    assert data.molecules.smiles[:3] == ("O", "C#C", "C#N")
    items = "> <gap>\n{}\n\n> <name>\n{}\n\n> <index>\n0{}\n\n$$$$\n"
    (tmp_path / "m.sdf").write_text(
        MOL + items.format(-1.5, "x", 1) + MOL + items.format("2e3", "7", 2) + MOL + "> <gap>\n1\n\n$$$$"
    )
    assert read_molecule_files(tmp_path / "m.sdf", invalid="refuse").data.columns["gap"].to_pylist() == [-1.5, 2e3, 1]
    (tmp_path / "m.sdf").write_text(MOL + items.format(-1.5, "x", 1) + MOL)
    columns = {
        name: column.to_pylist()
        for name, column in read_molecule_files(tmp_path / "m.sdf", invalid="refuse").data.columns.items()
    }
    assert columns == {
        "title": ["ammonia"] * 2,
        "gap": ["-1.5", None],
        "name": ["x", None],
        "index_in_file": ["01", None],
    }


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["2244", "-1"], [2244, -1]),
        (["12345678901234567891", "12345678901234567892"], None),
        (["1234567890123456789", "1"], [1234567890123456789, 1]),
        (["12345678901234567.5", "1"], None),
        (["2244", "0.5"], [2244.0, 0.5]),
        (["-0", "1"], [-0.0, 1.0]),
        (["007", "1"], None),
        (["", "1"], None),
        (["nan", "1"], None),
    ],
)
def test_what_no_number_gives_back_stays_text(tmp_path: Path, texts: list[str], found: list[float] | None) -> None:
    (tmp_path / "m.sdf").write_text("".join(f"{MOL}> <ID>\n{text}\n\n$$$$\n" for text in texts))
    values = read_molecule_files(tmp_path / "m.sdf", invalid="refuse").data.columns["ID"].to_pylist()
    assert list(map(repr, values)) == list(map(repr, texts if found is None else found))


def test_no_tag_replaces_another(tmp_path: Path) -> None:
    names = ["SMILES", "smiles", "Smiles", "index", "index_in_file", "title", ""]
    (tmp_path / "m.sdf").write_text(MOL + "".join(f"> <{name}>\nmy {name}\n\n" for name in names) + "$$$$\n")
    data = read_molecule_files(tmp_path / "m.sdf", invalid="refuse").data
    assert data.molecules.smiles == ("my SMILES",)
    assert {name: column.to_pylist()[0] for name, column in data.columns.items()} == {
        **{"title": "ammonia", "title_in_file": "my title", "smiles_in_file": "my smiles", "Smiles": "my Smiles"},
        **{"index_in_file": "my index_in_file", "index_in_file_in_file": "my index", "": "my"},
    }


def test_what_a_generator_failed_on_counts_as_neither_stable_nor_valid(tmp_path: Path) -> None:
    larger = "".join(f"{size}\nbroken\n" + "C nan 0 0\n" * size for size in range(3, 9))
    (tmp_path / "m.xyz").write_text(WATER + BROKEN + EMPTY + WATER + larger)
    reading = read_molecule_files(tmp_path / "m.xyz", invalid="unstable")
    molecules = reading.data.molecules
    assert molecules.sizes.tolist() == [3, 3, 3, 3, *range(3, 9)]
    sound = [True, False, False, True, *[False] * 6]
    assert stability(molecules).molecules.tolist() == sound
    assert (stability(molecules).stable_atoms > 0).tolist() == sound
    perceived = perceive(molecules)
    assert [smiles is not None for smiles in perceived.edm] == sound
    assert [smiles is not None for smiles in perceived.connected] == sound
    assert report([reading, reading])[0] == "20 molecules from 2 files; 14 not finite, 2 empty, counted as unstable"
    # What stands in for them is nothing to warn of.
    (tmp_path / "m.xyz").write_text(larger)
    failed = read_molecule_files(tmp_path / "m.xyz", invalid="unstable")
    assert report([failed]) == ["6 molecules from 1 file; 6 not finite, counted as unstable"]


def test_what_cannot_be_used_is_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text(WATER + BROKEN + SELENIUM)
    (tmp_path / "b.xyz").write_text(UNREADABLE + METHANE + EMPTY)
    reading = read_molecule_files(tmp_path, invalid="skip")
    assert reading.data.molecules.sizes.tolist() == [3, 5]
    assert reading.data.index.tolist() == [0, 4]
    assert reading.data.columns["title"].to_pylist() == ["water", None]
    assert report([reading]) == [
        "2 molecules from 2 files; 1 not finite, 1 of other elements, 1 unreadable, 1 empty, left out",
        f"left out: {tmp_path}/a.xyz, line 8: molecule 1 (broken): a coordinate is not finite ([nan  0.  0.])",
        f"left out: {tmp_path}/a.xyz, line 12: molecule 2 (selenium): has Se; its elements are H, C, O, Se, "
        "supported are H, B, C, N, O, F, Al, Si, P, S, Cl, As, Br, I, Hg, Bi",
        f"left out: {tmp_path}/b.xyz: molecule 0 (odd): line 3: unknown element 'Xx'",
        f"left out: {tmp_path}/b.xyz, line 13: molecule 2 (nothing): has no atoms",
    ]
    (tmp_path / "a.xyz").write_text(SELENIUM * 30)
    (tmp_path / "b.xyz").write_text(WATER)
    assert report([read_molecule_files(tmp_path, invalid="skip")])[-1] == "left out: and 10 more"
    (tmp_path / "b.xyz").unlink()
    with pytest.raises(InputError, match="has no molecule that can be used; 30 of other elements"):
        read(tmp_path, "skip")


@pytest.mark.parametrize(
    ("content", "invalid", "message"),
    [
        (
            WATER + BROKEN,
            "refuse",
            r"line 8: molecule 1 \(broken\): a coordinate is not finite .*; of 2 molecules, 1 not",
        ),
        (WATER + "1\n\nC 0 1e39 0\n", "refuse", "line 8: molecule 1: a coordinate is not finite"),
        (EMPTY, "refuse", r"line 3: molecule 0 \(nothing\): has no atoms; of 1 molecules, 1 empty; --skip-invalid"),
        (
            WATER + BROKEN + SELENIUM,
            "unstable",
            r"line 12: molecule 2 \(selenium\): has Se; its elements are H, C, O, Se, supported",
        ),
        (BROKEN + UNREADABLE, "unstable", r"molecule 1 \(odd\): line 7: unknown element 'Xx'"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(tmp_path: Path, content: str, invalid: Invalid, message: str) -> None:
    (tmp_path / "m.xyz").write_text(content)
    with pytest.raises(InputError, match=rf"m\.xyz(, |: ){message}") as caught:
        read(tmp_path / "m.xyz", invalid)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.pdb", b"ATOM      1  C", "not molecules in a format that is read"),
        ("m.csv", b"5\n1,2\n3,4\n", "not molecules in a format that is read"),
        ("m.xyz", b"", "empty"),
        ("m.sdf", b" \n\n", "empty"),
        ("m.xyz", b"\x00\x01\x02", "line 1: should be the number of atoms"),
        ("m.sdf", b"PAR1\x00\x93", "truncated"),
        ("m.parquet", WATER.encode(), "not a readable Parquet file"),
        ("m.xyz.gz", gzip.compress(WATER.encode() * 100)[:-20], "truncated or damaged gzip"),
        ("m.xyz", gzip.compress(WATER.encode() * 100)[:30] + b"\xff" * 30, "truncated or damaged gzip"),
        ("m.xyz", WATER[:-20].encode(), "truncated; line 1 announces 3 atoms"),
    ],
)
def test_what_is_no_file_of_molecules_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(InputError, match=message if path.is_file() else f"{message}|has no files of molecules"):
            read(path)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    for name in ("none", "none.xyz", "none.parquet"):
        with pytest.raises(InputError, match=f"{name}: no such file"):
            read(tmp_path / name)
    with pytest.raises(InputError, match="has no files of molecules"):
        read(tmp_path)
    write_molecules(tmp_path / "m.parquet", Molecules.from_list([]))
    with pytest.raises(InputError, match="has no molecules"):
        read(tmp_path)


def test_parquet_keeps_its_columns_and_its_origin(tmp_path: Path, make_molecules: Callable[..., Molecules]) -> None:
    molecules = make_molecules([3, 2], metadata={"run": "edm"}, smiles=("C", None))
    write_molecules(tmp_path / "m.parquet", molecules, extra_columns={"gap": [0.5, 0.25]}, units={"gap": "hartree"})
    data = read_molecule_files(tmp_path / "m.parquet", invalid="refuse").data
    assert data.molecules.metadata == {"run": "edm"}
    assert data.molecules.smiles == ("C", None)
    assert (list(data.columns), data.columns["gap"].to_pylist()) == (["gap"], [0.5, 0.25])
    assert data.units == {"gap": "hartree"}
    write_molecules(tmp_path / "m.parquet", molecules, index=[7, 9])
    numbered = read_molecule_files(tmp_path / "m.parquet", invalid="refuse").data
    assert numbered.index.tolist() == [0, 1]
    assert numbered.columns["index_in_file"].to_pylist() == [7, 9]
    write_molecules(tmp_path / "m.parquet", molecules, index=[7, 9], extra_columns={"index_in_file": [1, 2]})
    numbered = read_molecule_files(tmp_path / "m.parquet", invalid="refuse").data
    assert [numbered.columns[f"index_in_file{more}"].to_pylist() for more in ("", "_in_file")] == [[1, 2], [7, 9]]
    nan = {
        "atomic_numbers": [[8, 1, 1], [6]],
        "positions": [[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [[float("nan")] * 3]],
    }
    pq.write_table(pa.table(nan), tmp_path / "m.parquet")
    with pytest.raises(InputError, match=r"m\.parquet: molecule 1: a coordinate is not finite"):
        read(tmp_path / "m.parquet")
    assert read(tmp_path / "m.parquet", "unstable").sizes.tolist() == [3, 3]


def test_a_column_of_two_types_is_refused(tmp_path: Path, make_molecules: Callable[..., Molecules]) -> None:
    write_molecules(tmp_path / "a.parquet", make_molecules([3]), extra_columns={"gap": [0.5]})
    write_molecules(tmp_path / "b.parquet", make_molecules([3]), extra_columns={"gap": ["large"]})
    with pytest.raises(InputError, match="a column is of different types"):
        read(tmp_path)
    (tmp_path / "b.parquet").unlink()
    (tmp_path / "b.sdf").write_text(f"{MOL}> <gap>\n2\n\n$$$$\n")
    assert read_molecule_files(tmp_path, invalid="refuse").data.columns["gap"].to_pylist() == [0.5, 2.0]
