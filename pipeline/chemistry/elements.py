"""The five elements of QM9, in the order used by every feature vector, table and figure of the project."""

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
    valence: int
    """Sum of bond orders at which EDM counts an atom as stable."""


ELEMENTS: Final[tuple[Element, ...]] = (
    Element(symbol="H", atomic_number=1, valence=1),
    Element(symbol="C", atomic_number=6, valence=4),
    Element(symbol="N", atomic_number=7, valence=3),
    Element(symbol="O", atomic_number=8, valence=2),
    Element(symbol="F", atomic_number=9, valence=1),
)

SYMBOLS: Final[tuple[str, ...]] = tuple(element.symbol for element in ELEMENTS)
ATOMIC_NUMBERS: Final[tuple[int, ...]] = tuple(element.atomic_number for element in ELEMENTS)
ATOMIC_NUMBER_OF_SYMBOL: Final[dict[str, int]] = {element.symbol: element.atomic_number for element in ELEMENTS}
SYMBOL_OF_ATOMIC_NUMBER: Final[dict[int, str]] = {element.atomic_number: element.symbol for element in ELEMENTS}

UNKNOWN: Final = -1
"""Value of ``TYPE_OF_ATOMIC_NUMBER`` for elements outside ``ELEMENTS``."""


def _type_of_atomic_number() -> npt.NDArray[np.int8]:
    table = np.full(256, UNKNOWN, dtype=np.int8)
    table[list(ATOMIC_NUMBERS)] = np.arange(len(ELEMENTS))
    table.flags.writeable = False
    return table


TYPE_OF_ATOMIC_NUMBER: Final[npt.NDArray[np.int8]] = _type_of_atomic_number()
"""Index into ``ELEMENTS`` by atomic number, for every uint8; ``UNKNOWN`` outside the five."""


def types_of(atomic_numbers: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
    """Return the index into ``ELEMENTS`` of every atomic number, in the same shape.

    Raises:
      InputError: an atomic number is not one of H, C, N, O, F; this includes 0, the padding.
    """
    types = TYPE_OF_ATOMIC_NUMBER[atomic_numbers]
    if (unknown := types == UNKNOWN).any():
        raise InputError(
            f"unknown element: atomic number {int(np.asarray(atomic_numbers)[unknown][0])}; "
            f"supported are {', '.join(f'{e.symbol} ({e.atomic_number})' for e in ELEMENTS)}"
        )
    return types
