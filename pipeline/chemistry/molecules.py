"""Molecules as flat arrays, the form that files are read into and metrics are computed from."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.bonds import Bonds, find_bonds
from pipeline.chemistry.elements import SUPPORTED, TYPE_OF_ATOMIC_NUMBER, UNKNOWN
from pipeline.core.errors import InputError

STAND_IN: Final = 9
STAND_IN_SIZE: Final = 3
"""Fluorine atoms at one point replace a molecule that a generator failed on: from three on, each is bonded to more than
one other, so that no metric calls them stable or valid. Up to five carbon atoms would make valid rings and cages."""

_FAR: Final = 1000.0
"""Angstrom from the origin, from where on float32 has no four digits after the point."""
_MOVED: Final = 1e-4
"""Angstrom by which rounding may move atoms of a molecule apart."""


def in_float32(positions: npt.NDArray[np.float64], sizes: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float32]:
    """Return positions [A, 3] of molecules of these sizes [M]; what is too far from the origin for float32 is centred.

    What float32 cannot hold becomes infinite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = positions.astype(np.float32)
        far, ends = np.flatnonzero((np.abs(positions) > _FAR).any(axis=1)), np.cumsum(sizes)
        for one in np.unique(np.searchsorted(ends, far, side="right")).tolist():
            own = slice(ends[one] - sizes[one], ends[one])
            points = positions[own]
            # A molecule as large as that loses its digits in any place; NaN is neither.
            if np.ptp(points, axis=0).max() < _FAR and np.ptp(rounded[own] - points, axis=0).max() > _MOVED:
                rounded[own] = points - points.mean(axis=0)
    return rounded


@dataclass(frozen=True, eq=False)
class Molecules:
    """Molecules of different sizes as ragged arrays, without padding and with every atom explicit.

    The constructor validates its input, so that every instance is valid: lengths agree, no molecule is empty, all
    elements are supported and all coordinates are finite.

    Raises:
      InputError: the input is invalid; the message names the first invalid molecule, counted from 0.
    """

    sizes: npt.NDArray[np.int32]
    """[M] atoms of each molecule."""
    atomic_numbers: npt.NDArray[np.uint8]
    """[A] where A is the sum of sizes."""
    positions: npt.NDArray[np.float32]
    """[A, 3] in angstrom."""
    smiles: tuple[str | None, ...] | None = None
    """[M] if the source has them; never used in metrics."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Origin of the molecules: the JSON object in the file's schema."""

    def __post_init__(self) -> None:
        """Convert to the storage types and validate."""
        object.__setattr__(self, "sizes", np.ascontiguousarray(self.sizes, dtype=np.int32))
        object.__setattr__(self, "atomic_numbers", _as_atomic_numbers(self.atomic_numbers))
        with np.errstate(over="ignore"):  # values beyond float32 become infinite and are refused below
            object.__setattr__(self, "positions", np.ascontiguousarray(self.positions, dtype=np.float32))
        _check(self)

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """[M + 1] molecule ``i`` owns the atoms ``offsets[i]`` up to ``offsets[i + 1]``."""
        return np.concatenate([[0], np.cumsum(self.sizes, dtype=np.int64)])

    @cached_property
    def owners(self) -> npt.NDArray[np.int64]:
        """[A] the molecule that each atom belongs to."""
        return np.repeat(np.arange(len(self)), self.sizes)

    @cached_property
    def bonds(self) -> Bonds:
        """All bonds by EDM's table of distances, found once."""
        return find_bonds(self)

    def __len__(self) -> int:
        """Return the number of molecules, M."""
        return len(self.sizes)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Return the atomic numbers [N] and the positions [N, 3] of one molecule."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"molecule {index} of {len(self)}")
        index %= len(self)
        atoms = slice(self.offsets[index], self.offsets[index + 1])
        return self.atomic_numbers[atoms], self.positions[atoms]

    def __iter__(self) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]]:
        """Yield the atomic numbers and positions of every molecule in turn."""
        return (self[index] for index in range(len(self)))

    @classmethod
    def from_padded(
        cls,
        *,
        positions: npt.ArrayLike,
        atomic_numbers: npt.ArrayLike,
        sizes: npt.ArrayLike,
    ) -> Self:
        """Return the molecules in padded arrays; the padding beyond each size is ignored.

        Args:
          positions: [M, N, 3] in angstrom.
          atomic_numbers: [M, N].
          sizes: [M], each 1 to N.
        """
        points, numbers, counts = np.asarray(positions), np.asarray(atomic_numbers), np.asarray(sizes)
        if numbers.ndim != 2 or points.shape != (*numbers.shape, 3) or counts.shape != numbers.shape[:1]:
            raise InputError(
                f"padded molecules: positions {points.shape}, atomic numbers {numbers.shape} and "
                f"sizes {counts.shape} should be (M, N, 3), (M, N) and (M,)"
            )
        width = numbers.shape[1]
        if counts.size and counts.max() > width:
            raise InputError(f"padded molecules: size {counts.max()} exceeds the width of {width} atoms")
        present = np.arange(width) < counts[:, None]
        return cls(sizes=counts, atomic_numbers=numbers[present], positions=points[present])

    @classmethod
    def from_list(
        cls,
        molecules: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]],
        *,
        smiles: Sequence[str | None] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return the molecules given as pairs of atomic numbers [N] and positions [N, 3], as iteration yields them."""
        numbers = [np.asarray(atomic_numbers) for atomic_numbers, _ in molecules]
        points = [np.asarray(positions).reshape(-1, 3) for _, positions in molecules]
        for index, (a, b) in enumerate(zip(numbers, points, strict=True)):
            if len(a) != len(b):
                raise InputError(f"molecule {index}: {len(a)} atomic numbers but {len(b)} positions")
        return cls(
            sizes=np.array([len(a) for a in numbers], dtype=np.int32),
            atomic_numbers=np.concatenate(numbers) if numbers else np.empty(0, np.uint8),
            positions=np.concatenate(points) if points else np.empty((0, 3), np.float32),
            smiles=None if smiles is None else tuple(smiles),
            metadata=metadata or {},
        )

    @classmethod
    def concatenate(cls, parts: Sequence["Molecules"]) -> Self:
        """Return the molecules of at least one ``parts``, one after the other, with SMILES if all parts have them."""
        smiles = [part.smiles for part in parts if part.smiles is not None]
        return cls(
            sizes=np.concatenate([part.sizes for part in parts]),
            atomic_numbers=np.concatenate([part.atomic_numbers for part in parts]),
            positions=np.concatenate([part.positions for part in parts]),
            smiles=tuple(itertools.chain(*smiles)) if len(smiles) == len(parts) else None,
        )

    def select(self, indices: npt.ArrayLike) -> "Molecules":
        """Return the molecules at ``indices`` ([K] integers, or [M] booleans), in that order, repeats allowed."""
        chosen = np.asarray(indices)
        if chosen.dtype == np.bool_:
            if chosen.shape != (len(self),):
                raise IndexError(f"a boolean selection should have shape ({len(self)},), not {chosen.shape}")
            chosen = np.flatnonzero(chosen)
        elif chosen.size == 0:
            chosen = chosen.astype(np.int64)  # an empty list becomes a float array
        chosen = np.arange(len(self))[chosen]  # makes negative indices positive; raises IndexError if out of range
        sizes = self.sizes[chosen]
        # The atoms of the chosen molecules: every molecule's start, repeated, plus 0, 1, ... within the molecule.
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        atoms = np.repeat(self.offsets[chosen], sizes) + within
        return Molecules(
            sizes=sizes,
            atomic_numbers=self.atomic_numbers[atoms],
            positions=self.positions[atoms],
            smiles=None if self.smiles is None else tuple(self.smiles[index] for index in chosen),
            metadata=self.metadata,
        )

    def types(self) -> npt.NDArray[np.int8]:
        """Return the index into ``elements.ELEMENTS`` of every atom, [A]."""
        return TYPE_OF_ATOMIC_NUMBER[self.atomic_numbers]


def _as_atomic_numbers(values: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Return ``values`` as uint8 without overflow."""
    numbers = np.asarray(values)
    if numbers.dtype != np.uint8 and numbers.size:
        if not np.issubdtype(numbers.dtype, np.integer):
            raise InputError(f"atomic numbers should be whole numbers, not {numbers.dtype}")
        if numbers.min() < 0 or numbers.max() > np.iinfo(np.uint8).max:
            raise InputError(f"atomic numbers should lie in 0 to 255, found {numbers.min()} to {numbers.max()}")
    return np.ascontiguousarray(numbers, dtype=np.uint8)


