"""Results of the stage benchmark, read and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import AliasPath, BaseModel, Field

from pipeline.chemistry.intervals import Estimate
from pipeline.core.errors import InputError
from pipeline.core.files import read_json
from pipeline.figures import style
from pipeline.study.benchmark import LADDER

COLOURS: Final[dict[str, str]] = {
    "edm": style.RUN_COLOURS[4],
    "torch": style.RUN_COLOURS[1],
    "torch-compiled": style.RUN_COLOURS[6],
    **dict(zip(LADDER, style.shades(style.RUN_COLOURS[0], 9)[:5], strict=True)),
}
"""Colour of each contestant in every figure; the steps of the ablation are shades up to that of the JAX backend."""


class Contestant(BaseModel, frozen=True):
    """Measurements of one contestant on one task, named as in the file or as the figures call them."""

    name: str
    label: str
    rate: Estimate = Field(validation_alias="molecules_per_second")
    seconds: Estimate = Field(validation_alias="seconds_per_molecule")
    speed_up: Estimate | None = None
    """Over the reference; None for the reference itself, or without one."""
    peak_mb: float = Field(validation_alias=AliasPath("memory_mb", "peak"))
    """Peak memory during the measurements, in MiB."""
    operations: Estimate | None = Field(default=None, validation_alias="operations_per_second")
    """Floating-point, including padding; None if not counted."""
    stable_rate: Estimate | None = Field(default=None, validation_alias="stable_molecules_per_second")
    """None if unknown."""

    @property
    def colour(self) -> str:
        """Colour in every figure."""
        return COLOURS.get(self.name, style.INK)


@dataclass(frozen=True)
class Group:
    """Contestants measured on one task.

    Attributes:
      title: the task.
      contestants: those that completed it.
      failed: labels of those that failed.
      needed_share: share of a contestant's operations that a training step needs, by name; empty for other tasks.
    """

    title: str
    contestants: Sequence[Contestant]
    failed: Sequence[str]
    needed_share: Mapping[str, float]

    def named(self, name: str) -> Contestant | None:
        """Return the contestant of this name, or None."""
        return next((one for one in self.contestants if one.name == name), None)


@dataclass(frozen=True)
class Axis:
    """A training step against one quantity.

    Attributes:
      name: atoms, batch_size or cores.
      fixed: values of the other two.
      points: values in ascending order, with the contestants at each.
    """

    name: str
    fixed: Mapping[str, int]
    points: Sequence[tuple[int, Group]]


@dataclass(frozen=True)
class Benchmarks:
    """All results of the benchmark.

    Attributes:
      machine: description of the machine.
      cores: cores of each contestant.
      load: smallest and largest load average before and after the parts.
      batch_size: molecules per training step.
      training: results of each network.
      sampling: results with random weights, and with trained ones.
      scaling_network: features × layers of the network.
      scaling: results along each axis.
      peak: operations per second of the machine's fastest matrix product; None if not measured.
    """

    machine: str
    cores: int
    load: tuple[float, float]
    batch_size: int
    training: Sequence[Group]
    sampling: Sequence[Group]
    scaling_network: str
    scaling: Sequence[Axis]
    peak: float | None


def read_benchmarks(folder: Path) -> Benchmarks:
    """Read the results of the stage benchmark.

    Raises:
      InputError: a file is missing, damaged, or not what the stage writes.
    """
    about = read_json(folder / "machine.json")
    parts = {name: _read_part(folder, name) for name in ("training", "sampling", "scaling", "peak")}
    try:
        machine = about["machine"]
        peak = parts["peak"].get("operations_per_second", {}).values()
        # What all frameworks ran on; the results of earlier versions do not say.
        gpus = set(parts["peak"].get("gpus", {}).values())
        gpu = gpus.pop() if len(gpus) == 1 else None
        scaling = parts["scaling"]
        return Benchmarks(
            machine=gpu or f"{machine['processor']}, {machine['cores']} cores",
            cores=int(machine["cores"]),
            load=(float(min(about["load_average"])), float(max(about["load_average"]))),
            batch_size=int(parts["training"].get("batch_size", 0)),
            training=[_network(network) for network in parts["training"].get("networks", {}).values()],
            sampling=_sampling(parts["sampling"]),
            scaling_network=_size(scaling) if scaling else "",
            scaling=[_axis(name, axis) for name, axis in scaling.get("axes", {}).items()],
            peak=float(max(peak)) if peak else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{folder}: not what the stage benchmark writes ({reason}); run it again") from None


def _read_part(folder: Path, name: str) -> Mapping[str, Any]:
    """Return a part of the results, empty if it was not measured."""
    path = folder / f"{name}.json"
    part: Mapping[str, Any] = read_json(path) if path.exists() else {}
    return part


def _network(network: Mapping[str, Any]) -> Group:
    needed = float(network["needed_operations"])
    done = {name: one["operations"] for name, one in network["contestants"].items() if "failed" not in one}
    shares = {name: needed / float(operations) for name, operations in done.items()}
    return _group(f"Training, {_size(network)}", network["contestants"], shares)


def _sampling(part: Mapping[str, Any]) -> list[Group]:
    if not part:
        return []
    groups = [_group(f"Sampling, {_size(part)}, {part['calls']} network calls", part["contestants"])]
    if trained := part.get("trained"):
        title = f"Stable molecules of {trained['run']}, {trained['sampler']}, {trained['calls']} network calls"
        groups.append(_group(title, trained["contestants"]))
    return groups


def _axis(name: str, axis: Mapping[str, Any]) -> Axis:
    points = [(int(point[name]), _group("", point["contestants"])) for point in axis["points"]]
    fixed = {key: int(value) for key, value in axis["fixed"].items()}
    return Axis(name=name, fixed=fixed, points=sorted(points, key=lambda point: point[0]))


def _group(title: str, contestants: Mapping[str, Any], needed_share: Mapping[str, float] | None = None) -> Group:
    return Group(
        title=title,
        contestants=[
            Contestant.model_validate(one | {"name": name}) for name, one in contestants.items() if "failed" not in one
        ],
        failed=[str(one["label"]) for one in contestants.values() if "failed" in one],
        needed_share=needed_share or {},
    )


def _size(network: Mapping[str, Any]) -> str:
    return f"{int(network['hidden'])} × {int(network['layers'])}"
