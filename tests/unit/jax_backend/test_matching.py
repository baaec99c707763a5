from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pipeline.jax_backend.features import Cloud, node_mask
from pipeline.jax_backend.matching import Matching
from pipeline.jax_backend.objective import Draws, Frozen

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
)

# The second molecule is made from pure noise.
T, SHARE, S = np.array([0.4, 20.0, 3.0]), np.array([1.0, 0.0, 1.0]), np.array([0.6, 0.1, 2.0])
GENERATOR, ESTIMATOR, TEACHER = jnp.array([0.3, 0.5]), jnp.array([0.6, 0.9]), jnp.array([0.2, 0.1])
NETWORK: Any = LinearNetwork()
OBJECTIVE = Matching(NETWORK, SCALES)


def draws(share: Any = SHARE, s: Any = S) -> Draws:
    noise, again = cloud(unit_noise(0)), cloud(unit_noise(1))
    # The second draw lies in the features of the first.
    both = Cloud(noise.x, jnp.concatenate([noise.h, again.x, again.h], axis=-1))
    return Draws(both, jnp.asarray(np.stack([T, share, s], axis=1), jnp.float32))


def total(params: tuple[jax.Array, jax.Array], teacher: jax.Array, data: Cloud | None = None) -> jax.Array:
    losses = OBJECTIVE.losses(params, data or cloud(DATA), MASK, draws(), Frozen(params, teacher))
    return losses.sum()


def gradients(
    generator: jax.Array = GENERATOR, estimator: jax.Array = ESTIMATOR, teacher: jax.Array = TEACHER
) -> tuple[Doubles, Doubles]:
    found = jax.grad(total)((generator, estimator), teacher)
    return np.asarray(found[0], np.float64), np.asarray(found[1], np.float64)


def made(generator: Any) -> Pair:
    """Return what the generator makes of the three molecules, from noise or from noisy data."""
    share = SHARE[:, None, None]
    return plainly(generator, noisy(Pair(share * DATA.x, share * DATA.h), unit_noise(0), T), T)


def slope(function: Any, at: jax.Array) -> Doubles:
    """Return the gradient of a function of two numbers, by differences."""
    step, place = 1e-5, np.asarray(at, np.float64)
    return np.array([(function(place + shift) - function(place - shift)) / (2 * step) for shift in step * np.eye(2)])


def estimator_loss(estimator: Any) -> float:
    """Return the denoising loss of the estimator on what the generator makes."""
    fixed = made(GENERATOR)
    estimate, errors = plainly(estimator, noisy(fixed, unit_noise(1), S), S), np.zeros(3)
    for found, x, scale in zip(estimate, fixed, (SCALES.coordinates, SCALES.types), strict=True):
        errors += squares((found - x) / factors(S, scale)[1])
    return float((errors / (2 * 8 * SIZES)).sum())


def directions(generator: Any, estimator: Any, teacher: Any) -> Pair:
    """Return by what the generator's gradient is led: the estimator's estimate less the teacher's, normalised."""
    fixed = made(generator)
    again = noisy(fixed, unit_noise(1), S)
    real, fake = plainly(teacher, again, S), plainly(estimator, again, S)
    found = []
    for x, of_real, of_fake in zip(fixed, real, fake, strict=True):
        size = np.abs(x - of_real).sum((1, 2)) / (x.shape[-1] * SIZES) + 1e-4
        found.append((of_fake - of_real) / size[:, None, None])
    return Pair(*found)


def test_the_generator_is_led_by_the_difference_of_two_denoisers() -> None:
    direction = directions(GENERATOR, ESTIMATOR, TEACHER)

    def loss(generator: Any) -> float:
        value: Any = 0.0
        for part, x, scale in zip(direction, made(generator), (SCALES.coordinates, SCALES.types), strict=True):
            value += (part * x / factors(T, scale)[1]).sum((1, 2)) / (8 * SIZES)
        return float(value.sum())

    of_generator, _ = gradients()
    np.testing.assert_allclose(of_generator, slope(loss, GENERATOR), rtol=2e-3)
    assert (np.abs(of_generator) > 1e-3).all()


def test_the_estimator_learns_to_denoise_what_the_generator_makes() -> None:
    _, of_estimator = gradients()
    np.testing.assert_allclose(of_estimator, slope(estimator_loss, ESTIMATOR), rtol=2e-3)
    assert (np.abs(of_estimator) > 1e-3).all()


def test_neither_network_is_led_by_the_loss_of_the_other() -> None:
    # The estimator has the same gradient whatever the teacher is, which leads the generator alone.
    first, other = gradients(), gradients(teacher=3.0 * TEACHER)
    assert (first[0] != other[0]).all()
    np.testing.assert_allclose(first[1], other[1], rtol=1e-5)
    # And the teacher has none at all.
    assert (jax.grad(total, argnums=1)((GENERATOR, ESTIMATOR), TEACHER) == 0).all()


def test_nothing_leads_the_generator_where_both_denoisers_agree() -> None:
    of_generator, of_estimator = gradients(estimator=TEACHER)
    assert (of_generator == 0).all()
    assert (np.abs(of_estimator) > 1e-4).all()


def test_the_generator_goes_towards_the_teacher_and_away_from_the_estimator() -> None:
    # The teacher finds smaller molecules than the estimator: the generator's, larger still, should shrink.
    for sign in (1.0, -1.0):
        of_generator, _ = gradients(estimator=TEACHER + sign * jnp.array([0.3, 0.3]))
        assert (np.sign(of_generator) == sign).all()


def test_pure_noise_knows_nothing_of_the_data() -> None:
    def losses(data: Pair, share: Any) -> Doubles:
        params = (GENERATOR, ESTIMATOR)
        found = OBJECTIVE.losses(params, cloud(data), MASK, draws(share=share), Frozen(params, TEACHER))
        return np.asarray(found)

    other = Pair(2.0 * DATA.x, DATA.h[:, ::-1] * np.asarray(MASK)[..., None])
    assert (losses(DATA, np.zeros(3)) == losses(other, np.zeros(3))).all()
    assert ((losses(DATA, SHARE) == losses(other, SHARE)) == (SHARE == 0)).all()


def test_padding_changes_no_loss() -> None:
    params, frozen = (GENERATOR, ESTIMATOR), Frozen((GENERATOR, ESTIMATOR), TEACHER)
    expected = OBJECTIVE.losses(params, cloud(DATA), MASK, draws(), frozen)
    wide: Any = jax.tree.map(lambda part: jnp.pad(part, ((0, 0), (0, 4), (0, 0))), (cloud(DATA), draws().noise))
    mask = node_mask(jnp.asarray(SIZES), 9)
    found = OBJECTIVE.losses(params, wide[0], mask, Draws(wide[1], draws().levels), frozen)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    data, mask, drawn = jax.tree.map(lambda part: part[1:2], (cloud(DATA), MASK, draws()))
    np.testing.assert_allclose(OBJECTIVE.losses(params, data, mask, drawn, frozen), expected[1:2], rtol=1e-4)
    assert np.isfinite(expected).all()
