import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.diffusion.feature_scales import Scales
from pipeline.jax_backend.build import build_layout, build_objective
from pipeline.jax_backend.denoiser import Denoiser, Preconditioned
from pipeline.jax_backend.egnn import EGNN
from pipeline.jax_backend.features import Cloud, node_mask
from pipeline.jax_backend.weights import Layout
from pipeline.study.config import RunConfig
from pipeline.training.noisy_batches import NoisyBatch

from .conftest import (
    DATA,
    MASK,
    SCALES,
    SIZES,
    FakeNetwork,
    LinearNetwork,
    cloud,
    factors,
    noisy,
    plainly,
    squares,
    unit_noise,
    widened,
)

SIGMA = np.array([0.05, 0.7, 6.0])


def zero(x: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.zeros_like(x), jnp.zeros_like(h[..., :5])


def around(network: Any, form: str = "karras") -> Denoiser:
    return Denoiser(network, SCALES, form)


BATCH = NoisyBatch(cloud(DATA), cloud(unit_noise(0)), MASK, jnp.asarray(SIGMA, jnp.float32))


class Model:
    """A real network with large random weights."""

    def __init__(self, config: RunConfig, form: str, scales: Scales = SCALES):
        self.objective = Denoiser(EGNN(config.model, output_features=5), scales, form)
        self.layout: Layout = build_layout(self.objective)
        weights = np.random.default_rng(0).normal(size=self.layout.size) / 3
        self.params = self.layout.unravel(jnp.asarray(weights, jnp.float32))
        self._denoise = jax.jit(self.objective.denoise)

    def __call__(self, state: Cloud, sigma: Any, mask: jax.Array = MASK) -> Cloud:
        return Cloud(*self._denoise(self.params, mask, state, jnp.asarray(sigma, jnp.float32)))


FORMS = ["karras", "estimate"]


@pytest.fixture(scope="module", params=FORMS)
def model(request: pytest.FixtureRequest, make_config: Callable[..., RunConfig]) -> Model:
    return Model(make_config(objective="denoiser"), request.param)


# --- the denoiser -----------------------------------------------------------------------------------------------------


# Scales whose squares are rounded up and down.
@pytest.mark.parametrize("scale", [1.4, 1.3899735, 0.5, 1.1])
@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_changed_at_the_boundary(make_config: Callable[..., RunConfig], form: str, scale: float) -> None:
    scales = dataclasses.replace(SCALES, coordinates=scale, types=scale / 9)
    model, state = Model(make_config(objective="denoiser"), form, scales), cloud(unit_noise(1))
    for sigma in (0.0, np.zeros(3)):
        for found, given in zip(model(state, sigma), state, strict=True):
            assert (found == given).all()
    # But right above it.
    for found, given in zip(model(state, 0.01), state, strict=True):
        assert (found != given).any()


def test_the_factors_are_those_of_karras_for_coordinates_and_types_apart() -> None:
    objective, state = around(LinearNetwork()), unit_noise(1)
    params = jnp.array([0.3, -0.6])
    clean, c_out = objective.raw(params, MASK, cloud(state), jnp.asarray(SIGMA, jnp.float32))
    for found, expected in zip(clean, plainly([0.3, -0.6], state, SIGMA), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    for part, scale in enumerate((SCALES.coordinates, SCALES.types)):
        _, expected_out, _ = factors(SIGMA, scale)
        np.testing.assert_allclose(c_out[part], expected_out, rtol=1e-5)
    # One level for all is the same as that level for each.
    one = objective.denoise(params, MASK, cloud(state), jnp.float32(0.7))
    each = objective.denoise(params, MASK, cloud(state), jnp.full(3, 0.7))
    assert all((a == b).all() for a, b in zip(one, each, strict=True))


def test_the_other_form_lets_the_layers_move_the_molecule_itself() -> None:
    state, scale = unit_noise(1), SCALES.coordinates
    objective = around(LinearNetwork(), "estimate")
    clean, c_out = objective.raw(jnp.array([0.3, -0.6]), MASK, cloud(state), jnp.asarray(SIGMA, jnp.float32))
    # The network starts from a cloud as wide as the data and takes steps from there, short ones at small levels.
    start = scale / np.sqrt(SIGMA**2 + scale**2)
    step = factors(SIGMA, scale)[1] / scale
    np.testing.assert_allclose(clean.x, start[:, None, None] * state.x * (1 + 0.3 * step), rtol=1e-5, atol=1e-6)
    # Types have the one form.
    np.testing.assert_allclose(clean.h, plainly([0.3, -0.6], state, SIGMA).h, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(c_out.x, scale * step, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sigma", [0.01, 0.3, 1.5, 20.0])
def test_the_network_is_given_unit_variance(sigma: float, form: str) -> None:
    generator = np.random.default_rng(0)
    data = [generator.normal(size=(2000, 4, size)) * width for size, width in ((3, 1.4), (5, 0.112))]
    state = Cloud(*(jnp.asarray(x + sigma * generator.normal(size=x.shape), jnp.float32) for x in data))
    network = FakeNetwork(zero)
    around(network, form=form).denoise({}, jnp.ones((2000, 4)), state, jnp.float32(sigma))
    x, h = network.recorded[-1]
    # Coordinates twice as wide.
    assert np.square(x).mean() == pytest.approx(4.0, rel=0.05)
    assert np.square(h[..., :5]).mean() == pytest.approx(1.0, rel=0.05)
    np.testing.assert_allclose(h[..., 5], np.log(sigma) / 4, rtol=1e-4)


@pytest.mark.parametrize("sigma", [0.01, 0.3, 1.5, 20.0])
def test_karras_form_asks_the_network_for_unit_variance(sigma: float) -> None:
    generator = np.random.default_rng(0)
    shapes = [(2000, 4, 3), (2000, 4, 5)]
    widths = (SCALES.coordinates, SCALES.types)
    data = [generator.normal(size=shape) * width for shape, width in zip(shapes, widths, strict=True)]
    state = Cloud(*(jnp.asarray(x + sigma * generator.normal(size=x.shape), jnp.float32) for x in data))
    clean, c_out = around(FakeNetwork(zero)).raw({}, jnp.ones((2000, 4)), state, jnp.float32(sigma))
    for part in range(2):
        target = (data[part] - np.asarray(clean[part], np.float64)) / c_out[part]
        assert np.square(target).mean() == pytest.approx(1.0, rel=0.05)


def rotated(state: Cloud, matrix: npt.NDArray[np.float32]) -> Cloud:
    return Cloud(state.x @ jnp.asarray(matrix), state.h)


@pytest.mark.parametrize("determinant", [1, -1])
def test_a_turned_molecule_is_denoised_alike_and_turned(model: Model, determinant: int) -> None:
    matrix, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    matrix = (matrix * np.sign(np.linalg.det(matrix)) * determinant).astype(np.float32)
    state = cloud(noisy(DATA, unit_noise(1), SIGMA))
    found, expected = model(rotated(state, matrix), SIGMA), rotated(model(state, SIGMA), matrix)
    np.testing.assert_allclose(found.x, expected.x, atol=2e-4)
    np.testing.assert_allclose(found.h, expected.h, atol=2e-4)
    assert np.abs(expected.x - state.x @ matrix).max() > 0.1


def test_atoms_in_another_order_are_denoised_alike_in_that_order(model: Model) -> None:
    state = cloud(noisy(DATA, unit_noise(1), SIGMA))
    order = np.array([[2, 0, 1, 3, 4], [4, 2, 0, 1, 3], [1, 0, 2, 3, 4]])
    rows = np.arange(3)[:, None]
    found = model(Cloud(state.x[rows, order], state.h[rows, order]), SIGMA)
    for part, expected in zip(found, model(state, SIGMA), strict=True):
        np.testing.assert_allclose(part, expected[rows, order], atol=2e-4)


def test_neither_padding_nor_other_molecules_take_part(model: Model) -> None:
    state = cloud(noisy(DATA, unit_noise(1), SIGMA))
    expected = model(state, SIGMA)
    for part in expected:
        assert (part[0, 3:] == 0).all()
        assert (part[2, 2:] == 0).all()
    np.testing.assert_allclose(expected.x.sum(1), 0, atol=1e-5)
    wide = Cloud(*(jnp.pad(part, ((0, 0), (0, 4), (0, 0))) for part in state))
    alone = Cloud(state.x[1:2], state.h[1:2])
    padded, one = model(wide, SIGMA, node_mask(jnp.asarray(SIZES), 9)), model(alone, SIGMA[1:2], MASK[1:2])
    for of_padded, of_one, of_all in zip(padded, one, expected, strict=True):
        np.testing.assert_allclose(of_padded[:, :5], of_all, atol=1e-4)
        np.testing.assert_allclose(of_one, of_all[1:2], atol=1e-4)


# --- its loss ---------------------------------------------------------------------------------------------------------


def test_the_loss_of_a_network_that_says_nothing() -> None:
    data, noise = DATA, unit_noise(0)
    losses = around(FakeNetwork(zero)).losses({}, BATCH, None)
    state, expected = noisy(data, noise, SIGMA), np.zeros(3)
    for x, of_x, scale in zip(state, data, (SCALES.coordinates, SCALES.types), strict=True):
        c_skip, c_out, _ = factors(SIGMA, scale)
        expected += squares((c_skip * x - of_x) / c_out)
    # Divided by the numbers of the molecule itself, 8 an atom, whatever it is padded to.
    np.testing.assert_allclose(losses, expected / (2 * 8 * SIZES), rtol=1e-4)


def test_the_loss_of_a_perfect_network_is_zero() -> None:
    state = noisy(DATA, unit_noise(0), SIGMA)
    target = [
        jnp.asarray((of_x - c_skip * x) / c_out, jnp.float32)
        for x, of_x, (c_skip, c_out, _) in zip(
            state, DATA, (factors(SIGMA, scale) for scale in (SCALES.coordinates, SCALES.types)), strict=True
        )
    ]
    losses = around(FakeNetwork(lambda x, h: (target[0], target[1]))).losses({}, BATCH, None)
    np.testing.assert_allclose(losses, 0, atol=1e-9)


def test_the_target_of_the_network_counts_alike_at_every_level() -> None:
    # Wrong by one in every number of the network's output: an error of 1/2, at whatever level.
    state = noisy(DATA, unit_noise(0), SIGMA)
    mask = np.asarray(MASK)[..., None]
    off = [
        jnp.asarray(((of_x - c_skip * x) / c_out + 1) * mask, jnp.float32)
        for x, of_x, (c_skip, c_out, _) in zip(
            state, DATA, (factors(SIGMA, scale) for scale in (SCALES.coordinates, SCALES.types)), strict=True
        )
    ]
    losses = around(FakeNetwork(lambda x, h: (off[0], off[1]))).losses({}, BATCH, None)
    np.testing.assert_allclose(losses, 0.5, rtol=1e-4)


def test_padding_changes_no_loss(model: Model) -> None:
    evaluate = jax.jit(lambda batch: model.objective.losses(model.params, batch, None))
    narrow = evaluate(BATCH)
    np.testing.assert_allclose(evaluate(widened(BATCH)), narrow, rtol=2e-4)
    np.testing.assert_allclose(evaluate(BATCH.map(lambda part: part[1:2])), narrow[1:2], rtol=2e-4)


# --- from a configuration ---------------------------------------------------------------------------------------------


def test_a_run_has_the_scales_it_gives(data: Any, make_config: Callable[..., RunConfig]) -> None:
    statistics = data.read()[1]

    def built(**run: Any) -> Preconditioned:
        objective = build_objective(make_config(**run), statistics)
        assert isinstance(objective, Preconditioned)
        assert objective.features == 5
        assert build_layout(objective).shapes["embedding.kernel"] == (5 + 1, 8)
        return objective

    measured = built(objective="denoiser")
    assert measured.sigma_data.coordinates == pytest.approx(statistics.coordinate_scale)
    given = built(objective="denoiser", levels={"sigma_data": {"coordinates": 1.1, "types": 0.3}})
    assert given.sigma_data == Scales(1.1, 0.3, measured.sigma_data.charges, measured.sigma_data.elements)
