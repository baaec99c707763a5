"""One problem for both backends: the same weights, molecules, steps and noise, in either precision."""

import contextlib
from collections.abc import Iterator, Mapping
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
import pipeline.jax_backend.edm
import pipeline.jax_backend.features
import pipeline.jax_backend.weights
import pipeline.torch_backend.build
import pipeline.torch_backend.edm
import pipeline.torch_backend.features
import pipeline.torch_backend.weights
from pipeline.config import RunConfig, run_config
from pipeline.data.statistics import Statistics
from pipeline.scales import FEATURES

Doubles = npt.NDArray[np.float64]

# Relative to the largest element of what is compared.
TOLERANCE = {"float32": 1e-4, "float64": 1e-8}

SIZES = np.array([9, 5, 3, 7, 2], np.int32)
WIDTH = 9
STATISTICS = Statistics(
    dataset=None,
    num_molecules={"train": 100},
    size_histogram={"train": {5: 60, 9: 40}},
    atom_counts={"H": 300, "C": 200, "N": 50, "O": 60, "F": 2},
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
    """A network and a batch, as NumPy arrays in double precision.

    Attributes:
      config: of the run.
      arrays: the weights by name; so large that every part of the network matters.
      positions: [B, N, 3], centred.
      atomic_numbers: [B, N].
      mask: [B, N].
      t: steps, [B]; 0 among them.
      noise: [B, N, 3 + FEATURES]; the coordinates are free of a centre of mass.
    """

    config: RunConfig
    arrays: dict[str, Doubles] = field(init=False)
    positions: Doubles = field(init=False)
    atomic_numbers: npt.NDArray[np.uint8] = field(init=False)
    mask: Doubles = field(init=False)
    t: npt.NDArray[np.int32] = field(init=False)
    noise: Doubles = field(init=False)

    def __post_init__(self) -> None:
        """Draw everything."""
        generator = np.random.default_rng(1)
        model = pipeline.torch_backend.build.build_objective(self.config, STATISTICS).model
        # Squared distances grow quickly from layer to layer, and where tanh is saturated its gradient is mere rounding.
        gain = 0.25 if self.config.model.radial_features == "squared" else 1.0
        mask = (np.arange(WIDTH) < SIZES[:, None]).astype(np.float64)
        values = {
            "arrays": {
                name: gain * generator.normal(size=parameter.shape) / parameter.shape[0] ** 0.5
                for name, parameter in model.named_parameters()
            },
            "mask": mask,
            "positions": self.centred(1.4 * generator.normal(size=(len(SIZES), WIDTH, 3)), mask),
            "atomic_numbers": generator.choice([1, 6, 7, 8, 9], mask.shape).astype(np.uint8) * mask.astype(np.uint8),
            "t": np.array([0, 3, 17, 41, 50], np.int32),
            "noise": self.draw(generator, mask),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @staticmethod
    def centred(x: Doubles, mask: Doubles) -> Doubles:
        """Return coordinates [B, N, 3] without their centre of mass, 0 in the padding."""
        x = x * mask[..., None]
        mean: Doubles = x.sum(axis=1, keepdims=True) / mask.sum(axis=1)[:, None, None]
        return (x - mean) * mask[..., None]

    @classmethod
    def draw(cls, generator: np.random.Generator, mask: Doubles) -> Doubles:
        """Return noise [B, N, 3 + FEATURES]."""
        noise = generator.normal(size=(*mask.shape, 3 + FEATURES)) * mask[..., None]
        return np.concatenate([cls.centred(noise[..., :3], mask), noise[..., 3:]], axis=-1)


@dataclass(frozen=True)
class InJax:
    """A problem in JAX; use within ``precision``."""

    problem: Problem
    dtype: Any

    @cached_property
    def objective(self) -> pipeline.jax_backend.edm.EDM:
        """The objective."""
        return pipeline.jax_backend.build.build_objective(self.problem.config, STATISTICS)

    @cached_property
    def layout(self) -> pipeline.jax_backend.weights.Layout:
        """The layout of the parameters."""
        return pipeline.jax_backend.build.build_layout(self.objective)

    @cached_property
    def vector(self) -> jax.Array:
        """The parameters, [P]."""
        arrays: Any = {name: array.astype(self.dtype) for name, array in self.problem.arrays.items()}
        return self.layout.from_arrays(arrays)

    def array(self, value: npt.NDArray[Any]) -> jax.Array:
        """Return an array in the precision."""
        return jnp.asarray(value, self.dtype)

    def cloud(self, value: Doubles) -> pipeline.jax_backend.features.Cloud:
        """Return [..., 3 + K] as a cloud."""
        return pipeline.jax_backend.features.Cloud(self.array(value[..., :3]), self.array(value[..., 3:]))

    @cached_property
    def mask(self) -> jax.Array:
        """The mask."""
        return self.array(self.problem.mask)

    @cached_property
    def data(self) -> pipeline.jax_backend.features.Cloud:
        """The molecules."""
        return self.objective.clean(self.array(self.problem.positions), jnp.asarray(self.problem.atomic_numbers))

    @cached_property
    def draws(self) -> pipeline.jax_backend.edm.Draws:
        """Steps and noise."""
        return pipeline.jax_backend.edm.Draws(jnp.asarray(self.problem.t), self.cloud(self.problem.noise))


@dataclass(frozen=True)
class InTorch:
    """A problem in PyTorch."""

    problem: Problem
    dtype: torch.dtype
    objective: pipeline.torch_backend.edm.EDM

    @classmethod
    def of(cls, problem: Problem, precision: str) -> "InTorch":
        """Return it in a precision."""
        dtype: torch.dtype = getattr(torch, precision)
        objective = pipeline.torch_backend.build.build_objective(problem.config, STATISTICS).to(dtype)
        arrays: Any = problem.arrays
        pipeline.torch_backend.weights.from_arrays(objective.model, arrays)
        return cls(problem, dtype, objective)

    def array(self, value: npt.NDArray[Any]) -> torch.Tensor:
        """Return an array in the precision."""
        return torch.tensor(value, dtype=self.dtype)

    def cloud(self, value: Doubles) -> pipeline.torch_backend.features.Cloud:
        """Return [..., 3 + K] as a cloud."""
        return pipeline.torch_backend.features.Cloud(self.array(value[..., :3]), self.array(value[..., 3:]))

    @property
    def mask(self) -> torch.Tensor:
        """The mask."""
        return self.array(self.problem.mask)

    @property
    def data(self) -> pipeline.torch_backend.features.Cloud:
        """The molecules."""
        return self.objective.clean(self.array(self.problem.positions), torch.tensor(self.problem.atomic_numbers))

    @property
    def draws(self) -> pipeline.torch_backend.edm.Draws:
        """Steps and noise."""
        return pipeline.torch_backend.edm.Draws(torch.tensor(self.problem.t).long(), self.cloud(self.problem.noise))


@contextlib.contextmanager
def in_precision(precision: str) -> Iterator[None]:
    """Let JAX compute in double precision where that is asked for."""
    with jax.enable_x64(precision == "float64"):
        yield


@pytest.fixture(params=["float32", "float64"])
def precision(request: pytest.FixtureRequest) -> Iterator[str]:
    """Either precision; JAX is set to it."""
    with in_precision(request.param):
        yield request.param
