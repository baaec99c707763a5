"""Molecules in Parquet: one schema for the data, for samples, for noise and for anyone's file.

| column         | type                            |                                              |
|----------------|---------------------------------|----------------------------------------------|
| index          | int32                           | number in the source, or 0, 1, ...           |
| smiles         | string                          | may be null                                  |
| atomic_numbers | list<uint8>                     | one value an atom, hydrogens included        |
| positions      | list<fixed_size_list<float>[3]> | angstrom                                     |

Further columns are welcome: the canonical data file adds ``split`` and a float64 column for each property of QM9, with
its unit in the metadata of the column and of the schema. The schema also holds a JSON object under the key
``consistent_edm``: the format's name and version and where the molecules come from. A reader requires only
``atomic_numbers`` and ``positions``, of any integer and floating-point type.
"""

import os
from collections.abc import Container, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.chemistry.molecules import Molecules, in_float32
from pipeline.core.errors import InputError
from pipeline.data.parquet_tables import read_table, write_table

KIND: Final = "molecules"
SPLIT: Final = "split"
SPLITS: Final = ("train", "validation", "test")
TITLE: Final = "title"
"""Column of the titles that molecules have in text files."""

INDEX: Final = "index"
IN_FILE: Final = "_in_file"
"""Ending of the name of a column whose own name is taken."""

_TYPES: Final = {
    INDEX: pa.int32(),
    "smiles": pa.string(),
    "atomic_numbers": pa.list_(pa.uint8()),
    "positions": pa.list_(pa.list_(pa.float32(), 3)),
}

_WIDE: Final = pa.list_(pa.list_(pa.float64(), 3))

SCHEMA_COLUMNS: Final = tuple(_TYPES)
"""Names that no further column can have."""


def free_name(name: str, taken: Container[str]) -> str:
    """Return the name of a column, with ``IN_FILE`` at its end if that is taken."""
    while name in taken:
        name += IN_FILE
    return name


