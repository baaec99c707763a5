import bz2
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.chemistry.qm9_properties import PROPERTIES
from pipeline.core.errors import InputError
from pipeline.data.figshare import ARCHIVE, UNCHARACTERIZED, parse_figshare
from pipeline.data.qm9pack import parse_qm9pack


@pytest.fixture
def members(rows: list[dict[str, str]], official_text: Callable[..., str]) -> dict[int, tuple[str, str]]:
    """The seven molecules as files of the archive, by number."""
    return {int(row["Index"]): (f"dsgdb9nsd_{int(row['Index']):06d}.xyz", official_text(row)) for row in rows}


def test_both_publications_give_the_same_molecules(
    figshare: Callable[..., Path],
    members: dict[int, tuple[str, str]],
    qm9pack: Callable[..., Path],
    sample_parts: list[str],
) -> None:
    assert "*^-" in members[1][1]
    counted: list[int] = []
    official = parse_figshare(figshare(members.values(), excluded=[3]), advance=counted.append)
    wheel = parse_qm9pack(qm9pack(*sample_parts))
    rows = [0, 1, 3, 4, 5, 6]
    expected = wheel.molecules.select(rows)
    assert counted == [6]
    assert official.index.tolist() == [1, 2, 4, 5, 6, 184]
    assert official.molecules.positions.tobytes() == expected.positions.tobytes()
    assert official.molecules.atomic_numbers.tolist() == expected.atomic_numbers.tolist()
    assert official.molecules.smiles == expected.smiles
    assert official.molecules.metadata == {"source": "figshare"}
    for p in PROPERTIES:
        np.testing.assert_array_equal(official.columns[p.name], wheel.columns[p.name][rows])
    assert official.units == wheel.units
    assert official.columns["mulliken_charges"] == wheel.columns["mulliken_charges"].take(rows)


def test_chunks_make_no_difference(
    figshare: Callable[..., Path], members: dict[int, tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = figshare(members.values(), excluded=[2])
    whole = parse_figshare(directory)
    monkeypatch.setattr("pipeline.data.figshare._CHUNK_MOLECULES", 2)
    parts = parse_figshare(directory)
    assert parts.molecules.positions.tobytes() == whole.molecules.positions.tobytes()
    assert parts.columns["mulliken_charges"] == whole.columns["mulliken_charges"]


def test_nothing_is_written_whatever_the_names_in_the_archive(
    figshare: Callable[..., Path], members: dict[int, tuple[str, str]], tmp_path: Path
) -> None:
    strange = [
        ("../../escaped.xyz", "x"),
        ("/tmp/absolute.xyz", "x"),
        ("readme.txt", "x"),
        ("folder/dsgdb9nsd_000001.xyz", members[1][1]),
        ("../dsgdb9nsd_000002.xyz", members[2][1]),
        ("dsgdb9nsd_3.xyz", "x"),
    ]
    directory = figshare([*strange, members[184]], excluded=[184])
    before = sorted(tmp_path.rglob("*"))
    assert parse_figshare(directory).index.tolist() == [1, 2]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("C\t-0.0126981359", "Si\t-0.0126981359", "molecule 1: unknown element 'Si'; supported are H, C, N, O, F"),
        ("C\t-0.0126981359", "C\tnan", "figshare: molecule 1: a coordinate is not finite"),
        ("C\t-0.0126981359", "C\tx", "molecule 1: .*conversion error to double"),
        ("C\t-0.0126981359\t", "C\t", "molecule 1: .*Expected 5 columns, got 4"),
        ("5\n", "five\n", "molecule 1: its file is not in the QM9 format"),
        ("5\n", "0\n", "molecule 1: its file is not in the QM9 format"),
        ("5\n", "9\n", "molecule 1: its file is not in the QM9 format"),
        ("5\n", "6\n", "molecule 1: its file is not in the QM9 format"),
        ("5\n", "4\n", "molecule 1: its file is not in the QM9 format"),
        ("gdb 1\t", "gdb 7\t", "molecule 1: its file name does not match the index 7"),
        ("gdb 1\t157.7118\t", "gdb 1\t", "molecule 1: .*Expected 17 columns, got 16"),
        ("157.7118", "lots", "molecule 1: .*conversion error to double"),
    ],
)
def test_a_bad_file_in_the_archive_is_named(
    figshare: Callable[..., Path], members: dict[int, tuple[str, str]], old: str, new: str, message: str
) -> None:
    name, text = members[1]
    assert old in text
    directory = figshare([(name, text.replace(old, new, 1)), members[2], members[184]], excluded=[184])
    with pytest.raises(InputError, match=message) as caught:
        parse_figshare(directory)
    assert "\n" not in str(caught.value)


