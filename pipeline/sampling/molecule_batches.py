"""What sampling needs before and after any network: noise levels, sizes, batches of one width, and the molecules."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.molecules import STAND_IN, STAND_IN_SIZE, Molecules
from pipeline.core.errors import InputError
from pipeline.core.files import read_json
from pipeline.core.progress import Progress
from pipeline.data.statistics import Statistics
from pipeline.diffusion.schedules import VariancePreserving, karras_levels
from pipeline.sampling.parts import Part
from pipeline.study.config import SamplerConfig

SMALLEST_GROUP = 128
"""Fewer molecules than this are padded to the next larger width: cheaper than compiling another program."""

Draw = Callable[[npt.NDArray[np.int32], npt.NDArray[np.int32]], tuple[npt.NDArray[Any], npt.NDArray[Any]]]
"""Maps numbers [B] and sizes [B] of molecules to their positions [B, N, 3] and types [B, N]."""


@dataclass(frozen=True, eq=False)
class Samples:
    """What sampling returns.

    Attributes:
      molecules: the samples, in the order of their numbers.
      numbers: [M] of each among all samples; 0, 1, ... unless only a part of them was drawn.
      seconds: spent in the network and sampler, compilation not counted.
      non_finite: samples that overflowed, replaced by ``STAND_IN`` atoms at one point: unstable and invalid.
    """

    molecules: Molecules
    numbers: npt.NDArray[np.int64]
    seconds: float
    non_finite: int


@dataclass(frozen=True, eq=False)
class Group:
    """Molecules that are padded to one width.

    Attributes:
      width: number of atoms that they are padded to.
      members: their places in the order of the samples, [M].
    """

    width: int
    members: npt.NDArray[np.int64]


def found_levels(path: Path, steps: int) -> tuple[float, ...]:
    """Read the noise levels that the stage levels has found for a number of steps.

    Raises:
      InputError: there are none in the file, or it is another kind of file.
    """
    found = read_json(path)
    levels = found.get(str(steps)) if isinstance(found, dict) else None
    if not isinstance(levels, list) or len(levels) != steps or not all(isinstance(one, float) for one in levels):
        raise InputError(f"{path}: it should have a list of {steps} levels under the key {steps}; run the stage levels")
    if not all(before > after for before, after in pairwise([*levels, 0.0])):
        raise InputError(f"{path}: the levels under the key {steps} should be descending, and above 0")
    return tuple(levels)


def noise_levels(sampler: SamplerConfig, schedule: VariancePreserving | None) -> npt.NDArray[np.float64]:
    """Return the decreasing noise levels (variance exploding) at which a sampler calls the network.

    For ``ancestral`` these are levels of the schedule itself, evenly strided from T to 0; otherwise Karras's spacing,
    ending in a 0 at which the network is not called.

    Raises:
      InputError: ``ancestral`` without a schedule, that of the objective edm.
    """
    if sampler.kind == "ancestral":
        if schedule is None:
            raise InputError(f"sampler {sampler.name}: kind ancestral is for runs of objective edm only")
        t = np.round(np.linspace(schedule.steps, 0, min(sampler.steps, schedule.steps) + 1)).astype(int)
        return np.asarray(schedule.sigma_ve[t])
    return karras_levels(steps=sampler.steps, sigma_min=sampler.sigma_min, sigma_max=sampler.sigma_max, rho=sampler.rho)


def network_calls(sampler: SamplerConfig, schedule: VariancePreserving | None) -> int:
    """Return the number of network calls of one sample."""
    calls = sampler.steps
    if sampler.kind != "consistency":
        levels = len(noise_levels(sampler, schedule))
        calls = {"heun": 2 * levels - 3, "ddim": levels - 1, "ancestral": levels}[sampler.kind]
    return 2 * calls if sampler.guidance else calls


def choose_sizes(
    statistics: Statistics, sampler: SamplerConfig, sizes: Sequence[int] | None, *, above: int = 0
) -> tuple[npt.NDArray[np.int32], list[str]]:
    """Return the numbers of atoms [M] to sample, and a warning if training had none as small or large.

    Args:
      statistics: of the training molecules.
      sampler: its number of molecules and seed draw the sizes.
      sizes: numbers of atoms instead of drawn ones.
      above: sizes to draw are larger than this.

    Raises:
      InputError: a size is below 2, or training had none above ``above``.
    """
    if sizes is None:
        return draw_sizes(statistics, sampler.num, sampler.seed, above=above), []
    if not len(sizes) or min(sizes) < 2:
        raise InputError("sizes: there should be at least one, and each at least 2")
    known = statistics.size_histogram["train"]
    outside = sorted({int(size) for size in sizes if not min(known) <= size <= max(known)})
    if not outside:
        return np.array(sizes, np.int32), []
    some = f"{', '.join(map(str, outside[:5]))}{', ...' if len(outside) > 5 else ''}"
    warning = f"sizes outside those of the training molecules, {min(known)} to {max(known)} atoms: {some}"
    return np.array(sizes, np.int32), [f"{warning}; expect worse molecules"]


def draw_sizes(statistics: Statistics, num: int, seed: int, *, above: int = 0) -> npt.NDArray[np.int32]:
    """Draw ``num`` numbers of atoms, larger than ``above``, from the training molecules' histogram.

    Raises:
      InputError: it has none.
    """
    histogram = statistics.size_histogram["train"]
    sizes = np.array([size for size in sorted(histogram) if size > above], np.int32)
    if not len(sizes):
        raise InputError(f"sizes: no training molecule has more than {above} atoms, so they should be given")
    counts = np.array([histogram[int(size)] for size in sizes], np.float64)
    return np.random.default_rng(seed).choice(sizes, size=num, p=counts / counts.sum())


def group_by_width(sizes: npt.NDArray[np.int32], buckets: Iterable[int]) -> list[Group]:
    """Split molecules into groups of one width each, as few as is sensible, so that few programs are compiled.

    Args:
      sizes: numbers of atoms, [M].
      buckets: the widths to use, beside the size of the largest molecule.
    """
    widths = sorted({*buckets, int(sizes.max())})
    groups, waiting = [], np.zeros(0, np.int64)
    for below, width in zip([0, *widths[:-1]], widths, strict=True):
        here = np.flatnonzero((sizes > below) & (sizes <= width))
        waiting = np.sort(np.concatenate([waiting, here]))
        if len(waiting) >= SMALLEST_GROUP or (len(waiting) and width >= sizes.max()):
            groups.append(Group(width, waiting))
            waiting = np.zeros(0, np.int64)
    return groups


def sample_in_batches(
    draw: Callable[[int], Draw],
    sizes: npt.NDArray[np.int32],
    *,
    elements: Sequence[int],
    buckets: Iterable[int],
    batch: int,
    multiple: int | None = None,
    progress: Progress | None,
    part: Part | None = None,
) -> Samples:
    """Sample one molecule for each of ``sizes`` [M].

    A part consists of whole batches, the same as without parts: every molecule is computed beside the same others, and
    comes out the same to the last bit.

    Args:
      draw: returns what draws ``batch`` molecules padded to a width.
      sizes: numbers of atoms.
      elements: the atomic number of each type.
      buckets: the widths to use.
      batch: molecules at a time.
      multiple: the last batch is filled up with its first molecule to a multiple of this; to ``batch`` if left out, so
        that there is one shape.
      progress: advances by every molecule.
      part: draw only this part of them.

    Raises:
      InputError: there are more parts than batches.
    """
    widest = max(int(sizes.max()), STAND_IN_SIZE)
    positions = np.zeros((len(sizes), widest, 3), np.float32)
    atomic_numbers = np.zeros((len(sizes), widest), np.uint8)
    seconds = 0.0
    batches = [
        Group(group.width, group.members[start : start + batch])
        for group in group_by_width(sizes, buckets)
        for start in range(0, len(group.members), batch)
    ]
    if part:
        batches = [batches[place] for place in part.of([one.width**2 for one in batches])]
    programs: dict[int, Draw] = {}
    for one in batches:
        if one.width not in programs:
            if progress:
                progress.show(compiling=f"{one.width} atoms")
            programs[one.width] = draw(one.width)
            if progress:
                progress.show()
        draw_batch = programs[one.width]
        width, members = min(one.width, widest), one.members
        fill = -len(members) % (multiple or batch)
        padded = np.concatenate([members, np.full(fill, members[0])])
        began = time.perf_counter()
        x, types = draw_batch(padded.astype(np.int32), sizes[padded])
        seconds += time.perf_counter() - began
        positions[members, :width] = x[: len(members), :width]
        atomic_numbers[members, :width] = np.array(elements, np.uint8)[types[: len(members), :width]]
        if progress:
            progress.update(len(members))
    numbers = np.sort(np.concatenate([one.members for one in batches]))
    positions, atomic_numbers, sizes = positions[numbers], atomic_numbers[numbers], sizes[numbers]
    broken = ~np.isfinite(positions).all(axis=(1, 2))
    positions[broken] = 0.0
    atomic_numbers[broken] = STAND_IN
    sizes[broken] = np.maximum(sizes[broken], STAND_IN_SIZE)
    molecules = Molecules.from_padded(positions=positions, atomic_numbers=atomic_numbers, sizes=sizes)
    return Samples(molecules, numbers, seconds, int(broken.sum()))


def trajectory_frames(
    positions: npt.NDArray[Any],
    types: npt.NDArray[Any],
    levels: npt.NDArray[np.float64],
    *,
    elements: Sequence[int],
    frames: int,
) -> tuple[Molecules, npt.NDArray[np.float32]]:
    """Return one molecule on its way from noise as up to ``frames`` molecules, and their noise levels.

    The last is the sample, at level 0.

    Args:
      positions: before every step, and of the sample, [S + 1, N, 3], in angstrom (variance exploding).
      types: likewise, [S + 1, N].
      levels: of the noise, [S] or more.
      elements: the atomic number of each type.
      frames: molecules to return, evenly spread over the steps; all states where there are fewer.
    """
    count, size = types.shape
    chosen = np.unique(np.round(np.linspace(0, count - 1, frames)).astype(int))
    sigmas = np.append(levels[: count - 1], 0.0).astype(np.float32)[chosen]
    molecules = Molecules.from_padded(
        positions=positions[chosen],
        atomic_numbers=np.array(elements, np.uint8)[types[chosen]],
        sizes=np.full(len(chosen), size, np.int32),
    )
    return molecules, sigmas
