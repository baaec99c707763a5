"""Statistics of a data set, measured once and read wherever they would otherwise be hard-coded."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from pipeline.chemistry.elements import ATOMIC_NUMBER_OF_SYMBOL, ELEMENTS, SUPPORTED, SYMBOL_OF_ATOMIC_NUMBER
from pipeline.core.errors import InputError
from pipeline.core.files import read_json, write_json
from pipeline.data.molecule_parquet import SPLITS
from pipeline.data.shards import Shard
from pipeline.study.group import NonNegativeInt, PositiveFloat

TYPE_FEATURE_SCALE: Final = 0.25
"""A one-hot atom type enters the model divided by four ("Scaling features" in Hoogeboom et al. 2022)."""

RARE: Final = 0.01
"""Share of training molecules with an odd number of electrons up to which samples have none."""


class Statistics(BaseModel, frozen=True, allow_inf_nan=False):
    """Counts of a data set, and the scales of the model's inputs, measured on the training split."""

    dataset: str | None
    """Source of the molecules, as stated in the data file."""
    num_molecules: Mapping[str, NonNegativeInt]
    """Molecules by split."""
    size_histogram: Mapping[str, Mapping[int, NonNegativeInt]]
    """Number of molecules by number of atoms, for each split."""
    atom_counts: Mapping[str, NonNegativeInt]
    """Training atoms by symbol, of every element of the data, in the order of the network's types."""
    coordinate_scale: PositiveFloat
    """Standard deviation per dimension of the centred training coordinates, in ``length_unit``."""
    type_scale: PositiveFloat
    """Standard deviation of the one-hot types divided by four: the root of their mean variance."""
    buckets: Mapping[int, NonNegativeInt]
    """Training molecules by size bucket."""
    odd_electrons: NonNegativeInt | None = None
    """Training molecules with an odd number of electrons if neutral; None was not counted."""
    length_unit: str = "angstrom"

    @property
    def elements(self) -> tuple[int, ...]:
        """The vocabulary: the atomic number of each of the network's types."""
        return tuple(ATOMIC_NUMBER_OF_SYMBOL[symbol] for symbol in self.atom_counts)

    @property
    def even_electrons(self) -> bool:
        """Whether molecules have an even number of electrons, but for one in a hundred at most."""
        return self.odd_electrons is not None and self.odd_electrons <= RARE * self.num_molecules["train"]

    def check_elements(self, shards: Iterable[Shard]) -> None:
        """Do nothing if a network with these types knows every atom.

        Raises:
          InputError: it does not.
        """
        there = {number for shard in shards for number in np.unique(shard.atomic_numbers).tolist()}
        if others := there - {0, *self.elements}:
            raise InputError(
                f"the molecules have {SYMBOL_OF_ATOMIC_NUMBER[min(others)]}, and the network was made for "
                f"{', '.join(self.atom_counts)}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; numeric keys become strings."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Return the statistics of a JSON object.

        Raises:
          InputError: it does not have the keys and types that ``to_json`` writes.
        """
        try:
            statistics = cls.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise InputError(f"not the statistics of a data set ({place}: {first['msg']})") from None
        if set(statistics.num_molecules) != set(SPLITS) or set(statistics.size_histogram) != set(SPLITS):
            raise InputError(f"its splits are not {', '.join(SPLITS)}")
        if unknown := [symbol for symbol in statistics.atom_counts if symbol not in ATOMIC_NUMBER_OF_SYMBOL]:
            raise InputError(f"atom_counts: {unknown[0]} is not an element that is supported ({SUPPORTED})")
        return statistics


def measure(shards: Mapping[str, Sequence[Shard]], *, dataset: str | None) -> Statistics:
    """Return the statistics of a data set.

    Args:
      shards: shards of all buckets by split, from ``make_shards``.
      dataset: source of the molecules.

    Raises:
      InputError: the training split is empty, or its coordinates or types do not vary.
    """
    train = shards["train"]
    if not any(len(shard) for shard in train):
        raise InputError("data.split.train: the training split has no molecules")
    atoms = {split: _atoms(of_split) for split, of_split in shards.items()}
    # An element of the other splits alone is a type, too: a network has to take every molecule of its data.
    there = np.sum(list(atoms.values()), axis=0)
    atom_counts = {
        element.symbol: int(atoms["train"][element.atomic_number])
        for element in ELEMENTS
        if there[element.atomic_number]
    }
    num_atoms = sum(atom_counts.values())
    # The padding is zero and the coordinates are centred: neither adds to the sum of squares, and the mean is zero.
    squares = sum(float(np.square(shard.positions, dtype=np.float64).sum()) for shard in train)
    frequencies = np.array(list(atom_counts.values())) / num_atoms
    if squares == 0 or frequencies.max() == 1:
        raise InputError("the training molecules are single atoms, or of one element only: nothing to learn from")
    return Statistics(
        dataset=dataset,
        num_molecules={split: sum(len(shard) for shard in of_split) for split, of_split in shards.items()},
        size_histogram={split: _histogram(of_split) for split, of_split in shards.items()},
        atom_counts=atom_counts,
        coordinate_scale=float(np.sqrt(squares / (3 * num_atoms))),
        # A one-hot component is 1 with probability p: its variance is p (1 - p).
        type_scale=float(TYPE_FEATURE_SCALE * np.sqrt(np.mean(frequencies * (1 - frequencies)))),
        buckets={shard.bucket: len(shard) for shard in train},
        odd_electrons=int(sum(np.sum(shard.atomic_numbers.sum(axis=1, dtype=int) % 2) for shard in train)),
    )


def write_statistics(path: str | os.PathLike[str], statistics: Statistics) -> None:
    """Write the statistics as JSON, atomically."""
    write_json(path, statistics.to_json())


def read_statistics(path: str | os.PathLike[str]) -> Statistics:
    """Return the statistics in a file.

    Raises:
      InputError: the file is missing or invalid.
    """
    value = read_json(path)
    try:
        return Statistics.from_json(value)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _atoms(shards: Sequence[Shard]) -> npt.NDArray[np.int64]:
    """Return the number of atoms by atomic number, [256]; the padding is 0."""
    counts: npt.NDArray[np.int64] = np.sum(
        [np.bincount(shard.atomic_numbers.reshape(-1), minlength=256) for shard in shards], axis=0
    )
    return counts


def _histogram(shards: Sequence[Shard]) -> dict[int, int]:
    sizes, counts = np.unique(np.concatenate([shard.sizes for shard in shards]), return_counts=True)
    return dict(zip(sizes.tolist(), counts.tolist(), strict=True))
