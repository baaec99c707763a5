"""Few-step sampling with stubs of a network."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from pipeline.chemistry.molecules import Molecules
from pipeline.data.qm9 import ATOMIC_NUMBERS
from pipeline.diffusion.clouds import Floats, Sizes, draw_noise, one_hot
from pipeline.diffusion.feature_scales import Scales
from pipeline.sampling.few_step import Denoise, few_step
from pipeline.sampling.fixed_atoms import FixedAtoms

ALIGNMENTS = ["none", "permutation", "full"]
SCALES = Scales(coordinates=1.4, types=0.1, charges=0.5, elements=ATOMIC_NUMBERS)
alignments = pytest.mark.parametrize("alignment", ALIGNMENTS)
SIZES = np.array([3, 7, 5, 2, 7, 6, 9, 4, 8, 5], np.int32)


def shrinking(clouds: Floats, sigma: float, sizes: Sizes) -> Floats:
    """The best denoiser of Gaussian data of unit variance: equivariant, and deaf to padding and to other molecules."""
    del sizes
    return np.asarray(clouds / np.float32(1 + sigma**2))


class Recording:
    """A denoiser that records its inputs."""

    def __init__(self, denoise: Denoise = shrinking):
        self.recorded: list[tuple[Floats, float]] = []
        self._denoise = denoise

    def __call__(self, clouds: Floats, sigma: float, sizes: Sizes) -> Floats:
        self.recorded.append((clouds.copy(), sigma))
        return self._denoise(clouds, sigma, sizes)


def draws(sizes: Sizes, width: int, seed: int = 0) -> Callable[[], Floats]:
    generator = np.random.default_rng(seed)
    return lambda: draw_noise(generator, sizes, width, 5)


# --- the algorithm ----------------------------------------------------------------------------------------------------


@alignments
def test_one_call_is_the_estimate_from_noise_as_wide_as_noisy_data(alignment: str) -> None:
    network = Recording()
    states = few_step(network, draws(SIZES, 9), [1.2], SIZES, alignment=alignment, sigma_data=SCALES)
    noise = draws(SIZES, 9)()
    assert len(states) == 2
    np.testing.assert_allclose(states[0][..., :3], (1.2**2 + 1.4**2) ** 0.5 * noise[..., :3], rtol=1e-6)
    np.testing.assert_allclose(states[0][..., 3:], (1.2**2 + 0.1**2) ** 0.5 * noise[..., 3:], rtol=1e-6)
    np.testing.assert_allclose(states[1], shrinking(states[0], 1.2, SIZES), rtol=1e-6)
    assert [sigma for _, sigma in network.recorded] == [1.2]


@alignments
def test_every_level_is_one_call_on_the_state_before_it(alignment: str) -> None:
    network = Recording()
    states = few_step(network, draws(SIZES, 9), [20.0, 3.0, 0.4], SIZES, alignment=alignment, sigma_data=SCALES)
    assert [sigma for _, sigma in network.recorded] == [20.0, 3.0, 0.4]
    for state, (recorded, _) in zip(states, network.recorded, strict=False):
        assert (state == recorded).all()
    assert (states[3] == shrinking(states[2], 0.4, SIZES)).all()


def test_without_alignment_a_step_adds_the_noise_as_it_is_drawn() -> None:
    states = few_step(shrinking, draws(SIZES, 9), [20.0, 3.0], SIZES, alignment="none", sigma_data=SCALES)
    draw = draws(SIZES, 9)
    draw()
    estimate = shrinking(states[0], 20.0, SIZES)
    np.testing.assert_allclose(states[1], estimate + np.float32(3) * draw(), rtol=1e-5, atol=1e-6)


def fixed(sizes: Sizes, width: int) -> Floats:
    """Clouds of random places and types, as a network might find them."""
    generator = np.random.default_rng(5)
    types = one_hot(generator.choice(ATOMIC_NUMBERS, (len(sizes), width)), ATOMIC_NUMBERS) / 4
    mask = (np.arange(width) < sizes[:, None])[..., None]
    x = 1.5 * draw_noise(generator, sizes, width, 0)
    return np.concatenate([x, types * mask], axis=-1).astype(np.float32)


@pytest.mark.parametrize("alignment", ["permutation", "full"])
def test_fresh_noise_is_moved_and_stays_as_it_was_but_for_that(alignment: str) -> None:
    estimate = fixed(SIZES, 9)
    states = few_step(lambda *_: estimate, draws(SIZES, 9), [20.0, 0.5], SIZES, alignment=alignment, sigma_data=SCALES)
    draw = draws(SIZES, 9)
    draw()
    drawn, moved = draw(), (states[1] - estimate) / np.float32(0.5)
    assert (moved[np.arange(9) >= SIZES[:, None]] == 0).all()
    for row, size in enumerate(SIZES):
        z, found, goal = (part[row, :size].astype(np.float64) for part in (drawn, moved, estimate))
        # The same atoms of noise, told by their features, in another order.
        order = np.array([np.abs(z[:, 3:] - atom[3:]).sum(1).argmin() for atom in found])
        assert sorted(order) == list(range(size))
        np.testing.assert_allclose(found[:, 3:], z[order, 3:], atol=1e-5)
        if alignment == "permutation":
            np.testing.assert_allclose(found[:, :3], z[order, :3], atol=1e-5)
        else:
            np.testing.assert_allclose(
                found[:, :3] @ found[:, :3].T, (z[:, :3] @ z[:, :3].T)[order][:, order], atol=1e-4
            )
        np.testing.assert_allclose(found[:, :3].mean(0), 0, atol=1e-5)
        # Nearer to the estimate than it was.
        assert np.square(found - goal).sum() <= np.square(z - goal).sum() + 1e-4


@alignments
def test_aligned_noise_is_as_wide_as_any(alignment: str) -> None:
    sizes = np.full(4000, 4)
    estimate = fixed(sizes, 4)
    states = few_step(lambda *_: estimate, draws(sizes, 4), [20.0, 1.0], sizes, alignment=alignment, sigma_data=SCALES)
    noise = (states[1] - estimate).astype(np.float64)
    # Three of four atoms are free to move, all have features of their own.
    assert stats.kstest(np.square(noise[..., :3]).sum((1, 2)), "chi2", args=(9,)).pvalue > 1e-3
    assert stats.kstest(np.square(noise[..., 3:]).sum((1, 2)), "chi2", args=(20,)).pvalue > 1e-3


def test_aligned_noise_is_gaussian_to_who_does_not_know_the_estimate() -> None:
    # Estimates in every order and orientation: what was aligned to one says nothing of any fixed direction.
    generator = np.random.default_rng(2)
    sizes = np.full(4000, 4)
    estimate = draws(sizes, 4, seed=9)()
    estimate[..., 3:] = one_hot(generator.choice(ATOMIC_NUMBERS, (4000, 4)), ATOMIC_NUMBERS) / 4
    states = few_step(lambda *_: estimate, draws(sizes, 4), [20.0, 1.0], sizes, alignment="full", sigma_data=SCALES)
    x = (states[1] - estimate)[..., :3].astype(np.float64)
    np.testing.assert_allclose(np.einsum("bic,bjd->icjd", x, x) / 4000, _projection(), atol=0.07)
    # A coordinate by itself, of variance 3 / 4.
    assert stats.kstest(x[:, 0, 0] / 0.75**0.5, "norm").pvalue > 1e-3


def _projection() -> npt.NDArray[np.float64]:
    """Return the covariance of four atoms without a centre of mass, [atom, axis, atom, axis]."""
    return np.asarray(np.einsum("ij,cd->icjd", np.eye(4) - 0.25, np.eye(3)))


@alignments
def test_composition_and_order_of_the_atoms_are_kept(alignment: str) -> None:
    estimate = fixed(SIZES, 9)
    states = few_step(
        lambda *_: estimate, draws(SIZES, 9), [20.0, 0.01, 0.005], SIZES, alignment=alignment, sigma_data=SCALES
    )
    present = np.arange(9) < SIZES[:, None]
    for state in states[1:]:
        assert (state[..., 3:].argmax(-1) == estimate[..., 3:].argmax(-1))[present].all()
        np.testing.assert_allclose(state[..., :3], estimate[..., :3], atol=0.06)


@pytest.mark.parametrize("held", [False, True])
def test_types_are_rounded_after_every_call(held: bool) -> None:
    # Methyl, of nine electrons: a fixed carbon leaves no choice.
    types = one_hot(np.array([[6, 1, 1, 1]]), ATOMIC_NUMBERS) / 4
    methyl = np.concatenate([draws(np.array([4]), 4)()[..., :3], types], axis=-1).astype(np.float32)
    carbon = Molecules.from_padded(
        positions=np.zeros((1, 1, 3), np.float32), atomic_numbers=np.array([[6]], np.uint8), sizes=np.array([1])
    )
    network = Recording(lambda *_: methyl)
    states = few_step(
        network, draws(np.array([4]), 4), [20.0, 1e-4, 1e-5], np.array([4]), alignment="full", sigma_data=SCALES,
        fixed=FixedAtoms.of(carbon, ATOMIC_NUMBERS) if held else None, even_electrons=True,
    )  # fmt: skip
    for state in states[1:]:
        numbers = sorted(np.array(ATOMIC_NUMBERS)[state[0, :, 3:].argmax(axis=-1)].tolist())
        assert numbers == ([1, 1, 1, 6] if held else [1, 1, 1, 7])
