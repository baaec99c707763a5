import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.jax_backend.egnn import EGNN, remove_mean
from pipeline.jax_backend.weights import initial_weights, layout
from pipeline.study.config import ModelConfig, RunConfig

Doubles = npt.NDArray[np.float64]

INPUTS, OUTPUTS, ATOMS = 7, 6, 7
FORMS: dict[str, dict[str, Any]] = {
    "reference": {
        "radial_features": "squared",
        "node_norm": "none",
        "coordinate_range": 15.0,
        "aggregation_divisor": 1.0,
    },
    "stabilised": {},
    "shared edges": {"shared_edges": True, "edge_hidden": 11},
    "no attention": {"attention": False, "norm_constant": 0.3},
}


@dataclass(frozen=True)
class Network:
    """A network with large random weights, in double precision and compiled for two molecules of up to ``ATOMS``."""

    config: ModelConfig
    arrays: Mapping[str, Doubles]
    compiled: Callable[[Any, Any, Any], tuple[Any, Any]]

    def __call__(self, x: Doubles, h: Doubles, mask: Doubles) -> tuple[Doubles, Doubles]:
        with jax.enable_x64(True):
            outputs = self.compiled(*(jnp.asarray(array, jnp.float64) for array in (x, h, mask)))
        return np.asarray(outputs[0]), np.asarray(outputs[1])


@pytest.fixture(scope="module", params=FORMS)
def network(request: pytest.FixtureRequest, make_config: Callable[..., RunConfig]) -> Network:
    config = make_config(model={"hidden": 16, "layers": 2} | FORMS[request.param]).model
    model = EGNN(config, output_features=OUTPUTS)
    generator = np.random.default_rng(0)
    shapes = layout(model, input_features=INPUTS).shapes
    # So large that every part matters: the tanh is bent, and one layer moves atoms by angstroms.
    arrays = {name: generator.normal(size=shape) / shape[0] ** 0.5 for name, shape in shapes.items()}
    with jax.enable_x64(True):
        flat = layout(model, input_features=INPUTS).from_arrays(arrays)
        params = layout(model, input_features=INPUTS).unravel(flat)
        compiled = jax.jit(lambda x, h, mask: model.apply(params, x, h, mask))
    return Network(config, arrays, compiled)


def molecules(seed: int, sizes: tuple[int, int] = (ATOMS, 4)) -> tuple[Doubles, Doubles, Doubles]:
    """Return two centred molecules: x, h and mask."""
    generator = np.random.default_rng(seed)
    mask = (np.arange(ATOMS) < np.array(sizes)[:, None]).astype(np.float64)
    x = generator.normal(size=(2, ATOMS, 3)) * 1.5 * mask[..., None]
    x = (x - x.sum(1, keepdims=True) / mask.sum(1)[:, None, None]) * mask[..., None]
    return x, generator.normal(size=(2, ATOMS, INPUTS)) * mask[..., None], mask


# --- the same network, written plainly -----------------------------------------------------------------------------


def sigmoid(x: Doubles) -> Doubles:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * x))


def silu(x: Doubles) -> Doubles:
    return x * sigmoid(x)