def test_an_archive_that_ends_early_between_two_files_is_noticed(
    figshare: Callable[..., Path], members: dict[int, tuple[str, str]]
) -> None:
    directory = figshare([members[1], members[2]], excluded=[184])
    with pytest.raises(InputError, match=r"ends without molecule 184, which uncharacterized\.txt names: incomplete"):
        parse_figshare(directory)


def test_a_truncated_archive_is_refused_wherever_it_ends(
    figshare: Callable[..., Path], members: dict[int, tuple[str, str]]
) -> None:
    directory = figshare(members.values(), excluded=[3])
    content = (directory / ARCHIVE).read_bytes()
    for end in range(0, len(content), 53):
        (directory / ARCHIVE).write_bytes(content[:end])
        with pytest.raises(InputError, match=r"dsgdb9nsd\.xyz\.tar\.bz2: truncated or damaged"):
            parse_figshare(directory)


def test_a_flipped_byte_is_noticed_wherever_it_is(
    figshare: Callable[..., Path], members: dict[int, tuple[str, str]]
) -> None:
    directory = figshare(members.values(), excluded=[3])
    content = (directory / ARCHIVE).read_bytes()
    for position in range(0, len(content), 53):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        (directory / ARCHIVE).write_bytes(damaged)
        with pytest.raises(InputError, match=r"dsgdb9nsd\.xyz\.tar\.bz2: truncated or damaged"):
            parse_figshare(directory)


def test_damage_behind_the_last_molecule_is_noticed_too(
    figshare: Callable[..., Path], members: dict[int, tuple[str, str]]
) -> None:
    # More than is read ahead when the last file of the archive has been found.
    directory = figshare(members.values(), excluded=[3], tail=np.random.default_rng(0).bytes(2_000_000))
    assert len(parse_figshare(directory).molecules) == 6
    content = (directory / ARCHIVE).read_bytes()
    (directory / ARCHIVE).write_bytes(content[:-100])
    with pytest.raises(InputError, match="truncated or damaged"):
        parse_figshare(directory)


def test_what_is_no_archive_is_refused(figshare: Callable[..., Path], members: dict[int, tuple[str, str]]) -> None:
    directory = figshare(members.values(), excluded=[3])
    for content in (b"", b"not an archive", bz2.compress(b"not a tar"), bz2.compress(b"x" * 5000)):
        (directory / ARCHIVE).write_bytes(content)
        with pytest.raises(InputError, match="truncated or damaged"):
            parse_figshare(directory)
    (directory / ARCHIVE).unlink()
    with pytest.raises(InputError, match="no such file; the stage download"):
        parse_figshare(directory)


def test_the_list_of_excluded_molecules_has_to_be_there(
    figshare: Callable[..., Path], members: dict[int, tuple[str, str]]
) -> None:
    directory = figshare(members.values(), excluded=[3])
    (directory / UNCHARACTERIZED).write_text("Nothing\nat all\n")
    with pytest.raises(InputError, match=r"uncharacterized\.txt: names no molecules"):
        parse_figshare(directory)
    (directory / UNCHARACTERIZED).unlink()
    with pytest.raises(InputError, match=r"uncharacterized\.txt: no such file; the stage download"):
        parse_figshare(directory)
    assert len(parse_figshare(figshare(members.values(), excluded=[1, 2, 3, 4, 5, 6])).molecules) == 1
    with pytest.raises(InputError, match="has no molecules"):
        parse_figshare(figshare([members[1]], excluded=[1]))
