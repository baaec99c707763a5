"""Molecules of a given composition: types by assignment, after every call of the network."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from pipeline.chemistry.elements import symbols_of
from pipeline.core.errors import InputError
from pipeline.diffusion.alignment import bounded
from pipeline.diffusion.clouds import Floats, Sizes, one_hot
from pipeline.diffusion.feature_scales import TYPE_SCALE


def types_in(elements: Sequence[int], atomic_numbers: npt.ArrayLike) -> Floats:
    """Return the scaled one-hot types [N, K] of atoms, for a model of these elements.

    Raises:
      InputError: the model has no type for one of them.
    """
    numbers = np.asarray(atomic_numbers)
    if foreign := sorted(set(numbers.tolist()) - set(elements)):
        raise InputError(
            f"the training molecules have no {symbols_of(foreign)[0]}, only {', '.join(symbols_of(elements))}"
        )
    types: Floats = one_hot(numbers, elements) / np.float32(TYPE_SCALE)
    return types


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
        estimated = bounded(one[:size, 3:])
        _, place = linear_sum_assignment(estimated @ types.T, maximize=True)
        one[:size, 3:] = types[place]
    return assigned
