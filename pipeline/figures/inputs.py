"""What the figures are drawn from: the results of the runs and their two references, read and checked.

Everything here is what earlier stages wrote. A file that is missing, damaged or of another kind is an ``InputError``
that names it, before anything is drawn.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.intervals import Estimate
from pipeline.chemistry.metrics import check_summary
from pipeline.chemistry.molecules import Molecules
from pipeline.data.molecules import read_columns, read_molecules
from pipeline.errors import InputError
from pipeline.figures import style
from pipeline.files import read_json

Floats = npt.NDArray[np.float64]

_OBJECTIVES: Final = {"edm": "EDM"}


@dataclass(frozen=True, eq=False)
class Curve:
    """One quantity during training, in the order of the steps, all of shape [K]."""

    step: Floats
    epoch: Floats
    seconds: Floats
    """of training, interruptions left out."""
    values: Floats

    def __len__(self) -> int:
        """Return K."""
        return len(self.step)


@dataclass(frozen=True, eq=False)
class Checkups:
    """What samples drawn during training were worth, by step, each of shape [K, 3]: value, low, high."""

    step: Floats
    epoch: Floats
    seconds: Floats
    atom_stability: Floats
    molecule_stability: Floats
    sampler: str
    """Which sampler drew them; empty when there are none."""
    molecules: int
    """How many samples each time; 0 when there are none."""

    def __len__(self) -> int:
        """Return K."""
        return len(self.step)


@dataclass(frozen=True, eq=False)
class Run:
    """One trained model with everything that came out of it."""

    name: str
    objective: str
    colour: str
    """The same in every figure."""
    training_loss: Curve
    validation_loss: Curve
    checkups: Checkups
    evaluations: Mapping[str, Mapping[str, Any]]
    """What ``evaluate`` said of each sampler's samples, in the order of the study."""
    samples: Mapping[str, Molecules]
    """The samples themselves, by sampler, in the same order."""

    @property
    def budget(self) -> str:
        """What the training took, such as "12 min training, 3.1 epochs"."""
        curves = (self.training_loss, self.validation_loss, self.checkups)
        seconds = max((float(c.seconds[-1]) for c in curves if len(c)), default=0.0)
        epochs = max((float(c.epoch[-1]) for c in curves if len(c)), default=0.0)
        passes = style.count(epochs)
        return f"{style.duration(seconds)} training, {passes} epoch{'' if passes == '1' else 's'}"

    def calls(self, sampler: str) -> int | None:
        """Return how many network calls a sampler spends on a molecule; None when its file does not say."""
        value = self.samples[sampler].metadata.get("network_calls")
        return int(value) if isinstance(value, int | float) else None

    def sampler_label(self, sampler: str) -> str:
        """Return the sampler's name with its network calls."""
        calls = self.calls(sampler)
        return sampler if calls is None else f"{sampler} ({calls:,} call{'' if calls == 1 else 's'})"


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One molecule on its way from noise, frame by frame."""

    frames: Molecules
    """[F] the same molecule F times, the noisiest first."""
    sigma: Floats
    """[F] noise level of each frame in angstrom (variance exploding: position = molecule + sigma times noise)."""
    run: str
    sampler: str


def objective_label(objective: str) -> str:
    """Return an objective as it is written in a figure."""
    return _OBJECTIVES.get(objective, objective)


def read_runs(
    *, configs: Sequence[Path], curves: Sequence[Path], metrics: Sequence[Path], samples: Sequence[Path]
) -> list[Run]:
    """Read the runs of a study.

    Args:
        configs: each run's config.json, in the order of the study; gives names and objectives.
        curves: each run's metrics.jsonl, in the same order.
        metrics: each run's metrics.json, in the same order.
        samples: the sample files of all runs, in any order; their metadata says whose they are.

    Raises:
        InputError: a file is not what it should be, or the files do not belong together.
    """
    if not configs:
        raise InputError("no runs: give at least one config.json to --configs")
    for flag, paths in (("--curves", curves), ("--metrics", metrics)):
        if len(paths) != len(configs):
            raise InputError(f"{flag}: {len(paths)} files for {len(configs)} runs; give one a run, in the same order")
    found = _read_samples(samples)
    runs = [
        _read_run(place, config=config, curve=curve, metric=metric, samples=found)
        for place, (config, curve, metric) in enumerate(zip(configs, curves, metrics, strict=True))
    ]
    names = [run.name for run in runs]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise InputError(f"--configs: the run {sorted(repeated)[0]} is given twice")
    used = {(run.name, sampler) for run in runs for sampler in run.samples}
    if foreign := sorted(set(found) - used):
        (run_name, sampler), (path, _) = foreign[0], found[foreign[0]]
        raise InputError(f"{path}: samples of run {run_name}, sampler {sampler}, which no metrics file names")
    return runs


def estimate(evaluation: Mapping[str, Any], key: str) -> Estimate:
    """Return one metric of an evaluation that has been checked."""
    return Estimate(**evaluation[key])


def read_trajectory(path: Path) -> Trajectory:
    """Read one molecule's way from noise, as ``sample --trajectory`` writes it.

    Raises:
        InputError: the file is no trajectory, or one of several molecules.
    """
    frames = read_molecules(path)
    columns = read_columns(path, ("frame", "sigma"))
    if len(frames) < 2:
        raise InputError(f"{path}: {len(frames)} frames; a trajectory has at least 2 (sample --trajectory FRAMES)")
    if len(np.unique(columns["frame"])) != len(frames) or len(np.unique(frames.sizes)) != 1:
        raise InputError(f"{path}: holds several molecules; a trajectory is of one (sample --num 1)")
    order = np.argsort(columns["frame"])
    sigma = columns["sigma"].astype(np.float64)[order]
    if sigma[0] < sigma[-1]:
        order, sigma = order[::-1], sigma[::-1]
    return Trajectory(
        frames=frames.select(order),
        sigma=sigma,
        run=str(frames.metadata.get("run", "")),
        sampler=str(frames.metadata.get("sampler", "")),
    )


def _read_samples(paths: Sequence[Path]) -> dict[tuple[str, str], tuple[Path, Molecules]]:
    """Return path and molecules of every sample file by run and sampler."""
    found: dict[tuple[str, str], tuple[Path, Molecules]] = {}
    for path in paths:
        molecules = read_molecules(path)
        run, sampler = molecules.metadata.get("run"), molecules.metadata.get("sampler")
        if not isinstance(run, str) or not isinstance(sampler, str):
            raise InputError(f"{path}: its metadata names no run and sampler; give a file that sample wrote")
        if (run, sampler) in found:
            raise InputError(f"{path}: samples of run {run}, sampler {sampler}, as is {found[run, sampler][0]}")
        if not len(molecules):
            raise InputError(f"{path}: holds no molecules")
        found[run, sampler] = path, molecules
    return found


def _read_run(
    place: int, *, config: Path, curve: Path, metric: Path, samples: Mapping[tuple[str, str], tuple[Path, Molecules]]
) -> Run:
    settings, results = _read_object(config), _read_object(metric)
    name, objective = settings.get("name"), settings.get("objective")
    if not isinstance(name, str) or not isinstance(objective, str):
        raise InputError(f"{config}: has no name and objective; give the config.json of a run")
    if results.get("run") != name:
        raise InputError(f"{metric}: of run {results.get('run')!r}, but the config in its place is of run {name!r}")
    evaluations = results.get("samplers")
    if not isinstance(evaluations, dict) or not evaluations:
        raise InputError(f"{metric}: samplers should map each sampler to its evaluation")
    molecules = {}
    for sampler, evaluation in evaluations.items():
        check_summary(evaluation, source=f"{metric}: samplers: {sampler}")
        if (name, sampler) not in samples:
            raise InputError(f"{metric}: run {name}, sampler {sampler}: its samples are missing from --samples")
        _, molecules[sampler] = samples[name, sampler]
    return Run(
        name=name,
        objective=objective,
        colour=style.run_colour(place),
        evaluations=evaluations,
        samples=molecules,
        **_read_curves(curve),
    )


def _read_curves(path: Path) -> dict[str, Any]:
    # A resumed run may have written the steps since its last checkpoint twice: the later line counts.
    lines: dict[str, dict[float, dict[str, Any]]] = {"train": {}, "validation": {}, "samples": {}}
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; give the metrics.jsonl of a run") from None
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
            if (kind := line["kind"]) in lines:
                lines[kind][float(line["step"])] = line
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}: line {number}: not a line that the stage train writes") from None
    kinds = {kind: [steps[step] for step in sorted(steps)] for kind, steps in lines.items()}
    if not kinds["train"]:
        raise InputError(f"{path}: holds no training loss; give the metrics.jsonl of a run")
    try:
        return {
            "training_loss": _curve(kinds["train"]),
            "validation_loss": _curve(kinds["validation"]),
            "checkups": _checkups(kinds["samples"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: a line lacks a value that the stage train writes: {error}") from None


def _curve(lines: Sequence[Mapping[str, Any]]) -> Curve:
    # A loss that was not finite may be null in JSON; matplotlib leaves a gap for NaN.
    values = [math.nan if line["loss"] is None else float(line["loss"]) for line in lines]
    return Curve(**_progress(lines), values=np.array(values, dtype=np.float64))


def _checkups(lines: Sequence[Mapping[str, Any]]) -> Checkups:
    def column(key: str) -> Floats:
        values = [[line[key][part] for part in ("value", "low", "high")] for line in lines]
        return np.array(values, dtype=np.float64).reshape(-1, 3)

    return Checkups(
        **_progress(lines),
        atom_stability=column("atom_stability"),
        molecule_stability=column("molecule_stability"),
        sampler=str(lines[-1].get("sampler", "")) if lines else "",
        molecules=int(lines[-1].get("num", 0)) if lines else 0,
    )


def _progress(lines: Sequence[Mapping[str, Any]]) -> dict[str, Floats]:
    return {key: np.array([float(line[key]) for line in lines], np.float64) for key in ("step", "epoch", "seconds")}


def _read_object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: should hold a JSON object")
    return value
