"""Inputs of the figures: results of runs and the two references, read and checked.

A file that is missing, damaged or of another kind raises an ``InputError`` that names it, before anything is drawn.
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
from pipeline.chemistry.metrics import LABELS, check_summary
from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.core.files import read_json, sha256
from pipeline.data.molecule_parquet import read_columns, read_molecules
from pipeline.figures import style
from pipeline.study.config import RunConfig, unseeded_name
from pipeline.training.run_folder import read_weights

Floats = npt.NDArray[np.float64]

_OBJECTIVES: Final = {"edm": "EDM"}


@dataclass(frozen=True, eq=False)
class Logged:
    """When something was logged during training, in the order of the steps, all of shape [K]."""

    step: Floats
    molecules: Floats
    """Training molecules seen so far, counting repeats."""
    seconds: Floats
    """Training time so far, without interruptions."""

    def __len__(self) -> int:
        """Return K."""
        return len(self.step)


@dataclass(frozen=True, eq=False)
class Curve(Logged):
    """One quantity during training."""

    values: Floats
    """[K]."""


@dataclass(frozen=True, eq=False)
class Checkups(Logged):
    """Stability of the samples that one sampler drew during training."""

    sampler: str
    count: int
    """Samples per check."""
    atom_stability: Floats
    """[K, 3]: value, low, high."""
    molecule_stability: Floats
    """Likewise."""


@dataclass(frozen=True, eq=False)
class Run:
    """One trained model with its results."""

    name: str
    colour: str
    """Colour in every figure."""
    config: RunConfig
    """Its settings."""
    provenance: Mapping[str, Any]
    """Provenance of its weights: data, versions, machine, and the GPU if it was trained on one."""
    training_loss: Curve
    validation_loss: Curve
    checkups: Sequence[Checkups]
    """One for each sampler that drew samples during training."""
    predecessors: Mapping[str, float | None]
    """Training seconds of the runs it started or learned from, directly or not; None where unknown."""
    evaluations: Mapping[str, Mapping[str, Any]]
    """Evaluation of each sampler's samples, in the order of the study."""
    samples: Mapping[str, Molecules]
    """Samples by sampler, in the same order."""

    @property
    def seconds(self) -> float:
        """Training time of this run."""
        return max(float(curve.seconds[-1]) for curve in self._curves)

    @property
    def molecules(self) -> int:
        """Training molecules seen, counting repeats."""
        return round(max(float(curve.molecules[-1]) for curve in self._curves))

    @property
    def all_seconds(self) -> float | None:
        """Training seconds of this run and its predecessors; None if unknown."""
        before = list(self.predecessors.values())
        return None if None in before else self.seconds + sum(one for one in before if one is not None)

    @property
    def gpu(self) -> str | None:
        """Name of the GPU that it was trained on; None for CPUs."""
        return self.provenance.get("gpu")

    @property
    def budget(self) -> str:
        """Training budget in words, such as "12 min training after 9 min of denoiser, 448,000 molecules"."""
        before = [f"{f'{style.duration(one)} of ' if one else ''}{run}" for run, one in self.predecessors.items()]
        after = f" after {style.join_and(before)}" if before else ""
        place = f" on one {self.gpu}" if self.gpu else ""
        return f"{style.duration(self.seconds)} training{place}{after}, {style.large_number(self.molecules)} molecules"

    @property
    def _curves(self) -> list[Logged]:
        return [one for one in (self.training_loss, self.validation_loss, *self.checkups) if len(one)]

    def calls(self, sampler: str) -> int | None:
        """Return the network calls per molecule of a sampler; None if its file does not state them."""
        value = self._number(sampler, "network_calls")
        return None if value is None else round(value)

    def seconds_per_molecule(self, sampler: str) -> float | None:
        """Return the seconds per molecule of a sampler; None if its file does not state them."""
        value = self._number(sampler, "seconds")
        return None if value is None else value / len(self.samples[sampler])

    def kind(self, sampler: str) -> str:
        """Return a sampler's kind, such as "heun"; empty if its file does not state it.

        The kind has a suffix, as in "consistency-none", if fresh noise is aligned differently than in training, and
        another, as in "consistency-any", if types are not rounded to even numbers of electrons as the data's are.
        """
        metadata = self.samples[sampler].metadata
        keys = ("sampler_kind", "alignment", "electrons")
        return "-".join(str(metadata[key]) for key in keys if metadata.get(key) is not None)

    def guidance(self, sampler: str) -> float:
        """Return the weight of a sampler's guidance; 0 for none."""
        return self._number(sampler, "guidance") or 0.0

    @property
    def first_calls(self) -> str:
        """A sentence, after a blank, on the samplers whose first call is another model's; empty if there are none."""
        firsts: dict[str, list[str]] = {}
        for sampler, molecules in self.samples.items():
            if first := molecules.metadata.get("first"):
                firsts.setdefault(str(first), []).append(sampler)
        return "".join(
            f" The first call of {style.join_and(samplers)} of {self.name} is by {first}."
            for first, samplers in firsts.items()
        )

    def _number(self, sampler: str, key: str) -> float | None:
        """Return a positive number from the metadata of a sample file, or None."""
        value = self.samples[sampler].metadata.get(key)
        return float(value) if isinstance(value, int | float) and 0 < value < math.inf else None

    def sampler_label(self, sampler: str) -> str:
        """Return the sampler's name with its network calls."""
        calls = self.calls(sampler)
        return sampler if calls is None else f"{sampler} ({calls:,} call{'' if calls == 1 else 's'})"


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One molecule from noise to sample, frame by frame."""

    frames: Molecules
    """[F] the same molecule in every frame, the noisiest first."""
    sigma: Floats
    """[F] noise level of each frame in angstrom (variance exploding: position = molecule + sigma * noise)."""
    run: str
    sampler: str


def objective_label(objective: str) -> str:
    """Return the name of an objective in figures."""
    return _OBJECTIVES.get(objective, objective)


def read_runs(
    *, weights: Sequence[Path], curves: Sequence[Path], metrics: Sequence[Path], samples: Sequence[Path]
) -> list[Run]:
    """Read the runs of a study.

    Args:
      weights: weights.safetensors of each run, in the order of the study; their metadata has the settings.
      curves: metrics.jsonl of each run, in the same order.
      metrics: metrics.json of each run, in the same order.
      samples: sample files of all runs, in any order; their metadata names run and sampler.

    Raises:
      InputError: a file is invalid, or the files do not belong together.
    """
    if not weights:
        raise InputError("no runs: give at least one weights.safetensors to --weights")
    for flag, paths in (("--curves", curves), ("--metrics", metrics)):
        if len(paths) != len(weights):
            raise InputError(f"{flag}: {len(paths)} files for {len(weights)} runs; give one per run, in the same order")
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


def over_seeds(runs: Sequence[Run]) -> list[Run]:
    """Return the runs with those that differ only in their seed as one, which has the mean of their evaluations.

    In place of its interval a score has the mean minus and plus one standard deviation over the seeds. Costs and
    samples are those of the first seed.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(unseeded_name(run.name), []).append(run)
    return [_mean_run(name, group) if len(group) > 1 else group[0] for name, group in groups.items()]


