"""SDF and XYZ, the two formats in which others keep molecules.

Only elements and coordinates are read: bonds in a file are somebody's opinion, and every molecule here is judged by the
same rule. Every atom has to be in the file, hydrogens included; none is ever added.
"""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from pipeline.chemistry.bonds import find_bonds
from pipeline.chemistry.elements import ATOMIC_NUMBER_OF_SYMBOL, SYMBOL_OF_ATOMIC_NUMBER, SYMBOLS
from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.core.files import write_text

SUFFIXES: Final = (".sdf", ".xyz")
"""Of the files that ``read_molecule_text`` reads."""

_MOST_V2000: Final = 999
"""Atoms or bonds that a V2000 counts line has room for."""

_PathLike = str | os.PathLike[str]
_Atom = tuple[int, tuple[float, float, float]]


def read_molecule_text(path: _PathLike) -> Molecules:
    """Return the molecules of an SDF or XYZ file, told apart by the suffix.

    Raises:
        InputError: as ``read_sdf`` and ``read_xyz``, or the suffix is not one of ``SUFFIXES``.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: molecules are read from {' and '.join(SUFFIXES)} files")
    return read_sdf(path) if suffix == ".sdf" else read_xyz(path)


def read_xyz(path: _PathLike) -> Molecules:
    """Return the molecules of an XYZ file: frames of a number of atoms, a comment, and a line for each atom.

    An atom's line has its symbol (or atomic number) and x, y, z in angstrom; more columns are ignored, as are empty
    lines between frames.

    Raises:
        InputError: the file is missing, empty, not of this format or truncated, or has an unknown element or a
            coordinate that is not a finite number.
    """
    return _assemble(path, _xyz_frames(path, _lines(path)))


def _xyz_frames(path: _PathLike, lines: list[str]) -> Iterator[list[_Atom]]:
    position = 0
    while position < len(lines):
        if not lines[position].strip():
            position += 1
            continue
        size = _natural(lines[position].strip())
        if not size:
            raise InputError(
                f"{path}, line {position + 1}: should be the number of atoms of the next molecule, "
                f"not {_shown(lines[position])}"
            )
        first = position + 2
        if first + size > len(lines):
            raise InputError(
                f"{path}: truncated; line {position + 1} announces {size} atoms, the file ends after "
                f"{max(0, len(lines) - first)} of them"
            )
        atoms = []
        for number in range(first, first + size):
            fields = lines[number].split()
            if len(fields) < 4:
                raise InputError(
                    f"{path}, line {number + 1}: should be an element and x, y, z, not {_shown(lines[number])}"
                )
            atoms.append(_atom(path, number, fields[0], fields[1:4]))
        yield atoms
        position = first + size


def read_sdf(path: _PathLike) -> Molecules:
    """Return the molecules of an SDF file, or of a single MOL file, in the V2000 format.

    Raises:
        InputError: the file is missing, empty, not of this format or truncated, has an unknown element or a coordinate
            that is not a finite number, or is of the V3000 format.
    """
    return _assemble(path, _sdf_records(path, _lines(path)))


def _sdf_records(path: _PathLike, lines: list[str]) -> Iterator[list[_Atom]]:
    position, read = 0, 0
    while position < len(lines):
        end = next((i for i in range(position, len(lines)) if lines[i].startswith("$$$$")), None)
        record = lines[position:end]
        if end is None:
            if read and not any(line.strip() for line in record):
                return  # empty lines after the last record
            if read:
                raise InputError(f"{path}: truncated; the record that starts on line {position + 1} has no $$$$")
        yield _sdf_atoms(path, record, position)
        read += 1
        position += len(record) + 1


def _sdf_atoms(path: _PathLike, record: list[str], offset: int) -> list[_Atom]:
    """Return the atoms of one record, whose first line is line ``offset`` of the file, counted from 0."""
    where = f"{path}, line {offset + 4}"
    if len(record) < 4:
        raise InputError(f"{where}: should be the counts line of a V2000 record, but the record ends before it")
    counts = record[3]
    if "V3000" in counts:
        raise InputError(f"{where}: the V3000 format is not read; convert the file to V2000")
    size = _natural(counts[:3].strip())
    if not size or "V2000" not in counts:
        raise InputError(f"{where}: should be the counts line of a V2000 record, not {_shown(counts)}")
    if len(record) < 4 + size or not any(line.startswith("M  END") for line in record[4 + size :]):
        raise InputError(f"{path}: truncated; the record that starts on line {offset + 1} has no M  END")
    atoms = []
    for number, line in enumerate(record[4 : 4 + size], start=offset + 4):
        # Fixed columns: x, y, z of ten characters each, which may touch, a blank, and the symbol.
        coordinates, symbol = [line[0:10], line[10:20], line[20:30]], line[31:34].strip()
        if not symbol:
            raise InputError(f"{path}, line {number + 1}: should be an atom of a V2000 record, not {_shown(line)}")
        atoms.append(_atom(path, number, symbol, coordinates))
    return atoms


def _atom(path: _PathLike, number: int, symbol: str, coordinates: Sequence[str]) -> _Atom:
    """Return an atom that stands on line ``number``, counted from 0."""
    where = f"{path}, line {number + 1}"
    atomic_number = ATOMIC_NUMBER_OF_SYMBOL.get(symbol.capitalize()) or _natural(symbol)
    if atomic_number not in SYMBOL_OF_ATOMIC_NUMBER:
        raise InputError(f"{where}: unknown element {_shown(symbol)}; known are {', '.join(SYMBOLS)}")
    try:
        x, y, z = map(float, coordinates)
    except ValueError:
        raise InputError(f"{where}: should be three coordinates, not {_shown(' '.join(coordinates))}") from None
    if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(z)):
        raise InputError(f"{where}: a coordinate is not finite: {_shown(' '.join(coordinates))}")
    return atomic_number, (x, y, z)


def _natural(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _shown(text: str) -> str:
    """Return text from a file as a message can show it."""
    return repr(text.strip()[:40])


def _lines(path: _PathLike) -> list[str]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file") from None
    if not text.strip():
        raise InputError(f"{path}: empty")
    # Not splitlines, which also breaks lines at characters that a title may hold.
    return text.rstrip().split("\n")


def _assemble(path: _PathLike, frames: Iterator[list[_Atom]]) -> Molecules:
    sizes, numbers, positions = [], [], []
    for atoms in frames:
        sizes.append(len(atoms))
        numbers += [number for number, _ in atoms]
        positions += [point for _, point in atoms]
    try:
        return Molecules(
            sizes=np.array(sizes), atomic_numbers=np.array(numbers, dtype=np.uint8), positions=np.array(positions)
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def write_xyz(path: _PathLike, molecules: Molecules) -> None:
    """Write an XYZ file, one frame a molecule, atomically; reading it gives the same float32 coordinates back."""
    lines = []
    for index, (numbers, positions) in enumerate(molecules):
        lines += [str(len(numbers)), _title(molecules, index)]
        for number, point in zip(numbers.tolist(), positions, strict=True):
            # The shortest digits that are this float32 and no other.
            x, y, z = (np.format_float_positional(value, trim="0") for value in point)
            lines.append(f"{SYMBOL_OF_ATOMIC_NUMBER[number]} {x} {y} {z}")
    write_text(path, "\n".join(lines) + "\n")


def write_sdf(path: _PathLike, molecules: Molecules) -> None:
    """Write an SDF file (V2000), one record a molecule, atomically.

    The bonds are those of ``pipeline.chemistry.bonds``, so that viewers draw what the metrics count. The format keeps
    four digits after the point: reading it gives coordinates back to 0.00005 angstrom.

    Raises:
        InputError: a molecule has more than 999 atoms or bonds, or a coordinate too large for its ten columns.
    """
    bonds = find_bonds(molecules)
    lines = []
    for index, (numbers, positions) in enumerate(molecules):
        start, own = molecules.offsets[index], slice(bonds.offsets[index], bonds.offsets[index + 1])
        if max(len(numbers), bonds.sizes[index]) > _MOST_V2000:
            raise InputError(f"{path}: molecule {index} has more than {_MOST_V2000} atoms or bonds; write XYZ instead")
        lines += [_title(molecules, index), "  pipeline", ""]
        lines.append(f"{len(numbers):3d}{bonds.sizes[index]:3d}  0  0  0  0  0  0  0  0999 V2000")
        for number, point in zip(numbers.tolist(), positions.tolist(), strict=True):
            columns = "".join(f"{value:10.4f}" for value in point)
            if len(columns) > 30:
                raise InputError(f"{path}: molecule {index} has a coordinate too large for SDF; write XYZ instead")
            lines.append(f"{columns} {SYMBOL_OF_ATOMIC_NUMBER[number]:<3} 0  0  0  0  0  0  0  0  0  0  0  0")
        for first, second, order in zip(bonds.first[own], bonds.second[own], bonds.order[own], strict=True):
            lines.append(f"{first - start + 1:3d}{second - start + 1:3d}{order:3d}  0")
        lines += ["M  END", "$$$$"]
    write_text(path, "\n".join(lines) + "\n")


def _title(molecules: Molecules, index: int) -> str:
    return (molecules.smiles and molecules.smiles[index]) or f"molecule {index}"
