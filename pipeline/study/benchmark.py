"""The section ``benchmark`` of a study: what is measured, on whom and how often."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from pipeline.study.group import Count, Distinct, Group, Named, Positive, Seed, Several

Contestant = Literal[
    "edm", "torch", "torch-compiled", "jax-naive", "jax-factored", "jax-buckets", "jax-gradient", "jax"
]
Whole = Literal["edm", "torch", "torch-compiled", "jax"]
Startable = Literal["torch", "torch-compiled", "jax"]


class Contest(Group):
    """Contestants that train the same network."""

    hidden: Count
    """Node features."""
    layers: Count
    """Equivariant layers."""
    contestants: Annotated[Distinct[Contestant], Field(min_length=1)] = get_args(Contestant)
    """Contestants. edm is EDM in PyTorch as published; torch and torch-compiled are the PyTorch backend; jax is the JAX
    backend, and jax-naive, -factored, -buckets and -gradient are its steps of optimisation."""
    repetitions: Count = 5
    """Measurements per contestant."""


class SamplerName(Group):
    """A run and one of its samplers."""

    run: str
    """Name of the run."""
    sampler: str
    """Name of one of that run's samplers."""


class Sampling(Group):
    """Sampling with random weights; with trained ones see trained."""

    hidden: Count = 64
    """Node features."""
    layers: Count = 5
    """Equivariant layers."""
    contestants: Distinct[Whole] = ("edm", "torch", "jax")
    """Contestants; an empty list measures none. edm samples at most 100 molecules at a time, as its published code
    does."""
    repetitions: Count = 3
    """Measurements per contestant."""
    calls: Annotated[int, Field(strict=True, ge=2, le=1001)] = 10
    """Network calls per molecule; time is proportional to them."""
    molecules: Count = 500
    """Molecules per measurement; their sizes follow the training molecules."""
    trained: SamplerName | None = None
    """A run and one of its samplers, to measure trained weights too and count stable molecules; null for none."""


class Scaling(Group):
    """Training steps on made-up molecules, their time and memory against three things at a time."""

    hidden: Count = 64
    """Node features."""
    layers: Count = 5
    """Equivariant layers."""
    contestants: Distinct[Whole] = ("edm", "jax")
    """Contestants; an empty list measures none."""
    repetitions: Count = 2
    """Measurements per contestant."""
    atoms: Distinct[Several] = (9, 18, 29, 61, 181)
    """Molecule sizes to compare, in atoms; the largest of GEOM-Drugs has 181."""
    atoms_batch: Count = 8
    """Molecules per step when comparing sizes; few, because memory grows with the square of the size."""
    batch_sizes: Distinct[Count] = (8, 32, 128)
    """Batch sizes to compare."""
    batch_atoms: Several = 18
    """Atoms per molecule when comparing batch sizes and cores; 18 is QM9's mean."""
    cores: Distinct[Count] = (1, 2, 4, 8, 16)
    """Numbers of cores to compare, up to those of the machine."""


class Benchmark(Group):
    """How fast the backends train and sample, beside EDM as it is published; see ``snakemake results/benchmarks``."""

    batch_size: Count = 64
    """Molecules per training step."""
    seconds: Positive = 0.7
    """Shortest measurement of a contestant per repetition, in seconds; at least one training step of every size
    bucket."""
    seed: Seed = 0
    """Seed of weights, order of molecules and noise."""
    training: Named[Contest] = {
        "small": Contest(hidden=64, layers=5),
        "medium": Contest(hidden=128, layers=6, contestants=("edm", "torch", "jax"), repetitions=3),
        "large": Contest(hidden=256, layers=9, contestants=("edm", "jax"), repetitions=3),
    }
    """Networks to train, in EDM's form, by name (small letters, digits and hyphens); {} trains none."""
    sampling: Sampling = Sampling()
    scaling: Scaling = Scaling()
    startup: Distinct[Startable] = ("jax",)
    """Contestants whose time from process start to first training step is measured, with default settings; an empty
    list measures none."""
