import numpy as np
import pytest

from pipeline.chemistry.elements import (
    ATOMIC_NUMBERS,
    ELEMENTS,
    SYMBOLS,
    TYPE_OF_ATOMIC_NUMBER,
    UNKNOWN,
    types_of,
)
from pipeline.core.errors import InputError


def test_order_is_the_one_all_feature_vectors_use() -> None:
    assert SYMBOLS == ("H", "C", "N", "O", "F")
    assert ATOMIC_NUMBERS == (1, 6, 7, 8, 9)
    assert [element.valence for element in ELEMENTS] == [1, 4, 3, 2, 1]


def test_table_inverts_the_order_and_knows_nothing_else() -> None:
    assert [TYPE_OF_ATOMIC_NUMBER[z] for z in ATOMIC_NUMBERS] == [0, 1, 2, 3, 4]
    others = np.setdiff1d(np.arange(256), ATOMIC_NUMBERS)
    assert (TYPE_OF_ATOMIC_NUMBER[others] == UNKNOWN).all()


def test_table_is_final() -> None:
    with pytest.raises(ValueError, match="read-only"):
        TYPE_OF_ATOMIC_NUMBER[0] = 0


def test_types_of_keeps_the_shape() -> None:
    assert types_of(np.array([[1, 9], [6, 7]], dtype=np.uint8)).tolist() == [[0, 4], [1, 2]]


@pytest.mark.parametrize("foreign", [0, 2, 16, 255])
def test_types_of_refuses_a_foreign_element_by_its_number(foreign: int) -> None:
    with pytest.raises(InputError, match=f"atomic number {foreign}"):
        types_of(np.array([1, foreign], dtype=np.uint8))
