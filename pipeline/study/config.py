"""Settings of runs and samplers: type, range, default and meaning of every key, and checks across keys."""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, StrictBool, StrictFloat, ValidationInfo, WithJsonSchema, field_validator, model_validator

from pipeline.core.errors import InputError
from pipeline.study.group import (
    AtLeastTwo,
    Decay,
    Fraction,
    Group,
    Json,
    Name,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Seed,
    UniqueTuple,
    format_value,
    parse,
)

Precision = Literal["float32", "tf32", "bfloat16"]
Objective = Literal["edm", "denoiser", "consistency", "property"]
Alignment = Literal["none", "permutation", "full"]


class ModelConfig(Group):
    """The E(n)-equivariant graph network (EGNN). Settings left out are those of the run that init or teacher names."""

    hidden: PositiveInt = 64
    """Node features."""
    edge_hidden: Annotated[
        PositiveInt, WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]})
    ] = Field(default=None, validate_default=True)
    """Edge features, which determine nearly all of the cost; null is the same as hidden."""
    layers: PositiveInt = 5
    """Equivariant layers."""
    attention: StrictBool = True
    """Whether each message is weighted by a learned sigmoid gate."""
    radial_features: Literal["gaussian", "squared"] = "gaussian"
    """Edge features of the current and the input distance. squared is the square, as in the reference; gaussian uses
    smooth bounded functions and trains at a far higher learning rate."""
    node_norm: Literal["rms", "none"] = "rms"
    """rms scales node features to unit root mean square before each layer; none, as in the reference, does not."""
    shared_edges: StrictBool = False
    """Whether a layer has one edge network, whose messages make vectors that move the atoms and tell of angles (as in
    PaiNN), instead of another one for coordinates, as in the reference: nearly half the cost."""
    preconditioned: StrictBool = True
    """Whether the network's input and target are scaled to unit variance at every noise level (Karras et al. 2022). The
    reference predicts the noise directly."""
    norm_constant: NonNegativeFloat = 1.0
    """Constant added to the distance in the denominator of a coordinate update, in angstrom."""
    coordinate_range: PositiveFloat = 3.0
    """Factor of the tanh that bounds one neighbour's contribution to a coordinate update; 15 in the reference."""
    aggregation_divisor: PositiveFloat = 4.0
    """Divisor of the sum of a node's messages; 1 in the reference."""

    @field_validator("edge_hidden", mode="before")
    @classmethod
    def _same_as_hidden(cls, value: Any, info: ValidationInfo) -> Any:
        return info.data.get("hidden", 1) if value in (None, "null") else value

    def can_start(self, start: Self) -> bool:
        """Return whether the weights of ``start`` can initialise this network: the same, or one with fewer layers."""
        return start.layers <= self.layers and start.model_copy(update={"layers": self.layers}) == self


class NoiseConfig(Group):
    """The diffusion of objective edm, whose signal falls with (1 - (t/T)^2)^2."""

    steps: AtLeastTwo = 1000
    """T, the number of diffusion steps in training."""
    precision: Annotated[float, Field(strict=True, gt=0, lt=0.5)] = 1e-5
    """Variance of the noise at t = 0 and of the signal at t = T."""
    loss: Literal["l2", "vlb"] = "l2"
    """l2 weights all steps equally; vlb uses the weights of the variational bound on the likelihood."""


class SigmaData(Group):
    """Scales of the network's inputs and targets; if left out, those of the run that init or teacher names."""

    coordinates: PositiveFloat | None = None
    """Root mean square of the coordinates in angstrom; null measures it on the training split."""
    types: PositiveFloat | None = None
    """Root mean square of the one-hot types divided by 4; null measures it."""


