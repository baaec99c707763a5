"""Network, losses and gradients of both backends agree, with the same weights, molecules, levels and noise."""

from typing import Any

import jax
import numpy as np
import pytest
import torch

import pipeline.jax_backend.likelihood
import pipeline.torch_backend.likelihood
from pipeline.study.config import RunConfig

from .conftest import TOLERANCE, InJax, InTorch, Problem, assert_close, in_precision, run_of

REFERENCE = {
    "radial_features": "squared",
    "node_norm": "none",
    "coordinate_range": 15.0,
    "aggregation_divisor": 1.0,
    "preconditioned": False,
    "shared_edges": False,
}
# Enough where the network itself is not what is compared; a loss calls it up to four times.
SMALL = {"layers": 1}
STABILISED = {"radial_features": "gaussian", "node_norm": "rms", "preconditioned": True, "shared_edges": False}


def consistency(kind: str, **settings: Any) -> RunConfig:
    starts = {"tuning": {"init": "denoiser"}, "distillation": {"teacher": "tuned"}}.get(kind, {})
    return run_of(objective="consistency", consistency={"kind": kind} | settings, model=SMALL, **starts)


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
    **{
        f"denoiser, {form}": run_of(objective="denoiser", model={"layers": 2}, levels={"preconditioning": form})
        for form in ("karras", "estimate")
    },
    "consistency, tuning": consistency(kind="tuning"),
    "consistency, tuning, squared distance": consistency(kind="tuning", huber=0.0),
    "consistency, distillation": consistency(kind="distillation"),
    # A teacher is asked under the same condition.
    "consistency, distillation, condition": consistency(kind="distillation").model_copy(
        update={"condition": ("alpha", "gap")}
    ),
    "stabilised, l2, condition": run_of(model=STABILISED | SMALL, condition=["alpha"]),
}


# In double precision both compute the same function; in single precision neither loses more digits than it has to,
# which depends on the networks and on how often a loss asks them.
IN_SINGLE_PRECISION = (
    "reference, l2",
    "stabilised, not preconditioned, vlb",
    "consistency, distillation",
)
CASES = [*((name, "float64") for name in PROBLEMS), *((name, "float32") for name in IN_SINGLE_PRECISION)]


@pytest.mark.parametrize(("name", "precision"), CASES, indirect=["precision"])
def test_outputs_losses_and_gradients(name: str, precision: str) -> None:
    problem = Problem(PROBLEMS[name])
    ours, theirs = InTorch.of(problem, precision), InJax(problem, np.dtype(precision))
    objective, layout, batch = theirs.objective, theirs.layout, theirs.batch
    level = (problem.batch.t / problem.batch.t.max())[:, None, None]

    @jax.jit
    def in_jax(vector: jax.Array, teacher: Any) -> Any:
        model = layout.unravel(vector)
        features = jax.numpy.concatenate([batch.data.h, theirs.array(level) * batch.mask[..., None]], axis=-1)
        x, h = objective.model.apply(model, batch.data.x, features, batch.mask, condition=batch.condition)

        def total(vector: jax.Array) -> tuple[jax.Array, jax.Array]:
            losses = objective.losses(layout.unravel(vector), batch, teacher)
            return losses.sum(), losses

        gradient, losses = jax.grad(total, has_aux=True)(vector)
        return x, h, losses, gradient

    x, h, losses, gradient = in_jax(theirs.vector, theirs.teacher)

    data, mask = ours.batch.data, ours.batch.mask
    features = torch.cat([data.h, ours.array(level) * mask[..., None]], dim=-1)
    out = ours.objective.model(data.x, features, mask, condition=ours.batch.condition)
    found = ours.objective.losses(ours.batch, ours.teacher)
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
        assert np.abs(gradients[parameter]).max() > 0
        assert_close(values.grad, gradients[parameter], tolerance)


def test_predictions_of_properties() -> None:
    with in_precision("float64"):
        compare_predictions("float64")


