"""The section ``benchmark`` of a study: what is measured, of which contestants and how often."""

from typing import Annotated, Final, Literal, get_args

from pydantic import Field

from pipeline.study.group import AtLeastTwo, ByName, Group, PositiveFloat, PositiveInt, Seed, UniqueTuple

Contestant = Literal[
    "edm", "torch", "torch-compiled", "jax-naive", "jax-factored", "jax-buckets", "jax-gradient", "jax"
]
LADDER: Final = get_args(Contestant)[3:]
"""Steps of the ablation, each with one more optimisation; the last adds chunks and devices."""

FullContestant = Literal["edm", "torch", "torch-compiled", "jax"]
BackendContestant = Literal["torch", "torch-compiled", "jax"]


class Contest(Group):
    """Contestants that train the same network."""

    hidden: PositiveInt
    """Node features."""
    layers: PositiveInt
    """Equivariant layers."""
    contestants: Annotated[UniqueTuple[Contestant], Field(min_length=1)] = get_args(Contestant)
    """Contestants. edm is EDM in PyTorch as published; torch and torch-compiled are the PyTorch backend; jax is the JAX
    backend, and jax-naive, -factored, -buckets and -gradient are the JAX backend with only some of its
    optimisations."""
    repetitions: PositiveInt = 5
    """Measurements per contestant."""


class SamplerName(Group):
    """A run and one of its samplers."""

    run: str
    """Name of the run."""
    sampler: str
    """Name of one of that run's samplers."""


class Sampling(Group):
    """Sampling with random weights, and with trained weights if trained is set."""

    hidden: PositiveInt = 64
    """Node features."""
    layers: PositiveInt = 5
    """Equivariant layers."""
    contestants: UniqueTuple[FullContestant] = ("edm", "torch", "jax")
    """Contestants; an empty list measures none. edm samples at most 100 molecules at a time, as its published code
    does."""
    repetitions: PositiveInt = 3
    """Measurements per contestant."""
    calls: Annotated[int, Field(strict=True, ge=2, le=1001)] = 10
    """Network calls per molecule; time is proportional to them."""
    molecules: PositiveInt = 500
    """Molecules per measurement; their sizes follow the training molecules."""
    trained: SamplerName | None = None
    """A run and one of its samplers, to measure trained weights too and count stable molecules; null for none."""


class Scaling(Group):
    """Time and memory of training steps on synthetic molecules against molecule size, batch size and cores."""

    hidden: PositiveInt = 64
    """Node features."""
    layers: PositiveInt = 5
    """Equivariant layers."""
    contestants: UniqueTuple[FullContestant] = ("edm", "jax")
    """Contestants; an empty list measures none."""
    repetitions: PositiveInt = 2
    """Measurements per contestant."""
    atoms: UniqueTuple[AtLeastTwo] = (9, 18, 29, 61, 181)
    """Molecule sizes to compare, in atoms; the largest of GEOM-Drugs has 181."""
    atoms_batch: PositiveInt = 8
    """Molecules per step when comparing sizes; few, because memory grows with the square of the size."""
    batch_sizes: UniqueTuple[PositiveInt] = (8, 32, 128)
    """Batch sizes to compare."""
    batch_atoms: AtLeastTwo = 18
    """Atoms per molecule when comparing batch sizes and cores; 18 is QM9's mean."""
    cores: UniqueTuple[PositiveInt] = (1, 2, 4, 8, 16)
    """Numbers of cores to compare, up to the number that the machine has."""


class Benchmark(Group):
    """Speed of the backends and of the published EDM in training and sampling; see ``snakemake results/benchmarks``."""

    batch_size: PositiveInt = 64
    """Molecules per training step."""
    seconds: PositiveFloat = 0.7
    """Shortest measurement of a contestant per repetition, in seconds; at least one training step of every size
    bucket."""
    seed: Seed = 0
    """Seed of weights, order of molecules and noise."""
    training: ByName[Contest] = {
        "small": Contest(hidden=64, layers=5),
        "medium": Contest(hidden=128, layers=6, contestants=("edm", "torch", "jax"), repetitions=3),
        "large": Contest(hidden=256, layers=9, contestants=("edm", "jax"), repetitions=3),
    }
    """Networks to train, in EDM's form, by name (lowercase letters, digits and hyphens); {} trains none."""
    sampling: Sampling = Sampling()
    scaling: Scaling = Scaling()
    startup: UniqueTuple[BackendContestant] = ("jax",)
    """Contestants whose time from process start to first training step is measured, with default settings; an empty
    list measures none."""
