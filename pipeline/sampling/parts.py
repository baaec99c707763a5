"""Work in parts, each perhaps on another machine, that gives the same whatever the number of parts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError

LARGEST_BATCH: Final = 256
"""The most molecules that a backend samples at a time: a part of the samples has whole batches, so at least one."""


@dataclass(frozen=True)
class Part:
    """The ``number``-th of ``count`` parts, from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the part that ``2-of-8`` names.

        Raises:
            InputError: it names none.
        """
        match = re.fullmatch(r"([0-9]+)-of-([0-9]+)", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise InputError(f"part {text!r} should be such as 2-of-8")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        """Return what ``parse`` reads."""
        return f"{self.number}-of-{self.count}"

    def of(self, costs: Sequence[float]) -> range:
        """Return the places of this part's pieces of work, in one row, at least one, and about equally much.

        Args:
            costs: of each piece of work, above 0.

        Raises:
            InputError: there are more parts than pieces.
        """
        if self.count > len(costs):
            raise InputError(f"part {self}: there are only {len(costs)} pieces of work to be split")
        done = np.cumsum(costs)
        shares = [done[-1] * part / self.count for part in range(1, self.count)]
        bounds = [0, *(int(place) for place in np.searchsorted(done, shares, side="right"))]
        # Each begins after the one before and leaves one for every part that follows.
        for part in range(1, self.count):
            bounds[part] = min(max(bounds[part], bounds[part - 1] + 1), len(costs) - (self.count - part))
        bounds.append(len(costs))
        return range(bounds[self.number - 1], bounds[self.number])


def merge_samples(
    parts: Sequence[tuple[Molecules, npt.NDArray[np.integer[Any]]]], names: Sequence[object]
) -> Molecules:
    """Return the samples of all parts in the order of their numbers, with the metadata of the whole.

    Args:
        parts: each part's molecules and their numbers among all samples.
        names: what to call each part in messages.

    Raises:
        InputError: a part is missing or given twice, or is of other samples than the first.
    """
    expected: dict[str, Any] = {}
    seconds, non_finite, found = 0.0, 0, []
    for (molecules, _), name in zip(parts, names, strict=True):
        of = dict(molecules.metadata)
        if not {"part", "seconds", "non_finite"} <= of.keys():
            raise InputError(f"{name}: not a part of a run's samples")
        found.append(Part.parse(of.pop("part")))
        seconds += of.pop("seconds")
        non_finite += of.pop("non_finite")
        expected = expected or of
        if of != expected or found[-1].count != found[0].count:
            raise InputError(f"{name}: a part of other samples than {names[0]}")
    count = found[0].count
    if sorted(part.number for part in found) != list(range(1, count + 1)):
        raise InputError(f"{names[0]}: a part of {count}; the parts given are {', '.join(map(str, found))}")
    numbers = np.concatenate([numbers for _, numbers in parts])
    order = np.argsort(numbers, kind="stable")
    if (numbers[order] != np.arange(len(numbers))).any():
        raise InputError(f"{names[0]}: the parts together do not have every sample once")
    together = Molecules.concatenate([molecules for molecules, _ in parts]).select(order)
    metadata = expected | {"seconds": round(seconds, 3), "non_finite": non_finite}
    return replace(together, metadata=metadata)
