"""One problem for both backends: the same weights, molecules, levels and noise, in either precision."""

import contextlib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
import torch

import pipeline.jax_backend.build
import pipeline.jax_backend.objective
import pipeline.jax_backend.weights
import pipeline.torch_backend.build
import pipeline.torch_backend.objective
import pipeline.torch_backend.weights
from pipeline.chemistry.elements import SYMBOLS
from pipeline.data.statistics import Statistics
from pipeline.diffusion.clouds import Cloud, one_hot
from pipeline.diffusion.feature_scales import given_scales
from pipeline.diffusion.objectives import OBJECTIVES
from pipeline.diffusion.training_levels import Levels
from pipeline.study.config import RunConfig, run_config
from pipeline.training.noisy_batches import NoisyBatch

Doubles = npt.NDArray[np.float64]
Arrays = dict[str, Doubles]

# Relative to the largest element of what is compared.
TOLERANCE = {"float32": 1e-4, "float64": 1e-8}

SIZES = np.array([9, 5, 3, 7, 2], np.int32)
WIDTH = 9
STATISTICS = Statistics(
    dataset=None,
    num_molecules={"train": 100},
    size_histogram={"train": {5: 60, 9: 40}},
    atom_counts=dict.fromkeys(SYMBOLS, 40),
    coordinate_scale=1.4,
    type_scale=0.1,
    buckets={9: 100},
)


def assert_close(ours: Any, theirs: Any, tolerance: float) -> None:
    """Compare arrays, relative to the largest element."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    assert np.isfinite(ours).all()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max(initial=1e-30))


def run_of(*, model: Mapping[str, Any] | None = None, **run: Any) -> RunConfig:
    """Return the configuration of a run with a network that compiles in a moment."""
    settings = {"training": {"steps": 40, "optimizer": {"warmup_steps": 4}}} | run
    noise = {"steps": 50} | run.get("noise", {})
    model = {"hidden": 12, "layers": 2} | dict(model or {})
    return run_config({"name": "parity", "data": "qm9", **settings, "noise": noise, "model": model})


@dataclass(frozen=True)
class Problem:
    """Networks and a batch, as NumPy arrays in double precision.

    Attributes:
      config: of the run.
      weights: of the network by name; so large that every part of it matters.
      teacher: the same of the teacher.
      batch: in double precision; the lowest levels that there may be are among its.
    """

    config: RunConfig
    weights: Arrays = field(init=False)
    teacher: Arrays = field(init=False)
    batch: NoisyBatch[npt.NDArray[Any]] = field(init=False)

    def __post_init__(self) -> None:
        """Draw everything."""
        generator = np.random.default_rng(1)
        mask = (np.arange(WIDTH) < SIZES[:, None]).astype(np.float64)
        noise = self.draw(generator, mask)
        values: dict[str, Any] = {
            "weights": self.some_weights(generator),
            "teacher": self.some_weights(generator),
        }
        positions = self.centred(1.4 * generator.normal(size=(len(SIZES), WIDTH, 3)), mask)
        atomic_numbers = generator.choice(STATISTICS.elements, mask.shape).astype(np.uint8) * mask.astype(np.uint8)
        features = self.features(atomic_numbers)
        batch = NoisyBatch(Cloud(positions, features), noise, mask, *self.some_levels(generator))
        if names := self.config.condition:
            batch = batch._replace(condition=generator.normal(size=(len(SIZES), 2 * len(names) + 1)))
        values["batch"] = batch
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def some_weights(self, generator: np.random.Generator) -> Arrays:
        """Return weights of the network."""
        # Squared distances grow quickly from layer to layer, and where tanh is saturated its gradient is mere rounding.
        gain = 0.25 if self.config.model.radial_features == "squared" else 1.0
        model = pipeline.torch_backend.build.build_objective(self.config, STATISTICS).model
        return {
            name: gain * generator.normal(size=parameter.shape) / parameter.shape[0] ** 0.5
            for name, parameter in model.named_parameters()
        }

    def some_levels(self, generator: np.random.Generator) -> Levels:
        """Return levels of the objective."""
        if self.config.objective == "edm":
            return Levels(np.array([0, 3, 17, 41, 50], np.int32))
        sigma_data = given_scales(self.config.levels.sigma_data, STATISTICS)
        draw = OBJECTIVES[self.config.objective].draw_levels
        t, r, weight = draw(generator, len(SIZES), self.config, sigma_data, 0.5)
        if r is not None and self.config.consistency.kind == "tuning":
            # At r = 0 the target is the data.
            r[0] = 0.0
        r, weight = (None if one is None else one.astype(np.float64) for one in (r, weight))
        return Levels(t.astype(np.float64), r, weight)

    def features(self, atomic_numbers: npt.NDArray[np.uint8]) -> Doubles:
        """Return the features of atoms, [B, N, K]."""
        types = one_hot(atomic_numbers, STATISTICS.elements) / 4
        return np.concatenate([types, atomic_numbers[..., None] / 10], axis=-1)[..., : self.count].astype(np.float64)

    @property
    def count(self) -> int:
        """K, the number of an atom's features."""
        return OBJECTIVES[self.config.objective].features(STATISTICS.elements)

    @staticmethod
    def centred(x: Doubles, mask: Doubles) -> Doubles:
        """Return coordinates [B, N, 3] without their centre of mass, 0 in the padding."""
        x = x * mask[..., None]
        mean: Doubles = x.sum(axis=1, keepdims=True) / mask.sum(axis=1)[:, None, None]
        return (x - mean) * mask[..., None]

    def draw(self, generator: np.random.Generator, mask: Doubles) -> Cloud[Doubles]:
        """Return noise."""
        noise = generator.normal(size=(*mask.shape, 3 + self.count)) * mask[..., None]
        return Cloud(self.centred(noise[..., :3], mask), noise[..., 3:])


