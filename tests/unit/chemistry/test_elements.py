import numpy as np
import pytest
from rdkit import Chem

from pipeline.chemistry.elements import (
    ATOMIC_NUMBERS,
    ELEMENTS,
    SYMBOLS,
    TYPE_OF_ATOMIC_NUMBER,
    UNKNOWN,
    parse_formula,
)
from pipeline.core.errors import InputError


def test_elements_are_those_of_geom_drugs_by_atomic_number() -> None:
    assert SYMBOLS == ("H", "B", "C", "N", "O", "F", "Al", "Si", "P", "S", "Cl", "As", "Br", "I", "Hg", "Bi")
    table = Chem.GetPeriodicTable()
    assert [table.GetElementSymbol(number) for number in ATOMIC_NUMBERS] == list(SYMBOLS)
    assert list(ATOMIC_NUMBERS) == sorted(ATOMIC_NUMBERS)
    assert [element.valences for element in ELEMENTS if element.symbol in "HCNOF"] == [(1,), (4,), (3,), (2,), (1,)]


def test_table_inverts_the_order_and_knows_nothing_else() -> None:
    assert [TYPE_OF_ATOMIC_NUMBER[z] for z in ATOMIC_NUMBERS] == list(range(16))
    others = np.setdiff1d(np.arange(256), ATOMIC_NUMBERS)
    assert (TYPE_OF_ATOMIC_NUMBER[others] == UNKNOWN).all()


def test_table_is_final() -> None:
    with pytest.raises(ValueError, match="read-only"):
        TYPE_OF_ATOMIC_NUMBER[0] = 0


@pytest.mark.parametrize(
    ("text", "atoms"),
    [("H2O", (1, 1, 8)), ("CCl4", (6, 17, 17, 17, 17)), ("CH3Br", (6, 1, 1, 1, 35)), ("C12", (6,) * 12)],
)
def test_a_formula_is_its_atoms(text: str, atoms: tuple[int, ...]) -> None:
    assert parse_formula(text) == atoms


@pytest.mark.parametrize("text", ["", "h2o", "C6H6!", "H0", "6C", "C-1", "Xe", "C 6"])
def test_what_is_no_formula_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="formula"):
        parse_formula(text)
