"""A study: data, models to train, samplers and figures; and the part of it that belongs to each run."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import AfterValidator, Field, StrictBool, model_validator

from pipeline.chemistry import qm9_properties
from pipeline.core.errors import InputError
from pipeline.study.benchmark import Benchmark, SamplerName
from pipeline.study.config import Sampler, WeightsConfig, seeded_name
from pipeline.study.frameworks import check_framework
from pipeline.study.group import (
    AtLeastTwo,
    ByName,
    Fraction,
    Group,
    Json,
    Name,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Seed,
    UniqueTuple,
    format_value,
    parse,
)
from pipeline.study.released import released_settings

QM9_MOLECULES: Final = 130_831
"""Characterised molecules of QM9."""

QM9_ATOMS: Final = 29
"""Atoms of the largest molecule of QM9."""


DEFAULT_SHARES: Final = {"train": 0.8, "validation": 0.1}
"""Training and validation molecules of data other than QM9, as fractions."""


class Split(Group):
    """Training and validation molecules; the rest are for testing."""

    seed: Seed = 0
    """Seed of the shuffle before the split; 0 is EDM's split."""
    train: PositiveInt | Fraction | None = None
    """Training molecules: a number, or a fraction below 1. null is 100000 for QM9 and 0.8 for others."""
    validation: PositiveInt | Fraction | None = None
    """Validation molecules: a number, or a fraction below 1. null is 17748 for QM9 and 0.1 for others."""


class Data(Group):
    """The molecules to learn from."""

    name: Name = "qm9"
    """Name of the data set in file names and figures; results/data/NAME holds its files. Not raw or noise."""
    source: Literal["qm9pack", "figshare", "path", "smiles"] = "qm9pack"
    """Source of the molecules: QM9 from the Python package qm9pack, QM9 from the official archive on figshare, your own
    file or folder (path), or a file of SMILES that get conformers (smiles)."""
    path: Annotated[str, AfterValidator(os.path.expanduser)] | None = None
    """For source path an XYZ, SDF, MOL or Parquet file, a folder of them, or GEOM's archive (.msgpack, or EDM's .npy);
    for smiles a CSV file with a column smiles, or one with a SMILES and a title on each line. Gzipped or not; relative
    to the Snakefile's folder, or absolute."""
    conformers: PositiveInt = 1
    """For the archive of GEOM only. Conformers of each molecule, lowest energy first; EDM takes 30. The split is by
    conformer, as EDM's."""
    skip: StrictBool = False
    """For sources path and smiles. Whether to leave out and name molecules that cannot be used, such as those of other
    elements or without a conformer; false refuses them."""
    split: Split = Split()
    buckets: Annotated[UniqueTuple[Annotated[int, Field(strict=True, ge=1, le=65535)]], Field(min_length=1)] | None = (
        None
    )
    """Padded sizes in atoms, ascending. Each costs one compilation and saves padding; the largest molecule must fit the
    last. null is [15, 17, 18, 19, 20, 21, 29] for QM9, and for others at most seven that leave the least padding."""

    @property
    def is_qm9(self) -> bool:
        """Whether the molecules are QM9's."""
        return self.source in ("qm9pack", "figshare")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.name in RESERVED:
            raise ValueError(f"name: {format_value(self.name)} should be another name than {' and '.join(RESERVED)}")
        own = self.source in ("path", "smiles")
        if own and not self.path:
            raise ValueError(f"path: is missing; for the source {self.source} it should name a file of molecules")
        if own and "name" not in self.model_fields_set:
            raise ValueError("name: is missing; molecules of your own should have a name")
        if not own and self.path is not None:
            raise ValueError(
                f"path: {format_value(self.path)} should be left out, or data.source should be path or smiles"
            )
        if self.path and set(self.path) & set("{}"):
            # Snakemake would take them for wildcards.
            raise ValueError(f"path: {format_value(self.path)} should have no braces")
        if self.path and self.path.startswith("~"):
            raise ValueError(
                f"path: {format_value(self.path)} should be written out; the home folder that ~ stands for is unknown"
            )
        if self.buckets and list(self.buckets) != sorted(self.buckets):
            raise ValueError(f"buckets: {format_value(self.buckets)} should be ascending")
        return self._completed()

    def _completed(self) -> Self:
        """Return the data with the defaults that depend on the source."""
        buckets = self.buckets
        train = self.split.train or (100_000 if self.is_qm9 else DEFAULT_SHARES["train"])
        validation = self.split.validation or (17_748 if self.is_qm9 else DEFAULT_SHARES["validation"])
        if self.is_qm9:
            total = sum(size * QM9_MOLECULES if size < 1 else size for size in (train, validation))
            if total > QM9_MOLECULES:
                raise ValueError(
                    f"split: {train} to train on and {validation} to validate on should be at most the {QM9_MOLECULES} "
                    "molecules of QM9"
                )
            buckets = buckets or (15, 17, 18, 19, 20, 21, 29)
            if buckets[-1] < QM9_ATOMS:
                raise ValueError(
                    f"buckets: {format_value(buckets)} should end with {QM9_ATOMS}, the largest size in QM9, or more"
                )
        elif max(train, validation) < 1 < train + validation:
            raise ValueError(f"split: {train} to train on and {validation} to validate on should be at most 1 together")
        split = self.split.model_copy(update={"train": train, "validation": validation})
        return self.model_copy(update={"split": split, "buckets": buckets})


