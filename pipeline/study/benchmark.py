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
    """Features of a node."""
    layers: Count
    """Equivariant layers."""
    contestants: Annotated[Distinct[Contestant], Field(min_length=1)] = get_args(Contestant)
    """Who trains it. edm is EDM in PyTorch as published; torch and torch-compiled are the PyTorch backend; jax is the
    JAX backend, and jax-naive, -factored, -buckets and -gradient are what it is built up from."""
    repetitions: Count = 5
    """How often each takes its turn."""


class SamplerName(Group):
    """A run and one of its samplers."""

    run: str
    """Name of the run."""
    sampler: str
    """Name of one of that run's samplers."""


class Sampling(Group):
    """Sampling with random weights; with trained ones see trained."""

    hidden: Count = 64
    """Features of a node."""
    layers: Count = 5
    """Equivariant layers."""
    contestants: Distinct[Whole] = ("edm", "torch", "jax")
    """Who samples; none for an empty list. edm samples at most 100 molecules at a time, as its published code."""
    repetitions: Count = 3
    """How often each takes its turn."""
    calls: Annotated[int, Field(strict=True, ge=2, le=1001)] = 10
    """Network calls of one molecule; time is proportional to them."""
    molecules: Count = 500
    """Molecules a turn; their sizes follow the training molecules."""
    trained: SamplerName | None = None
    """A run and one of its samplers, to sample with its weights too and count the stable molecules; null for none."""


class Scaling(Group):
    """Training steps on made-up molecules, their time and memory against three things at a time."""

    hidden: Count = 64
    """Features of a node."""
    layers: Count = 5
    """Equivariant layers."""
    contestants: Distinct[Whole] = ("edm", "jax")
    """Who trains; none for an empty list."""
    repetitions: Count = 2
    """How often each takes its turn."""
    atoms: Distinct[Several] = (9, 18, 29, 61, 181)
    """Sizes of molecule to compare, in atoms. The largest of GEOM-Drugs has 181."""
    atoms_batch: Count = 8
    """Molecules a step while sizes are compared; few, for memory grows with the square of the size."""
    batch_sizes: Distinct[Count] = (8, 32, 128)
    """Batch sizes to compare."""
    batch_atoms: Several = 18
    """Atoms a molecule while batch sizes and cores are compared; 18 is the mean of QM9."""
    cores: Distinct[Count] = (1, 2, 4, 8, 16)
    """Numbers of cores to compare; those that the machine does not have are left out."""


class Benchmark(Group):
    """How fast the backends train and sample, beside EDM as it is published; see ``snakemake results/benchmarks``."""

    batch_size: Count = 64
    """Molecules a training step."""
    seconds: Positive = 0.7
    """Least time that a contestant is measured for in each repetition; it takes at least one training step of every
    size bucket."""
    seed: Seed = 0
    """Seed of weights, the order of molecules and noise."""
    training: Named[Contest] = {
        "small": Contest(hidden=64, layers=5),
        "medium": Contest(hidden=128, layers=6, contestants=("edm", "torch", "jax"), repetitions=3),
        "large": Contest(hidden=256, layers=9, contestants=("edm", "jax"), repetitions=3),
    }
    """Networks to train, in EDM's form, by name (small letters, digits and hyphens); {} trains none."""
    sampling: Sampling = Sampling()
    scaling: Scaling = Scaling()
    startup: Distinct[Startable] = ("jax",)
    """Whose time from the start of the process to the first training step is measured, with the settings that runs
    default to; none for an empty list."""
