"""What is known of a composition before sampling: all of it, or that its electrons are even. Types are changed to fit.

Few-step samplers do so after every call of the network.
"""

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


def round_to_even_electrons(clouds: Floats, elements: Sequence[int], sizes: Sizes, *, free: int = 0) -> Floats:
    """Return estimates whose types, rounded, make an even number of electrons: neutral closed-shell molecules.

    In a molecule with an odd number, one atom's likeliest type changes places with another one, such as carbon with
    nitrogen: those of all atoms and types for which that changes the estimate least. Hydrogen stays, since geometry
    leaves no doubt about it. A molecule without another choice stays odd.

    Args:
      clouds: estimates, [B, N, 3 + K].
      elements: the atomic number of each type, [K].
      sizes: numbers of atoms, [B].
      free: the first atom that may change.
    """
    rounded, numbers = clouds.copy(), np.array(elements)
    # What has overflowed stays broken, and is counted at the end.
    types = bounded(rounded[..., 3:])
    likeliest = types.argmax(axis=-1)
    places = np.arange(types.shape[1])
    electrons = np.sum(numbers[likeliest] * (places < sizes[:, None]), axis=1)
    cost = np.take_along_axis(types, likeliest[..., None], axis=-1) - types  # [B, N, K]
    atoms = (places >= free) & (places < sizes[:, None]) & (numbers[likeliest] != 1)
    other = (numbers != 1) & ((numbers - numbers[likeliest][..., None]) % 2 == 1)
    cost = np.where(atoms[..., None] & other, cost, np.inf).reshape(len(cost), -1)
    odd = np.flatnonzero((electrons % 2 == 1) & np.isfinite(cost.min(axis=1)))
    atom, after = np.divmod(cost[odd].argmin(axis=1), len(numbers))
    before = likeliest[odd, atom]
    rounded[odd, atom, 3 + before], rounded[odd, atom, 3 + after] = types[odd, atom, after], types[odd, atom, before]
    return rounded


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