class LevelsConfig(Group):
    """The noise levels of the objectives denoiser and consistency (noise added to coordinates in angstrom)."""

    mean: StrictFloat = -1.0
    """Mean of ln sigma in training; -0.7 by default for objective consistency."""
    std: PositiveFloat = 1.5
    """Standard deviation of ln sigma in training; 1.1 by default for objective consistency."""
    sigma_min: PositiveFloat = 0.002
    """Smallest noise level."""
    sigma_max: PositiveFloat = 20.0
    """Largest noise level, the prior's."""
    sigma_data: SigmaData = SigmaData()
    preconditioning: Literal["karras", "estimate"] = "estimate"
    """Preconditioning of coordinates. karras is that of Karras et al. 2022, table 1; with estimate the network's
    layers update the estimate itself and see its distances. By default as in the init or teacher run."""
    alignment: Alignment = "none"
    """How data is aligned to noise before mixing. permutation reorders atoms, full also rotates the molecule.
    Consistency samplers align fresh noise in the same way. full by default for objective consistency."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min: {self.sigma_min} should be below sigma_max, {self.sigma_max}")
        return self


class ConsistencyConfig(Group):
    """The objective consistency: which levels it compares, and how."""

    kind: Literal["tuning", "distillation"] = "tuning"
    """tuning closes the gap between compared levels in stages (ECT); distillation learns, for one call, what a tuned
    run makes of the same noise in several (Luhman and Luhman 2021)."""
    path: Annotated[tuple[PositiveFloat, ...], Field(min_length=2)] = (2.5, 0.66, 0.4, 0.22, 0.1)
    """distillation. Levels of the teacher's calls, descending; the one call is at the first."""
    q: Annotated[float, Field(strict=True, gt=1)] = 2.0
    """tuning. Each stage divides the gap between compared levels by q."""
    first_stage: NonNegativeInt = 2
    """tuning. First stage; all stages are equally long. 0 by default for a run without init: the target is then the
    data, which is all that random weights can learn from."""
    last_stage: NonNegativeInt = 5
    """tuning. Last stage."""
    anchor: NonNegativeFloat = 0.4
    """tuning. Below this level the target is the data itself in every stage, which keeps small levels
    precise."""
    weight: Literal["gap", "unit"] = "gap"
    """tuning. gap weights a pair with 1 / (t - r); unit equalises the gradients of all levels."""
    huber: NonNegativeFloat = 0.02
    """Pseudo-Huber constant c per square root of the dimension; 0 is the squared distance."""
    type_weight: PositiveFloat = 4.0
    """Weight of the squared distance of types relative to coordinates."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.first_stage > self.last_stage:
            raise ValueError(f"first_stage: {self.first_stage} should be at most last_stage, {self.last_stage}")
        _check_descending("path", self.path)
        return self


def _check_descending(key: str, levels: Sequence[float]) -> None:
    if any(after >= before for before, after in pairwise(levels)):
        raise ValueError(f"{key}: {format_value(levels)} should be descending")


class ClipConfig(Group):
    """Gradient clipping."""

    kind: Literal["norm", "adaptive", "none"] = "norm"
    """Gradient clipping: norm clips at value; adaptive, as in the reference, at 1.5 times the mean plus 2 standard
    deviations of the last 50 norms; none does not clip."""
    value: PositiveFloat = 1.0
    """Largest gradient norm, for kind norm."""


class OptimizerConfig(Group):
    """Muon or Adam, with weight decay."""

    kind: Literal["muon", "adam", "amsgrad"] = "muon"
    """muon (Jordan et al. 2024) orthogonalises the updates of the layers' matrices and leaves all else to adam; amsgrad
    is adam divided by the largest mean of squares so far, as the reference does."""
    learning_rate: PositiveFloat = 2e-3
    """Peak learning rate, of muon's matrices 15 times as much; 1e-3 by default for objective consistency."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """Learning rate after the warm-up; linear and cosine reach 0 at the last step."""
    warmup_steps: NonNegativeInt | Fraction = 500
    """Steps over which the learning rate rises from 0; a number below 1 is a fraction of all steps. 200 by default for
    objective consistency."""
    weight_decay: NonNegativeFloat = 1e-12
    """Decoupled weight decay."""
    beta1: Decay = 0.9
    """Decay of the mean of gradients (muon's momentum)."""
    beta2: Decay = 0.99
    """Decay of the mean of squared gradients."""
    clip: ClipConfig = ClipConfig()

    @model_validator(mode="before")
    @classmethod
    def _with_kind(cls, raw: Any) -> Any:
        # Weights and studies from before there was Muon.
        if isinstance(raw, Mapping) and "kind" not in raw and isinstance(raw.get("amsgrad"), bool):
            others = {name: value for name, value in raw.items() if name != "amsgrad"}
            return {"kind": "amsgrad" if raw["amsgrad"] else "adam", **others}
        return raw