def _check(molecules: Molecules) -> None:
    sizes, numbers, positions = molecules.sizes, molecules.atomic_numbers, molecules.positions
    if sizes.ndim != 1 or numbers.ndim != 1:
        raise InputError(f"sizes and atomic numbers should be one-dimensional, not {sizes.shape} and {numbers.shape}")
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise InputError(f"positions should be of shape (atoms, 3), not {positions.shape}")
    if (empty := np.flatnonzero(sizes < 1)).size:
        raise InputError(f"molecule {empty[0]}: size {sizes[empty[0]]}; a molecule has at least one atom")
    total = int(sizes.sum(dtype=np.int64))
    if not total == len(numbers) == len(positions):
        raise InputError(
            f"sizes add up to {total} atoms, but there are {len(numbers)} atomic numbers and {len(positions)} positions"
        )
    if molecules.smiles is not None and len(molecules.smiles) != len(sizes):
        raise InputError(f"{len(molecules.smiles)} SMILES for {len(sizes)} molecules")
    if (unknown := np.flatnonzero(TYPE_OF_ATOMIC_NUMBER[numbers] == UNKNOWN)).size:
        atom = unknown[0]
        raise InputError(
            f"molecule {_owner(molecules, atom)}: unknown element, atomic number {numbers[atom]}; "
            f"supported are {SUPPORTED}"
        )
    if (bad := np.flatnonzero(~np.isfinite(positions).all(axis=1))).size:
        raise InputError(f"molecule {_owner(molecules, bad[0])}: a coordinate is not finite ({positions[bad[0]]})")


def _owner(molecules: Molecules, atom: int) -> int:
    """Return the index of the molecule that an atom belongs to."""
    return int(np.searchsorted(molecules.offsets, atom, side="right")) - 1
