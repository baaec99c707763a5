import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sampling.composition import assign_types


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
