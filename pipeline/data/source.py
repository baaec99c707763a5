"""Result of every parser, its split, and the canonical file that it is written to."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.data.molecule_parquet import SPLIT, SPLITS, write_molecules


@dataclass(frozen=True, eq=False)
class SourceData:
    """M molecules of a source in its order, with their properties."""

    molecules: Molecules
    index: npt.NDArray[np.int32]
    """[M] number of each molecule in the source."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Properties by name, [M] each, NumPy or Arrow."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Units of the properties that have one."""


def split_labels(num_molecules: int, *, seed: int, train: float, validation: float) -> npt.NDArray[np.object_]:
    """Return "train", "validation" or "test" for every molecule, in the order of the source, [M].

    This is the split of EDM (Hoogeboom et al. 2022, ``qm9/data/prepare/qm9.py``), which seeds NumPy's global generator
    with 0, permutes all molecules and cuts the permutation in three: with seed 0, 100,000 and 17,748 it is identical.
    ``RandomState`` is that generator; NumPy's compatibility policy freezes its stream.

    Args:
      num_molecules: M.
      seed: seed of the permutation.
      train: size of the training split, at least 1, or its fraction of the molecules, below 1.
      validation: size of the validation split, likewise; what remains is the test split.

    Raises:
      InputError: the sizes do not fit the number of molecules.
    """
    # Fractions are rounded down, so that their sum is never too large.
    share = train
    train, validation = (int(size * num_molecules if 0 < size < 1 else size) for size in (train, validation))
    if train < 1 and 0 < share < 1:
        raise InputError(f"data.split.train: {share:g} of {num_molecules} molecules is none; too few to train on")
    for key, size, least in (("train", train, 1), ("validation", validation, 0)):
        if size < least:
            raise InputError(f"data.split.{key}: {size} should be at least {least}")
    if train > num_molecules:
        raise InputError(f"data.split.train: {train} is more than the {num_molecules} molecules of the data")
    if train + validation > num_molecules:
        raise InputError(
            f"data.split.validation: {validation} is more than the {num_molecules - train} molecules that "
            f"data.split.train = {train} leaves of {num_molecules}"
        )
    if not 0 <= seed < 2**32:
        raise InputError(f"data.split.seed: {seed} should be from 0 to {2**32 - 1}")
    permutation = np.random.RandomState(seed).permutation(num_molecules)
    labels = np.full(num_molecules, SPLITS[2], dtype=object)
    labels[permutation[:train]] = SPLITS[0]
    labels[permutation[train : train + validation]] = SPLITS[1]
    return labels


def write_canonical(
    path: str | os.PathLike[str], data: SourceData, *, seed: int, train: float, validation: float
) -> Mapping[str, int]:
    """Write the file that every later stage reads, and return the number of molecules in each split.

    Raises:
      InputError: the sizes of the splits do not fit (see ``split_labels``).
    """
    labels = split_labels(len(data.molecules), seed=seed, train=train, validation=validation)
    write_molecules(
        path,
        data.molecules,
        index=data.index,
        # A file written by this project may already have a split, which this one replaces.
        extra_columns={SPLIT: labels} | {name: values for name, values in data.columns.items() if name != SPLIT},
        units=data.units,
        metadata={**data.molecules.metadata, "split": {"seed": seed, "train": train, "validation": validation}},
    )
    return {split: int((labels == split).sum()) for split in SPLITS}
