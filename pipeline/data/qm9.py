"""QM9 (Ramakrishnan et al. 2014, doi:10.1038/sdata.2014.22; CC0): code shared by the parsers of both sources.

``qm9pack`` and ``figshare`` parse one each and return the same molecules in the same order: those of the official index
without the 3,054 whose geometry the authors call uncharacterised. Neither parses text atom by atom in Python: it is
rewritten as columns of numbers for Arrow's CSV reader, which reads all of QM9 in seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv

from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.qm9_properties import PROPERTIES
from pipeline.core.errors import InputError
from pipeline.data.source import SourceData

SYMBOLS: Final = ("H", "C", "N", "O", "F")
"""Its elements."""

ATOMIC_NUMBERS: Final = (1, 6, 7, 8, 9)
"""Likewise."""

MULLIKEN_CHARGES: Final = "mulliken_charges"


@dataclass(frozen=True, eq=False)
class Chunk:
    """M parsed molecules with A atoms, to be assembled into a ``SourceData``."""

    index: npt.NDArray[np.int32]
    """[M] official number, 1 to 133,885."""
    smiles: list[str | None]
    """[M] SMILES of GDB-17, from which the geometries were generated."""
    sizes: npt.NDArray[np.int32]
    """[M] atoms."""
    atomic_numbers: npt.NDArray[np.uint8]
    """[A]."""
    positions: npt.NDArray[np.float32]
    """[A, 3] in angstrom."""
    charges: npt.NDArray[np.float32]
    """[A] Mulliken partial charges, in e."""
    properties: Mapping[str, npt.NDArray[np.float64]]
    """[M] each, by name."""


def assemble(chunks: Sequence[Chunk], *, source: str) -> SourceData:
    """Return all chunks as one, in the order of the official index.

    Raises:
      InputError: there are no molecules, one is out of order, or a value is not finite.
    """
    if not chunks:
        raise InputError(f"{source}: has no molecules")
    index = np.concatenate([chunk.index for chunk in chunks])
    if (repeated := index[1:][np.diff(index) <= 0]).size:
        raise InputError(f"{source}: molecule {repeated[0]} is out of order or repeated")
    sizes = np.concatenate([chunk.sizes for chunk in chunks])
    positions = np.concatenate([chunk.positions for chunk in chunks])
    charges = np.concatenate([chunk.charges for chunk in chunks])
    properties = {p.name: np.concatenate([chunk.properties[p.name] for chunk in chunks]) for p in PROPERTIES}
    atom_index = np.repeat(index, sizes)
    _check_finite(source, atom_index, positions.sum(axis=1), "a coordinate")
    _check_finite(source, atom_index, charges, "a partial charge")
    for name, values in properties.items():
        _check_finite(source, index, values, f"the property {name}")
    molecules = Molecules(
        sizes=sizes,
        atomic_numbers=np.concatenate([chunk.atomic_numbers for chunk in chunks]),
        positions=positions,
        smiles=tuple(smiles for chunk in chunks for smiles in chunk.smiles),
        metadata={"source": source},
    )
    offsets = pa.array(molecules.offsets.astype(np.int32))
    return SourceData(
        molecules=molecules,
        index=index,
        columns={**properties, MULLIKEN_CHARGES: pa.ListArray.from_arrays(offsets, pa.array(charges))},
        units={**{p.name: p.unit for p in PROPERTIES}, MULLIKEN_CHARGES: "e"},
    )


def _check_finite(source: str, index: npt.NDArray[np.int32], values: npt.NDArray[Any], what: str) -> None:
    if (bad := np.flatnonzero(~np.isfinite(values))).size:
        raise InputError(f"{source}: molecule {index[bad[0]]}: {what} is not finite")


def read_columns(text: bytes, types: Mapping[str, pa.DataType]) -> pa.Table:
    """Return tab-separated text without a header as columns with the given names and types; blank lines are skipped.

    Raises:
      pyarrow.ArrowInvalid: a line has another number of fields, or a field is not of its type.
    """
    if not text.strip():
        return pa.schema(list(types.items())).empty_table()
    return csv.read_csv(
        pa.BufferReader(text),
        read_options=csv.ReadOptions(column_names=list(types), block_size=1 << 24),
        parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
        # No null values: an empty field or "NA" is an error.
        convert_options=csv.ConvertOptions(column_types=dict(types), null_values=[], strings_can_be_null=False),
    )
