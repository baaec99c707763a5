r"""QM9 from the official archive of 133,885 small text files, read as a stream without extracting it.

The lines of a file (table 2 of the paper) are: the number of atoms; "gdb", the index and the properties; for each atom
symbol, x, y, z and partial charge; frequencies; SMILES; InChI. Fields are separated by tabs, sometimes with an extra
space, and small numbers are in Mathematica's notation, ``1.2*^-6``. Since nothing is extracted to disk, no name in an
archive can be used for an attack.
"""

import bz2
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.chemistry.qm9_properties import PROPERTIES
from pipeline.core.errors import InputError
from pipeline.data.qm9 import ATOMIC_NUMBERS, SYMBOLS, Chunk, assemble, read_columns
from pipeline.data.source import SourceData

ARCHIVE: Final = "dsgdb9nsd.xyz.tar.bz2"
UNCHARACTERIZED: Final = "uncharacterized.txt"

_MEMBER: Final = re.compile(r"(?:.*/)?dsgdb9nsd_(\d{6})\.xyz")
_MAX_MEMBER_BYTES: Final = 1 << 20
_CHUNK_MOLECULES: Final = 8192

_PROPERTY_TYPES: Final = {
    "tag": pa.string(),
    "index": pa.int32(),
    **{p.name: pa.float64() for p in PROPERTIES},
}
_ATOM_TYPES: Final = {"symbol": pa.string(), **{name: pa.float64() for name in ("x", "y", "z", "charge")}}


class _Record(NamedTuple):
    """Parsed lines of one file of the archive."""

    number: int
    size: int
    properties: bytes
    atoms: bytes
    smiles: str


def parse_figshare(
    directory: str | os.PathLike[str], *, advance: Callable[[int], None] = lambda count: None
) -> SourceData:
    """Return QM9 from the official files written by the stage download.

    Args:
      directory: folder with the archive and the list of uncharacterised molecules, which are left out.
      advance: called with the number of molecules in every chunk.

    Raises:
      InputError: a file is missing, truncated, damaged or invalid.
    """
    archive = Path(directory) / ARCHIVE
    excluded = _read_excluded(Path(directory) / UNCHARACTERIZED)
    if not archive.is_file():
        raise InputError(f"{archive}: no such file; the stage download with --source figshare fetches it")
    chunks: list[Chunk] = []
    records: list[_Record] = []
    seen = set()

    def flush() -> None:
        chunks.append(_chunk(archive, records))
        advance(len(records))
        records.clear()

    for index, text in _members(archive):
        seen.add(index)
        if index in excluded:
            continue
        records.append(_record(archive, index, text))
        if len(records) == _CHUNK_MOLECULES:
            flush()
    if records:
        flush()
    # The listed molecules are in the complete archive: if one is missing, the archive is truncated.
    if missing := excluded - seen:
        raise InputError(f"{archive}: ends without molecule {min(missing)}, which {UNCHARACTERIZED} names: incomplete")
    return assemble(chunks, source="figshare")


def _read_excluded(path: Path) -> set[int]:
    """Return the numbers of the uncharacterised molecules, from the lines that start with a whole number."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the stage download with --source figshare fetches it") from None
    excluded = {int(words[0]) for line in lines if (words := line.split()) and words[0].isdecimal()}
    if not excluded:
        raise InputError(f"{path}: names no molecules; is it the official list?")
    return excluded


def _members(archive: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the content of every molecule's file in the archive."""
    try:
        # Not tarfile's own "r|bz2", which does not detect a truncated file.
        with bz2.open(archive) as plain, tarfile.open(fileobj=plain, mode="r|") as members:
            for member in members:
                if not (member.isfile() and (match := _MEMBER.fullmatch(member.name))):
                    continue
                file = members.extractfile(member)
                if file is None or member.size > _MAX_MEMBER_BYTES:
                    raise InputError(f"{archive}: {member.name} is not the file of a molecule")
                yield int(match[1]), file.read()
            while plain.read(1 << 20):
                pass  # read past the last member, so that the checksum at the end is verified
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputError(
            f"{archive}: truncated or damaged ({error}); delete its folder and download it again"
        ) from None


def _record(archive: Path, index: int, text: bytes) -> _Record:
    lines = text.rstrip().split(b"\n")
    try:
        size = int(lines[0])
        if size < 1 or len(lines) != size + 5:
            raise ValueError
        smiles = lines[size + 3].split()[0].decode("ascii")
    except (ValueError, IndexError):
        raise InputError(f"{archive}: molecule {index}: its file is not in the QM9 format") from None
    return _Record(index, size, b"\t".join(lines[1].split()), b"\n".join(lines[2 : size + 2]), smiles)


def _chunk(archive: Path, records: Sequence[_Record]) -> Chunk:
    try:
        return _convert(records)
    except (pa.ArrowInvalid, ValueError) as error:
        # Arrow does not report the line: convert molecules one by one to find it.
        for record in records if len(records) > 1 else ():
            _chunk(archive, [record])
        raise InputError(f"{archive}: molecule {records[0].number}: {' '.join(str(error).split())[:200]}") from None


def _convert(records: Sequence[_Record]) -> Chunk:
    """Return records as a chunk; raises ValueError (or Arrow's subclass of it) if one is malformed."""
    properties = read_columns(b"\n".join(record.properties for record in records).replace(b"*^", b"e"), _PROPERTY_TYPES)
    atoms = read_columns(
        b"\n".join(record.atoms for record in records).replace(b"*^", b"e").translate(None, delete=b" \r"), _ATOM_TYPES
    )
    index = properties["index"].to_numpy()
    sizes = np.array([record.size for record in records], dtype=np.int32)
    if not np.array_equal(index, [record.number for record in records]):
        raise ValueError(f"its file name does not match the index {index[0]} in the file")
    if atoms.num_rows != sizes.sum():
        raise ValueError(f"{atoms.num_rows} lines of atoms, but {sizes.sum()} are declared")
    types = pc.index_in(atoms["symbol"], pa.array(SYMBOLS))
    if types.null_count:
        symbol = atoms["symbol"].filter(pc.is_null(types))[0].as_py()
        raise ValueError(f"unknown element {symbol!r}; supported are {', '.join(SYMBOLS)}")
    return Chunk(
        index=index,
        smiles=[record.smiles for record in records],
        sizes=sizes,
        atomic_numbers=np.array(ATOMIC_NUMBERS, np.uint8)[types.to_numpy()],
        positions=np.stack([atoms[axis].to_numpy() for axis in "xyz"], axis=1).astype(np.float32),
        charges=atoms["charge"].to_numpy().astype(np.float32),
        properties={p.name: properties[p.name].to_numpy() for p in PROPERTIES},
    )