def plain(network: Network, x: Doubles, h: Doubles) -> tuple[Doubles, Doubles]:
    """Apply the network to one molecule without padding, edge by edge, its first layers on concatenated inputs."""
    config, arrays = network.config, network.arrays
    start, edges = x, list(itertools.permutations(range(len(x)), 2))

    def linear(name: str, inputs: Doubles) -> Doubles:
        return inputs @ arrays[f"{name}.kernel"] + arrays[f"{name}.bias"]

    def radial(distance2: float) -> Doubles:
        if config.radial_features == "squared":
            return np.array([distance2])
        distance = np.sqrt(distance2 + 1e-8)
        centres = 0.5 + np.arange(16) * 5.5 / 15
        return np.array(
            [distance, distance2 / (1 + 0.1 * distance2), *np.exp(-(((distance - centres) / (5.5 / 15)) ** 2) / 2)]
        )

    def normalised(h: Doubles) -> Doubles:
        return h / np.sqrt((h**2).mean(-1, keepdims=True) + 1e-6) if config.node_norm == "rms" else h

    def edge_mlp(
        name: str, h: Doubles, attributes: Mapping[tuple[int, int], Doubles]
    ) -> dict[tuple[int, int], Doubles]:
        kernel = np.concatenate([arrays[f"{name}.{part}.kernel"] for part in ("receiver", "sender", "distance")])
        bias = arrays[f"{name}.receiver.bias"]
        inputs = {(i, j): np.concatenate([h[i], h[j], attributes[i, j]]) for i, j in edges}
        return {edge: silu(linear(f"{name}.hidden", silu(inputs[edge] @ kernel + bias))) for edge in edges}

    initial = {(i, j): radial(float(((x[i] - x[j]) ** 2).sum())) for i, j in edges}
    h = linear("embedding", h)
    for number in range(config.layers):
        layer = f"layer_{number}"
        distance2 = {(i, j): float(((x[i] - x[j]) ** 2).sum()) for i, j in edges}
        attributes = {edge: np.concatenate([radial(distance2[edge]), initial[edge]]) for edge in edges}
        messages = edge_mlp(f"{layer}.message", normalised(h), attributes)
        towards = {(i, j): (x[i] - x[j]) / (np.sqrt(distance2[i, j] + 1e-8) + config.norm_constant) for i, j in edges}
        received = np.zeros((len(x), config.edge_hidden))
        vectors = np.zeros((len(x), 3, config.edge_hidden))
        for i, j in edges:
            gate = sigmoid(linear(f"{layer}.attention", messages[i, j])) if config.attention else 1.0
            received[i] += gate * messages[i, j] / config.aggregation_divisor
            vectors[i] += np.outer(towards[i, j], gate * messages[i, j]) / config.aggregation_divisor
        if config.shared_edges:
            bounded = vectors / np.sqrt(1.0 + (vectors**2).sum(1).mean(-1))[:, None, None]
            left, right = (bounded @ arrays[f"{layer}.angle_{side}.kernel"] for side in ("left", "right"))
            received = np.concatenate([received, (left * right).sum(1)], axis=1)
        inner = silu(linear(f"{layer}.node_hidden", np.concatenate([normalised(h), received], axis=1)))
        h = h + linear(f"{layer}.node_output", inner)
        output = arrays[f"{layer}.coordinate_output"]
        if config.shared_edges:
            inner = silu(linear(f"{layer}.coordinate_hidden", np.concatenate([normalised(h), received], axis=1)))
            x = x + (np.tanh(inner @ output)[:, None, :] * config.coordinate_range * vectors).sum(-1)
            continue
        messages = edge_mlp(f"{layer}.coordinate", normalised(h), attributes)
        moved = x.copy()
        for i, j in edges:
            moved[i] += towards[i, j] * np.tanh(messages[i, j] @ output) * config.coordinate_range
        x = moved
    velocity = x - start
    return velocity - velocity.mean(0), linear("output", normalised(h))


def test_equals_the_plain_network(network: Network) -> None:
    x, h, mask = molecules(0)
    velocity, features = network(x, h, mask)
    for row, size in enumerate((ATOMS, 4)):
        expected_velocity, expected_features = plain(network, x[row, :size], h[row, :size])
        # Its parts are of order one, so nothing passes for being small.
        assert np.abs(expected_velocity).max() > 0.5
        assert np.abs(expected_features).max() > 0.5
        np.testing.assert_allclose(velocity[row, :size], expected_velocity, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(features[row, :size], expected_features, rtol=1e-9, atol=1e-9)


# --- symmetries ------------------------------------------------------------------------------------------------------

SEEDS = st.integers(0, 2**32 - 1)
examples = settings(max_examples=15)


@examples
@given(SEEDS, st.booleans())
def test_turns_and_reflections_turn_the_velocity(network: Network, seed: int, reflect: bool) -> None:
    x, h, mask = molecules(seed)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn)) * (-1 if reflect else 1)
    velocity, features = network(x, h, mask)
    turned_velocity, turned_features = network(x @ turn, h, mask)
    np.testing.assert_allclose(turned_velocity, velocity @ turn, atol=1e-10)
    np.testing.assert_allclose(turned_features, features, atol=1e-10)


@examples
@given(SEEDS)
def test_shifts_change_nothing(network: Network, seed: int) -> None:
    x, h, mask = molecules(seed)
    shift = np.random.default_rng(seed).normal(size=(2, 1, 3)) * 10 * mask[..., None]
    for shifted, original in zip(network(x + shift, h, mask), network(x, h, mask), strict=True):
        np.testing.assert_allclose(shifted, original, atol=1e-9)


@examples
@given(SEEDS)
def test_the_order_of_atoms_is_that_of_the_outputs(network: Network, seed: int) -> None:
    x, h, mask = molecules(seed, sizes=(ATOMS, ATOMS))
    order = np.random.default_rng(seed).permutation(ATOMS)
    for permuted, original in zip(network(x[:, order], h[:, order], mask), network(x, h, mask), strict=True):
        np.testing.assert_allclose(permuted, original[:, order], atol=1e-10)


