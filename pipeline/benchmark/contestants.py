"""The contestants, and the network that all of them train."""

from dataclasses import dataclass
from typing import Any, Final

from pipeline.core.errors import InputError
from pipeline.study.benchmark import Benchmark
from pipeline.study.config import RunConfig, run_config
from pipeline.study.frameworks import check_framework

REFERENCE: Final = "edm"
"""The contestant that speed-ups are relative to."""


@dataclass(frozen=True)
class Contestant:
    """An implementation of training and sampling of the same network.

    Attributes:
      name: name in studies and results.
      label: label in figures and tables.
      framework: jax or torch.
      factored: whether the first edge layer is split into products of nodes and of edges.
      bucketed: whether each batch is from one size bucket; otherwise of random molecules, padded to the largest.
      is_backend: whether it is a backend as users run it, which can also sample; otherwise an ablation step or the
        reference.
    """

    name: str
    label: str
    framework: str
    factored: bool
    bucketed: bool
    is_backend: bool


_ALL: Final = (
    Contestant("edm", "PyTorch EDM, as published", "torch", factored=False, bucketed=False, is_backend=False),
    Contestant("torch", "PyTorch backend", "torch", factored=True, bucketed=True, is_backend=True),
    Contestant("torch-compiled", "PyTorch backend, compiled", "torch", factored=True, bucketed=True, is_backend=True),
    Contestant("jax-naive", "JAX, plain", "jax", factored=False, bucketed=False, is_backend=False),
    Contestant("jax-factored", "+ factored edge layer", "jax", factored=True, bucketed=False, is_backend=False),
    Contestant("jax-buckets", "+ size buckets", "jax", factored=True, bucketed=True, is_backend=False),
    Contestant("jax-gradient", "+ own gradient", "jax", factored=True, bucketed=True, is_backend=False),
    Contestant("jax", "JAX backend", "jax", factored=True, bucketed=True, is_backend=True),
)
CONTESTANTS: Final = {contestant.name: contestant for contestant in _ALL}
"""Contestants by name, in the order of tables and figures."""

_MODEL: Final = {
    "attention": True,
    "radial_features": "squared",
    "node_norm": "none",
    "shared_edges": False,
    "preconditioned": False,
    "norm_constant": 1.0,
    "coordinate_range": 15.0,
    "aggregation_divisor": 1.0,
}
_OPTIMIZER: Final = {
    "kind": "amsgrad",
    "learning_rate": 1e-4,
    "schedule": "constant",
    "warmup_steps": 0,
    "weight_decay": 1e-12,
    "beta1": 0.9,
    "beta2": 0.999,
    "clip": {"kind": "adaptive"},
}


def reference_settings(*, hidden: int, layers: int, batch_size: int, seed: int = 0) -> dict[str, Any]:
    """Return the settings of a run in EDM's form, with the hyperparameters of its released checkpoint."""
    return {
        "name": "benchmark",
        "data": "benchmark",
        "seed": seed,
        "model": {"hidden": hidden, "layers": layers, **_MODEL},
        "noise": {"steps": 1000, "precision": 1e-5, "loss": "l2"},
        "training": {
            # Never reached: contestants do not check their progress.
            "steps": 10**9,
            "batch_size": batch_size,
            "optimizer": _OPTIMIZER,
            "ema_decay": 0.9999,
            "validation_interval": 10**9,
            "sample_interval": 0,
        },
    }


def is_reference_form(config: RunConfig) -> bool:
    """Return whether the reference can compute the network of a run."""
    model = config.model
    reference = run_config(reference_settings(hidden=model.hidden, layers=model.layers, batch_size=1)).model
    return model == reference


def frameworks(settings: Benchmark) -> dict[str, str]:
    """Return the frameworks that a benchmark needs, each with the first contestant that needs it."""
    contestants = [
        *(name for contest in settings.training.values() for name in contest.contestants),
        *settings.sampling.contestants,
        *settings.scaling.contestants,
        *settings.startup,
    ]
    return {CONTESTANTS[name].framework: name for name in reversed(contestants)}


def check_frameworks(settings: Benchmark) -> None:
    """Check that the frameworks of the contestants are installed.

    Raises:
      InputError: one is not.
    """
    for framework, contestant in frameworks(settings).items():
        try:
            check_framework(framework, f"benchmark: the contestant {contestant}")
        except InputError as error:
            raise InputError(f"{error}, or leave it out") from None
