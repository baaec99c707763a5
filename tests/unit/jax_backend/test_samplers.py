"""On Gaussian data, whose denoiser is known: D = s^2 / (s^2 + sigma^2) x, with deviation s."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pipeline.diffusion.schedules import churned_levels, karras_levels, polynomial_schedule
from pipeline.jax_backend.features import Cloud, draw_noise, node_mask
from pipeline.jax_backend.samplers import Denoise, ancestral, ddim, heun
from pipeline.sampling.molecule_batches import network_calls, noise_levels
from pipeline.study.config import sampler_config

WIDTH = 1.3
SIZES = jnp.array([6, 3, 4])
MASK = node_mask(SIZES, 6)


def gaussian(noisy: Cloud, sigma: jax.Array) -> Cloud:
    factor = WIDTH**2 / (WIDTH**2 + sigma**2)
    return Cloud(noisy.x * factor, noisy.h * factor)


def noise(seed: int, *, mask: jax.Array = MASK, features: int = 2) -> Cloud:
    keys = jax.random.split(jax.random.key(seed), len(mask))
    return Cloud(*jax.jit(draw_noise, static_argnums=2)(keys, mask, features))


@pytest.fixture
def double() -> Iterator[None]:
    """Double precision, for errors that the order of a method can be read from."""
    with jax.enable_x64(True):
        yield


def exact(start: Cloud, sigma_max: float) -> Cloud:
    """Return where the probability-flow ODE takes ``sigma_max`` times ``start`` at sigma = 0."""
    factor = sigma_max * WIDTH / np.hypot(WIDTH, sigma_max)
    return Cloud(start.x * factor, start.h * factor)


def errors(sampler: Callable[[Denoise, Cloud, jax.Array], tuple[Cloud, Cloud]], steps: list[int]) -> list[float]:
    start = Cloud(*(jnp.asarray(np.asarray(part), jnp.float64) for part in noise(0)))
    found = []
    for count in steps:
        levels = karras_levels(steps=count, sigma_min=1e-6, sigma_max=20.0)
        sample, _ = jax.jit(lambda start, levels: sampler(gaussian, start, levels))(start, jnp.asarray(levels))
        expected = exact(start, 20.0)
        found.append(max(float(jnp.abs(a - b).max()) for a, b in zip(sample, expected, strict=True)))
    return found


@pytest.mark.parametrize(("sampler", "order"), [(heun, 2.0), (ddim, 1.0)])
@pytest.mark.usefixtures("double")
def test_order_of_convergence(sampler: Callable[..., Any], order: float) -> None:
    coarse, middle, fine = errors(sampler, [40, 80, 160])
    assert np.log2(coarse / middle) == pytest.approx(order, abs=0.2)
    assert np.log2(middle / fine) == pytest.approx(order, abs=0.1)
    assert fine < 0.05


@pytest.mark.usefixtures("double")
def test_heun_with_one_step_is_one_call() -> None:
    start = Cloud(*(jnp.asarray(np.asarray(part), jnp.float64) for part in noise(0)))
    levels = jnp.asarray(karras_levels(steps=1, sigma_min=0.1, sigma_max=5.0))
    sample, states = heun(gaussian, start, levels)
    for found, given in zip(sample, gaussian(Cloud(5 * start.x, 5 * start.h), jnp.array(5.0)), strict=True):
        np.testing.assert_allclose(found, given)
    assert states.x.shape[0] == 1


def draw(step: jax.Array, mask: jax.Array = MASK) -> Cloud:
    keys = jax.vmap(lambda key: jax.random.fold_in(key, step))(jax.random.split(jax.random.key(9), len(mask)))
    return draw_noise(keys, mask, 2)


@pytest.mark.parametrize("kind", ["heun", "ddim", "ancestral"])
def test_one_network_call_for_each_that_is_reported(kind: str) -> None:
    schedule = polynomial_schedule(steps=6, precision=1e-3)
    config = sampler_config({"name": "", "kind": kind, "steps": 4, "sigma_min": 0.01})
    levels = noise_levels(config, schedule)
    recorded: list[float] = []

    def counting(noisy: Cloud, sigma: jax.Array) -> Cloud:
        jax.debug.callback(lambda value: recorded.append(float(value)), sigma, ordered=True)
        return gaussian(noisy, sigma)

    method: Any = {"heun": heun, "ddim": ddim, "ancestral": lambda d, n, s: ancestral(d, n, s, draw)}[kind]
    jax.block_until_ready(jax.jit(lambda start: method(counting, start, jnp.asarray(levels, jnp.float32)))(noise(0)))
    assert len(recorded) == network_calls(config, schedule)
    assert recorded[0] == pytest.approx(levels[0], rel=1e-6)
    # Never at zero, and down to the lowest level above it.
    assert min(recorded) == pytest.approx(levels[levels > 0].min(), rel=1e-6)


@pytest.mark.parametrize("kind", ["heun", "ddim", "ancestral"])
def test_samples_have_no_centre_of_mass_and_nothing_in_the_padding(kind: str) -> None:
    levels = jnp.asarray(karras_levels(steps=8, sigma_min=0.01, sigma_max=20.0), jnp.float32)
    method: Any = {"heun": heun, "ddim": ddim, "ancestral": lambda d, n, s: ancestral(d, n, s[:-1], draw)}[kind]
    sample, states = jax.jit(lambda start: method(gaussian, start, levels))(noise(1))
    assert states.x.shape == (8 if kind != "ancestral" else 7, 3, 6, 3)
    for x in (sample.x, *states.x):
        np.testing.assert_allclose(x.sum(1), 0, atol=2e-6 * float(jnp.abs(x).max()))
    for part in (sample.x, sample.h, *states.x, *states.h):
        assert (part[1, 3:] == 0).all()
    # The first state is the noise itself, and the last sample has the width of the data.
    np.testing.assert_allclose(states.x[0], 20 * noise(1).x, rtol=1e-6)
    assert 0.3 < float(sample.x[0].std()) / WIDTH < 3


def test_ancestral_samples_have_the_variance_of_the_data() -> None:
    schedule = polynomial_schedule(steps=200, precision=1e-4)
    levels = schedule.sigma_ve[::-1]
    mask = jnp.ones((500, 4))
    sample, states = jax.jit(
        lambda start: ancestral(gaussian, start, jnp.asarray(levels, jnp.float32), lambda step: draw(step, mask))
    )(noise(2, mask=mask))
    # The chain that the method defines, in closed form: it ends a little below the data, for lack of infinite steps.
    variance = [levels[0] ** 2]
    for sigma, following in zip(levels[:-1], levels[1:], strict=True):
        ratio = (following / sigma) ** 2
        shrink = ratio + (1 - ratio) * WIDTH**2 / (WIDTH**2 + sigma**2)
        variance.append(shrink**2 * variance[-1] + following**2 * (1 - ratio))
    assert variance[-1] == pytest.approx(WIDTH**2, rel=0.05)
    # 4,000 numbers: a standard error of 2.2 %.
    found = np.square(states.h).mean((1, 2, 3))
    np.testing.assert_allclose(found, variance[:-1], rtol=0.09)
    assert np.square(sample.h).mean() == pytest.approx(variance[-1], rel=0.09)
    # Coordinates live in three quarters of their dimensions.
    assert np.square(sample.x).mean() * 4 / 3 == pytest.approx(variance[-1], rel=0.09)


def test_churn_keeps_the_variance_of_the_data() -> None:
    levels = karras_levels(steps=100, sigma_min=0.01, sigma_max=20.0)
    churned = churned_levels(levels, 40.0)
    raised = (levels >= 0.02) & (levels <= 5.0)
    np.testing.assert_allclose(churned, np.where(raised, 1.4, 1.0) * levels)
    assert 20 < raised.sum() < 100
    mask = jnp.ones((500, 4))
    start = noise(2, mask=mask)
    sigmas, fresh = jnp.asarray(levels, jnp.float32), lambda step: draw(step, mask)
    sample, states = jax.jit(lambda start: heun(gaussian, start, sigmas, churned=jnp.asarray(churned), draw=fresh))(
        start
    )
    plain, _ = jax.jit(lambda start: heun(gaussian, start, sigmas))(start)
    # 4,000 numbers: a standard error of 2.2 %, and noise that is 0.6 % too large by design.
    expected = levels[:-1] ** 2 + WIDTH**2
    np.testing.assert_allclose(np.square(states.h).mean((1, 2, 3))[20:], expected[20:], rtol=0.09)
    assert np.square(sample.h).mean() == pytest.approx(WIDTH**2, rel=0.09)
    # The noise is fresh: little is left of the start.
    correlation = np.corrcoef(sample.h.ravel(), plain.h.ravel())[0, 1]
    assert abs(correlation) < 0.3


def test_ancestral_ends_with_the_features_of_z_0_and_noise_around_the_last_estimate() -> None:
    levels = jnp.asarray([2.0, 1.0, 0.5])

    def ends_oddly(noisy: Cloud, sigma: jax.Array) -> Cloud:
        last = sigma < 0.75
        clean = gaussian(noisy, sigma)
        return Cloud(jnp.where(last, 0.0, clean.x), jnp.where(last, 1e6, clean.h))

    sample, _ = ancestral(ends_oddly, noise(3), levels, draw)
    plain, _ = ancestral(gaussian, noise(3), levels, draw)
    # Nothing trains the estimate of features at the lowest level: it is not used.
    np.testing.assert_allclose(sample.h, plain.h)
    np.testing.assert_allclose(sample.x, 0.5 * draw(jnp.array(2)).x, atol=1e-6)


def test_ancestral_steps_use_noise_of_their_own() -> None:
    drawn: list[int] = []

    def counting(step: jax.Array) -> Cloud:
        jax.debug.callback(lambda value: drawn.append(int(value)), step, ordered=True)
        return draw(step)

    levels = jnp.asarray(polynomial_schedule(steps=5, precision=1e-3).sigma_ve[::-1].copy(), jnp.float32)
    jax.block_until_ready(jax.jit(lambda start: ancestral(gaussian, start, levels, counting))(noise(4)))
    assert sorted(drawn) == list(range(6))
