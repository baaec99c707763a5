"""Atoms that every sampled molecule contains at given positions: a scaffold, or the ends that a linker joins.

They are put in place after every call of a few-step sampler, as in inpainting by replacement (Lugmayr et al. 2022,
arXiv 2201.09865). The model is equivariant and its atoms have no order, so the first estimate is moved, as a rigid
body, to where some of its own atoms fit the given ones best; these are the ones that are replaced from then on. Atoms
near a replaced one move along with it, which keeps their bonds.
"""

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from pipeline.chemistry.elements import SYMBOL_OF_ATOMIC_NUMBER
from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.diffusion.alignment import best_rotation, bounded
from pipeline.diffusion.clouds import Floats, Sizes, centred
from pipeline.diffusion.feature_scales import TYPE_SCALE
from pipeline.sampling.composition import assign_types, types_in

STARTS: Final = 8
ROUNDS: Final = 4

NEAR: Final = 0.7
"""Angstrom: how fast the influence of a replaced atom's move on another atom falls with their distance."""

BONDED: Final = 1.2
"""Angstrom: atoms this close to a replaced one make all of its move, atoms 1 angstrom farther a third of it."""


@dataclass(frozen=True, eq=False)
class FixedAtoms:
    """F atoms, the first ones of every molecule."""

    cloud: Floats
    """[F, 3 + K] coordinates about their mean and scaled types."""
    origin: Floats
    """[3] that mean."""
    others: Floats
    """[A, K] scaled types of the other atoms; of no atoms if the model chooses them."""

    @classmethod
    def of(cls, molecules: Molecules, elements: Sequence[int], composition: Sequence[int] = ()) -> Self:
        """Return the atoms of the one molecule in ``molecules``.

        Args:
          molecules: the one.
          elements: of the model.
          composition: atomic numbers of all atoms of a sample; empty if the model chooses those that are not fixed.

        Raises:
          InputError: there are several molecules; an atom is of another element, or not in the composition.
        """
        if len(molecules) != 1:
            raise InputError(f"fixed atoms: {len(molecules)} molecules; there should be one that has all of them")
        types = types_in(elements, molecules.atomic_numbers)
        left = Counter(composition)
        left.subtract(molecules.atomic_numbers.tolist())
        if composition and min(left.values()) < 0:
            missing = SYMBOL_OF_ATOMIC_NUMBER[min(left, key=lambda number: left[number])]
            raise InputError(f"fixed atoms: they have more {missing} than the formula")
        others = types_in(elements, list(left.elements()) if composition else [])
        origin = molecules.positions.mean(axis=0)
        return cls(np.concatenate([molecules.positions - origin, types], axis=1).astype(np.float32), origin, others)

    def __len__(self) -> int:
        """Return the number of atoms, F."""
        return len(self.cloud)

    def fit(self, clouds: Floats, sizes: Sizes) -> Floats:
        """Return clouds [B, N, 3 + K], their atoms reordered so that the first ones can be moved onto these best."""
        # What has overflowed has no place; it stays broken, to be counted.
        chosen = [self._matching(goal[:size]) for goal, size in zip(bounded(clouds), sizes, strict=True)]
        rest = [np.setdiff1d(np.arange(clouds.shape[1]), one) for one in chosen]
        order = np.concatenate([chosen, rest], axis=1)
        return np.take_along_axis(clouds, order[..., None], axis=1)

    def hold(self, clouds: Floats, sizes: Sizes) -> Floats:
        """Return clouds [B, N, 3 + K], moved until their first atoms fit these best, with these in their place."""
        count, known = len(self), self.cloud[:, :3]
        held = clouds.copy()
        x = clouds[..., :3] - clouds[:, :count, :3].mean(axis=1, keepdims=True)
        goal = bounded(x[:, :count])
        x = x @ best_rotation(goal, np.broadcast_to(known, goal.shape), reflect=False)
        distance = np.linalg.norm(x[:, :, None] - x[:, None, :count], axis=-1)  # [B, N, F]
        weight = np.exp(-((distance / NEAR) ** 2)) + 1e-12
        weight /= weight.sum(axis=-1, keepdims=True)
        reach = np.exp(-(np.maximum(distance.min(axis=-1, keepdims=True) - BONDED, 0.0) ** 2))
        held[..., :3] = x + reach * (weight @ (known - x[:, :count]))
        held[:, :count] = self.cloud
        if len(self.others):
            held[:, count:] = assign_types(held[:, count:], self.others, sizes - count)
        return centred(held, sizes)

    def placed(self, sample: Floats) -> npt.NDArray[np.float32]:
        """Return the coordinates [B, N, 3] of held clouds, moved to where these atoms were given."""
        x = sample[..., :3] - sample[:, : len(self), :3].mean(axis=1, keepdims=True) + self.origin
        x[:, : len(self)] = self.cloud[:, :3] + self.origin
        placed: npt.NDArray[np.float32] = x.astype(np.float32)
        return placed

    def _matching(self, goal: Floats) -> npt.NDArray[np.int64]:
        """Return the atoms [F] of a molecule [N, 3 + K] that can be moved onto these best."""
        known, types = self.cloud[:, :3], self.cloud[:, 3:]
        # Another element costs as much as a distance of 1.4 angstrom.
        by_type = TYPE_SCALE**2 * ((types[:, None] - goal[None, :, 3:]) ** 2).sum(axis=-1)

        def match(middle: npt.NDArray[Any], rotation: npt.NDArray[Any]) -> tuple[float, npt.NDArray[np.int64]]:
            x = (goal[:, :3] - middle) @ rotation
            costs = ((known[:, None] - x[None]) ** 2).sum(axis=-1) + by_type
            places, atoms = linear_sum_assignment(costs)
            return float(costs[places, atoms].sum()), atoms

        best = np.inf, np.arange(len(self))
        for start in _rotations(STARTS):
            cost, atoms = match(np.zeros(3), start)
            for _ in range(ROUNDS):
                middle = goal[atoms, :3].mean(axis=0)
                # Without reflections, of which a chiral scaffold has none.
                rotation = best_rotation((goal[atoms, :3] - middle)[None], known[None], reflect=False)[0]
                cost, atoms = match(middle, rotation)
            best = min(best, (cost, atoms), key=lambda found: found[0])
        return best[1]


@functools.cache
def _rotations(count: int) -> Floats:
    """Return rotations [count, 3, 3] that the search for the best fit starts from."""
    rotations = np.linalg.qr(np.random.default_rng(0).normal(size=(count, 3, 3)))[0]
    rotations[..., 0] *= np.linalg.det(rotations)[:, None]
    return rotations
