from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from pipeline.data.qm9 import ATOMIC_NUMBERS as QM9
from pipeline.diffusion.feature_scales import Scales
from pipeline.diffusion.schedules import polynomial_schedule
from pipeline.jax_backend import features
from pipeline.jax_backend.build import build_layout
from pipeline.jax_backend.edm import EDM
from pipeline.jax_backend.egnn import EGNN
from pipeline.jax_backend.features import Cloud, node_mask
from pipeline.study.config import RunConfig
from pipeline.training.noisy_batches import NoisyBatch

from .conftest import widened

MakeObjective = Callable[..., EDM]

draw_noise = jax.jit(features.draw_noise, static_argnums=2)

SIZES = jnp.array([3, 5, 2], jnp.int32)
MASK = node_mask(SIZES, 5)
FEATURES = len(QM9) + 1
ATOMIC_NUMBERS = jnp.array([[8, 1, 1, 0, 0], [6, 1, 9, 7, 1], [1, 1, 0, 0, 0]], jnp.uint8)


def zero(x: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.zeros_like(x), jnp.zeros_like(h[..., :FEATURES])


def keys(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


DATA = Cloud(draw_noise(keys(3, 7), MASK, 0).x * 1.4, features.atom_features(ATOMIC_NUMBERS, QM9, FEATURES))


def at(t: int | list[int], seed: int = 0) -> NoisyBatch[jax.Array]:
    noise = draw_noise(keys(3, seed), MASK, FEATURES)
    return NoisyBatch(DATA, noise, MASK, jnp.broadcast_to(jnp.array(t, jnp.int32), (3,)))


def perfect(batch: NoisyBatch[jax.Array]) -> Callable[..., tuple[jax.Array, jax.Array]]:
    return lambda x, h: (batch.noise.x, batch.noise.h)


# --- losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["l2", "vlb"])
def test_the_loss_of_a_perfect_network_is_zero(make_objective: MakeObjective, loss: str) -> None:
    for t in (0, 1, 5, 10):
        batch = at(t)
        objective = make_objective(perfect(batch), precision=1e-5, loss=loss)
        losses = objective.losses({}, batch)
        # At t = 0 the noise is so small that rounding z_0 gives the types and charges.
        np.testing.assert_allclose(losses, 0, atol=1e-5)


def test_l2_is_the_mean_error_of_a_molecule(make_objective: MakeObjective) -> None:
    objective, batch = make_objective(zero), at([1, 6, 10])
    losses = objective.losses({}, batch)
    squares = np.square(batch.noise.x).sum((1, 2)) + np.square(batch.noise.h).sum((1, 2))
    # Divided by the numbers of the molecule itself, 9 an atom, whatever it is padded to.
    np.testing.assert_allclose(losses, squares / (2 * 9 * np.asarray(SIZES)), rtol=1e-5)


def test_vlb_weighs_the_error_by_the_loss_of_signal(make_objective: MakeObjective) -> None:
    steps, precision = 7, 1e-2
    objective, batch = make_objective(zero, steps=steps, precision=precision, loss="vlb"), at([1, 4, 7])
    losses = objective.losses({}, batch)
    alpha2 = (1 - 2 * precision) * (1 - (np.arange(8) / steps) ** 2) ** 2 + precision
    alpha2[7] = (1 - 2 * precision) * (1 - (6 / steps) ** 2) ** 2 / 1000 + precision
    snr = alpha2 / (1 - alpha2)
    weights = np.array([snr[t - 1] / snr[t] - 1 for t in (1, 4, 7)])
    squares = np.square(batch.noise.x).sum((1, 2)) + np.square(batch.noise.h).sum((1, 2))
    np.testing.assert_allclose(losses, (steps + 1) * 0.5 * weights * squares, rtol=1e-4)


@pytest.mark.parametrize("loss", ["l2", "vlb"])
def test_the_reconstruction_of_types_and_charges(make_objective: MakeObjective, loss: str) -> None:
    # So much noise at t = 0 that z_0 is in doubt.
    precision = 0.02
    objective, batch = make_objective(zero, precision=precision, loss=loss), at(0)
    data, losses = batch.data, objective.losses({}, batch)
    sigma = precision**0.5
    z = (1 - precision) ** 0.5 * np.asarray(data.h, np.float64) + sigma * np.asarray(batch.noise.h, np.float64)

    def log_mass(value: Any, mean: Any, width: float) -> Any:
        return np.log(stats.norm.cdf(value + 0.5, mean, width) - stats.norm.cdf(value - 0.5, mean, width) + 1e-10)

    for row, size in enumerate(np.asarray(SIZES)):
        types = np.asarray(data.h[row, :size, :5]).argmax(1)
        expected: Any = 0.0
        for atom in range(size):
            # The density of each type at one, on the scale of the one-hot encoding, normalised over the five.
            masses = log_mass(1.0, 4 * z[row, atom, :5], 4 * sigma)
            expected -= masses[types[atom]] - np.log(np.exp(masses).sum())
            expected -= log_mass(float(ATOMIC_NUMBERS[row, atom]), 10 * z[row, atom, 5], 10 * sigma)
        coordinates = 0.5 * float(jnp.square(batch.noise.x[row]).sum())
        expected += coordinates / (9 * size) if loss == "l2" else coordinates
        assert losses[row] == pytest.approx(expected * (1 if loss == "l2" else 11), rel=1e-4)
    assert losses.min() > 1.0


def test_vlb_is_an_unbiased_estimate_of_the_sum_over_steps(make_objective: MakeObjective) -> None:
    objective = make_objective(lambda x, h: (0.3 * x, 0.1 * h[..., :FEATURES]), steps=5, loss="vlb")
    # t is uniform on 0..T, so the mean of the losses at all of them is what one draw has for its expectation.
    mean = np.mean([objective.losses({}, at(t)) for t in range(6)], axis=0)
    total = sum(np.asarray(objective.bound_losses({}, at(t))) for t in range(6))
    np.testing.assert_allclose(mean, total, rtol=1e-5)
    assert (np.asarray(objective.bound_losses({}, at(0))) > 0.1).all()


@pytest.mark.parametrize(("loss", "preconditioned"), [("l2", True), ("vlb", False)])
def test_padding_changes_no_loss(make_config: Callable[..., RunConfig], loss: str, preconditioned: bool) -> None:
    config = make_config(model={"preconditioned": preconditioned}).model
    objective = EDM(
        EGNN(config, output_features=FEATURES),
        polynomial_schedule(steps=10, precision=1e-3),
        Scales(1.4, 0.1, 0.4, QM9),
        loss,
    )
    shapes = build_layout(objective)
    flat = jnp.asarray(np.random.default_rng(0).normal(size=shapes.size) / 4, jnp.float32)
    evaluate = jax.jit(lambda batch: objective.losses(shapes.unravel(flat), batch))
    batch = at([0, 4, 9])
    narrow = evaluate(batch)
    np.testing.assert_allclose(evaluate(widened(batch)), narrow, rtol=2e-4)
    # And they do not depend on what else is in the batch.
    np.testing.assert_allclose(evaluate(batch.map(lambda part: part[1:2])), narrow[1:2], rtol=2e-4)


# --- the network ------------------------------------------------------------------------------------------------------


def widths(objective: EDM) -> list[npt.NDArray[np.float64]]:
    """Return the deviations of the data: of coordinates and of features."""
    scales = objective.scales
    return [np.full(3, scales.coordinates), np.array([scales.types] * 5 + [scales.charges])]


def predict(objective: EDM, z: Cloud, t: int) -> Cloud:
    schedule, count = objective.schedule, z.x.shape[0]
    levels = {
        name: jnp.full((count,), value, jnp.float32)
        for name, value in [("t", t / schedule.steps), ("alpha", schedule.alpha[t]), ("sigma", schedule.sigma[t])]
    }
    return objective.predict_noise({}, z, jnp.ones(z.x.shape[:2]), **levels)


@pytest.mark.parametrize("t", [0, 1, 30, 70, 99, 100])
def test_preconditioned_input_and_target_have_unit_variance(make_objective: MakeObjective, t: int) -> None:
    def one(x: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.ones_like(x), jnp.ones_like(h[..., :FEATURES])

    objectives = [make_objective(answer, preconditioned=True, steps=100, precision=1e-4) for answer in (zero, one)]
    schedule = objectives[0].schedule
    generator = np.random.default_rng(t)
    shapes = [(2000, 4, 3), (2000, 4, FEATURES)]
    data = [generator.normal(size=shape) * width for shape, width in zip(shapes, widths(objectives[0]), strict=True)]
    noise = [generator.normal(size=shape) for shape in shapes]
    z = Cloud(
        *(
            jnp.asarray(schedule.alpha[t] * x + schedule.sigma[t] * e, jnp.float32)
            for x, e in zip(data, noise, strict=True)
        )
    )
    # The estimate is linear in the network's output: what it would have to put out is what is left of the noise.
    skip, with_one = (predict(objective, z, t) for objective in objectives)
    for part in range(2):
        target = (noise[part] - skip[part]) / (with_one[part] - skip[part])
        np.testing.assert_allclose(np.square(target).mean((0, 1)), 1.0, rtol=0.08)
    network: Any = objectives[0].model
    x, h = network.recorded[-1]
    assert np.square(x).mean() == pytest.approx(4.0, rel=0.05)
    np.testing.assert_allclose(np.square(h[..., :FEATURES]).mean((0, 1)), 1.0, rtol=0.08)
    # And the level itself, as Karras et al. have it.
    np.testing.assert_allclose(h[..., FEATURES], np.log(schedule.sigma_ve[t]) / 4, rtol=1e-4)


def test_the_reference_form_is_given_z_and_the_share_of_steps(make_objective: MakeObjective) -> None:
    objective = make_objective(zero, steps=100)
    z = draw_noise(keys(2), jnp.ones((2, 4)), FEATURES)
    predict(objective, z, 30)
    network: Any = objective.model
    x, h = network.recorded[-1]
    assert (x == z.x).all()
    assert (h[..., :FEATURES] == z.h).all()
    np.testing.assert_allclose(h[..., FEATURES], 0.3, rtol=1e-6)


def test_denoising_with_the_true_noise_gives_the_data(make_objective: MakeObjective) -> None:
    noise = draw_noise(keys(3, 5), MASK, FEATURES)
    objective = make_objective(lambda x, h: (noise.x, noise.h))
    for sigma in (0.05, 1.0, 20.0):
        noisy = Cloud(*(x + sigma * e for x, e in zip(DATA, noise, strict=True)))
        clean = objective.denoise({}, MASK, noisy, jnp.array(sigma))
        for found, expected in zip(clean, DATA, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-6 * max(1.0, 10 * sigma))


def test_denoising_asks_at_the_step_that_has_the_level(make_objective: MakeObjective) -> None:
    objective = make_objective(zero, steps=100, precision=1e-4)
    network: Any = objective.model
    noisy = Cloud(jnp.ones((3, 5, 3)) * MASK[..., None], jnp.ones((3, 5, FEATURES)) * MASK[..., None])
    for t in (0, 1, 42, 100):
        sigma = float(objective.schedule.sigma_ve[t])
        objective.denoise({}, MASK, noisy, jnp.array(sigma))
        x, h = network.recorded[-1]
        np.testing.assert_allclose(h[1, :, FEATURES], t / 100, atol=1e-4)
        # In the units of the variance-preserving process.
        np.testing.assert_allclose(x[1], 1 / np.hypot(1, sigma), rtol=1e-4)
    # Between two steps it is between; beyond the last it is the last.
    middle = float(np.sqrt(objective.schedule.sigma_ve[40] * objective.schedule.sigma_ve[41]))
    objective.denoise({}, MASK, noisy, jnp.array(middle))
    np.testing.assert_allclose(network.recorded[-1][1][1, :, FEATURES], 0.405, atol=1e-4)
    objective.denoise({}, MASK, noisy, jnp.array(1e6))
    np.testing.assert_allclose(network.recorded[-1][1][1, :, FEATURES], 1.0)


def test_without_a_network_the_preconditioned_estimate_is_the_best_for_gaussian_data(
    make_objective: MakeObjective,
) -> None:
    objective = make_objective(zero, preconditioned=True)
    noisy = draw_noise(keys(3), MASK, FEATURES)
    for sigma in (0.1, 1.0, 10.0):
        clean = objective.denoise({}, MASK, noisy, jnp.array(sigma))
        for found, given, width in zip(clean, noisy, widths(objective), strict=True):
            np.testing.assert_allclose(found, given * width**2 / (width**2 + sigma**2), atol=2e-6 * max(1, sigma))
