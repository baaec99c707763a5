"""The parts of the benchmark; each returns its measurements as a JSON object."""

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.benchmark.contest import Arena, Outcome
from pipeline.benchmark.contestants import CONTESTANTS, REFERENCE, frameworks, is_reference_form, reference_settings
from pipeline.benchmark.processes import ContestantFailed, Process
from pipeline.benchmark.tasks import Task
from pipeline.chemistry.intervals import USUAL, bootstrap_median
from pipeline.core.errors import InputError
from pipeline.data.statistics import read_statistics
from pipeline.diffusion.objectives import run_schedule
from pipeline.sampling.molecule_batches import network_calls
from pipeline.study.benchmark import Benchmark, Sampling
from pipeline.study.config import RunConfig, SamplerConfig, run_config, sampler_config
from pipeline.study.operations import training_operations
from pipeline.training.run_folder import read_weights

Json = dict[str, Any]

REFERENCE_SAMPLES: Final = 100
"""Molecules that the published code samples at a time."""

ALL_STEPS: Final = 1000
"""Network calls of the published sampler."""

PUBLISHED_SIZE: Final = (256, 9)
PUBLISHED_STABILITY: Final = 0.82
"""Features and layers of the published network, and the share of stable molecules of its samples."""

PEAK_ROWS: Final = 4096
PEAK_REPETITIONS: Final = 5
PEAK_SECONDS: Final = 0.3


@dataclass(frozen=True)
class Inputs:
    """Inputs of all parts.

    Attributes:
      settings: settings of the benchmark.
      shards: directory of the training molecules.
      statistics: file of their statistics.
      cores: cores that the contestants may use.
      weights: file of trained weights to sample with as well; None for none.
      sampler: the sampler for these weights.
      note: called with each progress message.
      advance: called after every turn of a contestant.
    """

    settings: Benchmark
    shards: Path
    statistics: Path
    cores: int
    weights: Path | None = None
    sampler: SamplerConfig | None = None
    note: Callable[[str], None] = lambda _: None
    advance: Callable[[], None] = lambda: None

    def arena(self) -> Arena:
        """Return an arena for the contestants."""
        return Arena(parallel_starts=self.cores, note=self.note, advance=self.advance)

    def task(self, contestant: str, work: str, *, hidden: int, layers: int, batch_size: int | None = None) -> Task:
        """Return a task with a network in EDM's form, on real molecules."""
        batch_size = batch_size or self.settings.batch_size
        run = reference_settings(hidden=hidden, layers=layers, batch_size=batch_size, seed=self.settings.seed)
        return Task(contestant, work, self.cores, run, str(self.statistics), str(self.shards))


def training(inputs: Inputs) -> Json:
    """Measure how fast the contestants train each network."""
    settings, found = inputs.settings, {}
    for name, contest in settings.training.items():
        inputs.note(f"training, {contest.hidden} x {contest.layers}")
        network = {"hidden": contest.hidden, "layers": contest.layers}
        tasks: dict[str, Task] = {one: inputs.task(one, "train", **network) for one in contest.contestants}
        with inputs.arena() as arena:
            outcomes = arena.measure(tasks, repetitions=contest.repetitions, seconds=settings.seconds)
        contestants = summarise(outcomes)
        for one, outcome in outcomes.items():
            if outcome.failed is None:
                model, factored = run_config(outcome.task.run).model, CONTESTANTS[one].factored
                # Including padding.
                operations = outcome.molecules * outcome.mean(partial(training_operations, model, factored=factored))
                contestants[one]["operations"] = operations
                contestants[one]["operations_per_second"] = median([operations / each for each in outcome.seconds()])
        found[name] = network | {"needed_operations": _needed_operations(network, inputs), "contestants": contestants}
    return {"batch_size": settings.batch_size, "reference": REFERENCE, "networks": found}


def sampling(inputs: Inputs) -> Json:
    """Measure how fast the contestants sample and, if there are trained weights, how many stable molecules per second.

    All but the part ``trained`` use random weights in EDM's form, ancestral sampling and the same number of calls. At
    the published size, the trained weights are compared with the published model: the reference's time for all of its
    calls, and the stability that Hoogeboom et al. report (table 1).
    """
    settings = inputs.settings.sampling
    inputs.note(f"sampling, {settings.hidden} x {settings.layers}, {settings.calls} calls")
    # These steps go from level T to level 0, where there is one more call.
    size = {"steps": settings.calls - 1, "num": settings.molecules, "seed": inputs.settings.seed}
    sampler = sampler_config({"name": "ancestral", "kind": "ancestral", **size})
    with inputs.arena() as arena:
        contestants = _sample(inputs, arena, settings.contestants, sampler)
        for summary in contestants.values():
            if "failed" not in summary:
                each = summary["seconds_per_molecule"]
                factor = ALL_STEPS / settings.calls
                summary["seconds_per_molecule_at_all_steps"] = {key: factor * each[key] for key in each}
        found: Json = {
            "hidden": settings.hidden,
            "layers": settings.layers,
            "calls": settings.calls,
            "all_steps": ALL_STEPS,
            "reference": REFERENCE,
            "contestants": contestants,
        }
        if inputs.weights and inputs.sampler:
            found["trained"] = _sample_trained(inputs, arena, inputs.weights, inputs.sampler)
            reference = contestants.get(REFERENCE, {"failed": ""})
            if "failed" not in reference and (settings.hidden, settings.layers) == PUBLISHED_SIZE:
                compared = found["trained"]["contestants"]
                found["trained"]["contestants"] = _beside_published(compared, reference, ALL_STEPS / settings.calls)
    return found


