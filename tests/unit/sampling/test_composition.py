import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.qm9 import ATOMIC_NUMBERS
from pipeline.sampling.composition import assign_types, round_to_even_electrons


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_the_nearest_assignment_of_the_types_is_taken(seed: int, size: int) -> None:
    generator = np.random.default_rng(seed)
    types = (np.eye(4)[generator.integers(0, 4, size)] / 4).astype(np.float32)
    clouds = generator.normal(size=(3, 6, 7)).astype(np.float32)
    found = assign_types(clouds, types, np.full(3, size))
    assert (found[..., :3] == clouds[..., :3]).all()
    assert (found[:, size:] == clouds[:, size:]).all()
    for one, estimate in zip(found, clouds, strict=True):
        assert sorted(one[:size, 3:].tolist()) == sorted(types.tolist())
        costs = [
            np.square(types[list(order)] - estimate[:size, 3:]).sum() for order in itertools.permutations(range(size))
        ]
        np.testing.assert_allclose(np.square(one[:size, 3:] - estimate[:size, 3:]).sum(), min(costs), rtol=1e-4)


def test_what_has_overflowed_gets_types_and_stays_broken() -> None:
    clouds = np.full((1, 3, 5), np.nan, np.float32)
    types = np.eye(2, dtype=np.float32)[[0, 1, 1]]
    found = assign_types(clouds, types, np.array([3]))
    assert sorted(found[0, :, 3:].tolist()) == sorted(types.tolist())
    assert np.isnan(found[..., :3]).all()


def clouds_of(seed: int, *, width: int = 4, elements: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(8, width, 3 + elements)).astype(np.float32)


def electrons(clouds: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(np.array(ATOMIC_NUMBERS)[clouds[:, :size, 3:].argmax(axis=-1)].sum(axis=1))


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(0, 2))
def test_the_least_change_makes_the_electrons_even(seed: int, size: int, free: int) -> None:
    clouds = clouds_of(seed)
    rounded = round_to_even_electrons(clouds, ATOMIC_NUMBERS, np.full(8, size), free=free)
    assert (rounded[..., :3] == clouds[..., :3]).all()
    for before, after, was, is_ in zip(clouds, rounded, electrons(clouds, size), electrons(rounded, size), strict=True):
        changed = np.flatnonzero((before != after).any(axis=1))
        if was % 2 == 0:
            assert not len(changed)
            continue
        # All exchanges of an atom's likeliest type with another one, where neither is hydrogen.
        others = []
        for atom in range(free, size):
            now = before[atom, 3:].argmax()
            for other in range(1, 5):
                if now and (ATOMIC_NUMBERS[now] + ATOMIC_NUMBERS[other]) % 2:
                    others.append(before[atom, 3 + now] - before[atom, 3 + other])
        if others:
            assert is_ % 2 == 0
            assert len(changed) == 1
            np.testing.assert_allclose(np.abs(before - after).max(), min(others))
            assert sorted(before[changed[0], 3:]) == sorted(after[changed[0], 3:])
        else:
            assert not len(changed)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_an_overflow_does_not_spread_by_rounding(broken: float) -> None:
    clouds = clouds_of(0)
    rounded = round_to_even_electrons(clouds, ATOMIC_NUMBERS, np.full(8, 4))
    for one in range(8):
        partly, wholly = clouds.copy(), clouds.copy()
        partly[one, 1, 3:], wholly[one] = broken, broken
        for overflowed in (partly, wholly):
            found = round_to_even_electrons(overflowed, ATOMIC_NUMBERS, np.full(8, 4))
            others = np.arange(8) != one
            assert (found[others] == rounded[others]).all()
            assert (np.isfinite(found[one, :, :3]) == np.isfinite(overflowed[one, :, :3])).all()