@dataclass(frozen=True)
class InJax:
    """A problem in JAX; use within ``precision``."""

    problem: Problem
    dtype: Any

    @cached_property
    def objective(self) -> Any:
        """The objective."""
        return pipeline.jax_backend.build.build_objective(self.problem.config, STATISTICS)

    @cached_property
    def layout(self) -> pipeline.jax_backend.weights.Layout:
        """The layout of the parameters."""
        return pipeline.jax_backend.build.build_layout(self.objective)

    @cached_property
    def vector(self) -> jax.Array:
        """The parameters, [P]."""
        return self.flat(self.problem.weights)

    def flat(self, weights: Arrays) -> jax.Array:
        """Return weights as a vector [P]."""
        arrays: Any = {name: array.astype(self.dtype) for name, array in weights.items()}
        return self.layout.from_arrays(arrays)

    @cached_property
    def teacher(self) -> Any:
        """The teacher's parameters."""
        return self.layout.unravel(self.flat(self.problem.teacher))

    def array(self, value: npt.NDArray[Any]) -> jax.Array:
        """Return an array, in the precision if it has floating-point numbers."""
        return jnp.asarray(value, self.dtype if value.dtype.kind == "f" else value.dtype)

    def cloud(self, cloud: Cloud[Doubles]) -> Cloud[jax.Array]:
        """Return a cloud in the precision."""
        return Cloud(self.array(cloud.x), self.array(cloud.h))

    @cached_property
    def batch(self) -> NoisyBatch[jax.Array]:
        """The molecules with noise and levels."""
        return self.problem.batch.map(self.array)


@dataclass(frozen=True)
class InTorch:
    """A problem in PyTorch."""

    problem: Problem
    dtype: torch.dtype
    objective: Any
    teacher: pipeline.torch_backend.egnn.EGNN

    @classmethod
    def of(cls, problem: Problem, precision: str) -> "InTorch":
        """Return it in a precision."""
        dtype: torch.dtype = getattr(torch, precision)
        objective = pipeline.torch_backend.build.build_objective(problem.config, STATISTICS).to(dtype)
        teacher = deepcopy(objective.model)
        weights: Any = (problem.weights, problem.teacher)
        for network, arrays in zip((objective.model, teacher), weights, strict=True):
            pipeline.torch_backend.weights.from_arrays(network, arrays)
        return cls(problem, dtype, objective, teacher)

    def array(self, value: npt.NDArray[Any]) -> torch.Tensor:
        """Return an array, in the precision if it has floating-point numbers."""
        tensor = torch.tensor(value)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def cloud(self, cloud: Cloud[Doubles]) -> Cloud[torch.Tensor]:
        """Return a cloud in the precision."""
        return Cloud(self.array(cloud.x), self.array(cloud.h))

    @property
    def batch(self) -> NoisyBatch[torch.Tensor]:
        """The molecules with noise and levels."""
        return self.problem.batch.map(self.array)


@contextlib.contextmanager
def in_precision(precision: str) -> Iterator[None]:
    """Let JAX compute in double precision where a test requests it."""
    with jax.enable_x64(precision == "float64"):
        yield


@pytest.fixture(params=["float32", "float64"])
def precision(request: pytest.FixtureRequest) -> Iterator[str]:
    """Either precision; JAX is set to it."""
    with in_precision(request.param):
        yield request.param
