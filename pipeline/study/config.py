"""A run and a sampler: every key with its type, range, default and meaning, and how the keys of one fit each other."""

import math
import os
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from pipeline.core.errors import InputError
from pipeline.core.files import read_json
from pipeline.study.group import (
    Count,
    Decay,
    Flag,
    Group,
    Name,
    Natural,
    NotNegative,
    Positive,
    Real,
    Seed,
    Several,
    Share,
    parse,
    shown,
)

Objective = Literal["edm", "denoiser", "consistency"]
Alignment = Literal["none", "permutation", "full"]


class ModelConfig(Group):
    """The E(n)-equivariant graph network (EGNN). What is left out is as in the run that init or teacher names."""

    hidden: Count = 64
    """Features of a node."""
    edge_hidden: Annotated[Count, WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]})] = (
        Field(default=None, validate_default=True)
    )
    """Features of an edge, where nearly all the time goes; null means as many as hidden."""
    layers: Count = 5
    """Equivariant layers."""
    attention: Flag = True
    """Whether each message is weighted by a learned sigmoid of itself."""
    radial_features: Literal["gaussian", "squared"] = "gaussian"
    """What an edge knows of its two distances, now and at the input. squared is the square, as in the reference;
    gaussian adds smooth bounded functions and can be trained at a far higher learning rate."""
    node_norm: Literal["rms", "none"] = "rms"
    """Whether node features are scaled to unit root mean square before each layer (rms) or not (none, reference)."""
    shared_edges: Flag = False
    """Whether the coordinates are updated from the messages, instead of from an edge network of their own."""
    preconditioned: Flag = True
    """Whether the network's input and target are scaled to unit variance at every noise level (Karras et al. 2022); the
    reference predicts the noise directly."""
    norm_constant: NotNegative = 1.0
    """Added to the distance that a coordinate update is divided by, in angstrom."""
    coordinate_range: Positive = 3.0
    """Bound of one neighbour's part in one layer's coordinate update, times the tanh; 15 in the reference."""
    aggregation_divisor: Positive = 4.0
    """What the sum of a node's messages is divided by; 1 in the reference."""

    @field_validator("edge_hidden", mode="before")
    @classmethod
    def _as_many(cls, value: Any, info: ValidationInfo) -> Any:
        return info.data.get("hidden", 1) if value in (None, "null") else value

    def can_start(self, start: Self) -> bool:
        """Return whether this network can start from the weights of ``start``: the same one, or one less deep."""
        return start.layers <= self.layers and start.model_copy(update={"layers": self.layers}) == self


class NoiseConfig(Group):
    """The diffusion of objective edm, whose signal falls with (1 - (t/T)^2)^2."""

    steps: Several = 1000
    """T, the number of diffusion steps in training."""
    precision: Annotated[float, Field(strict=True, gt=0, lt=0.5)] = 1e-5
    """Share of noise left at t = 0, and of signal left at t = T."""
    loss: Literal["l2", "vlb"] = "l2"
    """l2 weighs all steps alike; vlb weighs them as the variational bound on the likelihood does."""


class SigmaData(Group):
    """What the network's inputs and targets are scaled with; left out, that of the run that init or teacher names."""

    coordinates: Positive | None = None
    """Root mean square of the coordinates in angstrom; null measures it on the training split."""
    types: Positive | None = None
    """Root mean square of the one-hot types divided by 4; null measures it."""


class LevelsConfig(Group):
    """The noise levels of the objectives denoiser and consistency (noise added to coordinates in angstrom)."""

    mean: Real = -1.0
    """Mean of ln sigma in training."""
    std: Positive = 1.5
    """Standard deviation of ln sigma in training."""
    sigma_min: Positive = 0.002
    """Least noise level."""
    sigma_max: Positive = 20.0
    """Largest noise level, that of the prior."""
    sigma_data: SigmaData = SigmaData()
    preconditioning: Literal["karras", "estimate"] = "estimate"
    """How coordinates go in and out of the network. karras predicts what is left of the noise (Karras et al. 2022,
    table 1); estimate lets the network's layers move the molecule itself, and see its distances. Left out, it is as
    in the run that init or teacher names."""
    alignment: Alignment = "none"
    """How each molecule is moved onto its noise before they are mixed. permutation orders its atoms, full also rotates
    it; samplers of a consistency model add fresh noise in the same way."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min: {self.sigma_min} should be below sigma_max, {self.sigma_max}")
        return self


class ConsistencyConfig(Group):
    """What the objective consistency compares, and how."""

    kind: Literal["ct", "ict", "tuning", "distillation"] = "tuning"
    """ct is consistency training as first published, its target the averaged weights; ict the improved form of it;
    tuning starts from a denoiser (ECT); distillation follows its Heun steps, not the straight line to the data."""
    q: Annotated[float, Field(strict=True, gt=1)] = 2.0
    """tuning, distillation. The gap between compared levels is divided by q from stage to stage."""
    first_stage: Natural = 5
    """tuning, distillation. Stage to begin with; all stages are equally long."""
    last_stage: Natural = 6
    """tuning, distillation. Stage to end with."""
    anchor: NotNegative = 0.2
    """tuning, distillation. Levels below this one are compared with the data itself, whatever the stage, so that what
    the higher ones are led to is precise."""
    first_levels: Several = 10
    """ct, ict. Levels of the grid at first."""
    last_levels: Several = 160
    """ct, ict. Levels of the grid at last."""
    weight: Literal["gap", "unit"] = "gap"
    """tuning, distillation. gap weighs a pair with 1 / (t - r); unit so that every level moves the network alike."""
    huber: NotNegative = 0.02
    """Constant c of the pseudo-Huber distance for unit dimension, multiplied by the root of the dimension; 0 takes the
    squared distance."""
    type_weight: Positive = 4.0
    """Weight of the squared distance of types beside that of coordinates."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.first_stage > self.last_stage:
            raise ValueError(f"first_stage: {self.first_stage} should be at most last_stage, {self.last_stage}")
        if self.first_levels > self.last_levels:
            raise ValueError(f"first_levels: {self.first_levels} should be at most last_levels, {self.last_levels}")
        return self