class TrainingConfig(Group):
    """How the network is trained."""

    steps: PositiveInt
    """Optimiser steps; steps x batch_size / 100,000 is the number of QM9 epochs."""
    batch_size: PositiveInt = 64
    """Molecules per step, all from one size bucket."""
    half: Literal["first", "second"] | None = None
    """Half of the training molecules to train on: after EDM's permutation (seed 42) first, for a property regressor, or
    second, for a generator that it judges; null trains on all."""
    accumulate: PositiveInt = 1
    """Number of equal parts a batch is split into to save memory; divides batch_size."""
    optimizer: OptimizerConfig = OptimizerConfig()
    ema_decay: Decay = 0.9995
    """Decay of the moving average of the weights, which is saved and sampled; smaller in the first steps."""
    validation_interval: PositiveInt = 1000
    """Steps between validation losses."""
    sample_interval: NonNegativeInt = 5000
    """Steps between stability checks on samples; 0 disables them."""
    sample_count: PositiveInt = 128
    """Molecules per stability check."""
    checkpoint_seconds: PositiveFloat = 60.0
    """Seconds between checkpoints, the most work a killed run can lose."""

    @field_validator("steps")
    @classmethod
    def _scaled(cls, steps: int, info: ValidationInfo) -> int:
        # The context is the study's hours, if any.
        return max(1, round((info.context or 1) * steps))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate: {self.accumulate} should divide batch_size, {self.batch_size}")
        if (warmup := self.optimizer.warmup_steps) > self.steps:
            raise ValueError(
                f"optimizer.warmup_steps: {warmup} should be at most the steps of the training, "
                f"{self.steps}, or a share of them below 1"
            )
        if isinstance(warmup, float):
            optimizer = self.optimizer.model_copy(update={"warmup_steps": round(warmup * self.steps)})
            return self.model_copy(update={"optimizer": optimizer})
        return self


class WeightsConfig(Group):
    """All settings that affect a run's weights."""

    objective: Objective = "edm"
    """Training objective. edm is the variance-preserving diffusion of Hoogeboom et al. 2022, denoiser the
    variance-exploding one of Karras et al. 2022, consistency a model that samples in one step or a few. property
    generates nothing: it predicts the properties of its condition, to judge molecules that were asked for them."""
    backend: Literal["jax", "torch"] = "jax"
    """Framework for training and sampling; torch requires PyTorch."""
    precision: Precision = "float32"
    """Precision of the factors of matrix products in linear layers, in training and sampling. tf32 and bfloat16, with
    10 and 7 bits of mantissa, are faster on a GPU; sums are in float32, and PyTorch rounds results to bfloat16. On a
    CPU tf32 is computed in float32."""
    seed: Seed = 0
    """Seed of the initial weights, the order of the molecules and the noise."""
    init: str | None = None
    """Name of the run whose weights this one starts from, with the same model or fewer layers; added layers start as
    the identity. null starts from random weights."""
    teacher: str | None = None
    """Name of the consistency run that kind distillation learns from, with the same model or fewer layers."""
    condition: UniqueTuple[str] = ()
    """Properties that the molecules are generated for: numeric columns of the data. For QM9 alpha, gap, homo, lumo, mu,
    Cv and the others of its table. By default as in the init or teacher run; an init run may have none."""
    condition_dropout: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.1
    """Share of the training molecules whose properties are withheld, so that the run also samples without them."""
    model: ModelConfig = ModelConfig()
    noise: NoiseConfig = NoiseConfig()
    levels: LevelsConfig = LevelsConfig()
    consistency: ConsistencyConfig = ConsistencyConfig()
    training: TrainingConfig

    @property
    def condition_features(self) -> int:
        """Features of a molecule's condition, see ``PropertyStatistics.context``."""
        return 2 * len(self.condition) + 1 if self.condition and self.objective != "property" else 0

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or raw.get("objective") != "consistency":
            return raw
        without_init = {} if raw.get("init") else {"consistency": {"first_stage": 0}}
        return _with_defaults(raw, _CONSISTENCY_DEFAULTS | without_init)

    @model_validator(mode="after")
    def _check_objective(self) -> Self:
        levels = self.levels
        if self.objective == "edm":
            if levels.alignment != "none":
                raise ValueError("levels.alignment: should be left out; objective edm has no levels")
        else:
            _check_training_levels(levels)
        if self.objective == "property":
            self._check_property()
        if self.teacher is not None and not self.distils:
            kind = self.consistency.kind if self.objective == "consistency" else self.objective
            raise ValueError(f"teacher: {format_value(self.teacher)} should be left out; {kind} learns from the data")
        return self

    @property
    def distils(self) -> bool:
        """Whether the run learns from a teacher."""
        return self.objective == "consistency" and self.consistency.kind == "distillation"

    @property
    def known_levels(self) -> dict[int, tuple[float, ...]]:
        """Levels by number of calls, where none need to be searched for: those that a distilled run was trained at."""
        return {1: self.consistency.path[:1]} if self.distils else {}

    def check_trainable(self) -> None:
        """Check that the run has what its training needs; a released one no longer names its teacher.

        Raises:
          ValueError: it has not.
        """
        if self.distils and self.teacher is None:
            raise ValueError("teacher: is missing; distillation should name a run of objective consistency here")

    def _check_property(self) -> None:
        """Check what a property regressor cannot have."""
        if not self.condition:
            raise ValueError("condition: is missing; objective property predicts the properties that it names")
        if self.init is not None:
            raise ValueError("init: should be left out; a property regressor starts from random weights")
        if self.levels.alignment != "none":
            raise ValueError("levels.alignment: should be left out; objective property has no levels")


