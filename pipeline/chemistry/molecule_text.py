"""What the readers of XYZ and SDF share: elements, numbers and the record of one molecule."""

import contextlib
import math
import re
from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

from rdkit import Chem

LAST_ELEMENT: Final = 118

_NUMBER: Final = re.compile(
    r"([+-]?(?:\d+\.?\d*|\.\d+))(?:(?:[ED]|\*\^)([+-]?\d+)|([+-]\d{3}))?"
    r"|[+-]?(?:nan|inf(?:inity)?)(?:\(\w*\))?|[+-]?1\.#\w+|\*+",
    re.ASCII | re.IGNORECASE,
)


class Record(NamedTuple):
    """One molecule of N atoms as a file has it, whether it can be used or not."""

    line: int
    """Of the first atom, counted from 1; 0 in a file without lines."""
    title: str
    atomic_numbers: list[int]
    """[N] of any element."""
    positions: list[list[float]]
    """[N, 3] in the unit of the file, perhaps not finite."""
    properties: dict[str, str]
    """The tags of an SDF record, or the key=value pairs of an extended XYZ frame."""
    error: str | None = None
    """Why the molecule cannot be read, beginning with the line; it has no atoms then."""


class UnreadableAtom(ValueError):
    """A line should be an atom and is not; the message says what is wrong with it."""


@cache
def element_table() -> dict[str, int]:
    """Return the atomic number by symbol, in any case, and by itself as text; D and T are hydrogen."""
    table = Chem.GetPeriodicTable()
    symbols = {"D": 1, "T": 1} | {table.GetElementSymbol(number): number for number in range(1, LAST_ELEMENT + 1)}
    spelled = {form: number for symbol, number in symbols.items() for form in (symbol, symbol.upper(), symbol.lower())}
    return spelled | {str(number): number for number in range(1, LAST_ELEMENT + 1)}


def element_symbol(atomic_number: int) -> str:
    """Return the symbol of an element, or the number itself if there is none."""
    known = 1 <= atomic_number <= LAST_ELEMENT
    return str(Chem.GetPeriodicTable().GetElementSymbol(atomic_number)) if known else f"atomic number {atomic_number}"


def parse_atoms(fields: Sequence[tuple[str, str, str, str]], *, line: int) -> tuple[list[int], list[list[float]]]:
    """Return the atomic numbers [N] and the positions [N, 3] of the texts of element, x, y and z.

    Args:
        fields: [N] of every atom.
        line: of the first; the others follow.

    Raises:
        UnreadableAtom: a symbol is not an element's, or a coordinate is not a number.
    """
    table = element_table()
    # Python's float is fast, and admits underscores and digits of other scripts.
    with contextlib.suppress(ValueError, KeyError):
        if (text := "".join(map("".join, fields))).isascii() and "_" not in text:
            numbers = [table[atom[0]] for atom in fields]
            return numbers, [[float(x), float(y), float(z)] for _, x, y, z in fields]
    atoms = [_parse_atom(number, *atom) for number, atom in enumerate(fields, start=line)]
    return [number for number, _ in atoms], [point for _, point in atoms]


def _parse_atom(line: int, symbol: str, *coordinates: str) -> tuple[int, list[float]]:
    number = element_table().get(symbol.strip())
    if number is None:
        raise UnreadableAtom(f"line {line}: unknown element {shown(symbol)}")
    point = [_number(text.strip()) for text in coordinates]
    if None in point:
        raise UnreadableAtom(f"line {line}: should be three coordinates, not {shown(' '.join(coordinates))}")
    return number, [value for value in point if value is not None]


def _number(text: str) -> float | None:
    """Return a number in the spelling of C, Fortran (0.12D-05, 1.2-101) or Mathematica (1.2*^-6); None for other text.

    NaN and infinity are NaN, and so is what Fortran (****) and Windows (1.#IND) write for a number that has no digits.
    """
    match = _NUMBER.fullmatch(text)
    if not match:
        return None
    mantissa, exponent, bare_exponent = match.groups()
    return float(f"{mantissa}e{exponent or bare_exponent or 0}") if mantissa else math.nan


def natural(text: str) -> int | None:
    """Return a whole number that is written in digits alone, or None."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def shown(text: str) -> str:
    """Return text from a file as a message can show it."""
    return repr(text.strip()[:40])
