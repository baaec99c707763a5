"""What the figures are drawn from: the results of the runs and their two references, read and checked.

Everything here is what earlier stages wrote. A file that is missing, damaged or of another kind is an ``InputError``
that names it, before anything is drawn.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.intervals import Estimate
from pipeline.chemistry.metrics import check_summary
from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.core.files import read_json, sha256
from pipeline.data.molecule_parquet import read_columns, read_molecules
from pipeline.figures import style
from pipeline.study.config import RunConfig
from pipeline.training.run_folder import read_weights

Floats = npt.NDArray[np.float64]

_OBJECTIVES: Final = {"edm": "EDM"}
_BACKENDS: Final = {"jax": "JAX", "torch": "PyTorch"}


@dataclass(frozen=True, eq=False)
class Curve:
    """One quantity during training, in the order of the steps, all of shape [K]."""

    step: Floats
    molecules: Floats
    """that training had seen by then, repeats included."""
    seconds: Floats
    """of training, interruptions left out."""
    values: Floats

    def __len__(self) -> int:
        """Return K."""
        return len(self.step)


@dataclass(frozen=True, eq=False)
class Checkups:
    """What samples drawn during training by one sampler were worth."""

    sampler: str
    count: int
    """How many samples each time."""
    step: Floats
    """[K], as are the molecules and the seconds."""
    molecules: Floats
    seconds: Floats
    atom_stability: Floats
    """[K, 3]: value, low, high."""
    molecule_stability: Floats
    """Likewise."""

    def __len__(self) -> int:
        """Return K."""
        return len(self.step)


@dataclass(frozen=True, eq=False)
class Run:
    """One trained model with everything that came out of it."""

    name: str
    objective: str
    backend: str
    colour: str
    """The same in every figure."""
    config: RunConfig
    """What it was trained with."""
    provenance: Mapping[str, Any]
    """Of its weights: data, versions, machine."""
    training_loss: Curve
    validation_loss: Curve
    checkups: Sequence[Checkups]
    """One for each sampler that samples were drawn by during training."""
    predecessors: Mapping[str, float | None]
    """Seconds of training of the runs it started or learned from, directly or not; None where that is not known."""
    evaluations: Mapping[str, Mapping[str, Any]]
    """What ``evaluate`` said of each sampler's samples, in the order of the study."""
    samples: Mapping[str, Molecules]
    """The samples themselves, by sampler, in the same order."""

    @property
    def seconds(self) -> float:
        """How long its training took."""
        return max(float(curve.seconds[-1]) for curve in self._curves)

    @property
    def molecules(self) -> int:
        """How many molecules it was trained on, repeats included."""
        return round(max(float(curve.molecules[-1]) for curve in self._curves))

    @property
    def all_seconds(self) -> float | None:
        """How long its training and that of its predecessors took; None when that is not known."""
        before = list(self.predecessors.values())
        return None if None in before else self.seconds + sum(one for one in before if one is not None)

    @property
    def budget(self) -> str:
        """What the training took, such as "12 min training after 9 min of denoiser, 448,000 molecules"."""
        before = [f"{f'{style.duration(one)} of ' if one else ''}{run}" for run, one in self.predecessors.items()]
        after = f" after {style.listed(before)}" if before else ""
        return f"{style.duration(self.seconds)} training{after}, {style.large(self.molecules)} molecules"

    @property
    def _curves(self) -> list[Curve | Checkups]:
        curves: list[Curve | Checkups] = [self.training_loss, self.validation_loss, *self.checkups]
        return [curve for curve in curves if len(curve)]

    def calls(self, sampler: str) -> int | None:
        """Return how many network calls a sampler spends on a molecule; None when its file does not say."""
        value = self._number(sampler, "network_calls")
        return None if value is None else round(value)

    def seconds_a_molecule(self, sampler: str) -> float | None:
        """Return how long a sampler took, divided by its molecules; None when its file does not say."""
        value = self._number(sampler, "seconds")
        return None if value is None else value / len(self.samples[sampler])

    def kind(self, sampler: str) -> str:
        """Return a sampler's kind, such as "heun"; empty when its file does not say.

        "consistency-none" and the like when it aligns fresh noise in another way than the run was trained.
        """
        metadata = self.samples[sampler].metadata
        return "-".join(str(metadata[key]) for key in ("sampler_kind", "alignment") if metadata.get(key) is not None)

    def _number(self, sampler: str, key: str) -> float | None:
        """Return a positive number of a sample file's metadata; None when it has none."""
        value = self.samples[sampler].metadata.get(key)
        return float(value) if isinstance(value, int | float) and 0 < value < math.inf else None

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


def backend_label(backend: str) -> str:
    """Return a backend as it is written in a figure."""
    return _BACKENDS.get(backend, backend)


