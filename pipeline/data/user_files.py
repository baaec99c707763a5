"""Molecules of the user's own: an SDF or XYZ file, or a folder of XYZ files."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.chemistry.formats import read_molecule_text, read_xyz
from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.data.source import SourceData


def parse_user_files(
    path: str | os.PathLike[str], *, advance: Callable[[int], None] = lambda count: None
) -> SourceData:
    """Return the molecules of a file, or of all XYZ files in a folder in the order of their names.

    They are numbered from 0. The SMILES are those of the data item "SMILES" of an SDF record, where there is one.

    Args:
        path: an .sdf or .xyz file, or a folder of .xyz files, of one or more molecules each.
        advance: is told the number of molecules after every file.

    Raises:
        InputError: there is no such file, no XYZ file in the folder, or a file is not what it should be; the line names
            the file and the line in it.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.glob("*.xyz") if not file.name.startswith("."))
        if not files:
            raise InputError(f"{path}: has no .xyz files; data.path is an SDF or XYZ file, or a folder of XYZ files")
        read = read_xyz
    elif path.is_file():
        files, read = [path], read_molecule_text
    else:
        raise InputError(f"{path}: no such file or folder; data.path is an SDF or XYZ file, or a folder of XYZ files")
    parts = []
    for file in files:
        parts.append(read(file))
        advance(len(parts[-1]))
    molecules = Molecules.concatenate(parts, metadata={"source": path.resolve().name})
    if path.is_file() and path.suffix.lower() == ".sdf":
        molecules = replace(molecules, smiles=_smiles_of_sdf(path))
    return SourceData(molecules=molecules, index=np.arange(len(molecules), dtype=np.int32))


def _smiles_of_sdf(path: Path) -> tuple[str | None, ...] | None:
    """Return the data item SMILES of every record of a file that is known to be sound; None if no record has one."""
    smiles: list[str | None] = [None]
    lines = path.read_text(encoding="utf-8").rstrip().split("\n")
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("$$$$"):
            smiles.append(None)
        elif line.startswith(">") and "<smiles>" in line.lower():
            smiles[-1] = following.strip() or None
    if lines[-1].startswith("$$$$"):
        smiles.pop()
    return tuple(smiles) if any(smiles) else None
