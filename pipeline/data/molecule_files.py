"""Molecules from a file of any of the formats that this project reads."""

import os
from pathlib import Path

from pipeline.chemistry.formats import SUFFIXES, read_molecule_text
from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.data.molecule_parquet import read_molecules


def read_molecule_file(path: str | os.PathLike[str]) -> Molecules:
    """Return at least one molecule from a Parquet file in the molecule schema, an SDF file or an XYZ file.

    Raises:
        InputError: the file is missing, truncated, foreign, empty or of none of these kinds, or holds what cannot be a
            molecule.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".parquet", *SUFFIXES):
        raise InputError(f"{path}: molecules are read from .parquet, {' and '.join(SUFFIXES)} files")
    molecules = read_molecules(path) if suffix == ".parquet" else read_molecule_text(path)
    if not len(molecules):
        raise InputError(f"{path}: has no molecules")
    return molecules
