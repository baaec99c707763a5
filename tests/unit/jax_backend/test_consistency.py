from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pipeline.jax_backend.consistency import Consistency
from pipeline.study.config import ConsistencyConfig
from pipeline.training.noisy_batches import NoisyBatch

from .conftest import (
    DATA,
    MASK,
    SCALES,
    SIZES,
    Doubles,
    LinearNetwork,
    Pair,
    cloud,
    factors,
    noisy,
    plainly,
    squares,
    unit_noise,
    widened,
)

KINDS = ["tuning", "distillation"]
T, R, WEIGHT = np.array([0.4, 2.0, 9.0]), np.array([0.0, 0.8, 7.5]), np.array([2.5, 1.0, 0.6])
PARAMS, TEACHER = jnp.array([0.3, 0.5]), jnp.array([0.6, 0.1])


def config_of(**changes: Any) -> ConsistencyConfig:
    default = ConsistencyConfig(
        kind="tuning", q=2.0, first_stage=2, last_stage=4, anchor=0.2, weight="gap", huber=0.0, type_weight=4.0
    )
    return default.model_copy(update=changes)


LINEAR: Any = LinearNetwork()


def build_step_objective(network: Any = LINEAR, **changes: Any) -> Consistency:
    return Consistency(network, SCALES, "karras", config=config_of(**changes))


def pairs(t: Any = T, r: Any = R, weight: Any = WEIGHT) -> NoisyBatch[jax.Array]:
    levels = (jnp.asarray(column, jnp.float32) for column in (t, r, weight))
    return NoisyBatch(cloud(DATA), cloud(unit_noise(0)), MASK, *levels)


def losses(objective: Consistency, params: jax.Array = PARAMS, teacher: jax.Array = TEACHER, **levels: Any) -> Doubles:
    return np.asarray(objective.losses(params, pairs(**levels), teacher), np.float64)


def square(estimate: Pair, target: Pair, type_weight: float = 4.0) -> Doubles:
    return squares(estimate.x - target.x) + type_weight * squares(estimate.h - target.h)


# --- the loss ---------------------------------------------------------------------------------------------------------


def test_the_loss_compares_two_levels_of_the_same_noise() -> None:
    noise = unit_noise(0)
    estimate = plainly(PARAMS, noisy(DATA, noise, T), T)
    target = plainly(PARAMS, noisy(DATA, noise, R), R)
    expected = WEIGHT * square(estimate, target) / (3 * SIZES)
    np.testing.assert_allclose(losses(build_step_objective(kind="tuning")), expected, rtol=1e-4)


def test_at_r_0_the_target_is_the_data() -> None:
    estimate = plainly(PARAMS, noisy(DATA, unit_noise(0), T), T)
    found = losses(build_step_objective(kind="tuning"), r=np.zeros(3))
    np.testing.assert_allclose(found, WEIGHT * square(estimate, DATA) / (3 * SIZES), rtol=1e-4)


def test_distillation_learns_what_the_teacher_makes_of_the_same_noise() -> None:
    path, noise = (2.5, 0.6, 0.2), unit_noise(0)
    first = np.full(3, path[0])
    start = Pair(noise.x * np.hypot(path[0], SCALES.coordinates), noise.h * np.hypot(path[0], SCALES.types))
    target = plainly(TEACHER, start, first)
    for sigma in path[1:]:
        target = plainly(TEACHER, noisy(target, noise, np.full(3, sigma)), np.full(3, sigma))
    objective = build_step_objective(kind="distillation", path=path)
    expected = square(plainly(PARAMS, start, first), target) / (3 * SIZES)
    found = losses(objective, t=first, r=np.zeros(3), weight=np.ones(3))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    other = losses(build_step_objective(kind="tuning"), teacher=2.0 * TEACHER)
    assert (other == losses(build_step_objective(kind="tuning"))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_target_has_no_gradient(kind: str) -> None:
    objective = build_step_objective(kind=kind, huber=0.02)

    def total(params: jax.Array, teacher: jax.Array) -> jax.Array:
        return objective.losses(params, pairs(), teacher).sum()

    of_params, of_teacher = jax.grad(total, argnums=(0, 1))(PARAMS, TEACHER)
    assert (of_teacher == 0).all()

    # That of the loss with the target held where these weights put it.
    noise = unit_noise(0)
    state = noisy(DATA, noise, T)

    def held(params: Doubles) -> float:
        earlier = noisy(DATA, noise, R)
        target = plainly(PARAMS, earlier, R)
        c = 0.02 * np.sqrt(3 * SIZES)
        distance = np.sqrt(square(plainly(params, state, T), target) + c**2) - c
        return float((WEIGHT * distance / (3 * SIZES)).sum())

    if kind != "distillation":
        step = 1e-5
        for axis in range(2):
            shift = step * np.eye(2)[axis]
            slope = (held(np.asarray(PARAMS) + shift) - held(np.asarray(PARAMS) - shift)) / (2 * step)
            assert of_params[axis] == pytest.approx(slope, rel=1e-3)
    assert (np.abs(of_params) > 1e-4).all()


class Oracle:
    """A network with which the denoiser always returns the data."""

    def apply(self, params: Any, x: jax.Array, h: jax.Array, mask: jax.Array, **_: Any) -> tuple[jax.Array, jax.Array]:
        del params, mask
        sigma = np.exp(4 * np.asarray(h, np.float64)[:, 0, 5])
        answers = []
        for recorded, data, scale in ((x / 2, DATA.x, SCALES.coordinates), (h[..., :5], DATA.h, SCALES.types)):
            c_skip, c_out, c_in = factors(sigma, scale)
            answers.append(jnp.asarray((data - c_skip * np.asarray(recorded, np.float64) / c_in) / c_out, jnp.float32))
        return answers[0], answers[1]


@pytest.mark.parametrize("huber", [0.0, 0.02])
def test_a_consistent_network_has_no_loss(huber: float) -> None:
    found = losses(build_step_objective(Oracle(), kind="tuning", huber=huber))
    np.testing.assert_allclose(found, 0, atol=1e-6)
    # A network that is not: the same levels.
    assert (losses(build_step_objective(kind="tuning", huber=huber)) > 1e-4).all()


# --- the distance and its weight --------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_weight", [0.5, 4.0])
def test_the_distance_is_pseudo_huber_with_a_constant_for_each_dimension(type_weight: float) -> None:
    noise = unit_noise(0)
    estimate, target = (plainly(PARAMS, noisy(DATA, noise, level), level) for level in (T, R))
    c = 0.1 * np.sqrt(3 * SIZES)
    expected = WEIGHT * (np.sqrt(square(estimate, target, type_weight) + c**2) - c) / (3 * SIZES)
    np.testing.assert_allclose(losses(build_step_objective(huber=0.1, type_weight=type_weight)), expected, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_no_loss(kind: str) -> None:
    objective = build_step_objective(kind=kind, huber=0.02)
    expected = losses(objective)
    np.testing.assert_allclose(objective.losses(PARAMS, widened(pairs()), TEACHER), expected, rtol=1e-5)
    alone = pairs().map(lambda part: part[1:2])
    np.testing.assert_allclose(objective.losses(PARAMS, alone, TEACHER), expected[1:2], rtol=1e-5)