class ClipConfig(Group):
    """How large gradients are cut back."""

    kind: Literal["norm", "adaptive", "none"] = "norm"
    """norm cuts at value; adaptive at 1.5 times the mean plus 2 standard deviations of the last 50 norms (the
    reference); none not at all."""
    value: Positive = 1.0
    """Largest norm of the gradient, for kind norm."""


class OptimizerConfig(Group):
    """AdamW."""

    learning_rate: Positive = 2e-3
    """Learning rate at its highest."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the learning rate goes on after the warm-up, to 0 at the last step unless constant."""
    warmup_steps: Natural | Share = 500
    """Steps over which the learning rate rises from 0; a number below 1 is a share of the training's steps."""
    weight_decay: NotNegative = 1e-12
    """Decoupled weight decay."""
    beta1: Decay = 0.9
    """Decay of the mean of gradients."""
    beta2: Decay = 0.99
    """Decay of the mean of squared gradients."""
    amsgrad: Flag = False
    """Whether to divide by the largest mean of squares so far (AMSGrad), as the reference does."""
    clip: ClipConfig = ClipConfig()


class TrainingConfig(Group):
    """How the network is trained."""

    steps: Count
    """Number of optimiser steps; steps x batch_size / 100,000 are the epochs of QM9."""
    batch_size: Count = 64
    """Molecules a step, all of one size bucket."""
    accumulate: Count = 1
    """Number of equal parts that a batch is computed in, to save memory; divides batch_size."""
    optimizer: OptimizerConfig = OptimizerConfig()
    ema_decay: Decay = 0.9995
    """Decay of the moving average of the weights, which is what is saved and sampled; less in the first steps."""
    validation_interval: Count = 1000
    """Steps from one validation loss to the next."""
    sample_interval: Natural = 5000
    """Steps from one check of the stability of samples to the next; 0 never checks."""
    sample_count: Count = 128
    """Molecules in such a check."""
    checkpoint_seconds: Positive = 60.0
    """Seconds from one checkpoint to the next; what a killed run loses at most."""

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
    """All that shapes a run's weights."""

    objective: Objective = "edm"
    """What the network learns. edm is the variance-preserving diffusion of Hoogeboom et al. 2022; denoiser the
    variance-exploding one of Karras et al. 2022; consistency a model that samples in one step or a few."""
    backend: Literal["jax", "torch"] = "jax"
    """Which framework trains and samples it; torch wants PyTorch installed beside the rest."""
    seed: Seed = 0
    """Seed of the initial weights, the order of the molecules and the noise."""
    init: str | None = None
    """Name of the run whose weights this one starts from, with the same model or one of fewer layers, to which more are
    added that change nothing at first; null starts from random ones. For kind tuning a denoiser."""
    teacher: str | None = None
    """Name of a run of objective denoiser, with the same model, that this one learns from: kind distillation."""
    model: ModelConfig = ModelConfig()
    noise: NoiseConfig = NoiseConfig()
    levels: LevelsConfig = LevelsConfig()
    consistency: ConsistencyConfig = ConsistencyConfig()
    training: TrainingConfig

    @model_validator(mode="after")
    def _check_objective(self) -> Self:
        levels = self.levels
        if self.objective == "edm":
            if levels.alignment != "none":
                raise ValueError("levels.alignment: should be left out; objective edm has no levels")
        else:
            _check_drawn(levels)
        kind = self.consistency.kind if self.objective == "consistency" else self.objective
        for key, of_kind in (("init", "tuning"), ("teacher", "distillation")):
            if kind == of_kind and getattr(self, key) is None:
                raise ValueError(f"{key}: is missing; {kind} should name a run of objective denoiser here")
        if self.teacher is not None and kind != "distillation":
            raise ValueError(f"teacher: {shown(self.teacher)} should be left out; {kind} learns from the data")
        return self


