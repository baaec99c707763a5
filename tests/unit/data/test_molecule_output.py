from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.chemistry.elements import ATOMIC_NUMBERS
from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.data.molecule_files import read_molecule_files
from pipeline.data.molecule_output import SUFFIXES, check_output, write_molecule_file


@st.composite
def any_molecules(draw: st.DrawFn) -> Molecules:
    sizes = draw(st.lists(st.integers(1, 8), min_size=1, max_size=5))
    numbers = draw(st.lists(st.sampled_from(ATOMIC_NUMBERS), min_size=sum(sizes), max_size=sum(sizes)))
    huge = float(np.float32(1e30))
    near = [st.floats(-widest, widest, width=32) for widest in (3.0, 900.0)]
    elements = draw(st.sampled_from([*near, st.sampled_from([-huge, 0.0, huge])]))
    return Molecules(
        sizes=np.array(sizes),
        atomic_numbers=np.array(numbers),
        positions=draw(arrays.arrays(np.float32, (sum(sizes), 3), elements=elements)),
    )


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if "sdf" not in suffix])
@settings(max_examples=25)
@given(molecules=any_molecules())
def test_a_round_trip_is_exact(suffix: str, molecules: Molecules, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("exact") / f"m{suffix}"
    write_molecule_file(path, molecules)
    again = read_molecule_files(path, invalid="refuse").data.molecules
    assert again.sizes.tolist() == molecules.sizes.tolist()
    assert again.atomic_numbers.tobytes() == molecules.atomic_numbers.tobytes()
    np.testing.assert_array_equal(again.positions, molecules.positions)


@settings(max_examples=25)
@given(molecules=any_molecules())
def test_a_round_trip_through_sdf_keeps_four_digits(
    molecules: Molecules, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("sdf") / "m.sdf"
    write_molecule_file(path, molecules)
    again = read_molecule_files(path, invalid="refuse").data.molecules
    assert again.sizes.tolist() == molecules.sizes.tolist()
    assert again.atomic_numbers.tobytes() == molecules.atomic_numbers.tobytes()
    np.testing.assert_allclose(again.positions, molecules.positions, atol=9e-5, rtol=1e-6)


@pytest.mark.parametrize("suffix", [".parquet", ".sdf", ".extxyz", ".extxyz.gz", ".SDF.GZ"])
def test_what_else_is_known_goes_along(suffix: str, tmp_path: Path, make_molecules: Callable[..., Molecules]) -> None:
    molecules = make_molecules([3, 2], smiles=("F/C=C\\F", None))
    columns = {"title": ['a "b" = c', "d"], "gap": np.array([0.1, -2e-30]), "name": ["x", None]}
    write_molecule_file(tmp_path / f"m{suffix}", molecules, columns=columns)
    data = read_molecule_files(tmp_path / f"m{suffix}", invalid="refuse").data
    assert data.molecules.smiles == molecules.smiles
    found = {name: column.to_pylist() for name, column in data.columns.items()}
    assert found == {"title": ['a "b" = c', "d"], "gap": [0.1, -2e-30], "name": ["x", None]}


@pytest.mark.parametrize("suffix", [".sdf", ".extxyz"])
def test_no_name_or_text_of_a_column_spoils_the_file(
    suffix: str, tmp_path: Path, make_molecules: Callable[..., Molecules]
) -> None:
    texts = ["two\nlines", "> <gap>", "$$$$", "  3  2  0", 'a "b" \\n c', "M  END"]
    names = ["note", "Properties", "pbc", "a b", "a_b", ""]
    columns = {name: [text] for name, text in zip(names, texts, strict=True)}
    path = tmp_path / f"m{suffix}"
    write_molecule_file(path, make_molecules([3]), columns=columns)
    found = read_molecule_files(path, invalid="refuse").data.columns
    assert sorted(column.to_pylist()[0].strip() for name, column in found.items() if name != "title") == sorted(
        text.strip() for text in texts
    )


def test_what_a_format_has_no_place_for_is_told(tmp_path: Path, make_molecules: Callable[..., Molecules]) -> None:
    columns = {"charges": [[0.1, 0.2], [0.3]], "title": ["two\nlines", None]}
    molecules = make_molecules([2, 1])
    assert write_molecule_file(tmp_path / "m.parquet", molecules, columns=columns) == []
    assert write_molecule_file(tmp_path / "m.xyz", molecules, columns=columns | {"gap": [1, 2]}) == ["charges", "gap"]
    named = replace(molecules, smiles=("C", None))
    assert write_molecule_file(tmp_path / "m.xyz", named) == []
    assert write_molecule_file(tmp_path / "m.xyz", named, columns={"title": ["a", "b"]}) == ["SMILES"]
    assert write_molecule_file(tmp_path / "m.sdf", molecules, columns=columns | {"gap": [1, 2]}) == ["charges"]
    titles = read_molecule_files(tmp_path / "m.sdf", invalid="refuse").data.columns["title"].to_pylist()
    assert titles == ["two lines", "molecule 1"]


@pytest.mark.parametrize("suffix", [".sdf", ".extxyz"])
def test_every_value_comes_back(suffix: str, tmp_path: Path, make_molecules: Callable[..., Molecules]) -> None:
    columns = {
        "cid": [2244],
        "gap": [0.5],
        "day": [date(2020, 1, 2)],
        "time": [datetime(2020, 1, 2, 3, 4)],
        "price": [Decimal("1.50")],
        "SMILES": ["another"],
    }
    write_molecule_file(tmp_path / f"m{suffix}", make_molecules([3], smiles=("C",)), columns=columns)
    data = read_molecule_files(tmp_path / f"m{suffix}", invalid="refuse").data
    assert data.molecules.smiles == ("C",)
    found = {name: column.to_pylist()[0] for name, column in data.columns.items()}
    day, time = "2020-01-02", "2020-01-02 03:04:00"
    expected = {"title": "C", "cid": 2244, "gap": 0.5, "day": day, "time": time, "price": 1.5}
    assert found == expected | {"SMILES_in_file": "another"}
    assert isinstance(found["cid"], int)


def test_the_same_molecules_give_the_same_file(tmp_path: Path, make_molecules: Callable[..., Molecules]) -> None:
    for suffix in SUFFIXES:
        for name in ("a", "b"):
            write_molecule_file(tmp_path / f"{name}{suffix}", make_molecules([3, 9]))
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("name", ["m.pdb", "m", "m.gz", "m.parquet.gz", "m.sdf.bz2"])
def test_other_suffixes_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name}: molecules are written to \.parquet, \.sdf, \.xyz"):
        check_output(name)


def test_a_folder_is_no_file_to_write(tmp_path: Path) -> None:
    (tmp_path / "m.sdf").mkdir()
    with pytest.raises(InputError, match=r"m\.sdf: is a folder"):
        check_output(tmp_path / "m.sdf")


def test_a_failing_write_leaves_the_earlier_file(tmp_path: Path, make_molecules: Callable[..., Molecules]) -> None:
    path = tmp_path / "m.xyz"
    path.write_text("old")
    with pytest.raises(ValueError, match="argument"):
        write_molecule_file(path, make_molecules([1, 2]), columns={"title": ["one"]})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
