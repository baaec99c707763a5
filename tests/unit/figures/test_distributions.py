import itertools

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from pipeline.chemistry.bonds import find_bonds
from pipeline.chemistry.elements import ATOMIC_NUMBERS, SYMBOLS
from pipeline.chemistry.molecules import Molecules
from pipeline.figures.distributions import ANGLES, BIN_DEGREES, BIN_PM, PAIRS, WINDOWS_PM, measure


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_distances_are_those_of_each_pair_of_atoms(real: Molecules, first: str, second: str) -> None:
    low, high = WINDOWS_PM[first + second]
    expected = np.zeros((high - low) // BIN_PM)
    for numbers, positions in real:
        symbols = np.array(SYMBOLS)[np.searchsorted(ATOMIC_NUMBERS, numbers)]
        i, j = np.triu_indices(len(numbers), k=1)
        names = np.char.add(symbols[i], symbols[j])
        wanted = (names == first + second) | (names == second + first)
        distance = 100 * pdist(positions.astype(np.float64))[wanted]
        expected += np.histogram(distance, bins=np.arange(low, high + BIN_PM, BIN_PM))[0]
    measured = measure(real).distances[first + second]
    np.testing.assert_allclose(measured.value * BIN_PM * len(real), expected, atol=1e-9)


def test_error_of_distances_is_that_of_the_mean_over_molecules(real: Molecules) -> None:
    # 32 copies of each of two molecules: the variance over molecules is known.
    two = real.select([30, 50] * 32)
    counts = [measure(real.select([place])).distances["CC"].value * BIN_PM for place in (30, 50)]
    expected = 1.959964 * np.std(np.repeat(counts, 32, axis=0), axis=0) / 8 / BIN_PM
    np.testing.assert_allclose(measure(two).distances["CC"].error, expected, atol=1e-12)


def test_shares_add_up_and_errors_shrink_with_more_molecules(real: Molecules) -> None:
    few, many = measure(real), measure(real.select(np.tile(np.arange(len(real)), 4)))
    assert few.elements.value.sum() == pytest.approx(1)
    np.testing.assert_allclose(many.elements.value, few.elements.value)
    np.testing.assert_allclose(many.elements.error, few.elements.error / 2)
    np.testing.assert_allclose(many.angles.error, few.angles.error / 2)


def test_angles_are_those_between_the_bonds_of_heavy_atoms(real: Molecules) -> None:
    low, high = ANGLES
    expected = np.zeros((high - low) // BIN_DEGREES)
    bonds = find_bonds(real)
    for atom in np.flatnonzero(real.atomic_numbers > 1):
        ends = np.concatenate([bonds.second[bonds.first == atom], bonds.first[bonds.second == atom]])
        ends = ends[real.atomic_numbers[ends] > 1]
        for one, other in itertools.combinations(real.positions[ends].astype(np.float64) - real.positions[atom], 2):
            cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
            degrees = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
            expected += np.histogram(degrees, bins=np.arange(low, high + BIN_DEGREES, BIN_DEGREES))[0]
    np.testing.assert_allclose(measure(real).angles.value * BIN_DEGREES * len(real), expected, atol=1e-9)
