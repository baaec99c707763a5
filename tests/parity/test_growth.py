"""A network made deeper computes what it did, in both backends, and can still learn with all of its layers."""

from typing import Any

import jax
import numpy as np
import pytest
import torch

from pipeline.jax_backend.features import Cloud
from pipeline.training.growth import grow_layers

from .conftest import InJax, InTorch, Problem, assert_close, run_of

LAYERS = 4


def problems(form: str) -> tuple[Problem, Problem]:
    """Return a problem with a network of two layers, and the same with one made deeper from it."""
    shallow, deep = (
        Problem(run_of(objective="denoiser", model={"layers": layers}, levels={"preconditioning": form}))
        for layers in (2, LAYERS)
    )
    single: Any = {name: array.astype(np.float32) for name, array in shallow.weights.items()}
    grown = grow_layers(single, shallow.config.model, deep.config.model)
    object.__setattr__(deep, "weights", dict(grown))
    object.__setattr__(deep, "batch", shallow.batch)
    return shallow, deep


@pytest.mark.parametrize("form", ["karras", "estimate"])
def test_a_deeper_network_computes_the_same_in_jax(form: str) -> None:
    estimates = []
    for problem in problems(form):
        here = InJax(problem, np.dtype("float32"))
        data, noise, mask, *_ = here.batch
        noisy = Cloud(data.x + noise.x, data.h + noise.h)
        denoise = jax.jit(here.objective.denoise)
        estimates.append(denoise(here.layout.unravel(here.vector), mask, noisy, 1.0))
    shallow, deep = estimates
    assert_close(deep.x, shallow.x, 1e-6)
    assert_close(deep.h, shallow.h, 1e-6)


def test_a_deeper_network_computes_the_same_in_pytorch() -> None:
    losses = []
    for problem in problems("estimate"):
        here = InTorch.of(problem, "float32")
        with torch.no_grad():
            losses.append(here.objective.losses(here.batch, here.teacher))
    assert_close(losses[1], losses[0], 1e-6)


def test_every_new_layer_has_a_gradient() -> None:
    here = InJax(problems("estimate")[1], np.dtype("float32"))

    def loss(vector: jax.Array) -> jax.Array:
        found = here.objective.losses(here.layout.unravel(vector), here.batch, here.teacher)
        return jax.numpy.sum(found)

    gradients = here.layout.to_arrays(jax.jit(jax.grad(loss))(here.vector))
    for index in range(2, LAYERS):
        for part in ("node_output.kernel", "coordinate_output"):
            assert np.abs(gradients[f"layer_{index}.{part}"]).max() > 0.0


def test_the_same_depth_changes_nothing() -> None:
    problem = problems("estimate")[0]
    arrays: Any = problem.weights
    model = problem.config.model
    found = grow_layers(arrays, model, model.model_copy(update={"layers": 2}))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name] is array
