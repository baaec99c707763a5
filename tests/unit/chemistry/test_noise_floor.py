import numpy as np
import pytest

from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.noise_floor import noise_molecules
from pipeline.chemistry.stability import stability
from pipeline.core.errors import InputError

# Of QM9's training split, thinned.
SIZES = {9: 40, 12: 300, 15: 2000, 17: 3000, 18: 3300, 19: 3400, 20: 2000, 21: 1900, 23: 700, 25: 300, 29: 5}


def noise(num: int = 2000, seed: int = 0) -> Molecules:
    return noise_molecules(size_counts=SIZES, elements=(1, 6, 7, 8, 9), coordinate_scale=1.4, num=num, seed=seed)


def test_scores_what_the_floor_is_known_to_be() -> None:
    judged = stability(noise())
    assert 0.12 < judged.atoms.mean() < 0.19
    assert not judged.molecules.any()


def test_is_centred_and_of_the_scale_asked_for() -> None:
    molecules = noise()
    for _, positions in molecules:
        assert positions.mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-5)
    # Centring takes one of N dimensions away.
    expected = 1.4 * np.sqrt(1 - len(molecules) / molecules.sizes.sum())
    assert molecules.positions.std(axis=0) == pytest.approx([expected] * 3, rel=0.02)


def test_draws_sizes_and_elements_as_it_says() -> None:
    molecules = noise(num=20000)
    total = sum(SIZES.values())
    for size, count in SIZES.items():
        assert (molecules.sizes == size).mean() == pytest.approx(count / total, abs=0.012)
    assert np.bincount(molecules.atomic_numbers)[[1, 6, 7, 8, 9]] / len(molecules.atomic_numbers) == pytest.approx(
        [0.2] * 5, abs=0.005
    )


def test_the_seed_decides() -> None:
    assert np.array_equal(noise().positions, noise().positions)
    assert not np.array_equal(noise().sizes, noise(seed=1).sizes)


def test_none_is_too_few() -> None:
    with pytest.raises(InputError, match="at least 1"):
        noise(num=0)
