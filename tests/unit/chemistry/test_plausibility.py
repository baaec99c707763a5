from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.plausibility import plausibility_warnings

Examples = dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]


def scaled(examples: Examples, factor: float) -> Molecules:
    return Molecules.from_list([(numbers, factor * positions) for numbers, positions in examples.values()])


def test_real_molecules_in_angstrom_give_no_warning(examples: Examples) -> None:
    assert plausibility_warnings(scaled(examples, 1.0)) == []


@pytest.mark.parametrize(("factor", "unit"), [(1.8897, "bohr"), (0.1, "nanometres"), (100.0, "picometres")])
def test_another_unit_is_told(examples: Examples, factor: float, unit: str) -> None:
    (warning,) = plausibility_warnings(scaled(examples, factor))
    assert "should be in angstrom" in warning
    assert unit in warning


def test_drawings_are_told(examples: Examples) -> None:
    numbers, positions = examples["benzene"]
    heavy = np.array(numbers) > 1
    flat = positions * np.array([1, 1, 0])
    upright = Molecules.from_list([(numbers, flat[:, [2, 0, 1]] + 0.5)])
    assert plausibility_warnings(upright)[0].startswith("every x coordinate is the same")
    assert plausibility_warnings(Molecules.from_list([(numbers[heavy], positions[heavy])]))[0].startswith(
        "there are no h"
    )
    (warning,) = plausibility_warnings(Molecules.from_list([(numbers, flat)]))
    assert warning.startswith("every z coordinate is the same")
    # Three atoms lie in a plane anyway; one has no neighbours.
    water = Molecules.from_list(
        [(examples["water"][0], examples["water"][1] * np.array([1, 1, 0])), ([1], [[0, 0, 0]])]
    )
    assert plausibility_warnings(water) == []
