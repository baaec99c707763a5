"""GEOM-Drugs (Axelrod and Gomez-Bombarelli 2022, doi:10.1038/s41597-022-01288-4) as published, and as EDM prepares it.

The archive, ``drugs_crude.msgpack``, is a stream of objects with a thousand molecules each: by SMILES, a list of
conformers with ``totalenergy`` in hartree and ``xyz``, a row [atomic number, x, y, z] for each atom. EDM's
``build_geom_dataset.py`` takes the conformers of lowest energy, 30 of each molecule, and writes them as one NumPy
array, ``geom_drugs_30.npy``, a row [number of the conformer, atomic number, x, y, z] for each atom.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from pipeline.chemistry.molecule_text import LAST_ELEMENT, Record
from pipeline.core.errors import InputError


def read_geom_archive(path: Path, *, conformers: int) -> Iterator[Record]:
    """Yield up to ``conformers`` of every molecule, lowest energy first, as EDM takes them.

    Raises:
        InputError: the file is truncated, damaged or something else.
    """
    end = 0
    with path.open("rb") as file:
        # One object is larger than what msgpack allows by default.
        unpacker = msgpack.Unpacker(file, max_buffer_size=0)
        try:
            for molecules in unpacker:
                end = unpacker.tell()
                for smiles, found in molecules.items():
                    every = found["conformers"]
                    order = np.argsort([one["totalenergy"] for one in every], kind="stable")[:conformers]
                    for one in (every[place] for place in order.tolist()):
                        energy = {"smiles": smiles, "total_energy": repr(float(one["totalenergy"]))}
                        yield _record(smiles, np.asarray(one["xyz"], np.float64), energy)
        except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException) as error:
            raise InputError(f"damaged, or not an archive of GEOM ({type(error).__name__}: {error})") from None
        # An object that is cut short ends the loop like the end of the file.
        if end != path.stat().st_size:
            raise InputError("truncated; download it again")


def read_edm_array(path: Path) -> Iterator[Record]:
    """Yield the molecules of an array that EDM has prepared.

    Raises:
        InputError: the file is truncated, damaged or something else.
    """
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"truncated, or not an array ({' '.join(str(error).split())})") from None
    if rows.ndim != 2 or rows.shape[1] != 5 or not np.issubdtype(rows.dtype, np.floating):
        raise InputError(
            f"should be an array of EDM's rows [conformer, atomic number, x, y, z], not {rows.dtype} {rows.shape}"
        )
    starts = np.flatnonzero(np.diff(rows[:, 0])) + 1
    for start, end in zip([0, *starts.tolist()], [*starts.tolist(), len(rows)], strict=True):
        if end > start:
            yield _record("", np.asarray(rows[start:end, 1:]), {})


def _record(title: str, atoms: npt.NDArray[np.floating[Any]], properties: dict[str, str]) -> Record:
    """Return a molecule of rows [N, 4] of atomic number and position."""
    if atoms.ndim != 2 or atoms.shape[1] != 4:
        return Record(0, title, [], [], {}, f"should have rows of atomic number, x, y and z, not shape {atoms.shape}")
    numbers = atoms[:, 0]
    if not (np.isin(numbers, np.arange(1, LAST_ELEMENT + 1))).all():
        return Record(0, title, [], [], {}, "an atomic number is not one")
    return Record(0, title, numbers.astype(int).tolist(), atoms[:, 1:].tolist(), properties)
