"""A study, checked and with its defaults written out, and a run's part of it as frozen dataclasses.

``workflow/schemas/config.schema.yaml`` describes every key with its type, range and default; here is what a schema
cannot say: that two keys fit each other, and which part of a study shapes which file.
"""

import contextlib
import dataclasses
import math
import os
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeVar

from pipeline.core.errors import InputError
from pipeline.core.files import read_json
from pipeline.study.schema import Json, resolve, shown, study_schema


@dataclass(frozen=True)
class ModelConfig:
    """The network's shape; the keys of ``runs.<run>.model``."""

    hidden: int
    edge_hidden: int
    layers: int
    attention: bool
    radial_features: str
    node_norm: str
    shared_edges: bool
    preconditioned: bool
    norm_constant: float
    coordinate_range: float
    aggregation_divisor: float


@dataclass(frozen=True)
class NoiseConfig:
    """The diffusion; the keys of ``runs.<run>.noise``."""

    schedule: str
    steps: int
    precision: float
    loss: str


@dataclass(frozen=True)
class SigmaData:
    """Root mean square of the data, for Karras's preconditioning; the keys of ``runs.<run>.levels.sigma_data``.

    None stands for what is measured on the training split.
    """

    coordinates: float | None
    types: float | None


@dataclass(frozen=True)
class LevelsConfig:
    """Noise levels of a denoiser or a consistency model; the keys of ``runs.<run>.levels``."""

    mean: float
    std: float
    sigma_min: float
    sigma_max: float
    sigma_data: SigmaData
    preconditioning: str
    alignment: str


@dataclass(frozen=True)
class ConsistencyConfig:
    """What a consistency model compares and how; the keys of ``runs.<run>.consistency``."""

    kind: str
    q: float
    first_stage: int
    last_stage: int
    anchor: float
    first_levels: int
    last_levels: int
    weight: str
    huber: float
    type_weight: float


@dataclass(frozen=True)
class MatchingConfig:
    """How a generator is matched to its teacher's distribution; the keys of ``runs.<run>.matching``."""

    one_step: float
    score_mean: float
    score_std: float
    estimator_rate: float


@dataclass(frozen=True)
class ClipConfig:
    """How gradients are cut back; the keys of ``runs.<run>.training.optimizer.clip``."""

    kind: str
    value: float


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW; the keys of ``runs.<run>.training.optimizer``."""

    learning_rate: float
    schedule: str
    warmup_steps: int
    weight_decay: float
    beta1: float
    beta2: float
    amsgrad: bool
    clip: ClipConfig


@dataclass(frozen=True)
class TrainingConfig:
    """How long and how to train; the keys of ``runs.<run>.training``."""

    steps: int
    batch_size: int
    accumulate: int
    optimizer: OptimizerConfig
    ema_decay: float
    validation_interval: int
    sample_interval: int
    sample_count: int
    checkpoint_seconds: float


@dataclass(frozen=True)
class SamplerConfig:
    """One way to sample a run; the keys of ``runs.<run>.samplers.<name>`` and its name."""

    name: str
    kind: str
    steps: int
    num: int
    seed: int
    sigma_max: float
    sigma_min: float
    rho: float
    levels: tuple[float, ...] | None
    alignment: str | None


@dataclass(frozen=True)
class RunConfig:
    """All that shapes a run's weights: the keys of ``runs.<run>`` without its samplers, and two names."""

    name: str
    data: str
    objective: str
    backend: str
    seed: int
    init: str | None
    teacher: str | None
    model: ModelConfig
    noise: NoiseConfig
    levels: LevelsConfig
    consistency: ConsistencyConfig
    matching: MatchingConfig
    training: TrainingConfig