# Names that would collide with other files in results/data and results/reference.
RESERVED: Final = ("raw", "noise")


class Resources(Group):
    """Resources that the run requests from a cluster; they do not affect its weights."""

    nodes: PositiveInt = 1
    """Machines for training."""
    tasks: PositiveInt = 1
    """Training processes, each with an equal share of every batch; on a cluster and with backend jax only. Usually one
    per GPU."""
    cpus: PositiveInt | None = None
    """Cores per process in training and sampling; null is cluster.cpus."""
    gpus: NonNegativeInt | None = None
    """GPUs per process in training and sampling; null is cluster.gpus."""


class Run(WeightsConfig):
    """One model, from its training to its samples."""

    released: StrictBool = False
    """Whether to sample the released model of this name, such as few-step, instead of training one.
    Only samplers, regressor and resources can be set."""
    seeds: Annotated[UniqueTuple[Seed], Field(min_length=1)] | None = None
    """Instead of seed: one run for each of these seeds, named NAME-seed-0 and so on. Figures show their mean and
    standard deviation. A run that names NAME, as init, teacher, regressor or first, takes the one of its own seed."""
    resources: Resources = Resources()
    samplers: ByName[Sampler] = {}
    """Ways to sample the trained model, by name (lowercase letters, digits and hyphens): at least one, unless the
    objective is property."""
    regressor: str | None = None
    """For a run with a condition, the name of a run of objective property that predicts these properties of its
    samples; the errors are reported beside those of simple baselines. null reports none."""

    @model_validator(mode="after")
    def _check_use(self) -> Self:
        if not self.samplers and self.objective != "property":
            raise ValueError("samplers: is empty; it should have at least one entry")
        if self.seeds and (self.released or "seed" in self.model_fields_set):
            raise ValueError("seeds: should be left out for a released model and beside seed")
        nodes, tasks, batch = self.resources.nodes, self.resources.tasks, self.training.batch_size
        if tasks % nodes:
            raise ValueError(f"resources.tasks: {tasks} should be a multiple of nodes, {nodes}")
        if batch % tasks:
            raise ValueError(f"resources.tasks: {tasks} should divide training.batch_size, {batch}")
        if tasks > 1 and self.backend != "jax":
            raise ValueError(f"resources.tasks: {tasks} should be 1 for backend {self.backend}; jax takes more")
        samplers = {
            name: sampler.model_copy(update={"levels": sampler.levels or self.known_levels.get(sampler.steps)})
            for name, sampler in self.samplers.items()
        }
        return self.model_copy(update={"samplers": samplers})


class Cluster(Group):
    """Resources of a job on a cluster where the runs do not set them; set by a profile. They affect no result and rerun
    nothing.
    """

    cpus: PositiveInt = 4
    """Cores of a job that runs a network."""
    gpus: NonNegativeInt = 0
    """GPUs of a job that runs a network."""
    max_minutes: PositiveInt = 1440
    """Longest time limit of the partition; longer training continues in the next attempt."""


