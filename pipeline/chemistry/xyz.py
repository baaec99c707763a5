"""XYZ files, with the dialects that people have: extended XYZ, QM9's own files, EDM's output, Fortran, Mathematica.

A frame is a number of atoms, a title, and a line for each atom: the symbol or atomic number, x, y, z, and more columns
that are ignored. Where the title says ``Properties=`` (extended XYZ), the columns are those that it names, and what is
no key=value pair is the title. A file of QM9 has frequencies, SMILES and InChI after the atoms.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np

from pipeline.chemistry.elements import SYMBOL_OF_ATOMIC_NUMBER
from pipeline.chemistry.molecule_text import Record, UnreadableAtom, element_table, natural, parse_atoms, shown
from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError

_QUOTED: Final = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\{[^{}]*\}"
_LIST: Final = r"\[(?:[^][]|\[(?:[^][]|\[[^][]*\])*\])*\]"
"""Of numbers, or of lists of them."""
_PAIR: Final = re.compile(rf'({_QUOTED}|[^\s="]+)\s*=(?:\s+(?![^\s="]+\s*=)|)({_QUOTED}|{_LIST}|\S*)')
_EXTENDED: Final = re.compile(r"properties\s*=", re.IGNORECASE)
_QM9_TITLE: Final = re.compile(r"gdb \d+\s")
_NO_COORDINATE: Final = re.compile(r"[+-]?\d+|(\d{1,3})\.0*", re.ASCII)
"""A whole number, or one that may be an atomic number: on every line of a molecule it is no x."""
_BEGINS_NUMBER: Final = re.compile(r"[+-]?\.?\d", re.ASCII)
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
        if atoms and line.endswith("\n") and not atoms[-1].endswith("\n") and _is_cut(atoms):
            raise InputError(
                f"truncated; line {start + 1 + size} has no end, and less than the lines before it "
                "(if it is complete, end it with a line break)"
            )
        frame = _frame(start + 2, title, atoms)
    if frame:
        yield frame


def _with_smiles(frame: Record, trailer: list[str], line: int) -> Record:
    """Return a frame of QM9 with its SMILES, from the two lines that follow its frequencies on line ``line``."""
    if len(trailer) < 2 or not trailer[0].split() or not trailer[1].startswith("InChI="):
        raise InputError(f"line {line}: a file of QM9 should have frequencies, SMILES and InChI after the atoms")
    return frame._replace(properties={"SMILES": trailer[0].split()[0]})


def _is_cut(lines: list[str]) -> bool:
    """Return whether the last line of a frame has fewer columns or fewer digits than all others, which agree."""
    rows = [line.split()[1:] for line in lines]
    *widths, width = map(len, rows)
    *digits, last = (len(text.partition(".")[2]) for row in rows for text in row or [""])
    return (bool(widths) and width < min(widths)) or (bool(digits) and last < min(digits) == max(digits))


def _frame(first: int, title: str, lines: list[str]) -> Record:
    properties: dict[str, str] = {}
    columns: _Columns | None = _PLAIN
    if _EXTENDED.search(title):
        properties = {_unquoted(key): _unquoted(value) for key, value in _PAIR.findall(title)}
        columns = _columns(next((value for key, value in properties.items() if key.lower() == "properties"), ""))
        words = _PAIR.sub(" ", title).split()
        title = " ".join([*filter(None, [properties.pop("title", "")]), *words]) if columns else title
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
    if columns is _PLAIN and _are_shifted(rows):
        error = (
            f"line {first}: should be x, y, z after the element, not {shown(rows[0][1])}, on every line a serial "
            "number, nuclear charge or code; say where pos is with Properties=, or delete that column"
        )
        return Record(first, title, [], [], {}, error)
    fields = [(row[element], row[position], row[position + 1], row[position + 2]) for row in rows]
    try:
        return Record(first, title, *parse_atoms(fields, line=first), properties)
    except UnreadableAtom as error:
        return Record(first, title, [], [], {}, str(error))


def _are_shifted(rows: list[list[str]]) -> bool:
    """Return whether there seems to be something else between the element and x, with three numbers after it."""
    for row in rows:
        match = _NO_COORDINATE.fullmatch(row[1]) if len(row) > 4 and _BEGINS_NUMBER.match(row[4]) else None
        if not match or (match[1] and element_table().get(row[0]) != int(match[1])):
            return False
    # A molecule on an axis may have x = y = 0, without a point.
    return len({row[1] for row in rows}) > 1 or any("." in row[2] for row in rows)


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
    if not re.fullmatch(_QUOTED, value):
        return value
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], value[1:-1])


def xyz_frames(
    molecules: Molecules, titles: Iterable[str], properties: Iterable[Mapping[str, Any] | None]
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


def _extended_title(pairs: Mapping[str, Any]) -> str:
    """Return the second line of an extended XYZ frame, as ASE and others read it."""
    texts = {"Properties": "species:S:1:pos:R:3", "pbc": '"F F F"'}
    for key, value in pairs.items():
        name = re.sub(r"[^A-Za-z0-9_-]", "_", key) or "_"
        while name in texts or name.lower() in _OF_THE_FORMAT:
            name += "_"
        # What is no number, such as a date, is text.
        text = None if isinstance(value, int | float) else re.sub(r'(["\\])', r"\\\1", str(value))
        texts[name] = repr(value) if text is None else '"' + re.sub(r"\r\n?|\n", r"\\n", text) + '"'
    return " ".join(f"{name}={text}" for name, text in texts.items())
