"""Molecules of a given composition: types by assignment, after every call of the network."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.diffusion.alignment import LARGEST
from pipeline.diffusion.clouds import Floats, Sizes


def assign_types(clouds: Floats, types: Floats, sizes: Sizes) -> Floats:
    """Return estimates with the types of a composition, each atom's as near to what was estimated as all allow.

    That is the projection onto the clouds of that composition, the replacement of what is known in a sample (Lugmayr et
    al. 2022, arXiv 2201.09865), where only the order of the atoms is not.

    Args:
      clouds: estimates, [B, N, 3 + K].
      types: the atoms' types as data has them, [A, K] in any order.
      sizes: A for every molecule, [B].
    """
    assigned = clouds.copy()
    for one, size in zip(assigned, sizes.tolist(), strict=True):
        # What has overflowed stays broken, and is counted at the end.
        estimated = np.clip(np.nan_to_num(one[:size, 3:]), -LARGEST, LARGEST)
        _, place = linear_sum_assignment(estimated @ types.T, maximize=True)
        one[:size, 3:] = types[place]
    return assigned