def _mean_run(name: str, group: Sequence[Run]) -> Run:
    samplers = [one for one in group[0].evaluations if all(one in run.evaluations for run in group)]
    means = {one: _mean_evaluation([run.evaluations[one] for run in group]) for one in samplers}
    samples = {one: group[0].samples[one] for one in samplers}
    return replace(group[0], name=f"{name} ({len(group)} seeds)", evaluations=means, samples=samples)


def _mean_evaluation(evaluations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found = dict(evaluations[0])
    for key in LABELS:
        if values := [one[key]["value"] for one in evaluations if one[key]]:
            mean, spread = float(np.mean(values)), float(np.std(values, ddof=min(1, len(values) - 1)))
            found[key] = Estimate(mean, max(0.0, mean - spread), min(1.0, mean + spread)).to_json()
    return found


def estimate(evaluation: Mapping[str, Any], key: str) -> Estimate:
    """Return one metric of a checked evaluation."""
    return Estimate(**evaluation[key])


def read_trajectory(path: Path) -> Trajectory:
    """Read a trajectory written by ``sample --trajectory``.

    Raises:
      InputError: the file is not a trajectory, or has several molecules.
    """
    frames = read_molecules(path)
    columns = read_columns(path, ("frame", "sigma"))
    if len(frames) < 2:
        raise InputError(f"{path}: {len(frames)} frames; a trajectory has at least 2 (sample --trajectory FRAMES)")
    if len(np.unique(columns["frame"])) != len(frames) or len(np.unique(frames.sizes)) != 1:
        raise InputError(f"{path}: contains several molecules; a trajectory has one (sample --num 1)")
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
    """Return the path and molecules of every sample file, by run and sampler."""
    found: dict[tuple[str, str], tuple[Path, Molecules]] = {}
    for path in paths:
        molecules = read_molecules(path)
        run, sampler = molecules.metadata.get("run"), molecules.metadata.get("sampler")
        if not isinstance(run, str) or not isinstance(sampler, str):
            raise InputError(f"{path}: its metadata names no run and sampler; give a file that sample wrote")
        if (run, sampler) in found:
            raise InputError(f"{path}: samples of run {run}, sampler {sampler}, the same as {found[run, sampler][0]}")
        if not len(molecules):
            raise InputError(f"{path}: holds no molecules")
        found[run, sampler] = path, molecules
    return found


def _read_run(
    place: int, *, weights: Path, curve: Path, metric: Path, samples: Mapping[tuple[str, str], tuple[Path, Molecules]]
) -> Run:
    """Return a run without its predecessors."""
    trained, results = read_weights(weights), read_json(metric)
    if not isinstance(results, dict):
        raise InputError(f"{metric}: should hold a JSON object")
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
        colour=style.run_colour(place),
        config=config,
        provenance={**data, **trained.provenance, "weights SHA-256": sha256(weights)},
        evaluations=evaluations,
        samples=molecules,
        predecessors={},
        **_read_curves(curve, batch_size=config.training.batch_size),
    )


def _predecessors(run: str, before: Mapping[str, Sequence[str]]) -> list[str]:
    """Return all direct and indirect predecessors of a run, nearest first, without duplicates."""
    found: dict[str, None] = {}
    waiting = list(before[run])
    while waiting:
        name = waiting.pop(0)
        if name != run and name not in found:
            found[name] = None
            waiting += before.get(name, [])
    return list(found)


def _read_curves(path: Path, *, batch_size: int) -> dict[str, Any]:
    # A resumed run may have logged the steps since its last checkpoint twice: keep the later line.
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
    # A loss that is not finite is null in JSON; matplotlib leaves a gap for NaN.
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
