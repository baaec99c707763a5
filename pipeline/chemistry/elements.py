"""The elements that files may have: the sixteen of GEOM-Drugs, QM9's five among them, by atomic number.

A data set has some of them, and a network has types for these alone: ``Statistics.elements``, which travels with the
weights. Tables, metrics and figures of molecules know all sixteen.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import InputError


@dataclass(frozen=True)
class Element:
    """A chemical element."""

    symbol: str
    """Chemical symbol."""
    atomic_number: int
    """Number of protons; stored in files."""
    valences: tuple[int, ...]
    """Sums of bond orders at which an atom counts as stable, ascending."""


ELEMENTS: Final[tuple[Element, ...]] = (
    Element("H", 1, (1,)),
    Element("B", 5, (3,)),
    Element("C", 6, (4,)),
    Element("N", 7, (3,)),
    Element("O", 8, (2,)),
    Element("F", 9, (1,)),
    Element("Al", 13, (3,)),
    Element("Si", 14, (4,)),
    Element("P", 15, (3, 5)),
    Element("S", 16, (2, 4, 6)),
    Element("Cl", 17, (1,)),
    Element("As", 33, (3,)),
    Element("Br", 35, (1,)),
    Element("I", 53, (1,)),
    Element("Hg", 80, (1, 2)),
    Element("Bi", 83, (3, 5)),
)
"""Valences are those of EDM's ``qm9/bond_analyze.py``, but for sulphur, which has 4 alone there: thioethers and
sulphones would never be stable. 2, 4 and 6 are those of MiDi (arXiv 2302.09048)."""

SYMBOLS: Final[tuple[str, ...]] = tuple(element.symbol for element in ELEMENTS)
ATOMIC_NUMBERS: Final[tuple[int, ...]] = tuple(element.atomic_number for element in ELEMENTS)
ATOMIC_NUMBER_OF_SYMBOL: Final[dict[str, int]] = {element.symbol: element.atomic_number for element in ELEMENTS}
SYMBOL_OF_ATOMIC_NUMBER: Final[dict[int, str]] = {element.atomic_number: element.symbol for element in ELEMENTS}

SUPPORTED: Final = ", ".join(SYMBOLS)
"""The symbols, as a message lists them."""

OTHER_ELEMENTS: Final = "of other elements"
"""What a message says of molecules with an element that is not supported."""

UNKNOWN: Final = -1
"""Value of ``TYPE_OF_ATOMIC_NUMBER`` for elements outside ``ELEMENTS``."""


def _type_of_atomic_number() -> npt.NDArray[np.int8]:
    table = np.full(256, UNKNOWN, dtype=np.int8)
    table[list(ATOMIC_NUMBERS)] = np.arange(len(ELEMENTS))
    table.flags.writeable = False
    return table


TYPE_OF_ATOMIC_NUMBER: Final[npt.NDArray[np.int8]] = _type_of_atomic_number()
"""Index into ``ELEMENTS`` by atomic number, for every uint8; ``UNKNOWN`` outside the sixteen."""


def parse_formula(text: str) -> tuple[int, ...]:
    """Return the atomic number of every atom of a sum formula, such as C2H6O.

    Raises:
      InputError: it is not one, or has an element that is not supported.
    """
    parts = re.findall(r"([A-Z][a-z]?)([1-9]\d{0,3})?", text)
    if not parts or "".join(map("".join, parts)) != text:
        raise InputError(f"formula {text!r}: should be a sum formula such as C2H6O")
    if unknown := [symbol for symbol, _ in parts if symbol not in SYMBOLS]:
        raise InputError(f"formula {text!r}: has {unknown[0]}; supported are {SUPPORTED}")
    return tuple(ATOMIC_NUMBER_OF_SYMBOL[symbol] for symbol, count in parts for _ in range(int(count or 1)))


def symbols_of(atomic_numbers: Iterable[int]) -> list[str]:
    """Return the symbols of elements."""
    return [SYMBOL_OF_ATOMIC_NUMBER[number] for number in atomic_numbers]