def resolve_study(raw: Mapping[str, Any]) -> Json:
    """Return a study with every default written out, its keys in the order of the schema.

    Args:
        raw: what a study file holds.

    Raises:
        InputError: a key is unknown, missing, of the wrong type or out of range, or two do not fit each other.
    """
    study = resolve(raw, study_schema())
    _check_data(study["data"])
    hours = study.pop("hours")
    for run in study["runs"].values():
        run["training"]["steps"] = max(1, round(hours * run["training"]["steps"]))
    for name, run in study["runs"].items():
        _complete(run, f"runs.{name}.")
        for sampler, settings in run["samplers"].items():
            path = f"runs.{name}.samplers.{sampler}."
            _check_sampler(settings, path)
            _check_kind(settings, run["objective"], path)
        _check_resources(run, f"runs.{name}.")
    # After all runs are complete: one may name another that stands after it.
    for name in study["runs"]:
        _check_starts(study["runs"], name)
    _check_sampler_named(study, "figures.trajectory", study["figures"]["trajectory"])
    _check_sampler_named(study, "benchmark.sampling.trained", study["benchmark"]["sampling"]["trained"])
    return study


def run_settings(study: Json, run: str) -> Json:
    """Return what ``results/runs/{run}/config.json`` holds: all of a resolved study that shapes the run's weights.

    The samplers are not in it, nor where it trains, so that nothing is trained again for a new one.
    """
    settings = {key: value for key, value in study["runs"][run].items() if key not in _NOT_IN_WEIGHTS}
    return {"name": run, "data": study["data"]["name"], **settings}


def sampler_settings(study: Json, run: str, sampler: str) -> Json:
    """Return what ``results/runs/{run}/samplers/{sampler}.json`` holds."""
    return {"name": sampler, **study["runs"][run]["samplers"][sampler]}


def read_run_config(path: str | os.PathLike[str]) -> RunConfig:
    """Read a run's ``config.json``; keys with a default may be missing.

    Raises:
        InputError: the file is not JSON, or not the configuration of a run.
    """
    value = read_json(path)
    with _naming(path):
        return run_config(value)


def run_config(raw: Mapping[str, Any]) -> RunConfig:
    """Return the configuration that ``run_settings`` has made a JSON value of; for weights that carry theirs.

    Raises:
        InputError: it is not the configuration of a run.
    """
    schema = study_schema()
    run = schema["$defs"]["run"]
    properties = {
        "name": {"type": "string"},
        "data": schema["properties"]["data"]["properties"]["name"],
        **{key: value for key, value in run["properties"].items() if key not in _NOT_IN_WEIGHTS},
    }
    required = ["name", *(key for key in run["required"] if key not in _NOT_IN_WEIGHTS)]
    settings = resolve(raw, run | {"properties": properties, "required": required})
    _complete(settings, "")
    return _build(RunConfig, settings)


def read_sampler_config(path: str | os.PathLike[str]) -> SamplerConfig:
    """Read a sampler's JSON file; keys with a default may be missing.

    Raises:
        InputError: the file is not JSON, or not the configuration of a sampler.
    """
    value = read_json(path)
    with _naming(path):
        return sampler_config(value)


def sampler_config(raw: Mapping[str, Any]) -> SamplerConfig:
    """Return the configuration that ``sampler_settings`` has made a JSON value of.

    Raises:
        InputError: it is not the configuration of a sampler.
    """
    sampler = study_schema()["$defs"]["sampler"]
    properties = {"name": {"type": "string"}, **sampler["properties"]}
    settings = resolve(raw, sampler | {"properties": properties, "required": ["name", *sampler["required"]]})
    _check_sampler(settings, "")
    return _build(SamplerConfig, settings)


def check_sampler_of(sampler: SamplerConfig, run: RunConfig) -> None:
    """Check that a sampler is one for a run, whatever study either is from.

    Raises:
        InputError: it is for runs of another objective.
    """
    _check_kind(dataclasses.asdict(sampler), run.objective, f"sampler {sampler.name}: ")


# Settings of a run that do not shape its weights.
_NOT_IN_WEIGHTS: Final = ("resources", "samplers")

# Names that would collide with other files in results/data and results/reference.
_RESERVED: Final = ("raw", "noise")


def _check_data(data: Json) -> None:
    if data["name"] in _RESERVED:
        raise InputError(f"data.name: {shown(data['name'])} should be another name than {' and '.join(_RESERVED)}")
    if data["source"] == "path" and not data["path"]:
        raise InputError(
            "data.path: is missing; for the source path it should name a file of molecules or a folder of them"
        )
    if data["source"] != "path" and data["path"] is not None:
        raise InputError(f"data.path: {shown(data['path'])} should be left out, or data.source should be path")
    if data["path"] and set(data["path"]) & set("{}"):
        # Snakemake would take them for wildcards.
        raise InputError(f"data.path: {shown(data['path'])} should have no braces")
    if data["buckets"] != sorted(data["buckets"]):
        raise InputError(f"data.buckets: {shown(data['buckets'])} should be ascending")