def _check_drawn(levels: LevelsConfig) -> None:
    """Check that the normal distribution of ln sigma has some of its mass between sigma_min and sigma_max."""
    low, high = math.log(levels.sigma_min), math.log(levels.sigma_max)
    if not low - 5.0 * levels.std < levels.mean < high + 5.0 * levels.std:
        raise ValueError(
            f"levels.mean: {levels.mean} should be within 5 standard deviations of the logarithms of sigma_min and "
            f"sigma_max, {low:.3g} and {high:.3g}"
        )


class Sampler(Group):
    """One way to sample a model."""

    kind: Literal["heun", "ddim", "ancestral", "consistency"]
    """heun is deterministic and second order, 2 steps - 1 network calls; ddim deterministic and first order; ancestral
    draws fresh noise in each step, as EDM does, and is for runs of objective edm; consistency is for runs of that
    objective."""
    steps: Count = 1
    """Steps from noise to molecule."""
    num: Count = 1000
    """Molecules to sample; their sizes follow the training molecules."""
    seed: Seed = 0
    """Seed of the samples."""
    sigma_max: Positive = 20.0
    """Noise level to start from, for heun and ddim (noise over signal; angstrom for coordinates)."""
    sigma_min: Positive = 0.005
    """Last noise level before 0, for heun and ddim."""
    rho: Positive = 7.0
    """Spacing of the levels between, for heun and ddim (Karras et al. 2022, eq. 5); larger is denser at the low end."""
    levels: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = None
    """For consistency, the noise level of each step, descending; null takes the best ones for that many steps, which a
    stage of the workflow searches for."""
    alignment: Alignment | None = None
    """For consistency, how fresh noise is moved onto the molecule so far before it is added; null does it as the run
    was trained, levels.alignment."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for key in ("levels", "alignment"):
            if getattr(self, key) is not None and self.kind != "consistency":
                raise ValueError(f"{key}: should be left out, or kind should be consistency")
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min: {self.sigma_min} should be below sigma_max, {self.sigma_max}")
        if self.levels is None:
            return self
        if any(after >= before for before, after in pairwise(self.levels)):
            raise ValueError(f"levels: {shown(self.levels)} should be descending")
        if self.steps not in (1, len(self.levels)):
            raise ValueError(f"steps: {self.steps} should be left out beside levels")
        return self.model_copy(update={"steps": len(self.levels)})

    def check_for(self, objective: Objective) -> None:
        """Check that this is a way to sample a run of an objective.

        Raises:
            ValueError: it is for another one.
        """
        kinds = _KINDS[objective]
        if self.kind not in kinds:
            raise ValueError(f"kind: {self.kind} should be {' or '.join(kinds)} for objective {objective}")


_KINDS: Final[Mapping[Objective, tuple[str, ...]]] = {
    "edm": ("heun", "ddim", "ancestral"),
    "denoiser": ("heun", "ddim"),
    "consistency": ("consistency",),
}


class _Named(Group):
    name: str
    """What the study calls it."""


class _OfData(_Named):
    data: Name
    """Name of the data set."""


class RunConfig(WeightsConfig, _OfData):
    """All that shapes a run's weights, and two names: what ``results/runs/{run}/config.json`` holds."""


class SamplerConfig(Sampler, _Named):
    """One way to sample a model, and its name: what ``results/runs/{run}/samplers/{sampler}.json`` holds."""


def read_run_config(path: str | os.PathLike[str]) -> RunConfig:
    """Read a run's ``config.json``; keys with a default may be missing.

    Raises:
        InputError: the file is not JSON, or not the configuration of a run.
    """
    return _read(RunConfig, path)


def run_config(raw: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of a run that a JSON value stands for.

    Raises:
        InputError: it is not the configuration of a run.
    """
    return parse(RunConfig, raw)


def read_sampler_config(path: str | os.PathLike[str]) -> SamplerConfig:
    """Read a sampler's JSON file; keys with a default may be missing.

    Raises:
        InputError: the file is not JSON, or not the configuration of a sampler.
    """
    return _read(SamplerConfig, path)


def sampler_config(raw: Mapping[str, Any]) -> SamplerConfig:
    """Return the configuration of a sampler that a JSON value stands for.

    Raises:
        InputError: it is not the configuration of a sampler.
    """
    return parse(SamplerConfig, raw)


def check_sampler_of(sampler: SamplerConfig, run: RunConfig) -> None:
    """Check that a sampler is one for a run, whatever study either is from.

    Raises:
        InputError: it is for runs of another objective.
    """
    try:
        sampler.check_for(run.objective)
    except ValueError as error:
        raise InputError(f"sampler {sampler.name}: {error}") from None


_Config = TypeVar("_Config", bound=Group)


def _read(model: type[_Config], path: str | os.PathLike[str]) -> _Config:
    value = read_json(path)
    try:
        return parse(model, value)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
