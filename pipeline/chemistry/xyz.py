"""XYZ files, with the dialects that people have: extended XYZ, QM9's own files, EDM's output, Fortran, Mathematica.

A frame is a number of atoms, a title, and a line for each atom: the symbol or atomic number, x, y, z, and more columns
that are ignored. Where the title says ``Properties=`` (extended XYZ), the columns are those that it names. A file of
QM9 has frequencies, SMILES and InChI after the atoms.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

import numpy as np

from pipeline.chemistry.elements import SYMBOL_OF_ATOMIC_NUMBER
from pipeline.chemistry.molecule_text import Record, UnreadableAtom, natural, parse_atoms, shown
from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError

_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_PAIR: Final = re.compile(rf'({_QUOTED}|[^\s="]+)\s*=(?:\s+(?![^\s="]+\s*=)|)({_QUOTED}|\S*)')
_EXTENDED: Final = re.compile(r"properties\s*=", re.IGNORECASE)
_QM9_TITLE: Final = re.compile(r"gdb \d+\s")
_OF_THE_FORMAT: Final = ("properties", "lattice", "pbc")
"""Keys of extended XYZ that say nothing about the molecule as such."""


class _Columns(NamedTuple):
    """Where an atom's line has what."""

    element: int
    position: int
    number: int | None
    """Of columns; None if there may be any more."""


_PLAIN: Final = _Columns(element=0, position=1, number=None)


def read_xyz(lines: Iterable[str]) -> Iterator[Record]:
    """Yield the molecules of an XYZ file; empty lines between frames are passed over.

    Args:
        lines: of the file, with or without their ends.

    Raises:
        InputError: it cannot be told where a molecule begins or ends; the line begins with the number of a line.
    """
    numbered = enumerate(lines, start=1)
    frame: Record | None = None
    for start, line in numbered:
        if not line.strip():
            continue
        size = natural(line.strip())
        if frame:
            if size is None and _QM9_TITLE.match(frame.title):
                yield _with_smiles(frame, [text for _, text in islice(numbered, 2)], start)
                frame = None
                continue
            yield frame
        if size is None:
            raise InputError(f"line {start}: should be the number of atoms of the next molecule, not {shown(line)}")
        title = next(numbered, (0, ""))[1].strip()
        atoms = [text for _, text in islice(numbered, size)]
        if len(atoms) < size:
            raise InputError(
                f"truncated; line {start} announces {size} atoms, the file ends after {len(atoms)} of them"
            )
        frame = _frame(start + 2, title, atoms)
    if frame:
        yield frame


def _with_smiles(frame: Record, trailer: list[str], line: int) -> Record:
    """Return a frame of QM9 with its SMILES, from the two lines that follow its frequencies on line ``line``."""
    if len(trailer) < 2 or not trailer[0].split() or not trailer[1].startswith("InChI="):
        raise InputError(f"line {line}: a file of QM9 should have frequencies, SMILES and InChI after the atoms")
    return frame._replace(properties={"SMILES": trailer[0].split()[0]})


def _frame(first: int, title: str, lines: list[str]) -> Record:
    properties: dict[str, str] = {}
    columns: _Columns | None = _PLAIN
    if _EXTENDED.search(title):
        properties = {_unquoted(key): _unquoted(value) for key, value in _PAIR.findall(title)}
        columns = _columns(next((value for key, value in properties.items() if key.lower() == "properties"), ""))
        title = properties.pop("title", "" if columns else title)
        properties = {key: value for key, value in properties.items() if key.lower() not in _OF_THE_FORMAT}
    if columns is None:
        error = f"line {first - 1}: Properties= should name species:S:1 or Z:I:1, and pos:R:3, each once"
        return Record(first, title, [], [], {}, error)
    rows = [line.split() for line in lines]
    element, position = columns.element, columns.position
    least = columns.number or 4
    for number, row in enumerate(rows, start=first):
        # A frame that lacks a line ends in the next one, whose beginning has fewer columns.
        if len(row) < least:
            raise InputError(
                f"line {number}: should be an element and x, y, z, not {shown(lines[number - first])}; "
                f"{len(lines)} atoms are announced on line {first - 2}"
            )
        if columns.number and len(row) > columns.number:
            return Record(first, title, [], [], {}, f"line {number}: has more than the columns that Properties= names")
    fields = [(row[element], row[position], row[position + 1], row[position + 2]) for row in rows]
    try:
        return Record(first, title, *parse_atoms(fields, line=first), properties)
    except UnreadableAtom as error:
        return Record(first, title, [], [], {}, str(error))


def _columns(described: str) -> _Columns | None:
    """Return the columns that ``Properties=`` describes, such as species:S:1:pos:R:3; None if they are not enough."""
    parts = described.split(":")
    places: dict[str, int] = {}
    total = 0
    for name, kind, width in zip(parts[::3], parts[1::3], parts[2::3], strict=False):
        if places.setdefault(f"{name.lower()}:{kind.upper()}:{width}", total) != total:
            return None
        total += natural(width) or 0
    element = places.get("species:S:1", places.get("z:I:1"))
    position = places.get("pos:R:3")
    if len(parts) % 3 or element is None or position is None:
        return None
    return _Columns(element, position, total)


def _unquoted(value: str) -> str:
    if not value.startswith('"') or len(value) < 2:
        return value
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], value[1:-1])


def xyz_frames(
    molecules: Molecules, titles: Iterable[str], properties: Iterable[Mapping[str, str | float] | None]
) -> Iterator[str]:
    """Yield an XYZ frame for each molecule; reading it gives the same float32 coordinates back.

    Args:
        molecules: M molecules.
        titles: [M], one line each.
        properties: [M] key=value pairs of an extended XYZ frame; None for a plain one.
    """
    for (numbers, positions), title, pairs in zip(molecules, titles, properties, strict=False):
        lines = [str(len(numbers)), title if pairs is None else _extended_title({"title": title, **pairs})]
        for number, point in zip(numbers.tolist(), positions, strict=True):
            # The shortest digits that are this float32 and no other.
            x, y, z = (np.format_float_positional(value, trim="0") for value in point)
            lines.append(f"{SYMBOL_OF_ATOMIC_NUMBER[number]} {x} {y} {z}")
        yield "\n".join(lines) + "\n"


def _extended_title(pairs: Mapping[str, str | float]) -> str:
    """Return the second line of an extended XYZ frame, as ASE and others read it."""
    texts = {"Properties": "species:S:1:pos:R:3", "pbc": '"F F F"'}
    for key, value in pairs.items():
        name = re.sub(r"[^A-Za-z0-9_-]", "_", key) or "_"
        while name in texts or name.lower() in _OF_THE_FORMAT:
            name += "_"
        text = re.sub(r'(["\\])', r"\\\1", value) if isinstance(value, str) else None
        texts[name] = repr(value) if text is None else '"' + re.sub(r"\r\n?|\n", r"\\n", text) + '"'
    return " ".join(f"{name}={text}" for name, text in texts.items())