def _complete(run: Json, path: str) -> None:
    """Check a run and set the one default that another key decides; ``path`` goes before its keys in messages."""
    model, training = run["model"], run["training"]
    _check_objective(run, path)
    if model["edge_hidden"] is None:
        model["edge_hidden"] = model["hidden"]
    if training["batch_size"] % training["accumulate"]:
        raise InputError(
            f"{path}training.accumulate: {training['accumulate']} should divide batch_size, {training['batch_size']}"
        )
    if (warmup := training["optimizer"]["warmup_steps"]) > training["steps"]:
        raise InputError(
            f"{path}training.optimizer.warmup_steps: {warmup} should be at most the steps of the training, "
            f"{training['steps']}"
        )


def _check_objective(run: Json, path: str) -> None:
    """Check what an objective asks of its own settings."""
    levels, consistency = run["levels"], run["consistency"]
    if levels["sigma_min"] >= levels["sigma_max"]:
        raise InputError(
            f"{path}levels.sigma_min: {levels['sigma_min']} should be below sigma_max, {levels['sigma_max']}"
        )
    for kind in ("stage", "levels"):
        first, last = consistency[f"first_{kind}"], consistency[f"last_{kind}"]
        if first > last:
            raise InputError(f"{path}consistency.first_{kind}: {first} should be at most last_{kind}, {last}")
    if run["objective"] == "edm":
        if levels["alignment"] != "none":
            raise InputError(f"{path}levels.alignment: should be left out; objective edm has no levels")
    else:
        _check_drawn(levels, levels["mean"], levels["std"], f"{path}levels.mean")
    if run["objective"] == "matching":
        _check_drawn(levels, run["matching"]["score_mean"], run["matching"]["score_std"], f"{path}matching.score_mean")
    kind = consistency["kind"] if run["objective"] == "consistency" else run["objective"]
    for key, kinds in (("init", ("tuning",)), ("teacher", ("distillation", "matching"))):
        if kind in kinds and run[key] is None:
            raise InputError(f"{path}{key}: is missing; {kind} should name a run of objective denoiser here")
    if run["teacher"] is not None and kind not in ("distillation", "matching"):
        raise InputError(f"{path}teacher: {shown(run['teacher'])} should be left out; {kind} learns from the data")


def _check_drawn(levels: Json, mean: float, std: float, path: str) -> None:
    """Check that a normal distribution of ln sigma has some of its mass between sigma_min and sigma_max."""
    low, high = math.log(levels["sigma_min"]), math.log(levels["sigma_max"])
    if not low - 5.0 * std < mean < high + 5.0 * std:
        raise InputError(
            f"{path}: {mean} should be within 5 standard deviations of the logarithms of sigma_min and sigma_max, "
            f"{low:.3g} and {high:.3g}"
        )


def _check_starts(runs: Json, name: str) -> None:
    """Check that a run starts from, and learns from, runs that it can."""
    run = runs[name]
    for key in ("init", "teacher"):
        path, other = f"runs.{name}.{key}", run[key]
        if other is None:
            continue
        if other not in runs:
            raise InputError(f"{path}: {shown(other)} should name a run; there are {', '.join(runs)}")
        start = runs[other]
        if key == "init" and not can_start(start["model"], run["model"]):
            raise InputError(
                f"{path}: the model of {other} should be the same as this run's, key by key, but for layers that it "
                "may have fewer of"
            )
        if key == "teacher" and start["model"] != run["model"]:
            raise InputError(f"{path}: the model of {other} should be the same as this run's, key by key")
        if (start["objective"] == "edm") != (run["objective"] == "edm"):
            raise InputError(
                f"{path}: {other} is of objective {start['objective']}, which shares no weights with {run['objective']}"
            )
        for part in ("sigma_data", "preconditioning"):
            if start["levels"][part] != run["levels"][part]:
                raise InputError(f"{path}: levels.{part} of {other} should be the same as this run's")
    if run["teacher"] is not None and (given := runs[run["teacher"]])["objective"] != "denoiser":
        raise InputError(f"runs.{name}.teacher: {run['teacher']} is of objective {given['objective']}, not denoiser")
    _check_acyclic(runs, name)