def compare_predictions(precision: str) -> None:
    problem = Problem(run_of(objective="property", condition=["alpha", "gap"], model={"layers": 2}))
    ours, theirs = InTorch.of(problem, precision), InJax(problem, np.dtype(precision))
    objective, layout, batch = theirs.objective, theirs.layout, theirs.batch

    @jax.jit
    def in_jax(vector: jax.Array) -> Any:
        def total(vector: jax.Array) -> tuple[jax.Array, jax.Array]:
            losses = objective.losses(layout.unravel(vector), batch, theirs.teacher)
            return losses.sum(), losses

        gradient, losses = jax.grad(total, has_aux=True)(vector)
        return objective.predict(layout.unravel(vector), batch.data, batch.mask), losses, gradient

    predicted, losses, gradient = in_jax(theirs.vector)
    found = ours.objective.losses(ours.batch, ours.teacher)
    torch.autograd.backward(found.sum())
    assert predicted.shape == (5, 2)
    assert_close(ours.objective.predict(ours.batch.data, ours.batch.mask).detach(), predicted, TOLERANCE[precision])
    assert_close(found.detach(), losses, TOLERANCE[precision])
    gradients = layout.to_arrays(gradient)
    for parameter, values in ours.objective.model.named_parameters():
        # Where the last layer would have moved the atoms is of no use to it.
        last = np.zeros(values.shape) if values.grad is None else values.grad
        assert_close(last, gradients[parameter], TOLERANCE[precision])


def test_terms_of_the_bound() -> None:
    with in_precision("float64"):
        compare_terms("float64")


def compare_terms(precision: str) -> None:
    problem = Problem(PROBLEMS["stabilised, l2"])
    ours, theirs = InTorch.of(problem, precision), InJax(problem, np.dtype(precision))
    noise_0 = problem.draw(np.random.default_rng(2), problem.batch.mask)
    objective, layout, batch = theirs.objective, theirs.layout, theirs.batch

    @jax.jit
    def in_jax(vector: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        params = layout.unravel(vector)
        at_0 = batch._replace(noise=theirs.cloud(noise_0), t=jax.numpy.zeros_like(batch.t))
        return (
            pipeline.jax_backend.likelihood.prior_divergence(objective, batch.data, batch.mask),
            objective.schedule.steps * objective.bound_losses(params, batch),
            objective.bound_losses(params, at_0),
        )

    with torch.no_grad():
        found = pipeline.torch_backend.likelihood.bound_terms(ours.objective, ours.batch, ours.cloud(noise_0))
    for ours_term, their_term in zip(found.T, in_jax(theirs.vector), strict=True):
        assert_close(ours_term, their_term, TOLERANCE[precision])


# Relative to the largest element. PyTorch rounds a product's sums too.
LOSS_IN_BFLOAT16, GRADIENT_IN_BFLOAT16 = 5e-3, 5e-2


def test_products_in_bfloat16() -> None:
    problem = Problem(run_of(objective="denoiser", model=SMALL, precision="bfloat16"))
    ours, theirs = InTorch.of(problem, "float32"), InJax(problem, np.dtype("float32"))
    exact = InTorch.of(Problem(run_of(objective="denoiser", model=SMALL)), "float32")

    @jax.jit
    def in_jax(vector: jax.Array) -> Any:
        def total(vector: jax.Array) -> tuple[jax.Array, jax.Array]:
            losses = theirs.objective.losses(theirs.layout.unravel(vector), theirs.batch, theirs.teacher)
            return losses.sum(), losses

        return jax.grad(total, has_aux=True)(vector)

    gradient, losses = in_jax(theirs.vector)
    in_torch = [problem.objective.losses(problem.batch, problem.teacher) for problem in (ours, exact)]
    torch.autograd.backward(torch.cat(in_torch).sum())
    found, float32 = (one.detach().numpy() for one in in_torch)
    assert_close(found, losses, LOSS_IN_BFLOAT16)
    assert_close(found, float32, LOSS_IN_BFLOAT16)
    assert np.abs(found - float32).max() > 1e-4 * float32.max()
    gradients = theirs.layout.to_arrays(gradient)
    parameters = zip(ours.objective.model.named_parameters(), exact.objective.model.parameters(), strict=True)
    for (name, parameter), plain in parameters:
        assert_close(parameter.grad, gradients[name], GRADIENT_IN_BFLOAT16)
        assert_close(parameter.grad, plain.grad, GRADIENT_IN_BFLOAT16)