def read_runs(
    *, weights: Sequence[Path], curves: Sequence[Path], metrics: Sequence[Path], samples: Sequence[Path]
) -> list[Run]:
    """Read the runs of a study.

    Args:
        weights: each run's weights.safetensors, in the order of the study; their metadata say what was trained.
        curves: each run's metrics.jsonl, in the same order.
        metrics: each run's metrics.json, in the same order.
        samples: the sample files of all runs, in any order; their metadata says whose they are.

    Raises:
        InputError: a file is not what it should be, or the files do not belong together.
    """
    if not weights:
        raise InputError("no runs: give at least one weights.safetensors to --weights")
    for flag, paths in (("--curves", curves), ("--metrics", metrics)):
        if len(paths) != len(weights):
            raise InputError(f"{flag}: {len(paths)} files for {len(weights)} runs; give one a run, in the same order")
    found = _read_samples(samples)
    read = [
        _read_run(place, weights=weight, curve=curve, metric=metric, samples=found)
        for place, (weight, curve, metric) in enumerate(zip(weights, curves, metrics, strict=True))
    ]
    names = [run.name for run in read]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise InputError(f"--weights: the run {sorted(repeated)[0]} is given twice")
    seconds = {run.name: run.seconds for run in read}
    before = {run.name: [name for name in (run.config.init, run.config.teacher) if name] for run in read}
    runs = [
        replace(run, predecessors={name: seconds.get(name) for name in _predecessors(run.name, before)}) for run in read
    ]
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
    place: int, *, weights: Path, curve: Path, metric: Path, samples: Mapping[tuple[str, str], tuple[Path, Molecules]]
) -> Run:
    """Return a run, its predecessors yet unknown."""
    trained, results = read_weights(weights), _read_object(metric)
    config = trained.config
    name = config.name
    if results.get("run") != name:
        raise InputError(f"{metric}: of run {results.get('run')!r}, but the weights in its place are of run {name!r}")
    evaluations = results.get("samplers")
    if not isinstance(evaluations, dict) or not evaluations:
        raise InputError(f"{metric}: samplers should map each sampler to its evaluation")
    molecules = {}
    for sampler, evaluation in evaluations.items():
        check_summary(evaluation, source=f"{metric}: samplers: {sampler}")
        if (name, sampler) not in samples:
            raise InputError(f"{metric}: run {name}, sampler {sampler}: its samples are missing from --samples")
        _, molecules[sampler] = samples[name, sampler]
    data = {"data": trained.statistics.dataset, "training molecules": trained.statistics.num_molecules.get("train")}
    return Run(
        name=name,
        objective=config.objective,
        backend=config.backend,
        colour=style.run_colour(place),
        config=config,
        provenance={**data, **trained.provenance, "weights SHA-256": sha256(weights)},
        evaluations=evaluations,
        samples=molecules,
        predecessors={},
        **_read_curves(curve, batch_size=config.training.batch_size),
    )


def _predecessors(run: str, before: Mapping[str, Sequence[str]]) -> list[str]:
    """Return all runs that a run goes back to, the nearest first, each once."""
    found: dict[str, None] = {}
    waiting = list(before[run])
    while waiting:
        name = waiting.pop(0)
        if name != run and name not in found:
            found[name] = None
            waiting += before.get(name, [])
    return list(found)


def _read_curves(path: Path, *, batch_size: int) -> dict[str, Any]:
    # A resumed run may have written the steps since its last checkpoint twice: the later line counts.
    lines: dict[str, dict[tuple[float, str], dict[str, Any]]] = {"train": {}, "validation": {}, "samples": {}}
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
                lines[kind][float(line["step"]), str(line.get("sampler", ""))] = line
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}: line {number}: not a line that the stage train writes") from None
    kinds = {kind: [steps[key] for key in sorted(steps)] for kind, steps in lines.items()}
    if not kinds["train"]:
        raise InputError(f"{path}: holds no training loss; give the metrics.jsonl of a run")
    try:
        return {
            "training_loss": _curve(kinds["train"], batch_size),
            "validation_loss": _curve(kinds["validation"], batch_size),
            "checkups": _checkups(kinds["samples"], batch_size),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: a line lacks a value that the stage train writes: {error}") from None


def _curve(lines: Sequence[Mapping[str, Any]], batch_size: int) -> Curve:
    # A loss that was not finite may be null in JSON; matplotlib leaves a gap for NaN.
    values = [math.nan if line["loss"] is None else float(line["loss"]) for line in lines]
    return Curve(**_progress(lines, batch_size), values=np.array(values, dtype=np.float64))


def _checkups(lines: Sequence[Mapping[str, Any]], batch_size: int) -> list[Checkups]:
    def column(lines: Sequence[Mapping[str, Any]], key: str) -> Floats:
        values = [[line[key][part] for part in ("value", "low", "high")] for line in lines]
        return np.array(values, dtype=np.float64)

    samplers: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        samplers.setdefault(str(line["sampler"]), []).append(line)
    return [
        Checkups(
            sampler=sampler,
            count=int(some[-1]["num"]),
            **_progress(some, batch_size),
            atom_stability=column(some, "atom_stability"),
            molecule_stability=column(some, "molecule_stability"),
        )
        for sampler, some in samplers.items()
    ]


def _progress(lines: Sequence[Mapping[str, Any]], batch_size: int) -> dict[str, Floats]:
    step, seconds = (np.array([float(line[key]) for line in lines], np.float64) for key in ("step", "seconds"))
    return {"step": step, "molecules": batch_size * step, "seconds": seconds}


def _read_object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: should hold a JSON object")
    return value
