from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.jax_backend.egnn import EGNN
from pipeline.jax_backend.weights import Layout, layout
from pipeline.study.config import RunConfig


@pytest.fixture
def shapes(make_config: Callable[..., RunConfig]) -> Layout:
    return layout(EGNN(make_config(model={"hidden": 5, "layers": 2}).model, output_features=3), input_features=4)


def test_names_and_shapes(shapes: Layout) -> None:
    assert shapes.shapes["embedding.kernel"] == (4, 5)
    assert shapes.shapes["layer_1.message.distance.kernel"] == (36, 5)
    assert shapes.shapes["layer_0.coordinate_output"] == (5, 1)
    assert shapes.shapes["output.bias"] == (3,)
    assert shapes.size == sum(int(np.prod(shape)) for shape in shapes.shapes.values())
    assert all(name.startswith(("embedding.", "layer_0.", "layer_1.", "output.")) for name in shapes.shapes)


def test_vector_tree_and_arrays_hold_the_same(shapes: Layout) -> None:
    vector = jnp.arange(shapes.size, dtype=jnp.float32)
    arrays = shapes.to_arrays(vector)
    assert list(arrays) == list(shapes.shapes)
    assert (np.concatenate([array.reshape(-1) for array in arrays.values()]) == vector).all()
    tree = shapes.unravel(vector)["params"]
    assert (tree["layer_0"]["message"]["sender"]["kernel"] == arrays["layer_0.message.sender.kernel"]).all()
    # Whatever the order of a file is.
    shuffled = dict(sorted(arrays.items(), reverse=True))
    assert (shapes.from_arrays(shuffled) == vector).all()


def test_the_gradient_of_a_vector_is_that_of_its_parts(shapes: Layout) -> None:
    def total(vector: jax.Array) -> jax.Array:
        return jnp.sum(3.0 * shapes.unravel(vector)["params"]["output"]["bias"])

    gradient = shapes.to_arrays(jax.grad(total)(jnp.zeros(shapes.size)))
    assert (gradient.pop("output.bias") == 3.0).all()
    assert all((array == 0).all() for array in gradient.values())


def test_weights_of_another_network_are_refused(shapes: Layout) -> None:
    arrays = shapes.to_arrays(jnp.zeros(shapes.size))
    with pytest.raises(
        InputError, match=r"weights: output.bias should have shape \(3,\) for this network and has \(4,\)"
    ):
        shapes.from_arrays(arrays | {"output.bias": np.zeros(4, np.float32)})
    with pytest.raises(InputError, match=r"layer_2.x should have shape None for this network and has \(1,\)"):
        shapes.from_arrays(arrays | {"layer_2.x": np.zeros(1, np.float32)})
    del arrays["embedding.bias"]
    with pytest.raises(InputError, match=r"embedding.bias should have shape \(5,\) for this network and has None"):
        shapes.from_arrays(arrays)
