"""Samplers of both backends go the same way from the same noise."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import pipeline.jax_backend.samplers
import pipeline.torch_backend.samplers
from pipeline.config import sampler_config
from pipeline.sampling import noise_levels

from .conftest import InJax, InTorch, Problem, assert_close, in_precision, run_of

# Of coordinates and features, relative to the largest. Rounding grows along a trajectory: the levels fall from 20 to
# 0.05, and every step asks the network at the point that the one before has reached.
TOLERANCE = {"float32": 1e-3, "float64": 1e-8}


@pytest.mark.parametrize(
    ("kind", "preconditioned", "precision"),
    [
        ("heun", True, "float32"),
        ("heun", True, "float64"),
        ("ddim", False, "float64"),
        ("ancestral", True, "float32"),
        ("ancestral", False, "float64"),
    ],
)
def test_states_and_sample(kind: str, preconditioned: bool, precision: str) -> None:
    with in_precision(precision):
        compare_states(kind, preconditioned, precision)


def compare_states(kind: str, preconditioned: bool, precision: str) -> None:
    problem = Problem(run_of(model={"preconditioned": preconditioned, "layers": 1}))
    ours, theirs = InTorch.of(problem, precision), InJax(problem, np.dtype(precision))
    settings = {"name": "any", "kind": kind, "steps": 8, "sigma_max": 20.0, "sigma_min": 0.05}
    levels = noise_levels(sampler_config(settings), theirs.objective.schedule)
    generator = np.random.default_rng(3)
    start = problem.draw(generator, problem.mask)
    fresh = np.stack([problem.draw(generator, problem.mask) for _ in levels])

    objective, mask = theirs.objective, theirs.mask

    @jax.jit
    def in_jax(vector: jax.Array) -> Any:
        def denoise(noisy: Any, sigma: jax.Array) -> Any:
            return objective.denoise(theirs.layout.unravel(vector), mask, noisy, sigma)

        sampler = getattr(pipeline.jax_backend.samplers, kind)
        noise = theirs.cloud(fresh)
        draws = [lambda step: jax.tree.map(lambda value: value[step], noise)] if kind == "ancestral" else []
        return sampler(denoise, theirs.cloud(start), theirs.array(levels), *draws)

    sample, states = in_jax(theirs.vector)
    expected = [*zip(states.x, states.h, strict=True), sample]

    noises: Iterator[Any] = (ours.cloud(noise) for noise in fresh)
    draws: list[Any] = [lambda: next(noises)] if kind == "ancestral" else []
    with torch.no_grad():
        found = list(
            getattr(pipeline.torch_backend.samplers, kind)(
                lambda noisy, sigma: ours.objective.denoise(ours.mask, noisy, sigma),
                ours.cloud(start),
                levels.tolist(),
                *draws,
            )
        )
    assert len(found) == len(expected)
    for one, (x, h) in zip(found, expected, strict=True):
        assert_close(one.x, jnp.asarray(x), TOLERANCE[precision])
        assert_close(one.h, jnp.asarray(h), TOLERANCE[precision])