class Search(Group):
    """Search for the noise levels of few-step samplers."""

    num: PositiveInt = 256
    """Molecules per score."""
    seed: Seed = 1
    """Seed of these molecules; use another one for reported samples."""


class Reference(Group):
    """References that every result is compared with."""

    noise_molecules: PositiveInt = 2000
    """Molecules of pure noise whose score is the floor, that of an untrained model."""
    seed: Seed = 0
    """Seed of that noise."""


class Evaluation(Group):
    """How samples are scored."""

    bootstrap: AtLeastTwo = 1000
    """Bootstrap resamples per 95 % interval."""
    seed: Seed = 0
    """Seed of the resampling."""


class Trajectory(SamplerName):
    """One molecule from noise to sample."""

    frames: AtLeastTwo = 8
    """Frames of the trajectory; the page shows all, the strip at most eight."""
    seed: Seed = 0
    """Seed of the molecule."""


class Figures(Group):
    """What the figures show."""

    gallery_molecules: PositiveInt = 12
    """Molecules in each run's gallery; with several samplers, at least six of each."""
    benchmarks: StrictBool = False
    """Whether to measure the benchmarks for the figures. If not, they are drawn only if results/benchmarks exists."""
    trajectory: Trajectory | None = None
    """One molecule from noise to sample, drawn as a strip; null draws none."""


class _Hours(Group):
    hours: PositiveFloat = 1.0
    """Multiplier of every run's training.steps: hours of training, for a study whose steps take an hour in all. On the
    command line: `--config hours=8`."""


class Study(_Hours):
    """A study: data, models to train, samplers and figures."""

    data: Data = Data.model_validate({})
    runs: ByName[Run] = Field(min_length=1)
    """The models to train, by name (lowercase letters, digits and hyphens); results/runs/NAME holds a run's files."""
    cluster: Cluster = Cluster()
    search: Search = Search()
    reference: Reference = Reference()
    evaluation: Evaluation = Evaluation()
    benchmark: Benchmark = Benchmark()
    figures: Figures = Figures()

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.model_copy(update={"runs": _one_per_seed(self.runs)})._completed()

    def _completed(self) -> Self:
        """Return the study with what runs inherit from others filled in, after checking that they fit together."""
        for name in self.runs:
            self._check_acyclic(name)
        runs: dict[str, Run] = {}
        while len(runs) < len(self.runs):
            for name, run in self.runs.items():
                if name not in runs and {run.init, run.teacher} <= {None, *runs}:
                    runs[name] = _with_inherited(run, runs)
        for name in self.runs:
            unknown = [one for one in self.runs[name].condition if one not in qm9_properties.NAMES]
            if self.data.is_qm9 and unknown:
                known = ", ".join(qm9_properties.NAMES)
                raise ValueError(f"runs.{name}.condition: {format_value(unknown[0])} should be one of {known}")
            _check_starts(runs, name)
        self._check_named("figures.trajectory", self.figures.trajectory)
        measured = self.benchmark.sampling.trained
        self._check_named("benchmark.sampling.trained", measured)
        if measured and runs[measured.run].samplers[measured.sampler].first:
            raise ValueError(
                f"benchmark.sampling.trained.sampler: {measured.sampler} should be a sampler that calls one network"
            )
        return self.model_copy(update={"runs": {name: runs[name] for name in self.runs}})

    def _check_acyclic(self, name: str, *after: str) -> None:
        if name in after:
            cycle = after[after.index(name) :]
            raise ValueError(f"runs.{name}: its init and teacher lead back to itself through {' and '.join(cycle)}")
        for key in ("init", "teacher"):
            other = getattr(self.runs[name], key)
            if other is not None and other not in self.runs:
                raise ValueError(
                    f"runs.{name}.{key}: {format_value(other)} should name a run; the runs are {', '.join(self.runs)}"
                )
            if other is not None:
                self._check_acyclic(other, *after, name)

    def _check_named(self, path: str, named: SamplerName | None) -> None:
        """Check that the run and sampler of ``named`` exist; messages start with ``path``."""
        if named is None:
            return
        if named.run not in self.runs:
            raise ValueError(
                f"{path}.run: {format_value(named.run)} should name a run; the runs are {', '.join(self.runs)}"
            )
        samplers = self.runs[named.run].samplers
        if named.sampler not in samplers:
            raise ValueError(
                f"{path}.sampler: {format_value(named.sampler)} should name a sampler of the run {named.run}; "
                f"its samplers are {', '.join(samplers)}"
            )


