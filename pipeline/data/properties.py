"""Properties of molecules that a run is conditioned on, and their statistics, which travel with its weights.

As in EDM's code (Hoogeboom et al. 2022, ``qm9/utils.py`` and ``qm9/models.py``) a property is normalised with its mean
and mean absolute deviation on the validation split, and values to sample at are those of training molecules of the same
size.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from pipeline.chemistry.qm9_properties import ALIASES
from pipeline.core.errors import InputError
from pipeline.data.molecule_parquet import KIND, read_columns
from pipeline.data.parquet_tables import read_metadata
from pipeline.data.shards import Shard

Values = npt.NDArray[np.float64]

MOST_VALUES: Final = 1000
"""Training molecules of each size whose values are kept to draw from: as many as EDM's histograms have bins."""


class PropertyStatistics(BaseModel, frozen=True):
    """What is known of P properties in a data set."""

    names: tuple[str, ...]
    units: tuple[str | None, ...]
    mean: tuple[float, ...]
    """On the validation split, or on the training split where there is none."""
    mad: tuple[float, ...]
    """Mean absolute deviation from that mean, likewise."""
    ranges: tuple[tuple[float, float], ...]
    """Smallest and largest training value."""
    values_by_size: Mapping[int, tuple[tuple[float, ...], ...]]
    """Values of up to 1,000 training molecules, by number of atoms; for more, evenly spaced in order of the first."""

    def context(self, values: Values, sizes: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float32]:
        """Return the network's input for values [M, P] of molecules of these sizes [M], [M, 2 P + 1].

        The values normalised; their differences from the mean of training molecules of the size, which is what a
        molecule's atoms and bonds have to make up for; and 1 for given.
        """
        expected = np.array([self._means[size] for size in self._nearest(sizes)])
        parts = [(values - self.mean) / self.mad, (values - expected) / self.mad, np.ones((len(values), 1))]
        return np.concatenate(parts, axis=1).astype(np.float32)

    @cached_property
    def _means(self) -> Mapping[int, Values]:
        """Mean values [P] of training molecules, by number of atoms."""
        return {size: np.mean(values, axis=0) for size, values in self.values_by_size.items()}

    def _nearest(self, sizes: npt.NDArray[np.integer[Any]]) -> list[int]:
        """Return the size of training molecules that is nearest to each of ``sizes`` [M]."""
        known = np.array(sorted(self.values_by_size))
        nearest: list[int] = known[np.abs(known - sizes[:, None]).argmin(axis=1)].tolist()
        return nearest

    def draw(self, sizes: npt.NDArray[np.integer[Any]], seed: int) -> Values:
        """Draw values [M, P] for molecules of these sizes [M], jointly from training molecules of the nearest size."""
        # Apart from the stream of the sizes; a molecule's values do not depend on how many there are.
        uniform = np.random.default_rng((seed, 1)).random(len(sizes))
        pools = [self.values_by_size[size] for size in self._nearest(sizes)]
        return np.array([pool[int(u * len(pool))] for pool, u in zip(pools, uniform, strict=True)], np.float64)

    def drawn_context(self, sizes: npt.NDArray[np.integer[Any]], seed: int) -> npt.NDArray[np.float32]:
        """Return the network's input for values drawn for molecules of these sizes [M], [M, 2 P + 1]."""
        return self.context(self.draw(sizes, seed), sizes)

    def given(self, values: Mapping[str, float | Sequence[float]], number: int) -> Values:
        """Return the values of ``number`` molecules, one of each property for all or for each molecule: [number, P].

        Raises:
          InputError: they are not of these properties, or not so many.
        """
        if set(values) != set(self.names):
            raise InputError(f"property {', '.join(values)}: the run has {', '.join(self.names)}")
        rows = [np.atleast_1d(np.asarray(values[name], np.float64)) for name in self.names]
        for name, row in zip(self.names, rows, strict=True):
            if row.ndim != 1 or len(row) not in (1, number) or not np.isfinite(row).all():
                raise InputError(f"property {name}: should be one finite number, or one for each of {number} molecules")
        return np.stack([np.broadcast_to(row, number) for row in rows], axis=1)

    def warnings(self, values: Values) -> list[str]:
        """Return a line for each property of which values [M, P] lie outside the training data."""
        lines = []
        for name, unit, (low, high), column in zip(self.names, self.units, self.ranges, values.T, strict=True):
            if (outside := column[(column < low) | (column > high)]).size:
                of = f"{low:g} to {high:g}{f' {unit}' if unit else ''}"
                lines.append(f"property {name}: {outside[0]:g} is outside the training data, {of}")
        return lines