def write_molecules(
    path: str | os.PathLike[str],
    molecules: Molecules,
    *,
    index: npt.ArrayLike | None = None,
    extra_columns: Mapping[str, Any] | None = None,
    units: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write molecules to a Parquet file, atomically.

    Args:
      path: the file to write; its folder is made if need be.
      molecules: M molecules.
      index: [M] number of each molecule in its source; 0, 1, ... by default.
      extra_columns: more columns of M values each: NumPy arrays, Arrow arrays or sequences.
      units: unit of any of the extra columns.
      metadata: where the molecules come from, a JSON object; by default that of ``molecules``.
    """
    extra_columns = extra_columns or {}
    if taken := [name for name in _TYPES if name in extra_columns]:
        raise ValueError(f"{taken[0]} is a column of the schema, not an extra one")
    number = len(molecules)
    offsets = pa.array(molecules.offsets.astype(np.int32))
    points = pa.FixedSizeListArray.from_arrays(pa.array(molecules.positions.reshape(-1)), 3)
    table = pa.table(
        {
            "index": pa.array(np.arange(number) if index is None else np.asarray(index)).cast(_TYPES["index"]),
            "smiles": pa.array([None] * number if molecules.smiles is None else molecules.smiles, _TYPES["smiles"]),
            "atomic_numbers": pa.ListArray.from_arrays(offsets, pa.array(molecules.atomic_numbers)),
            "positions": pa.ListArray.from_arrays(offsets, points),
            **{name: pa.array(values) for name, values in extra_columns.items()},
        }
    )
    write_table(
        path,
        table,
        kind=KIND,
        metadata=molecules.metadata if metadata is None else metadata,
        units={"positions": "angstrom", **(units or {})},
    )


class MoleculeTable(NamedTuple):
    """What a file has of M molecules, which need not be sound."""

    sizes: npt.NDArray[np.int32]
    """[M] atoms."""
    atomic_numbers: npt.NDArray[np.uint8]
    """[A] of all atoms."""
    positions: npt.NDArray[np.float32]
    """[A, 3]."""
    smiles: tuple[str | None, ...] | None
    """[M] where the file has them."""
    columns: pa.Table
    """[M] rows of what else there is, an index included."""
    metadata: Mapping[str, Any] = MappingProxyType({})

    @classmethod
    def joined(cls, parts: Sequence["MoleculeTable"]) -> Self:
        """Return the molecules of at least one part, one after the other, without their metadata.

        Raises:
          pyarrow.ArrowException: a column is of different types in them.
        """
        return cls(
            sizes=np.concatenate([part.sizes for part in parts]),
            atomic_numbers=np.concatenate([part.atomic_numbers for part in parts]),
            positions=np.concatenate([part.positions for part in parts]),
            smiles=tuple(one for part in parts for one in part.smiles or [None] * len(part.sizes)),
            columns=pa.concat_tables([part.columns for part in parts], promote_options="permissive"),
        )


def read_molecules(path: str | os.PathLike[str], *, split: str | None = None) -> Molecules:
    """Return the molecules of a Parquet file: ours, or anyone's with the columns atomic_numbers and positions.

    Args:
      path: the file.
      split: only the molecules of this split ("train", "validation" or "test"), in the order of the file.

    Raises:
      InputError: the file is missing, truncated, corrupt or of another kind, has nothing in that split, or holds
        what cannot be a molecule (see ``Molecules``).
    """
    found = read_molecule_table(path, split=split, optional=["smiles"])
    try:
        return Molecules(found.sizes, found.atomic_numbers, found.positions, found.smiles, found.metadata)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def read_molecule_table(
    path: str | os.PathLike[str], *, split: str | None = None, optional: Sequence[str] | None = None
) -> MoleculeTable:
    """Return what a Parquet file has of molecules, not checked for what cannot be one.

    Args:
      path: the file.
      split: see ``read_molecules``.
      optional: columns to read if they are there, or None for all.

    Raises:
      InputError: the file is missing, truncated, corrupt or of another kind, has nothing in that split, or its
        columns do not fit each other.
    """
    required = ["atomic_numbers", "positions"] + (["split"] if split else [])
    table, metadata = read_table(path, kind=KIND, required=required, optional=optional)
    if split:
        table = table.filter(pc.equal(table["split"], split))
        if not table.num_rows:
            raise InputError(f"{path}: has no molecule in the split {split}")
    atomic_numbers, sizes = _flatten(path, table, "atomic_numbers")
    points, num_points = _flatten(path, table, "positions")
    if (wrong := np.flatnonzero(sizes != num_points)).size:
        row = wrong[0]
        raise InputError(f"{path}: molecule {row}: {sizes[row]} atomic numbers but {num_points[row]} positions")
    positions = points.flatten().to_numpy().reshape(-1, 3)
    return MoleculeTable(
        sizes=sizes,
        atomic_numbers=atomic_numbers.to_numpy(),
        positions=positions if positions.dtype == np.float32 else in_float32(positions, sizes),
        smiles=tuple(_cast(path, table, "smiles").to_pylist()) if "smiles" in table.column_names else None,
        columns=table.drop_columns([name for name in _TYPES if name in table.column_names and name != INDEX]),
        metadata=metadata,
    )


def has_split(path: str | os.PathLike[str], split: str) -> bool:
    """Return whether a molecule file with splits has a molecule in this one."""
    return bool((read_columns(path, ["split"])["split"] == split).any())


def read_columns(path: str | os.PathLike[str], names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Return columns of a molecule file with one value a molecule, such as index, split or a property, each [M].

    Raises:
      InputError: the file is missing, truncated or corrupt, or lacks a column or a value in it.
    """
    table, _ = read_table(path, kind=KIND, required=names)
    for name in names:
        if table[name].null_count:
            raise InputError(f"{path}: the column {name} has {table[name].null_count} missing values")
    return {name: table[name].to_numpy() for name in names}


def _flatten(path: str | os.PathLike[str], table: pa.Table, name: str) -> tuple[pa.Array, npt.NDArray[np.int32]]:
    """Return the values of a list column, in the schema's type and end to end, and the length of each list."""
    lists = _cast(path, table, name)
    values = lists.flatten()
    nested = values.flatten() if pa.types.is_fixed_size_list(values.type) else values
    if lists.null_count or values.null_count or nested.null_count:
        raise InputError(f"{path}: the column {name} has missing values")
    return values, pc.list_value_length(lists).to_numpy()


def _cast(path: str | os.PathLike[str], table: pa.Table, name: str) -> pa.Array:
    """Return a column in the schema's type, but positions of float64 as such."""
    is_wide = name == "positions" and "double" in str(table.schema.field(name).type)
    try:
        return table[name].cast(_WIDE if is_wide else _TYPES[name]).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"{path}: the column {name} is of type {table.schema.field(name).type} and cannot be read as "
            f"{_TYPES[name]} ({str(error).splitlines()[0]})"
        ) from None
