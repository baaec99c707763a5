"""The negative log-likelihood of molecules under a diffusion model: how the terms of its bound are gathered and summed.

Hoogeboom et al. 2022 (arXiv 2203.17003), section 3 and appendix A. The terms that need the network are a backend's.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.progress import Progress
from pipeline.data.batches import PaddedMolecules, full_batches
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.diffusion.schedules import VariancePreserving

BATCH = 64

Terms = Callable[[PaddedMolecules], npt.NDArray[Any]]
"""Maps ``BATCH`` molecules to their (prior, diffusion, reconstruction), [B, 3]."""


@dataclass(frozen=True, eq=False)
class Bound:
    """The terms of the bound in nats for every molecule, each [M]; their sum is the negative log-likelihood.

    Attributes:
      prior: KL(q(z_T | x) || N(0, 1)).
      diffusion: T times the loss at a random t in 1..T, an unbiased estimate of the sum over t.
      reconstruction: L_0 without its constant.
      constant: the normalisation of the Gaussian p(x | z_0), which depends on the number of atoms alone.
      size: -log p(N); its mean is 2.48 nats whatever the model has learned.
    """

    prior: npt.NDArray[np.float64]
    diffusion: npt.NDArray[np.float64]
    reconstruction: npt.NDArray[np.float64]
    constant: npt.NDArray[np.float64]
    size: npt.NDArray[np.float64]

    @property
    def without_size(self) -> npt.NDArray[np.float64]:
        """Return -log p(x, h | N), [M]."""
        return self.prior + self.diffusion + self.reconstruction + self.constant


def gather_bound(
    terms: Terms, shards: list[Shard], statistics: Statistics, schedule: VariancePreserving, *, progress: Progress
) -> Bound:
    """Return the bound on -log p(x, h) of every molecule in ``shards``, in their order.

    Args:
      terms: called with full batches of one bucket; a batch that molecules run out for repeats some of them.
      shards: the molecules.
      statistics: of the data, for the sizes.
      schedule: of the model.
      progress: advances by every molecule.
    """
    found, sizes = [], []
    for shard, rows, batch in full_batches(shards, BATCH):
        found.append(np.asarray(terms(batch), np.float64)[: len(rows)])
        sizes.append(shard.sizes[rows])
        progress.update(len(rows))
    prior, diffusion, reconstruction = np.concatenate(found).T
    all_sizes = np.concatenate(sizes)
    return Bound(
        prior=prior,
        diffusion=diffusion,
        reconstruction=reconstruction,
        constant=reconstruction_constant(all_sizes, sigma_0=float(schedule.sigma_ve[0])),
        size=-size_log_probability(all_sizes, statistics),
    )


def reconstruction_constant(sizes: npt.NDArray[Any], *, sigma_0: float) -> npt.NDArray[np.float64]:
    """Return the log normalising constant of p(x | z_0), Gaussian of deviation ``sigma_0`` in 3 (N - 1) dimensions."""
    return 3.0 * (sizes - 1.0) * (math.log(sigma_0) + 0.5 * math.log(2.0 * math.pi))


def size_log_probability(sizes: npt.NDArray[Any], statistics: Statistics) -> npt.NDArray[np.float64]:
    """Return log p(N) under the training histogram; a size that no training molecule has counts as seen half a time."""
    histogram = statistics.size_histogram["train"]
    total = sum(histogram.values())
    return np.array([math.log(histogram.get(int(size), 0.5) / total) for size in sizes])