@dataclass(frozen=True, eq=False)
class Properties:
    """P properties of the molecules of a data set, for training."""

    statistics: PropertyStatistics
    index: npt.NDArray[np.int32]
    """[M] number of each molecule in its source, ascending."""
    values: Values
    """[M, P]."""

    def digest(self) -> str:
        """Return a SHA-256 of the content."""
        return hashlib.sha256(self.index.tobytes() + self.values.tobytes()).hexdigest()

    def context(
        self, numbers: npt.NDArray[np.integer[Any]], sizes: npt.NDArray[np.integer[Any]]
    ) -> npt.NDArray[np.float32]:
        """Return the network's input for molecules with these numbers and sizes [B], [B, 2 P + 1]."""
        return self.statistics.context(self.values[np.searchsorted(self.index, numbers)], sizes)


def property_columns(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the column of each name by which a property of a molecule file can be called.

    Raises:
      InputError: the file is missing or damaged.
    """
    columns = read_metadata(path, kind=KIND).get("columns", [])
    return {name: column for name, column in ALIASES.items() if column in columns} | {name: name for name in columns}


def are_numbers(column: npt.NDArray[Any]) -> bool:
    """Return whether a column has a finite number for every molecule."""
    return column.dtype.kind in "iuf" and bool(np.isfinite(column).all())


def read_properties(
    path: str | os.PathLike[str], names: Sequence[str], shards: Mapping[str, Sequence[Shard]]
) -> Properties:
    """Return properties of the molecules in ``shards``.

    Args:
      path: file written by the stage parse.
      names: columns of it, or usual names of properties of QM9.
      shards: the molecules to train on and, unless there are none, to validate on, by split.

    Raises:
      InputError: the file is damaged or of other molecules; a property is missing, has missing values, is not a finite
        number or does not vary.
    """
    known = property_columns(path)
    if missing := [name for name in names if name not in known]:
        raise InputError(f"condition: {path} has no property {missing[0]}; its columns are {', '.join(known)}")
    columns, metadata = [known[name] for name in names], read_metadata(path, kind=KIND)
    found = read_columns(path, ["index", *columns])
    for name, column in zip(names, columns, strict=True):
        if not are_numbers(found[column]):
            raise InputError(f"condition: the property {name} of {path} should be a finite number for every molecule")
    order = np.argsort(found["index"], kind="stable")
    index, values = found["index"][order], np.stack([found[column][order] for column in columns], axis=1)
    values = values.astype(np.float64)

    def values_of(split: str) -> tuple[npt.NDArray[np.int32], Values]:
        of_split = [shard for shard in shards.get(split, ()) if len(shard)]
        if not of_split:
            return np.zeros(0, np.int32), values[:0]
        numbers = np.concatenate([shard.index for shard in of_split])
        places = np.minimum(np.searchsorted(index, numbers), len(index) - 1)
        if (index[places] != numbers).any():
            raise InputError(f"{path}: has other molecules than the shards; run the stage shard again")
        return np.concatenate([shard.sizes for shard in of_split]), values[places]

    sizes, train = values_of("train")
    validation = values_of("validation")[1]
    measured = validation if len(validation) else train
    mean = measured.mean(axis=0)
    mad = np.abs(measured - mean).mean(axis=0)
    if constant := [name for name, deviation in zip(names, mad, strict=True) if not deviation > 0]:
        raise InputError(f"condition: the property {constant[0]} of {path} is the same for all molecules")
    statistics = PropertyStatistics(
        names=tuple(names),
        units=tuple(metadata.get("units", {}).get(column) for column in columns),
        mean=tuple(mean.tolist()),
        mad=tuple(mad.tolist()),
        ranges=tuple(zip(train.min(axis=0).tolist(), train.max(axis=0).tolist(), strict=True)),
        values_by_size={int(size): _spread(train[sizes == size]) for size in np.unique(sizes)},
    )
    return Properties(statistics, index.astype(np.int32), values)


def _spread(rows: Values) -> tuple[tuple[float, ...], ...]:
    """Return at most ``MOST_VALUES`` of the rows [M, P], evenly spaced in order of the first value."""
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    places = np.arange(min(len(rows), MOST_VALUES)) + 0.5
    return tuple(map(tuple, rows[(places * len(rows) / len(places)).astype(int)].tolist()))
