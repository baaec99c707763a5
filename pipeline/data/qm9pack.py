"""QM9 from the wheel of the Python package qm9pack 1.0.3, read as a zip archive without importing any of it."""

import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv

from pipeline.chemistry.qm9_properties import PROPERTIES
from pipeline.core.errors import InputError
from pipeline.data.qm9 import ATOMIC_NUMBERS, SYMBOLS, Chunk, assemble, read_columns
from pipeline.data.source import SourceData

WHEEL: Final = "qm9pack-1.0.3-py3-none-any.whl"

_PARTS: Final = tuple(f"qm9pack/data/qm9_part{part}.csv" for part in (1, 2, 3))
_TEXT: Final = ("SMILES", "Elements", "XYZ_Ang", "Mulliken_pop")
_TYPES: Final = {
    **{name: pa.string() for name in _TEXT},
    **{name: pa.int32() for name in ("Index", "N_atoms")},
    **{p.qm9pack: pa.float64() for p in PROPERTIES},
}
# Columns with a Python list of one entry per atom: pattern of the list, and separator between atoms.
_LISTS: Final = {
    "Elements": (re.compile(r"\['[A-Za-z]+'(?:,'[A-Za-z]+')*\]"), ","),
    "XYZ_Ang": (re.compile(r"\[\[[^\[\]]+\](?:,\[[^\[\]]+\])*\]"), "],["),
    "Mulliken_pop": (re.compile(r"\[[^\[\]]+\]"), ","),
}
_BLOCK_BYTES: Final = 1 << 24

_ATOMIC_NUMBER_OF_LETTER: Final = np.zeros(256, np.uint8)
_ATOMIC_NUMBER_OF_LETTER[[ord(symbol) for symbol in SYMBOLS]] = ATOMIC_NUMBERS

# "[[1.0,2.0,3.0],[4.0,5.0,6.0]]" becomes one number per line; the remaining empty lines are skipped.
_ONE_PER_LINE: Final = bytes.maketrans(b",]", b"\n\n")


def parse_qm9pack(
    directory: str | os.PathLike[str], *, advance: Callable[[int], None] = lambda count: None
) -> SourceData:
    """Return QM9 from the wheel written by the stage download.

    Args:
      directory: folder with the wheel.
      advance: called with the number of molecules in every chunk.

    Raises:
      InputError: the wheel is missing, truncated or damaged, or its tables are invalid.
    """
    wheel = Path(directory) / WHEEL
    if not wheel.is_file():
        raise InputError(f"{wheel}: no such file; the stage download with --source qm9pack fetches it")
    chunks = []
    try:
        with zipfile.ZipFile(wheel) as archive:
            for part in _PARTS:
                with archive.open(part) as file:
                    for chunk in _chunks(f"{wheel}: {part}", file):
                        chunks.append(chunk)
                        advance(len(chunk.index))
    except KeyError as error:
        raise InputError(f"{wheel}: {' '.join(map(str, error.args))}") from None
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError) as error:
        # zipfile raises all of these for damaged archives.
        raise InputError(f"{wheel}: truncated or damaged ({error}); download it again") from None
    return assemble(chunks, source="qm9pack")


def _chunks(name: str, file: IO[bytes]) -> Iterator[Chunk]:
    """Yield a table in blocks, so that only one block of text is in memory."""
    try:
        blocks = csv.open_csv(
            pa.PythonFile(file),
            read_options=csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
            convert_options=csv.ConvertOptions(include_columns=list(_TYPES), column_types=_TYPES, null_values=[]),
        )
        for block in blocks:
            yield _chunk(name, block)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise InputError(f"{name}: {' '.join(str(error).split())[:200]}") from None


def _chunk(name: str, block: pa.RecordBatch) -> Chunk:
    sizes = block["N_atoms"].to_numpy()
    index = block["Index"].to_numpy()
    text = {column: block[column].to_pylist() for column in _TEXT}
    for column, (form, separator) in _LISTS.items():
        counts = np.array([value.count(separator) + 1 if form.fullmatch(value) else 0 for value in text[column]])
        if (wrong := np.flatnonzero(counts != sizes)).size:
            row = wrong[0]
            raise InputError(
                f"{name}: molecule {index[row]}: its {sizes[row]} atoms do not match {column} {text[column][row]:.60}"
            )
    charges = _numbers(text["Mulliken_pop"])
    coordinates = _numbers(text["XYZ_Ang"])
    atomic_numbers = _atomic_numbers(name, index, text["Elements"])
    if not 3 * len(atomic_numbers) == 3 * len(charges) == len(coordinates):
        raise InputError(
            f"{name}: molecules {index[0]} to {index[-1]}: {len(atomic_numbers)} elements, {len(charges)} charges and "
            f"{len(coordinates)} coordinates do not match"
        )
    return Chunk(
        index=index,
        smiles=text["SMILES"],
        sizes=sizes,
        atomic_numbers=atomic_numbers,
        positions=coordinates.reshape(-1, 3).astype(np.float32),
        charges=charges.astype(np.float32),
        properties={p.name: block[p.qm9pack].to_numpy() for p in PROPERTIES},
    )


def _numbers(lists: list[str]) -> npt.NDArray[np.float64]:
    """Return the concatenated numbers of Python lists, nested or not."""
    text = "".join(lists).encode().translate(_ONE_PER_LINE, delete=b"[ ")
    numbers: npt.NDArray[np.float64] = read_columns(text, {"number": pa.float64()})["number"].to_numpy()
    return numbers


def _atomic_numbers(name: str, index: npt.NDArray[np.int32], lists: list[str]) -> npt.NDArray[np.uint8]:
    """Return the concatenated atomic numbers of lists such as "['C','H']"."""
    letters = "".join(lists).encode().translate(None, delete=b"[]', ")
    numbers = _ATOMIC_NUMBER_OF_LETTER[np.frombuffer(letters, np.uint8)]
    if not numbers.all():
        known = set("[]', ").union(SYMBOLS)
        row = next(row for row, elements in enumerate(lists) if not known.issuperset(elements))
        raise InputError(
            f"{name}: molecule {index[row]}: unknown element in {lists[row]:.60}; supported are {', '.join(SYMBOLS)}"
        )
    return numbers