def can_start(start: Json, model: Json) -> bool:
    """Return whether the network ``model`` can start from the weights of ``start``: the same one, or one less deep."""
    return bool(start["layers"] <= model["layers"] and {**start, "layers": model["layers"]} == model)


def _check_resources(run: Json, path: str) -> None:
    """Check that a run's training can be split as its resources say."""
    nodes, tasks = run["resources"]["nodes"], run["resources"]["tasks"]
    if tasks % nodes:
        raise InputError(f"{path}resources.tasks: {tasks} should be a multiple of nodes, {nodes}")
    if (batch := run["training"]["batch_size"]) % tasks:
        raise InputError(f"{path}resources.tasks: {tasks} should divide training.batch_size, {batch}")
    if tasks > 1 and run["backend"] != "jax":
        raise InputError(f"{path}resources.tasks: {tasks} should be 1 for backend {run['backend']}; jax takes more")


def _check_acyclic(runs: Json, name: str, *after: str) -> None:
    if name in after:
        circle = after[after.index(name) :]
        raise InputError(f"runs.{name}: its init and teacher lead back to itself, by {' and '.join(circle)}")
    for key in ("init", "teacher"):
        if (other := runs[name][key]) in runs:
            _check_acyclic(runs, other, *after, name)


_KINDS: Final = {
    "edm": ("heun", "ddim", "ancestral"),
    "denoiser": ("heun", "ddim"),
    "consistency": ("consistency",),
    "matching": ("consistency",),
}


def _check_kind(sampler: Json, objective: str, path: str) -> None:
    """Check that a sampler is one for its run's objective."""
    kinds = _KINDS[objective]
    if sampler["kind"] not in kinds:
        raise InputError(f"{path}kind: {sampler['kind']} should be {' or '.join(kinds)} for objective {objective}")


def _check_sampler(sampler: Json, path: str) -> None:
    levels = sampler["levels"]
    if levels is not None:
        if sampler["kind"] != "consistency":
            raise InputError(f"{path}levels: should be left out, or kind should be consistency")
        if any(after >= before for before, after in pairwise(levels)):
            raise InputError(f"{path}levels: {shown(levels)} should be descending")
        if sampler["steps"] not in (1, len(levels)):
            raise InputError(f"{path}steps: {sampler['steps']} should be left out beside levels")
        sampler["steps"] = len(levels)
    if sampler["alignment"] is not None and sampler["kind"] != "consistency":
        raise InputError(f"{path}alignment: should be left out, or kind should be consistency")
    if sampler["sigma_min"] >= sampler["sigma_max"]:
        raise InputError(f"{path}sigma_min: {sampler['sigma_min']} should be below sigma_max, {sampler['sigma_max']}")


def _check_sampler_named(study: Json, path: str, named: Json | None) -> None:
    """Check that the run and sampler of ``named`` exist; ``path`` goes before its keys in messages."""
    if named is None:
        return
    runs = study["runs"]
    if named["run"] not in runs:
        raise InputError(f"{path}.run: {shown(named['run'])} should name a run; there are {', '.join(runs)}")
    samplers = runs[named["run"]]["samplers"]
    if named["sampler"] not in samplers:
        raise InputError(
            f"{path}.sampler: {shown(named['sampler'])} should name a sampler of the run {named['run']}; "
            f"there are {', '.join(samplers)}"
        )


@contextlib.contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Put the name of a file before the message of an InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


_Config = TypeVar("_Config")


def _build(kind: type[_Config], settings: Json) -> _Config:
    """Return ``settings`` as the dataclass ``kind``, groups of settings as the dataclasses of their fields."""
    hints = typing.get_type_hints(kind)
    return kind(
        **{
            key: _build(hints[key], value)
            if dataclasses.is_dataclass(hints[key])
            else (tuple(value) if isinstance(value, list) else value)
            for key, value in settings.items()
        }
    )
