"""What is measured: the ``benchmark`` section of a study as frozen dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from pipeline.benchmark.contestants import CONTESTANTS
from pipeline.core.errors import InputError
from pipeline.study.schema import resolve, study_schema


@dataclass(frozen=True)
class Contest:
    """The contestants on one network; the keys of ``benchmark.training.<name>``."""

    hidden: int
    layers: int
    contestants: tuple[str, ...]
    repetitions: int


@dataclass(frozen=True)
class Sampling:
    """The keys of ``benchmark.sampling``; trained weights are files that the stage is given."""

    hidden: int
    layers: int
    contestants: tuple[str, ...]
    repetitions: int
    calls: int
    molecules: int


@dataclass(frozen=True)
class Scaling:
    """The keys of ``benchmark.scaling``."""

    hidden: int
    layers: int
    contestants: tuple[str, ...]
    repetitions: int
    atoms: tuple[int, ...]
    atoms_batch: int
    batch_sizes: tuple[int, ...]
    batch_atoms: int
    cores: tuple[int, ...]


@dataclass(frozen=True)
class Settings:
    """The keys of ``benchmark``."""

    batch_size: int
    seconds: float
    seed: int
    training: Mapping[str, Contest]
    sampling: Sampling
    scaling: Scaling
    startup: tuple[str, ...]

    def frameworks(self) -> dict[str, str]:
        """Return the frameworks that are needed, each with the first contestant that needs it."""
        asked = [
            *(name for contest in self.training.values() for name in contest.contestants),
            *self.sampling.contestants,
            *self.scaling.contestants,
            *self.startup,
        ]
        return {CONTESTANTS[name].framework: name for name in reversed(asked)}


def benchmark_settings(raw: Mapping[str, Any]) -> Settings:
    """Return the settings that a study's ``benchmark`` section, or a part of it, stands for.

    Raises:
      InputError: a key is unknown, of the wrong type or out of range.
    """
    value = resolve(raw, study_schema()["properties"]["benchmark"])
    sampling = {key: entry for key, entry in value["sampling"].items() if key != "trained"}
    return Settings(
        batch_size=value["batch_size"],
        seconds=value["seconds"],
        seed=value["seed"],
        training={name: Contest(**_frozen(contest)) for name, contest in value["training"].items()},
        sampling=Sampling(**_frozen(sampling)),
        scaling=Scaling(**_frozen(value["scaling"])),
        startup=tuple(value["startup"]),
    )


def check_installed(settings: Settings) -> None:
    """Check that the frameworks of the contestants are there.

    Raises:
      InputError: one is not.
    """
    for framework, contestant in settings.frameworks().items():
        if not find_spec(framework):
            raise InputError(
                f"benchmark: the contestant {contestant} needs {_PACKAGES[framework]}, which is not installed: "
                f"{_ADVICE[framework]}, or leave it out"
            )


_PACKAGES: Final = {"jax": "JAX", "torch": "PyTorch"}
_ADVICE: Final = {
    "jax": "pip install -r requirements/runtime.txt",
    "torch": "make torch, or pip install -r requirements/torch.txt",
}


def _frozen(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
