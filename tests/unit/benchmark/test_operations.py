"""The counted operations against the matrix products of the traced program."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pipeline.benchmark.contestants import reference_settings
from pipeline.benchmark.jax_ladder import EDGE_NETWORKS
from pipeline.jax_backend.egnn import EGNN
from pipeline.study.config import run_config
from pipeline.study.operations import FEATURES, forward_operations, training_operations

ATOMS = 16


def traced_operations(function: Callable[..., Any], *arguments: Any) -> int:
    """Return 2 M K F, summed over the matrix products of a function."""

    def count(jaxpr: Any) -> int:
        total = 0
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                (summed, _), _ = equation.params["dimension_numbers"]
                left = equation.invars[0].aval.shape
                total += 2 * int(np.prod([left[axis] for axis in summed]) * np.prod(equation.outvars[0].aval.shape))
            inner = (getattr(value, "jaxpr", value) for value in equation.params.values())
            total += sum(count(each) for each in inner if hasattr(each, "eqns"))
        return total

    return count(jax.make_jaxpr(function)(*arguments).jaxpr)


def network_of(model: dict[str, Any], *, factored: bool = True) -> tuple[EGNN, Callable[[Any], Any], Any]:
    """Return a network, a function of its parameters that calls it on one molecule, and the parameters."""
    reference = reference_settings(hidden=64, layers=2, batch_size=2)
    config = run_config(reference | {"model": reference["model"] | model}).model
    network = EGNN(
        config, output_features=FEATURES, edge_mlp=EDGE_NETWORKS["jax-factored" if factored else "jax-naive"]
    )
    x, h, mask = jnp.ones((1, ATOMS, 3)), jnp.ones((1, ATOMS, FEATURES + 1)), jnp.ones((1, ATOMS))
    return network, lambda params: network.apply(params, x, h, mask), network.init(jax.random.key(0), x, h, mask)


@pytest.mark.parametrize("factored", [True, False])
@pytest.mark.parametrize("radial", ["squared", "gaussian"])
@pytest.mark.parametrize("shared_edges", [False, True])
def test_every_matrix_product_is_counted(shared_edges: bool, radial: str, factored: bool) -> None:
    model = {"edge_hidden": 32, "shared_edges": shared_edges, "radial_features": radial}
    network, call, params = network_of(model, factored=factored)
    assert traced_operations(call, params) == forward_operations(network.config, ATOMS, factored=factored)


@pytest.mark.parametrize("shared_edges", [False, True])
def test_a_gradient_takes_twice_the_products_of_its_function(shared_edges: bool) -> None:
    network, call, params = network_of({"shared_edges": shared_edges})

    def loss(params: Any) -> Any:
        x, h = call(params)
        return jnp.sum(x**2) + jnp.sum(h**2)

    traced = traced_operations(jax.value_and_grad(loss), params)
    assert traced == pytest.approx(training_operations(network.config, ATOMS), rel=0.02)


def test_the_factoring_saves_two_thirds_of_wide_networks() -> None:
    model = run_config(reference_settings(hidden=256, layers=9, batch_size=1)).model
    ratio = forward_operations(model, 29, factored=False) / forward_operations(model, 29)
    assert 2.5 < ratio < 3.0


def test_operations_grow_with_the_pairs_of_atoms() -> None:
    model = run_config(reference_settings(hidden=64, layers=5, batch_size=1)).model
    assert forward_operations(model, 200) / forward_operations(model, 100) == pytest.approx(4, rel=0.02)
