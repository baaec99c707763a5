import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.data.molecule_parquet import read_columns, read_molecules, write_molecules
from pipeline.data.parquet_tables import METADATA_KEY, read_metadata

PER_FUNCTION = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)


def assert_same(actual: Molecules, expected: Molecules) -> None:
    assert actual.sizes.tolist() == expected.sizes.tolist()
    assert actual.atomic_numbers.tolist() == expected.atomic_numbers.tolist()
    np.testing.assert_array_equal(actual.positions, expected.positions, strict=True)
    assert actual.smiles == expected.smiles


def table_of(**changes: Any) -> dict[str, Any]:
    """The least that a file from elsewhere has to have: water and a lone hydrogen, as Python lists."""
    columns = {
        "atomic_numbers": [[8, 1, 1], [1]],
        "positions": [[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [[1, 2, 3]]],
    }
    return {**columns, **changes}


@PER_FUNCTION
@given(sizes=st.lists(st.integers(1, 30), max_size=12), smiles=st.none() | st.text(max_size=5), seed=st.integers(0, 99))
def test_a_round_trip_changes_nothing(
    tmp_path: Path, make_molecules: Callable[..., Molecules], sizes: Any, smiles: str | None, seed: int
) -> None:
    given_smiles = None if smiles is None else tuple([smiles, None] * len(sizes))[: len(sizes)]
    molecules = make_molecules(
        sizes, seed=seed, smiles=given_smiles, metadata={"run": "r", "seconds": 0.5, "split": {"a": 1}}
    )
    write_molecules(tmp_path / "m.parquet", molecules)
    back = read_molecules(tmp_path / "m.parquet")
    # A file always has the column; without any SMILES it is all null.
    assert back.smiles == (tuple([None] * len(sizes)) if given_smiles is None else given_smiles)
    assert back.metadata == molecules.metadata
    assert back.positions.tobytes() == molecules.positions.tobytes()
    assert (back.sizes.tolist(), back.atomic_numbers.tolist()) == (sizes, molecules.atomic_numbers.tolist())


def test_the_schema_is_the_documented_one(tmp_path: Path, make_molecules: Callable[..., Molecules]) -> None:
    path = tmp_path / "new" / "folder" / "m.parquet"
    molecules = make_molecules([3, 2], metadata={"source": "test"})
    write_molecules(path, molecules, index=[7, 9], extra_columns={"gap": [0.5, 0.25]}, units={"gap": "hartree"})
    schema = pq.read_schema(path)
    types = {field.name: field.type for field in schema}
    assert types == {
        "index": pa.int32(),
        "smiles": pa.string(),
        "atomic_numbers": pa.list_(pa.uint8()),
        "positions": pa.list_(pa.list_(pa.float32(), 3)),
        "gap": pa.float64(),
    }
    assert schema.field("gap").metadata == {b"unit": b"hartree"}
    assert schema.field("positions").metadata == {b"unit": b"angstrom"}
    metadata = json.loads(schema.metadata[METADATA_KEY])
    assert (metadata["kind"], metadata["version"], metadata["source"]) == ("molecules", 1, "test")
    assert metadata["units"] == {"positions": "angstrom", "gap": "hartree"}
    columns = read_columns(path, ["index", "gap"])
    assert columns["index"].tolist() == [7, 9]
    assert columns["gap"].tolist() == [0.5, 0.25]
    assert read_metadata(path, kind="molecules") == metadata


def test_a_column_of_the_schema_is_not_an_extra_one(tmp_path: Path, make_molecules: Callable[..., Molecules]) -> None:
    with pytest.raises(ValueError, match="smiles"):
        write_molecules(tmp_path / "m.parquet", make_molecules([1]), extra_columns={"smiles": ["C"]})


def test_one_split_comes_in_the_order_of_the_file(tmp_path: Path, make_molecules: Callable[..., Molecules]) -> None:
    path = tmp_path / "m.parquet"
    molecules = make_molecules([3, 2, 5, 1], smiles=("a", "b", "c", "d"))
    write_molecules(path, molecules, extra_columns={"split": ["test", "train", "test", "train"]})
    assert_same(read_molecules(path, split="test"), molecules.select([0, 2]))
    assert_same(read_molecules(path, split="train"), molecules.select([1, 3]))
    with pytest.raises(InputError, match=r"m\.parquet: has no molecule in the split validation"):
        read_molecules(path, split="validation")
    write_molecules(path, molecules)
    with pytest.raises(InputError, match="has no column split"):
        read_molecules(path, split="train")


@pytest.mark.parametrize(
    ("numbers", "points"),
    [
        (pa.list_(pa.int64()), pa.list_(pa.list_(pa.float64()))),
        (pa.large_list(pa.uint8()), pa.large_list(pa.list_(pa.float64(), 3))),
        (pa.list_(pa.float32()), pa.list_(pa.large_list(pa.float32()))),
    ],
)
def test_a_file_from_elsewhere_needs_two_columns_of_any_numeric_type(
    tmp_path: Path, numbers: pa.DataType, points: pa.DataType
) -> None:
    table = table_of()
    columns = {
        "positions": pa.array(table["positions"], points),
        "atomic_numbers": pa.array(table["atomic_numbers"], numbers),
    }
    pq.write_table(pa.table({**columns, "comment": ["x", "y"]}), tmp_path / "m.parquet")
    molecules = read_molecules(tmp_path / "m.parquet")
    assert molecules.sizes.tolist() == [3, 1]
    assert molecules.atomic_numbers.tolist() == [8, 1, 1, 1]
    np.testing.assert_array_equal(molecules.positions[3], np.array([1, 2, 3], np.float32))
    assert molecules.smiles is None
    assert molecules.metadata == {}
    # Several chunks and row groups, and a slice, are no different.
    pq.write_table(pa.concat_tables([pa.table(columns)] * 5), tmp_path / "m.parquet", row_group_size=3)
    assert read_molecules(tmp_path / "m.parquet").sizes.tolist() == [3, 1] * 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"atomic_numbers": [[8, 1, 1], None]}, "atomic_numbers has missing values"),
        ({"atomic_numbers": [[8, 1, None], [1]]}, "atomic_numbers has missing values"),
        ({"atomic_numbers": [[8, 1, 1], [300]]}, "atomic_numbers is of type .* cannot be read as"),
        ({"atomic_numbers": [[8, 1, 1], [1.5]]}, "atomic_numbers is of type .* cannot be read as"),
        ({"atomic_numbers": ["OHH", "H"]}, "atomic_numbers is of type string"),
        ({"atomic_numbers": [[8, 1, 1], [34]]}, "molecule 1: unknown element, atomic number 34"),
        ({"atomic_numbers": [[8, 1], [1, 1]]}, "molecule 0: 2 atomic numbers but 3 positions"),
        ({"atomic_numbers": [[8, 1, 1], []], "positions": [table_of()["positions"][0], []]}, "molecule 1: size 0"),
        ({"positions": [table_of()["positions"][0], [[1, 2]]]}, "positions is of type"),
        ({"positions": [table_of()["positions"][0], [None]]}, "positions has missing values"),
        ({"positions": [table_of()["positions"][0], None]}, "positions has missing values"),
        ({"positions": [table_of()["positions"][0], [[1, None, 3]]]}, "positions has missing values"),
        ({"positions": [table_of()["positions"][0], [[1, float("nan"), 3]]]}, "molecule 1: a coordinate is not finite"),
        ({"positions": [table_of()["positions"][0], [[1, 1e300, 3]]]}, "molecule 1: a coordinate is not finite"),
        ({"smiles": [[1], [2]]}, "smiles is of type"),
    ],
)
def test_what_cannot_be_a_molecule_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table(table_of(**changes)), path)
    with pytest.raises(InputError, match=rf"m\.parquet: .*{message}") as caught:
        read_molecules(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["atomic_numbers", "positions"])
