import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.diffusion.clouds import Floats, draw_noise, draw_noise_of_each, one_hot

SIZES = np.array([3, 7, 5, 2], np.int32)


def test_noise_is_the_projection_of_a_standard_normal() -> None:
    sizes = np.full(20_000, 4)
    noise = draw_noise(np.random.default_rng(0), sizes, 6, 2)
    x, h = noise[:, :4, :3].astype(np.float64), noise[:, :4, 3:].astype(np.float64)
    # Of four atoms, three are free: squares of 9 dimensions, and of 8 features.
    assert stats.kstest(np.square(x).sum((1, 2)), "chi2", args=(9,)).pvalue > 1e-3
    assert stats.kstest(np.square(h).sum((1, 2)), "chi2", args=(8,)).pvalue > 1e-3
    covariance = np.einsum("bic,bjc->ij", x, x) / (3 * len(x))
    np.testing.assert_allclose(covariance, np.eye(4) - 0.25, atol=0.02)
    assert abs(stats.kurtosis(h.ravel())) < 0.05
    np.testing.assert_allclose(np.einsum("bic,bid->cd", x, h) / len(x), 0, atol=0.08)


@given(st.integers(0, 10_000), st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_noise_of_any_sizes_is_centred(seed: int, sizes: list[int]) -> None:
    noise = draw_noise(np.random.default_rng(seed), np.array(sizes), 9, 5)
    np.testing.assert_allclose(noise[..., :3].sum(1), 0, atol=1e-5)
    assert (noise[np.arange(9) >= np.array(sizes)[:, None]] == 0).all()


def test_types_are_one_hot() -> None:
    found = one_hot(np.array([[1, 6, 7], [8, 9, 0]], np.uint8), (1, 6, 7, 8, 9))
    assert (found.reshape(6, 5) == np.eye(6)[:, :5]).all()
    assert found.dtype == np.float32


def test_noise_of_a_molecule_is_its_own_whatever_it_is_padded_to() -> None:
    def noise(numbers: list[int], width: int) -> Floats:
        generators = [np.random.default_rng((7, number)) for number in numbers]
        return draw_noise_of_each(generators, SIZES[numbers], width, 5)

    together = noise([0, 1, 2, 3], 9)
    for number, size in enumerate(SIZES[:4]):
        alone = noise([number], int(size))
        assert (alone[0] == together[number, :size]).all()
        assert (together[number, size:] == 0).all()
    np.testing.assert_allclose(together[..., :3].sum(1), 0, atol=1e-5)
    generators = [np.random.default_rng((7, number)) for number in range(4000)]
    many = draw_noise_of_each(generators, np.full(4000, 4), 4, 5).astype(np.float64)
    assert stats.kstest(np.square(many[..., :3]).sum((1, 2)), "chi2", args=(9,)).pvalue > 1e-3
    assert stats.kstest(np.square(many[..., 3:]).sum((1, 2)), "chi2", args=(20,)).pvalue > 1e-3
