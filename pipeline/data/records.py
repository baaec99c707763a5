"""What the stage judge finds out about samples, on disk: a line for each molecule.

| column          | type   |                                                                              |
|-----------------|--------|------------------------------------------------------------------------------|
| index           | int32  | place of the molecule in its file                                            |
| edm             | string | its SMILES by EDM's validity, null where it is not valid                     |
| connected       | string | likewise by the stricter validity                                            |
| edm_known       | bool   | whether the training molecules have that SMILES; null without training data  |
| connected_known | bool   | likewise                                                                     |
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.chemistry.rdkit_molecules import KnownMolecules, Perceived
from pipeline.core.errors import InputError
from pipeline.data.parquet_tables import read_table, write_table

KIND: Final = "records"
_COLUMNS: Final = ("index", "edm", "connected", "edm_known", "connected_known")


@dataclass(frozen=True, eq=False)
class Records:
    """What is known of some molecules of a file."""

    index: npt.NDArray[np.int32]
    """[M] their places in the file."""
    perceived: Perceived
    known: KnownMolecules | None
    """The SMILES among theirs that training molecules have; None without training data."""

    @classmethod
    def of(cls, places: npt.NDArray[np.integer[Any]], perceived: Perceived, known: KnownMolecules | None) -> Self:
        """Return the records of the molecules at ``places`` [M]; of ``known`` only what is among them is kept."""
        if known:
            own = perceived.distinct()
            known = KnownMolecules(known.edm & own.edm, known.connected & own.connected)
        return cls(places.astype(np.int32), perceived, known)


def write_records(path: str | os.PathLike[str], records: Records, *, of: str, part: str) -> None:
    """Write records of a part of the file with the SHA-256 ``of``, atomically."""

    def known(smiles: Sequence[str | None], those: frozenset[str] | None) -> pa.Array:
        return pa.array([None if those is None else one in those for one in smiles], pa.bool_())

    perceived, found = records.perceived, records.known
    table = pa.table(
        {
            "index": pa.array(records.index, pa.int32()),
            "edm": pa.array(perceived.edm, pa.string()),
            "connected": pa.array(perceived.connected, pa.string()),
            "edm_known": known(perceived.edm, found.edm if found else None),
            "connected_known": known(perceived.connected, found.connected if found else None),
        }
    )
    write_table(path, table, kind=KIND, metadata={"of": of, "part": part, "novelty": found is not None}, units={})


def read_records(paths: Sequence[str | os.PathLike[str]], *, of: str, number: int) -> Records:
    """Return the records of all parts of a file as one.

    Args:
      paths: of all parts, in any order.
      of: SHA-256 of the file.
      number: M, the molecules in it.

    Raises:
      InputError: a file is missing, damaged or of another kind; is of another file; or together they do not have
        every molecule once.
    """
    tables: list[tuple[pa.Table, bool]] = []
    for path in paths:
        table, metadata = read_table(path, kind=KIND, required=_COLUMNS)
        if metadata.get("of") != of:
            raise InputError(f"{path}: the records of other molecules, or of these before they changed")
        if metadata["novelty"] != (tables[0][1] if tables else metadata["novelty"]):
            raise InputError(f"{path}: made with other options than {paths[0]}")
        tables.append((table, metadata["novelty"]))
    table = pa.concat_tables([table for table, _ in tables]).sort_by("index")
    index = table["index"].to_numpy()
    if len(index) != number or (index != np.arange(number)).any():
        raise InputError(f"{paths[0]}: the records together do not have each of the {number} molecules once")
    columns = {name: table[name].to_pylist() for name in _COLUMNS[1:]}

    def known(kind: str) -> frozenset[str]:
        pairs = zip(columns[kind], columns[f"{kind}_known"], strict=True)
        return frozenset(smiles for smiles, hit in pairs if hit and smiles is not None)

    found = KnownMolecules(edm=known("edm"), connected=known("connected")) if tables[0][1] else None
    perceived = Perceived(edm=tuple(columns["edm"]), connected=tuple(columns["connected"]))
    return Records(index, perceived, found)
