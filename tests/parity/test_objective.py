"""Network, losses and gradients of both backends agree, with the same weights, molecules, steps and noise."""

from typing import Any

import jax
import numpy as np
import pytest
import torch

import pipeline.jax_backend.likelihood
import pipeline.torch_backend.likelihood

from .conftest import TOLERANCE, InJax, InTorch, Problem, assert_close, in_precision, run_of

REFERENCE = {
    "radial_features": "squared",
    "node_norm": "none",
    "coordinate_range": 15.0,
    "aggregation_divisor": 1.0,
    "preconditioned": False,
    "shared_edges": False,
}
STABILISED = {"radial_features": "gaussian", "node_norm": "rms", "preconditioned": True, "shared_edges": False}
PROBLEMS = {
    "reference, l2": run_of(model=REFERENCE, noise={"loss": "l2"}),
    "reference, preconditioned, vlb": run_of(
        model=REFERENCE | {"preconditioned": True, "layers": 1}, noise={"loss": "vlb"}
    ),
    "stabilised, l2": run_of(model=STABILISED, noise={"loss": "l2"}),
    "stabilised, not preconditioned, vlb": run_of(
        model=STABILISED | {"preconditioned": False, "layers": 1}, noise={"loss": "vlb"}
    ),
    "shared edges, no attention, l2": run_of(
        model=STABILISED | {"shared_edges": True, "edge_hidden": 8, "attention": False}, noise={"loss": "l2"}
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_outputs_losses_and_gradients(name: str, precision: str) -> None:
    problem = Problem(PROBLEMS[name])
    ours, theirs = InTorch.of(problem, precision), InJax(problem, np.dtype(precision))
    objective, layout, mask, data, draws = theirs.objective, theirs.layout, theirs.mask, theirs.data, theirs.draws

    @jax.jit
    def in_jax(vector: jax.Array) -> Any:
        time = theirs.array(problem.t)[:, None, None] / 50.0 * mask[..., None]
        x, h = objective.model.apply(
            layout.unravel(vector), data.x, jax.numpy.concatenate([data.h, time], axis=-1), mask
        )

        def total(vector: jax.Array) -> tuple[jax.Array, jax.Array]:
            losses = objective.losses(layout.unravel(vector), data, mask, draws)
            return losses.sum(), losses

        gradient, losses = jax.grad(total, has_aux=True)(vector)
        return x, h, losses, gradient

    x, h, losses, gradient = in_jax(theirs.vector)

    time = ours.array(problem.t)[:, None, None] / 50.0 * ours.mask[..., None]
    out = ours.objective.model(ours.data.x, torch.cat([ours.data.h, time], dim=-1), ours.mask)
    found = ours.objective.losses(ours.data, ours.mask, ours.draws)
    torch.autograd.backward(found.sum())

    tolerance = TOLERANCE[precision]
    assert_close(out[0].detach(), x, tolerance)
    assert_close(out[1].detach(), h, tolerance)
    # One by one: some losses of vlb are thousands of times larger than others.
    for one, other in zip(found.detach(), losses, strict=True):
        assert_close(one, other, tolerance)
    gradients = layout.to_arrays(gradient)
    assert gradients.keys() == dict(ours.objective.model.named_parameters()).keys()
    for parameter, values in ours.objective.model.named_parameters():
        assert values.grad is not None
        assert_close(values.grad, gradients[parameter], tolerance)


def test_terms_of_the_bound() -> None:
    with in_precision("float64"):
        compare_terms("float64")


def compare_terms(precision: str) -> None:
    problem = Problem(PROBLEMS["stabilised, l2"])
    ours, theirs = InTorch.of(problem, precision), InJax(problem, np.dtype(precision))
    noise_0 = problem.draw(np.random.default_rng(2), problem.mask)
    objective, layout, mask, data, draws = theirs.objective, theirs.layout, theirs.mask, theirs.data, theirs.draws

    @jax.jit
    def in_jax(vector: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        params = layout.unravel(vector)
        at_0 = draws._replace(t=jax.numpy.zeros_like(draws.t), noise=theirs.cloud(noise_0))
        return (
            pipeline.jax_backend.likelihood.prior_divergence(objective, data, mask),
            objective.schedule.steps * objective.bound_losses(params, data, mask, draws),
            objective.bound_losses(params, data, mask, at_0),
        )

    with torch.no_grad():
        found = pipeline.torch_backend.likelihood.bound_terms(
            ours.objective, ours.data, ours.mask, ours.draws, ours.cloud(noise_0)
        )
    for ours_term, their_term in zip(found.T, in_jax(theirs.vector), strict=True):
        assert_close(ours_term, their_term, TOLERANCE[precision])
