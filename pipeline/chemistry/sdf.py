"""SDF and MOL files, V2000 and V3000, as toolkits and editors write them.

Only elements, coordinates, titles and data items are read: bonds in a file are somebody's opinion, and every molecule
here is judged by the same rule. Every atom has to be in the file, hydrogens included; none is ever added. Deuterium and
tritium are hydrogen.

RDKit's reader takes a coordinate that it cannot read, such as ``0,96``, for zero, and molecules without ``$$$$``
between them for one. Here a line that is not what the counts line announces is an error.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import numpy as np
from rdkit import Chem

from pipeline.chemistry.molecule_text import Record, UnreadableAtom, natural, parse_atoms, shown
from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.rdkit_molecules import drawn
from pipeline.core.errors import InputError

_TWO_NUMBERS: Final = r"(  \d| \d\d|\d{3})(  \d| \d\d|\d{3})"
_COUNTS: Final = re.compile(rf"{_TWO_NUMBERS}[\d\s]*(?:V2000)?\s*", re.ASCII | re.IGNORECASE)
"""Atoms and bonds of a V2000 record; the version may be missing, and so may all between."""

_VERSION: Final = re.compile(r"[\d\s]+V[23]000\s*", re.ASCII)
_BOND: Final = re.compile(_TWO_NUMBERS, re.ASCII)
_END: Final = re.compile(r"M\s+END\s*")
_V3000: Final = "M  V30 "
_ITEM: Final = re.compile(r">.*?<(.*)>")
_ITEM_BELOW: Final = re.compile(r">(?:\s+[\w.]+|\s*\(\S*\))?\s*<(.*)>")
"""Where no empty line ends the item before it, which may have a line such as ``>1 and <2>``."""
_MEANS_SOMETHING: Final = re.compile(r"^(?=>|\$\$\$\$|M\s+END)", re.MULTILINE)
"""Where a title or a line of a data item begins like something else."""
_HEADER: Final = 3
"""Lines before the counts line: title, program, comment."""

_LARGEST_V2000: Final = 9999.0
"""Coordinate, of either sign, that four digits and the point leave room for in ten columns."""


def read_sdf(lines: Iterable[str]) -> Iterator[Record]:
    """Yield the molecules of an SDF file, of a MOL file, or of several MOL files in one.

    ``$$$$`` may be missing after a record that has no data items. Before it, what cannot be read is one molecule.

    Args:
        lines: of the file, with or without their ends.

    Raises:
        InputError: it cannot be told where a molecule begins or ends; the line begins with the number of a line.
    """
    record: list[str] = []
    number = 0
    for number, line in enumerate(lines, start=1):
        if line.startswith("$$$$"):
            yield from _records(record, number - len(record), closed=True)
            record = []
        else:
            record.append(line.rstrip("\r\n"))
    if any(line.strip() for line in record):
        yield from _records(record, number + 1 - len(record), closed=False)


def _records(lines: list[str], start: int, *, closed: bool) -> Iterator[Record]:
    """Yield what stands before a ``$$$$``, or before the end of the file: one molecule, or more without data items.

    Args:
        lines: of the records.
        start: the number of the first.
        closed: whether ``$$$$`` follows.
    """
    ends = [place for place, line in enumerate(lines) if _END.fullmatch(line)] or [len(lines)]
    begin = 0
    for end in ends:
        if end < begin:
            continue  # in a data item
        # Not from a copy: there may be thousands of molecules.
        following = next((lines[place] for place in range(end + 1, len(lines)) if lines[place].strip()), "")
        has_items = following.startswith(">")
        if has_items and not closed:
            raise InputError(f"truncated; the record that starts on line {start + begin} has data items and no $$$$")
        is_last = has_items or end == ends[-1]
        items = _items(lines[end + 1 :], start + end + 1) if is_last else {}
        try:
            if end == len(lines):
                raise InputError(f"truncated; the record that starts on line {start} has no M  END")
            record = _record(lines[begin:end], start + begin, items)
        except InputError as error:
            # Two molecules with nothing between them would be left out as one.
            several = begin or not is_last or len([line for line in lines[:end] if _VERSION.fullmatch(line)]) > 1
            if several or not closed:
                raise
            record = Record(start, "".join(lines[:1]).strip(), [], [], {}, str(error))
        yield record
        begin = len(lines) if is_last else end + 1


def _items(lines: list[str], start: int) -> dict[str, str]:
    """Return the data items (tags) after a molecule, by name."""
    items: dict[str, str] = {}
    name = None
    after_blank = True
    block = range(0)
    for place, line in enumerate(lines):
        match = (_ITEM if after_blank else _ITEM_BELOW).match(line)
        if name is not None and place in block:
            items[name] += f"\n{line}"
        elif match or (after_blank and line.startswith(">")):
            name = match[1] if match else line[1:].strip()
            items.setdefault(name, "")  # an item given twice has the lines of both
            if _VERSION.fullmatch("".join(lines[place + _HEADER + 1 : place + _HEADER + 2])):
                # Its value is the block of another molecule.
                ends = (end for end in range(place, len(lines)) if _END.fullmatch(lines[end]))
                block = range(place + 1, next(ends, place) + 1)
        elif line.strip() and (name is None or _VERSION.fullmatch(line) or _END.fullmatch(line)):
            raise InputError(f"line {start + place}: should be a data item or $$$$, not {shown(line)}")
        elif name is not None:
            items[name] += f"\n{line.strip()}"
        after_blank = not line.strip()
    return {name: value.strip() for name, value in items.items()}


def _record(lines: list[str], start: int, items: dict[str, str]) -> Record:
    """Return the molecule of the lines up to its M  END, of which the first is line ``start`` of the file."""
    counts = next((place for place in range(_HEADER, len(lines)) if _is_counts(lines[place])), None)
    if counts is None or any(line.strip() for line in lines[: counts - _HEADER]):
        line = f"not {shown(lines[_HEADER])}" if len(lines) > _HEADER else "but the record ends before it"
        raise InputError(f"line {start + _HEADER}: should be the counts line of a molecule, {line}")
    title, atoms = lines[counts - _HEADER].strip(), start + counts + 1
    try:
        if match := _COUNTS.fullmatch(lines[counts]):
            fields = _v2000(lines[counts + 1 :], int(match[1]), int(match[2]), line=atoms)
        else:
            fields, atoms = _v3000(lines[counts + 1 :], line=atoms)
        return Record(atoms, title, *parse_atoms(fields, line=atoms), items)
    except UnreadableAtom as error:
        return Record(atoms, title, [], [], {}, str(error))


def _is_counts(line: str) -> bool:
    return bool(_COUNTS.fullmatch(line)) or line.rstrip().upper().endswith("V3000")


def _v2000(lines: list[str], atoms: int, bonds: int, *, line: int) -> list[tuple[str, str, str, str]]:
    """Return element, x, y and z of every atom of a V2000 record, whose first atom is on line ``line`` of the file."""
    if len(lines) < atoms + bonds:
        raise InputError(f"line {line - 1}: announces {atoms} atoms and {bonds} bonds, more than there are")
    fields = []
    for number, text in enumerate(lines[:atoms], start=line):
        # Fixed columns: x, y, z of ten characters each, which may touch, a blank, and the symbol.
        symbol = text[31:34].strip()
        if not symbol or not text[30:31].isspace():
            raise InputError(f"line {number}: should be an atom of a V2000 record, not {shown(text)}")
        fields.append((symbol, text[0:10].strip(), text[10:20].strip(), text[20:30].strip()))
    for number, text in enumerate(lines[atoms : atoms + bonds], start=line + atoms):
        if not _BOND.match(text):
            raise InputError(f"line {number}: should be a bond of a V2000 record, not {shown(text)}")
    rest = enumerate(lines[atoms + bonds :], start=line + atoms + bonds)
    for number, text in rest:
        # Anything but a property is an atom or a bond that the counts line does not know of.
        if text[:3] in ("A  ", "G  "):
            next(rest, None)
        elif text.strip() and text[:3] not in ("M  ", "V  ", "S  "):
            raise InputError(f"line {number}: should be M  END after {atoms} atoms, {bonds} bonds, not {shown(text)}")
    return fields


def _v3000(lines: list[str], *, line: int) -> tuple[list[tuple[str, str, str, str]], int]:
    """Return element, x, y and z of every atom of a V3000 record, and the line of the first atom."""
    size, first, section, text = None, line, "", ""
    fields = []
    for number, part in enumerate(lines, start=line):
        if not part.startswith(_V3000):
            raise InputError(f"line {number}: should begin with M  V30 in a V3000 record, not {shown(part)}")
        text += part.removeprefix(_V3000).rstrip()
        if text.endswith("-"):  # goes on in the next line
            text = text[:-1]
            continue
        words, text = text.split(), ""
        if words[:1] == ["COUNTS"]:
            if size is not None:
                raise InputError(f"line {number}: a second COUNTS in one record")
            size = natural(words[1]) if len(words) > 1 else None
        elif words[:1] in (["BEGIN"], ["END"]):
            section = words[1] if words[0] == "BEGIN" and len(words) > 1 else ""
            first = number + 1 if section == "ATOM" else first
        elif section == "ATOM":
            if len(words) < 5:
                raise InputError(f"line {number}: should be an atom of a V3000 record, not {shown(part)}")
            fields.append((words[1], words[2], words[3], words[4]))
    if size != len(fields):
        raise InputError(f"line {line - 1}: the V3000 record announces {size} atoms and has {len(fields)}")
    return fields, first


def sdf_records(
    molecules: Molecules, titles: Iterable[str], properties: Iterable[Mapping[str, str | float]]
) -> Iterator[str]:
    """Yield an SDF record for each molecule, with the bonds and charges of ``rdkit_molecules.drawn``.

    V2000, which keeps four digits after the point, or V3000 for a molecule that does not fit into it.

    Args:
        molecules: M molecules.
        titles: [M], one line each.
        properties: [M] data items (tags).
    """
    for molecule, title, items in zip(drawn(molecules), titles, properties, strict=True):
        molecule.SetProp("_Name", _MEANS_SOMETHING.sub(" ", title))
        large = np.abs(molecule.GetConformer().GetPositions()).max() > _LARGEST_V2000
        block = Chem.MolToMolBlock(molecule, includeStereo=False, kekulize=False, forceV3000=bool(large))
        # An empty line would end an item.
        texts = {key: re.sub(r"\n\s*\n", "\n", str(value)) for key, value in items.items()}
        texts = {" ".join(key.split()): _MEANS_SOMETHING.sub(" ", text) for key, text in texts.items()}
        yield block + "".join(f">  <{key}>\n{text}\n\n" for key, text in texts.items()) + "$$$$\n"
