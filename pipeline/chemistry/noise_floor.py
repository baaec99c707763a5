"""Molecules of pure noise, as from an untrained model; their scores are the floor of every metric.

Centred Gaussian clouds of the size of molecules have 12 to 19 % stable atoms by EDM's rule, since a hydrogen is stable
with any single atom nearby. A result in that range means nothing.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError


def noise_molecules(
    *, size_counts: Mapping[int, int], elements: Sequence[int], coordinate_scale: float, num: int, seed: int
) -> Molecules:
    """Return ``num`` clouds of atoms.

    Sizes are drawn from the histogram; each of the data's elements is equally likely; coordinates are Gaussian, minus
    their mean, so that they are centred like the prior of the diffusion.

    Args:
      size_counts: number of molecules in the data by number of atoms.
      elements: atomic numbers of the data's elements.
      coordinate_scale: standard deviation of the Gaussian in each dimension, in angstrom.
      num: number of clouds.
      seed: seed of the draws.
    """
    if num < 1:
        raise InputError(f"the number of noise molecules should be at least 1, not {num}")
    generator = np.random.default_rng(seed)
    counts = np.array(list(size_counts.values()), dtype=np.float64)
    sizes = generator.choice(np.array(list(size_counts), dtype=np.int32), size=num, p=counts / counts.sum())
    offsets = np.cumsum(sizes) - sizes
    positions = generator.normal(scale=coordinate_scale, size=(sizes.sum(), 3))
    positions -= np.repeat(np.add.reduceat(positions, offsets) / sizes[:, None], sizes, axis=0)
    return Molecules(
        sizes=sizes,
        atomic_numbers=generator.choice(np.array(elements, dtype=np.uint8), size=sizes.sum()),
        positions=positions.astype(np.float32),
    )