_CONSISTENCY_DEFAULTS: Final[Json] = {
    "levels": {"mean": -0.7, "std": 1.1, "alignment": "full"},
    "training": {"optimizer": {"learning_rate": 1e-3, "warmup_steps": 200}},
}


def _with_defaults(raw: Any, defaults: Mapping[str, Any]) -> Any:
    """Return ``raw`` with keys that it or a group in it lacks taken from ``defaults``."""
    if not isinstance(raw, Mapping):
        return raw
    filled = {**defaults, **raw}
    for key, default in defaults.items():
        if isinstance(default, Mapping):
            filled[key] = _with_defaults(raw.get(key, {}), default)
    return filled


def _check_training_levels(levels: LevelsConfig) -> None:
    """Check that the normal distribution of ln sigma puts some of its mass between sigma_min and sigma_max."""
    low, high = math.log(levels.sigma_min), math.log(levels.sigma_max)
    if not low - 5.0 * levels.std < levels.mean < high + 5.0 * levels.std:
        raise ValueError(
            f"levels.mean: {levels.mean} should be within 5 standard deviations of the logarithms of sigma_min and "
            f"sigma_max, {low:.3g} and {high:.3g}"
        )


class Sampler(Group):
    """One way to sample a model."""

    kind: Literal["heun", "ddim", "ancestral", "consistency"]
    """heun is second order with 2 steps - 1 network calls, ddim deterministic and first order;
    ancestral draws fresh noise in each step, for objective edm; consistency is for that objective."""
    steps: PositiveInt = 1
    """Steps from noise to molecule."""
    num: PositiveInt = 1000
    """Molecules to sample; their sizes follow the training molecules."""
    seed: Seed = 0
    """Seed of the samples."""
    properties: dict[str, StrictFloat] | None = None
    """For a run with a condition, the value of each property, in the units of the data. null draws them from the
    training molecules of the same size, as EDM does; {} samples without any."""
    guidance: NonNegativeFloat = 0.0
    """For a run with a condition, the weight w of classifier-free guidance (Ho and Salimans 2022): estimates are
    (1 + w) D(x, property) - w D(x), at two network calls each; 0 uses none."""
    sigma_max: PositiveFloat = 20.0
    """First noise level, for heun and ddim (noise over signal; angstrom for coordinates)."""
    sigma_min: PositiveFloat = 0.005
    """Last noise level before 0, for heun and ddim."""
    rho: PositiveFloat = 7.0
    """Exponent of the level spacing, for heun and ddim (Karras et al. 2022, eq. 5); larger is denser at low levels."""
    churn: NonNegativeFloat = 0.0
    """For heun, fresh noise added before each step (S_churn of Karras et al. 2022, algorithm 2, with S_tmin 0.02,
    S_tmax 5 and S_noise 1.003); 0 is deterministic."""
    levels: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] | None = None
    """For consistency, the noise level of each step, descending; null uses the levels that the stage levels finds for
    that many steps."""
    alignment: Alignment | None = None
    """For consistency, how fresh noise is aligned to the estimate; null is the run's levels.alignment."""
    even_electrons: bool | None = None
    """For consistency, whether types are rounded to an even number of electrons after every call; null does so where at
    least 99 % of the training molecules have an even number, and not with statistics that are older than this."""
    first: str | None = None
    """For consistency with two calls or more, the name of a distilled run whose network makes the first call, at its
    own level instead of the first of levels; null makes all calls with this run's network."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_kind()
        if self.churn and self.kind != "heun":
            raise ValueError("churn: should be left out, or kind should be heun")
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min: {self.sigma_min} should be below sigma_max, {self.sigma_max}")
        if self.first is not None and max(self.steps, len(self.levels or ())) < 2:
            raise ValueError("first: should be left out for one call; sample that run itself")
        if self.levels is None:
            return self
        _check_descending("levels", self.levels)
        if self.steps not in (1, len(self.levels)):
            raise ValueError(f"steps: {self.steps} should be left out beside levels")
        return self.model_copy(update={"steps": len(self.levels)})

    def _check_kind(self) -> None:
        for key in ("levels", "alignment", "even_electrons", "first"):
            if getattr(self, key) is not None and self.kind != "consistency":
                raise ValueError(f"{key}: should be left out, or kind should be consistency")

    def check_for(self, run: WeightsConfig) -> None:
        """Check that this sampler suits a run, after options may have changed it.

        Raises:
          ValueError: it does not.
        """
        self._check_kind()
        kinds = _KINDS[run.objective]
        if not kinds:
            raise ValueError(f"kind: a run of objective {run.objective} generates no molecules")
        if self.kind not in kinds:
            raise ValueError(f"kind: {self.kind} should be {' or '.join(kinds)} for objective {run.objective}")
        if run.distils and (self.levels or run.known_levels.get(self.steps)) != run.known_levels[1]:
            key, level = ("levels" if self.levels else "steps"), format_value(run.known_levels[1][0])
            raise ValueError(f"{key}: should be left out; the run learns to sample in one call, at level {level}")
        for key in ("properties", "guidance"):
            if getattr(self, key) and not run.condition:
                raise ValueError(f"{key}: should be left out; the run has no condition")
        if self.guidance and self.properties == {}:
            raise ValueError("guidance: should be left out where no property is asked for")
        if self.properties and set(self.properties) != set(run.condition):
            raise ValueError(
                f"properties: {', '.join(self.properties)} should be those of the run's condition, "
                f"{', '.join(run.condition)}"
            )


_KINDS: Final[Mapping[Objective, tuple[str, ...]]] = {
    "edm": ("heun", "ddim", "ancestral"),
    "denoiser": ("heun", "ddim"),
    "consistency": ("consistency",),
    "property": (),
}


def seeded_name(run: str, seed: int) -> str:
    """Return the name of the run that trains with one of several seeds."""
    return f"{run}-seed-{seed}"


def unseeded_name(run: str) -> str:
    """Return the name that a run has in the study, without the seed of ``seeded_name``."""
    return re.sub(r"-seed-\d+$", "", run)


class _Named(Group):
    name: str
    """Name in the study."""


class _NamedWithData(_Named):
    data: Name
    """Name of the data set."""


class RunConfig(WeightsConfig, _NamedWithData):
    """Content of ``results/runs/{run}/config.json``: all settings that affect the weights, and two names."""


class SamplerConfig(Sampler, _Named):
    """Content of ``results/runs/{run}/samplers/{sampler}.json``: a sampler and its name."""


def run_config(raw: Mapping[str, Any]) -> RunConfig:
    """Return a JSON value as the configuration of a run.

    Raises:
      InputError: it is not a valid one.
    """
    return parse(RunConfig, raw)


def sampler_config(raw: Mapping[str, Any]) -> SamplerConfig:
    """Return a JSON value as the configuration of a sampler.

    Raises:
      InputError: it is not a valid one.
    """
    return parse(SamplerConfig, raw)


def check_sampler_of(sampler: SamplerConfig, run: RunConfig) -> None:
    """Check that a sampler suits a run; the two may come from different studies.

    Raises:
      InputError: it is for runs of another objective or with other properties, or options do not suit its kind.
    """
    try:
        sampler.check_for(run)
    except ValueError as error:
        raise InputError(f"sampler {sampler.name}: {error}") from None