def _beside_published(contestants: Json, reference: Json, factor: float) -> Json:
    """Return contestants with the published model, whose calls take ``factor`` times those of the reference, added."""
    rate = {key: value / factor for key, value in reference["molecules_per_second"].items()}
    stable = {key: PUBLISHED_STABILITY * value for key, value in rate.items()}
    published = reference | {
        "label": f"{reference['label']}, {ALL_STEPS:,} calls",
        "molecules_per_second": rate,
        "seconds_per_molecule": reference["seconds_per_molecule_at_all_steps"],
        "molecule_stability": dict.fromkeys(stable, PUBLISHED_STABILITY),
        "stable_molecules_per_second": stable,
    }
    opposite = {"value": "value", "low": "high", "high": "low"}
    for summary in contestants.values():
        if "failed" not in summary:
            own = summary["stable_molecules_per_second"]
            # Of both bounds: wider than a 95 % interval.
            summary["speed_up"] = {key: own[key] / stable[opposite[key]] for key in own}
    return {REFERENCE: published} | contestants


def trained_contestants(settings: Sampling, config: RunConfig, sampler: SamplerConfig) -> list[str]:
    """Return the contestants that can sample with a run's weights.

    Raises:
      InputError: there are contestants, and none of them can.
    """
    whole = is_reference_form(config) and sampler.kind == "ancestral"
    capable: list[str] = [one for one in settings.contestants if whole or one != REFERENCE]
    if settings.contestants and not capable:
        raise InputError(
            f"benchmark.sampling.contestants: {REFERENCE} cannot sample {sampler.name} of {config.name}; "
            "add torch or jax"
        )
    return capable


def _sample_trained(inputs: Inputs, arena: Arena, path: Path, sampler: SamplerConfig) -> Json:
    """Measure how many stable molecules per second the contestants sample from trained weights."""
    weights = read_weights(path)
    capable = trained_contestants(inputs.settings.sampling, weights.config, sampler)
    contestants = _sample(inputs, arena, capable, sampler, weights=path)
    for one, summary in contestants.items():
        if "failed" not in summary:
            stable, rate = arena.judge(one)["molecule_stability"], summary["molecules_per_second"]
            summary["molecule_stability"] = stable
            # The product of both bounds: slightly wider than a 95 % interval.
            summary["stable_molecules_per_second"] = {key: rate[key] * stable[key] for key in rate}
    return {
        "run": weights.config.name,
        "sampler": sampler.name,
        "calls": network_calls(sampler, run_schedule(weights.config)),
        "contestants": contestants,
    }


def _sample(
    inputs: Inputs, arena: Arena, contestants: Iterable[str], sampler: SamplerConfig, *, weights: Path | None = None
) -> Json:
    settings, tasks = inputs.settings.sampling, {}
    for one in contestants:
        task = inputs.task(one, "sample", hidden=settings.hidden, layers=settings.layers)
        molecules = min(settings.molecules, REFERENCE_SAMPLES) if one == REFERENCE else settings.molecules
        path = str(weights) if weights else None
        tasks[one] = replace(task, sampler=sampler.model_dump(), molecules=molecules, weights=path)
    return summarise(arena.measure(tasks, repetitions=settings.repetitions, seconds=inputs.settings.seconds))


def scaling(inputs: Inputs) -> Json:
    """Measure time and memory of a training step against atoms, batch size and cores, on synthetic molecules."""
    settings, found = inputs.settings.scaling, {}
    network = {"hidden": settings.hidden, "layers": settings.layers}
    cores = {number for number in settings.cores if number <= inputs.cores}
    default = {"atoms": settings.batch_atoms, "batch_size": inputs.settings.batch_size, "cores": inputs.cores}
    axes: dict[str, tuple[Iterable[int], dict[str, int]]] = {
        "atoms": (settings.atoms, default | {"batch_size": settings.atoms_batch}),
        "batch_size": (settings.batch_sizes, default),
        "cores": (cores, default),
    }
    for axis, (values, fixed) in axes.items():
        points = []
        with inputs.arena() as arena:
            # Ascending, so that the peak of memory is right even where Linux does not allow resetting it.
            for value in sorted(values):
                inputs.note(f"scaling, {axis} {value}")
                if axis == "cores":
                    arena.dismiss()  # a process keeps the cores that it started with
                at = fixed | {axis: value}
                tasks: dict[str, Task] = {
                    one: replace(
                        inputs.task(one, "train", **network, batch_size=at["batch_size"]),
                        shards=None, atoms=at["atoms"], cores=at["cores"],
                    )
                    for one in settings.contestants
                }  # fmt: skip
                outcomes = arena.measure(tasks, repetitions=settings.repetitions, seconds=inputs.settings.seconds)
                points.append({axis: value, "contestants": summarise(outcomes)})
        found[axis] = {"fixed": {key: fixed[key] for key in fixed if key != axis}, "points": points}
    return network | {"reference": REFERENCE, "axes": found}