@examples
@given(SEEDS, st.integers(2, ATOMS - 1))
def test_padding_changes_nothing(network: Network, seed: int, size: int) -> None:
    x, h, mask = molecules(seed, sizes=(size, ATOMS))
    generator = np.random.default_rng(seed)
    outputs = network(x, h, mask)
    # The padding is ignored: other numbers there do not change the result.
    noise_x, noise_h = generator.normal(size=x.shape) * 5, generator.normal(size=h.shape) * 5
    padding = 1 - mask[..., None]
    for changed, original in zip(network(x + noise_x * padding, h + noise_h * padding, mask), outputs, strict=True):
        np.testing.assert_allclose(changed, original, atol=1e-10)
        assert (original[0, size:] == 0).all()
    # And no room at all is the same as a lot of it.
    for cut, original in zip(plain(network, x[0, :size], h[0, :size]), outputs, strict=True):
        np.testing.assert_allclose(cut, original[0, :size], atol=1e-9)


@examples
@given(SEEDS, st.integers(2, ATOMS))
def test_the_velocity_has_no_centre_of_mass(network: Network, seed: int, size: int) -> None:
    velocity, _ = network(*molecules(seed, sizes=(size, ATOMS)))
    assert np.abs(velocity).max() > 0.1
    np.testing.assert_allclose(velocity.sum(1), 0, atol=1e-12)


# --- single parts ----------------------------------------------------------------------------------------------------


def test_remove_mean() -> None:
    x, _, mask = molecules(1)
    x = (x + 3.0) * mask[..., None]
    projected = np.asarray(remove_mean(jnp.asarray(x, jnp.float32), jnp.asarray(mask, jnp.float32)))
    np.testing.assert_allclose(projected.sum(1), 0, atol=1e-5)
    np.testing.assert_allclose(projected[1, :4], x[1, :4] - x[1, :4].mean(0), atol=1e-5)
    assert (projected[1, 4:] == 0).all()


def test_gradients_are_finite_where_atoms_coincide(make_config: Callable[..., RunConfig]) -> None:
    model = EGNN(make_config(model={"layers": 2, "norm_constant": 0.0}).model, output_features=OUTPUTS)
    shapes = layout(model, input_features=INPUTS)
    generator = np.random.default_rng(0)
    flat = jnp.asarray(generator.normal(size=shapes.size), jnp.float32) / 4
    h = jnp.asarray(generator.normal(size=(1, 3, INPUTS)), jnp.float32)

    def total(flat: jax.Array, x: jax.Array) -> jax.Array:
        outputs: Any = model.apply(shapes.unravel(flat), x, h, jnp.ones((1, 3)))
        return sum((jnp.sum(output**2) for output in outputs), jnp.zeros(()))

    gradients = jax.jit(jax.grad(total, argnums=(0, 1)))(flat, jnp.zeros((1, 3, 3)))
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert np.abs(gradients[0]).max() > 0


def test_fresh_weights_are_the_reference_s(make_config: Callable[..., RunConfig]) -> None:
    model = EGNN(make_config(model={"hidden": 32, "layers": 2}).model, output_features=OUTPUTS)
    shapes = layout(model, input_features=INPUTS)
    arrays = shapes.to_arrays(initial_weights(model, jax.random.key(0), input_features=INPUTS))
    edges = 2 * (2 + 16)
    bounds = {
        # PyTorch's own: one over the root of the inputs, of all three parts together where the layer is factored.
        "embedding.kernel": INPUTS**-0.5,
        "layer_0.message.receiver.kernel": (2 * 32 + edges) ** -0.5,
        "layer_0.message.receiver.bias": (2 * 32 + edges) ** -0.5,
        "layer_0.message.sender.kernel": (2 * 32 + edges) ** -0.5,
        "layer_1.coordinate.distance.kernel": (2 * 32 + edges) ** -0.5,
        "layer_1.node_hidden.kernel": (2 * 32) ** -0.5,
        "output.kernel": 32**-0.5,
        # Xavier with gain 0.001.
        "layer_0.coordinate_output": 0.001 * (6 / 33) ** 0.5,
    }
    for name, bound in bounds.items():
        assert np.abs(arrays[name]).max() <= bound
        assert np.abs(arrays[name]).max() > 0.75 * bound
    assert "layer_0.message.sender.bias" not in arrays
    other = shapes.to_arrays(initial_weights(model, jax.random.key(1), input_features=INPUTS))
    assert all((arrays[name] != other[name]).any() for name in arrays)