def test_a_missing_column_is_named(tmp_path: Path, missing: str) -> None:
    table = table_of()
    del table[missing]
    pq.write_table(pa.table(table), tmp_path / "m.parquet")
    with pytest.raises(InputError, match=f"has no column {missing}"):
        read_molecules(tmp_path / "m.parquet")


@pytest.mark.parametrize("name", ["atomic_numbers", "smiles", "gap"])
def test_a_column_given_twice_is_refused(tmp_path: Path, name: str) -> None:
    columns = [*table_of().items(), (name, ["C", "N"]), (name, ["C", "N"])]
    pq.write_table(
        pa.Table.from_arrays([pa.array(v) for _, v in columns], [n for n, _ in columns]), tmp_path / "m.parquet"
    )
    with pytest.raises(InputError, match=f"has the column {name} twice"):
        read_molecules(tmp_path / "m.parquet")


def test_missing_values_of_a_column_are_counted(tmp_path: Path, make_molecules: Callable[..., Molecules]) -> None:
    write_molecules(tmp_path / "m.parquet", make_molecules([1, 1]), extra_columns={"gap": [None, 1.0]})
    with pytest.raises(InputError, match="column gap has 1 missing values"):
        read_columns(tmp_path / "m.parquet", ["gap"])


def test_other_kinds_and_versions_are_refused(tmp_path: Path) -> None:
    for text, message in [
        ('{"kind": "shard", "version": 1}', "holds shard, not molecules"),
        ('{"kind": "molecules", "version": 2}', "is of version 2"),
        ("[]", "not a JSON object"),
        ("{", "not a JSON object"),
        ('{"kind": "molecules", "version": 1, "num_rows": 3}', "holds 2 molecules, its metadata says 3"),
        ('{"kind": "molecules", "version": 1, "columns": ["a"]}', "does not have the columns that its metadata"),
    ]:
        table = pa.table(table_of()).replace_schema_metadata({METADATA_KEY: text})
        pq.write_table(table, tmp_path / "m.parquet")
        with pytest.raises(InputError, match=message):
            read_molecules(tmp_path / "m.parquet")