def startup(inputs: Inputs) -> Json:
    """Measure the seconds from the start of a process to its first training step, with the default settings of a run.

    A cold start has an empty cache of compiled programs, as on a new machine; a warm start follows a cold one.
    """
    run = run_config({"name": "startup", "data": "startup", "training": {"steps": 10**6}}).model_dump()
    found: Json = {}
    for one in inputs.settings.startup:
        inputs.note(f"start of {one}")
        task = replace(inputs.task(one, "train", hidden=1, layers=1), run=run)
        seconds: Json = {"label": CONTESTANTS[one].label}
        with tempfile.TemporaryDirectory() as cache:
            for state in ("cold", "warm"):
                try:
                    with Process({"CONSISTENT_EDM_CACHE": cache, "TORCHINDUCTOR_CACHE_DIR": cache}) as process:
                        seconds[state] = process.start(task)["seconds"]
                except ContestantFailed as failure:
                    seconds["failed"] = str(failure)
                    break
                inputs.advance()
        found[one] = seconds
    return {"hidden": run["model"]["hidden"], "layers": run["model"]["layers"], "contestants": found}


def peak(inputs: Inputs) -> Json:
    """Measure the peak rate of each framework in float32 matrix products, on the cores of the contestants."""
    inputs.note(f"matrix products, {PEAK_ROWS} x {PEAK_ROWS}")
    tasks = {
        one: replace(inputs.task(one, "multiply", hidden=1, layers=1), molecules=PEAK_ROWS)
        for one in frameworks(inputs.settings)
    }
    with inputs.arena() as arena:
        outcomes = arena.measure(tasks, repetitions=PEAK_REPETITIONS, seconds=PEAK_SECONDS)
    measured = {CONTESTANTS[one].framework: outcome for one, outcome in outcomes.items() if outcome.failed is None}
    rates = {
        framework: 2 * PEAK_ROWS**3 / min(min(turn.seconds["all"]) for turn in outcome.turns)
        for framework, outcome in measured.items()
    }
    gpus = {framework: outcome.gpu for framework, outcome in measured.items()}
    return {"rows": PEAK_ROWS, "operations_per_second": rates, "gpus": gpus}


def summarise(outcomes: Mapping[str, Outcome]) -> Json:
    """Return the measurements of each contestant, with its speed-up over the reference if that took part.

    Seconds and rates are medians over repetitions with intervals; a speed-up compares the two in the same repetition.
    """
    reference = outcomes.get(REFERENCE)
    found: Json = {}
    for one, outcome in outcomes.items():
        summary: Json = {"label": CONTESTANTS[one].label}
        found[one] = summary
        if outcome.failed is not None:
            summary["failed"] = outcome.failed
            continue
        each = [seconds / outcome.molecules for seconds in outcome.seconds()]
        summary |= {
            "molecules_per_second": median([1.0 / seconds for seconds in each]),
            "seconds_per_molecule": median(each),
            "molecules": outcome.molecules,
            "seconds": outcome.seconds(),
            "kinds": {
                kind: {
                    "share": share,
                    "seconds": median([value for turn in outcome.turns for value in turn.seconds[kind]])["value"],
                    "units": sum(len(turn.seconds[kind]) for turn in outcome.turns),
                }
                for kind, share in outcome.shares.items()
            },
            "start_seconds": outcome.start_seconds,
            "warm_up_seconds": outcome.warm_up_seconds,
            "compilations": sum(turn.compilations for turn in outcome.turns),
            "memory_mb": {
                "framework": outcome.base_mb,
                "after_first_repetition": outcome.turns[0].resident_mb,
                "after_last_repetition": outcome.turns[-1].resident_mb,
                "peak": max(turn.peak_mb for turn in outcome.turns),
            },
            "load_average": [turn.load for turn in outcome.turns],
        }
        if reference is not None and reference.failed is None and reference is not outcome:
            theirs = [seconds / reference.molecules for seconds in reference.seconds()]
            # Of the same repetition: a slowdown of the machine affects both.
            summary["speed_up"] = median(np.array(theirs) / np.array(each))
    return found


def median(values: npt.ArrayLike) -> dict[str, float]:
    """Return the median of measurements, one per repetition, with its 95 % interval; nearly their range if few."""
    return bootstrap_median(np.asarray(values, np.float64), USUAL).to_json()


def _needed_operations(network: Mapping[str, int], inputs: Inputs) -> float:
    """Return the minimum operations of a training step: factored, without padding."""
    model = run_config(inputs.task("jax", "train", hidden=network["hidden"], layers=network["layers"]).run).model
    histogram = read_statistics(inputs.statistics).size_histogram["train"]
    total = sum(count * training_operations(model, size) for size, count in histogram.items())
    return inputs.settings.batch_size * total / sum(histogram.values())