def _one_per_seed(runs: Mapping[str, Run]) -> dict[str, Run]:
    """Return the runs with one for each seed in place of a run that has several."""

    def named(name: str, seed: int) -> str:
        return seeded_name(name, seed) if name in runs and seed in (runs[name].seeds or ()) else name

    found: dict[str, Run] = {}
    for name, run in runs.items():
        for seed in run.seeds or (run.seed,):
            one = named(name, seed)
            if one in found:
                raise ValueError(f"runs.{one}: is also the name of the run {name} with the seed {seed}")
            others = {"init": run.init, "teacher": run.teacher, "regressor": run.regressor}
            named_runs = {key: named(other, seed) for key, other in others.items() if other}
            samplers = {
                sampler: settings.model_copy(update={"first": settings.first and named(settings.first, seed)})
                for sampler, settings in run.samplers.items()
            }
            found[one] = run.model_copy(update={"seed": seed, "seeds": None, "samplers": samplers, **named_runs})
    return found


def _with_inherited(run: Run, runs: Mapping[str, Run]) -> Run:
    """Return a run with settings it leaves out copied from its init or teacher, where the two have to agree."""
    other = run.teacher or run.init
    if other is None:
        return run
    model, levels = run.model, runs[other].levels
    own = {key: getattr(model, key) for key in model.model_fields_set}
    shared = {key: getattr(levels, key) for key in _SHARED_LEVELS if key not in run.levels.model_fields_set}
    return run.model_copy(
        update={
            "condition": run.condition if "condition" in run.model_fields_set else runs[other].condition,
            "model": runs[other].model.model_copy(update=own),
            "levels": run.levels.model_copy(update=shared),
        }
    )


_SHARED_LEVELS: Final = ("sigma_data", "preconditioning")


def _check_starts(runs: Mapping[str, Run], name: str) -> None:
    """Check that the init and teacher of a run, and its samplers, are compatible with it."""
    run = runs[name]
    if not run.released:
        try:
            run.check_trainable()
        except ValueError as error:
            raise ValueError(f"runs.{name}.{error}") from None
    for sampler, settings in run.samplers.items():
        try:
            settings.check_for(run)
        except ValueError as error:
            raise ValueError(f"runs.{name}.samplers.{sampler}.{error}") from None
        if (first := settings.first) is not None and (
            first not in runs or not runs[first].distils or runs[first].condition != run.condition
        ):
            raise ValueError(
                f"runs.{name}.samplers.{sampler}.first: {format_value(first)} should name a run of kind distillation "
                "with the condition of this run"
            )
        if first is not None and settings.levels and settings.levels[1] >= (level := runs[first].known_levels[1][0]):
            raise ValueError(
                f"runs.{name}.samplers.{sampler}.levels: {settings.levels[1]} should be below {level}, the level of "
                f"the first call, by {first}"
            )
    if (judge := run.regressor) is not None and (
        judge not in runs
        or runs[judge].objective != "property"
        or not run.condition_features
        or not set(run.condition) <= set(runs[judge].condition)
    ):
        raise ValueError(
            f"runs.{name}.regressor: {format_value(judge)} should name a run of objective property with the condition "
            "of this run"
        )
    for key, other in (("init", run.init), ("teacher", run.teacher)):
        if other is None:
            continue
        path, start = f"runs.{name}.{key}", runs[other]
        if not run.model.can_start(start.model):
            raise ValueError(
                f"{path}: the model of {other} should be the same as this run's, key by key, except that it may have "
                "fewer layers"
            )
        if start.condition != run.condition and (start.condition or key == "teacher"):
            raise ValueError(f"{path}: the condition of {other} should be the same as this run's")
        if start.objective == "property" or (start.objective == "edm") != (run.objective == "edm"):
            raise ValueError(
                f"{path}: {other} has objective {start.objective}, whose weights do not fit objective {run.objective}"
            )
        for part in _SHARED_LEVELS:
            if getattr(start.levels, part) != getattr(run.levels, part):
                raise ValueError(f"{path}: levels.{part} of {other} should be the same as this run's")
        if key == "teacher" and start.objective != "consistency":
            raise ValueError(f"{path}: {other} has objective {start.objective}, not consistency")


