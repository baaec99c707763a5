"""Samplers of both backends go the same way from the same noise."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import pipeline.jax_backend.sample
import pipeline.jax_backend.samplers
import pipeline.torch_backend.sample
import pipeline.torch_backend.samplers
from pipeline.diffusion.objectives import run_schedule
from pipeline.diffusion.schedules import churned_levels
from pipeline.sampling.molecule_batches import noise_levels
from pipeline.study.config import RunConfig, sampler_config
from pipeline.torch_backend.parallel import Workers
from pipeline.torch_backend.runtime import Machine

from .conftest import STATISTICS, InJax, InTorch, Problem, assert_close, in_precision, run_of

# Of coordinates and features, relative to the largest. Rounding grows along a trajectory: the levels fall from 20 to
# 0.05, and every step asks the network at the point that the one before has reached.
TOLERANCE = {"float32": 1e-3, "float64": 1e-8}

PRECONDITIONED: dict[str, Any] = {"model": {"preconditioned": True, "layers": 1}}
PLAIN: dict[str, Any] = {"model": {"preconditioned": False, "layers": 1}}
DENOISER: dict[str, Any] = {"objective": "denoiser", "model": {"layers": 1}}


@pytest.mark.parametrize(
    ("kind", "run", "precision"),
    [
        ("heun", PRECONDITIONED, "float32"),
        ("heun with churn", DENOISER, "float64"),
        ("ddim", PLAIN, "float64"),
        ("ancestral", PRECONDITIONED, "float32"),
        ("ancestral", PLAIN, "float64"),
        ("heun", DENOISER, "float64"),
        ("ddim", DENOISER, "float64"),
    ],
    ids=str,
)
def test_states_and_sample(kind: str, run: dict[str, Any], precision: str) -> None:
    with in_precision(precision):
        compare_states(kind, run_of(**run), precision)


def compare_states(kind: str, run: RunConfig, precision: str) -> None:
    problem = Problem(run)
    ours, theirs = InTorch.of(problem, precision), InJax(problem, np.dtype(precision))
    kind, _, churn = kind.partition(" with ")
    settings = {"name": "any", "kind": kind, "steps": 8, "sigma_max": 20.0, "sigma_min": 0.05}
    levels = noise_levels(sampler_config(settings), run_schedule(run))
    generator = np.random.default_rng(3)
    mask = problem.batch.mask
    start, *fresh = (problem.draw(generator, mask) for _ in range(1 + len(levels)))
    churned = churned_levels(levels, 3.0)

    objective, mask_there = theirs.objective, theirs.array(mask)

    @jax.jit
    def in_jax(vector: jax.Array) -> Any:
        def denoise(noisy: Any, sigma: jax.Array) -> Any:
            return objective.denoise(theirs.layout.unravel(vector), mask_there, noisy, sigma)

        sampler = getattr(pipeline.jax_backend.samplers, kind)
        noise: Any = jax.tree.map(lambda *values: jnp.stack(values), *map(theirs.cloud, fresh))
        draw = {"draw": lambda step: jax.tree.map(lambda value: value[step], noise)}
        options = draw | {"churned": theirs.array(churned)} if churn else draw if kind == "ancestral" else {}
        return sampler(denoise, theirs.cloud(start), theirs.array(levels), **options)

    sample, states = in_jax(theirs.vector)
    expected = [*zip(states.x, states.h, strict=True), sample]

    noises: Iterator[Any] = (ours.cloud(noise) for noise in fresh)
    draw: dict[str, Any] = {"draw": lambda: next(noises)}
    options = draw | {"churned": churned.tolist()} if churn else draw if kind == "ancestral" else {}
    with torch.no_grad():
        found = list(
            getattr(pipeline.torch_backend.samplers, kind)(
                lambda noisy, sigma: ours.objective.denoise(ours.array(mask), noisy, sigma),
                ours.cloud(start),
                levels.tolist(),
                **options,
            )
        )
    assert len(found) == len(expected)
    for one, (x, h) in zip(found, expected, strict=True):
        assert_close(one.x, jnp.asarray(x), TOLERANCE[precision])
        assert_close(one.h, jnp.asarray(h), TOLERANCE[precision])


@pytest.mark.parametrize("alignment", ["none", "full"])
def test_a_few_steps_give_the_same_molecules(alignment: str) -> None:
    problem = Problem(
        run_of(objective="consistency", init="denoiser", levels={"alignment": alignment}, model={"layers": 1})
    )
    ours, theirs = InTorch.of(problem, "float32"), InJax(problem, np.dtype("float32"))
    config = sampler_config({"name": "any", "kind": "consistency", "levels": [10.0, 1.0, 0.2], "seed": 3})
    sizes = np.array([9, 5, 3, 7, 2, 6], np.int32)
    workers = Workers(Machine(torch.device("cpu"), cores=2, compile=False))
    sampler = pipeline.torch_backend.sample.TorchSampler(
        problem.config, STATISTICS, config, ours.objective, workers, batch=4
    )
    their_sampler = pipeline.jax_backend.sample.JaxSampler(problem.config, STATISTICS, config, theirs.vector, batch=4)
    other = (8.0, 0.5)
    pairs = [
        (sampler(sizes), their_sampler(sizes)),
        (sampler.at(other)(sizes), their_sampler.at(other)(sizes)),
    ]
    for found, expected in pairs:
        assert found.non_finite == expected.non_finite == 0
        np.testing.assert_array_equal(found.molecules.atomic_numbers, expected.molecules.atomic_numbers)
        assert_close(found.molecules.positions, expected.molecules.positions, TOLERANCE["float32"])
    assert np.abs(pairs[0][0].molecules.positions - pairs[1][0].molecules.positions).max() > 0.1