def test_files_that_are_not_parquet_are_refused(tmp_path: Path) -> None:
    for content in (b"", b"PAR1", b"PAR1" * 10, b"C 0 0 0\n" * 100, bytes(100)):
        (tmp_path / "m.parquet").write_bytes(content)
        with pytest.raises(InputError, match=r"m\.parquet: not a readable Parquet file"):
            read_molecules(tmp_path / "m.parquet")
    with pytest.raises(InputError, match=r"none\.parquet: no such file"):
        read_molecules(tmp_path / "none.parquet")
    with pytest.raises(InputError, match="no such file"):
        read_molecules(tmp_path)


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path, make_molecules: Callable[..., Molecules]) -> None:
    path = tmp_path / "m.parquet"
    write_molecules(path, make_molecules([5, 9, 3]))
    content = path.read_bytes()
    for end in range(0, len(content), 97):
        path.write_bytes(content[:end])
        with pytest.raises(InputError, match="truncated or damaged"):
            read_molecules(path)


def test_a_flipped_byte_never_changes_a_molecule_unnoticed(
    tmp_path: Path, make_molecules: Callable[..., Molecules]
) -> None:
    path = tmp_path / "m.parquet"
    molecules = make_molecules([5, 9, 3], smiles=("C", "N", "O"))
    write_molecules(path, molecules)
    content = path.read_bytes()
    refused = 0
    for position in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            # A bit of the footer may be one that nothing depends on; then the molecules are the same.
            assert_same(read_molecules(path), molecules)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > len(content) // 5 // 2


def test_a_failing_write_leaves_the_earlier_file(tmp_path: Path, make_molecules: Callable[..., Molecules]) -> None:
    path = tmp_path / "m.parquet"
    write_molecules(path, make_molecules([4]))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="NaN|not JSON|Out of range"):
        write_molecules(path, make_molecules([2, 3]), metadata={"seconds": float("nan")})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["m.parquet"]


def test_a_full_disk_leaves_the_earlier_file(tmp_path: Path, make_molecules: Callable[..., Molecules]) -> None:
    path = tmp_path / "m.parquet"
    write_molecules(path, make_molecules([4]))
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_molecules(path, make_molecules([20] * 1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["m.parquet"]