def resolve_study(raw: Mapping[str, Any]) -> Json:
    """Return a study with every default filled in, in the order of the schema, and ``hours`` applied to its steps.

    Args:
      raw: content of a study file.

    Raises:
      InputError: a key is unknown, missing, of the wrong type or out of range, or two are inconsistent.
    """
    raw = _with_released(raw)
    hours = {key: raw[key] for key in raw if key == "hours"} if isinstance(raw, Mapping) else {}
    study = parse(Study, raw, context=parse(_Hours, hours).hours)
    return study.model_dump(mode="json", exclude={"hours"})


def _with_released(raw: Any) -> Any:
    """Return a study with the settings of released models filled into the runs that use them."""
    if not isinstance(raw, Mapping) or not isinstance(raw.get("runs"), Mapping):
        return raw
    runs = {}
    for name, run in raw["runs"].items():
        if isinstance(run, Mapping) and run.get("released") is True:
            if own := [key for key in run if key in WeightsConfig.model_fields]:
                raise InputError(f"runs.{name}.{own[0]}: should be left out; the released model decides it")
            try:
                run = {**released_settings(name), **run}
            except InputError as error:
                raise InputError(f"runs.{name}.released: {error}") from None
        runs[name] = run
    return {**raw, "runs": runs}


def check_installed(study: Json) -> None:
    """Check that the frameworks of the runs of a resolved study are installed.

    Raises:
      InputError: one is not.
    """
    for name, run in study["runs"].items():
        check_framework(run["backend"], f"runs.{name}.backend: {run['backend']}")


def run_settings(study: Json, run: str) -> Json:
    """Return the content of ``results/runs/{run}/config.json``: the settings of a study that affect the weights.

    Samplers and resources are left out, so that changing them does not retrain the run. ``study`` is resolved.
    """
    weights = {key: study["runs"][run][key] for key in WeightsConfig.model_fields}
    return {"name": run, "data": study["data"]["name"], **weights}


def sampler_settings(study: Json, run: str, sampler: str) -> Json:
    """Return the content of ``results/runs/{run}/samplers/{sampler}.json``."""
    return {"name": sampler, **study["runs"][run]["samplers"][sampler]}


def read_study(path: str | os.PathLike[str]) -> Any:
    """Return the content of a study file, in YAML or JSON.

    Raises:
      InputError: the file is missing, is neither, or gives a name twice in one group, so that one would be lost.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        try:
            return json.loads(text, object_pairs_hook=_object_with_unique_names)
        except json.JSONDecodeError:
            # _Loader is a SafeLoader.
            return yaml.load(text, _Loader)  # noqa: S506
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # of characters, of long numbers, of nesting
        raise InputError(f"{path}: neither YAML nor JSON ({' '.join(str(error).split())})") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _object_with_unique_names(pairs: Iterable[tuple[str, Any]]) -> Json:
    pairs = list(pairs)
    _check_unique_names([(name, "") for name, _ in pairs])
    return dict(pairs)


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Before `<<` is merged in: merged names may be overridden.
        node = super().compose_mapping_node(anchor)
        _check_unique_names([(key.value, f"line {key.start_mark.line + 1}: ") for key, _ in node.value])
        return node


def _check_unique_names(names: Iterable[tuple[Any, str]]) -> None:
    seen: list[Any] = []
    for name, place in names:
        if name in seen:
            raise InputError(f"{place}the name {format_value(name)} is given twice; one of the two would be lost")
        seen.append(name)
