"""What sampling needs before any network: noise levels, sizes, and which molecules go through the network together."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.config import SamplerConfig
from pipeline.data.statistics import Statistics
from pipeline.noise import VariancePreserving, karras_levels

SMALLEST_GROUP = 128
"""Fewer molecules than this are padded to the next larger width: cheaper than compiling another program."""


@dataclass(frozen=True, eq=False)
class Group:
    """Molecules that are padded to one width.

    Attributes:
      width: number of atoms that they are padded to.
      members: their places in the order of the samples, [M].
    """

    width: int
    members: npt.NDArray[np.int64]


def noise_levels(sampler: SamplerConfig, schedule: VariancePreserving) -> npt.NDArray[np.float64]:
    """Return the decreasing noise levels (variance exploding) at which a sampler calls the network.

    For ``ancestral`` these are levels of the schedule itself, evenly strided from T to 0; otherwise Karras's spacing,
    ending in a 0 at which the network is not called.
    """
    if sampler.kind == "ancestral":
        t = np.round(np.linspace(schedule.steps, 0, min(sampler.steps, schedule.steps) + 1)).astype(int)
        return np.asarray(schedule.sigma_ve[t])
    return karras_levels(steps=sampler.steps, sigma_min=sampler.sigma_min, sigma_max=sampler.sigma_max, rho=sampler.rho)


def network_calls(sampler: SamplerConfig, schedule: VariancePreserving) -> int:
    """Return the number of network calls of one sample."""
    levels = len(noise_levels(sampler, schedule))
    return {"heun": 2 * levels - 3, "ddim": levels - 1, "ancestral": levels}[sampler.kind]


def draw_sizes(statistics: Statistics, num: int, seed: int) -> npt.NDArray[np.int32]:
    """Draw ``num`` numbers of atoms from the training molecules' histogram."""
    histogram = statistics.size_histogram["train"]
    sizes = np.array(sorted(histogram), np.int32)
    counts = np.array([histogram[int(size)] for size in sizes], np.float64)
    return np.random.default_rng(seed).choice(sizes, size=num, p=counts / counts.sum())


def group_by_width(sizes: npt.NDArray[np.int32], buckets: Iterable[int]) -> list[Group]:
    """Split molecules into groups of one width each, as few as is sensible, so that few programs are compiled.

    Args:
      sizes: numbers of atoms, [M].
      buckets: the widths to use; a molecule larger than all of them sets its own.
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
