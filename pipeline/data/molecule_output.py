"""Molecules to a file of the format that its suffix names."""

import gzip
import itertools
import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt
import pyarrow as pa

from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.core.files import atomic_path
from pipeline.data.molecule_parquet import IN_FILE, TITLE, free_name, write_molecules

_TEXT: Final = (".sdf", ".xyz", ".extxyz")
SUFFIXES: Final = (".parquet", *_TEXT, *(f"{suffix}.gz" for suffix in _TEXT))
"""Of the files that are written; all but plain XYZ keep what else is known of a molecule."""


def check_output(path: str | os.PathLike[str]) -> None:
    """Check the name of a file to write, before there is anything to write.

    Raises:
      InputError: its suffix is not one of ``SUFFIXES``; it is a folder; it is text, and RDKit is not installed.
    """
    if not Path(path).name.lower().endswith(SUFFIXES):
        raise InputError(f"{path}: molecules are written to {', '.join(SUFFIXES)} files")
    if Path(path).is_dir():
        raise InputError(f"{path}: is a folder; name a file")
    if not Path(path).name.lower().endswith(".parquet") and not find_spec("rdkit"):
        raise InputError(f"{path}: RDKit, which is not installed, writes all formats but Parquet: pip install rdkit")


def write_molecule_file(
    path: str | os.PathLike[str],
    molecules: Molecules,
    *,
    index: npt.ArrayLike | None = None,
    columns: Mapping[str, Any] | None = None,
    units: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> list[str]:
    """Write molecules atomically, in the format of the suffix; return the columns that it has no place for.

    In text a title is the column of that name, else the SMILES or number of the molecule. SDF and extended XYZ have the
    SMILES and the other columns too, but for those of more than one value a molecule; XYZ has neither.

    Args:
      path: the file to write.
      molecules: M molecules.
      index: see ``write_molecules``, as the others; for Parquet alone.
      columns: [M] values each.
      units: for Parquet alone.
      metadata: for Parquet alone.

    Raises:
      InputError: see ``check_output``.
    """
    check_output(path)
    columns = columns or {}
    name = Path(path).name.lower()
    if name.endswith(".parquet"):
        write_molecules(path, molecules, index=index, extra_columns=columns, units=units, metadata=metadata)
        return []
    # Imported here: sampling, which writes Parquet in a study, does without RDKit.
    from pipeline.chemistry.sdf import sdf_records
    from pipeline.chemistry.xyz import xyz_frames

    values = {key: pa.table({key: of})[key] for key, of in columns.items()}
    lost = [key for key, of in values.items() if pa.types.is_nested(of.type)]
    lists = {key: of.to_pylist() for key, of in values.items() if key not in lost}
    smiles = molecules.smiles or [None] * len(molecules)
    titles = [
        re.sub(r"[\r\n]+", " ", str(title or own or f"molecule {number}"))
        for number, (title, own) in enumerate(zip(lists.pop(TITLE, smiles), smiles, strict=True))
    ]
    if any(smiles):
        named = {key: free_name(f"{key}{IN_FILE}", lists) if key.lower() == "smiles" else key for key in lists}
        lists = {"SMILES": smiles} | {named[key]: of for key, of in lists.items()}
    rows = ({key: of[row] for key, of in lists.items()} for row in range(len(molecules)))
    properties = ({key: value for key, value in row.items() if value is not None} for row in rows)
    suffix = Path(name.removesuffix(".gz")).suffix
    if suffix == ".sdf":
        blocks = sdf_records(molecules, titles, properties)
    else:
        blocks = xyz_frames(molecules, titles, properties if suffix == ".extxyz" else itertools.repeat(None))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        if name.endswith(".gz"):
            # Without a name and a time in it: the same molecules give the same file.
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as compressed:
                compressed.writelines(block.encode() for block in blocks)
        else:
            file.writelines(block.encode() for block in blocks)
    if suffix != ".xyz":
        return lost
    # The title of an XYZ frame is the SMILES, unless the molecules have titles.
    hidden = ["SMILES"] if any(smiles) and TITLE in columns else []
    return list(dict.fromkeys([*hidden, *(key for key in columns if key != TITLE)]))
