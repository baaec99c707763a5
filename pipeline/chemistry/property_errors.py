"""Errors of property-conditional generation: the value that a regressor predicts against the one asked for.

The protocol of EDM (Hoogeboom et al. 2022, section 5.3): a regressor is trained on the first half of the training
molecules and a generator on the second; molecules are drawn for a size and a property of the training molecules; the
mean absolute error of the regressor's prediction is between that on the second half itself (L-bound) and that against
its values in random order (U-bound). A generator that knows no more than the number of atoms has the third baseline.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.intervals import Estimate, mean_estimate

Values = npt.NDArray[np.float64]

PUBLISHED: Final[Mapping[str, Mapping[str, float]]] = {
    "U-bound, EDM's regressor": {"alpha": 8.98, "gap": 1464, "homo": 645, "lumo": 1457, "mu": 1.613, "Cv": 6.879},
    "number of atoms, EDM's": {"alpha": 3.86, "gap": 866, "homo": 426, "lumo": 813, "mu": 1.053, "Cv": 1.971},
    "EDM": {"alpha": 2.76, "gap": 655, "homo": 356, "lumo": 584, "mu": 1.11, "Cv": 1.10},
    "GeoLDM": {"alpha": 2.37, "gap": 587, "homo": 340, "lumo": 522, "mu": 1.108, "Cv": 1.025},
    "EEGSDE": {"alpha": 2.50, "gap": 487, "homo": 302, "lumo": 447, "mu": 0.777, "Cv": 0.941},
    "JODO": {"alpha": 1.42, "gap": 335, "homo": 226, "lumo": 256, "mu": 0.628, "Cv": 0.581},
    "UDM-3D": {"alpha": 1.76, "gap": 313, "homo": 216, "lumo": 247, "mu": 0.603, "Cv": 0.553},
    "NExT-Mol": {"alpha": 1.16, "gap": 297, "homo": 205, "lumo": 235, "mu": 0.507, "Cv": 0.512},
    "L-bound, EDM's regressor": {"alpha": 0.09, "gap": 65, "homo": 39, "lumo": 36, "mu": 0.043, "Cv": 0.040},
}
"""Published mean absolute errors on QM9 in Bohr^3, meV, debye and cal/(mol K), as their papers print them."""

_SHOWN: Final = {"hartree": ("meV", 27211.386)}
"""The unit that the literature uses in place of one of the data, and how many of it that is."""


def shown_unit(unit: str | None) -> tuple[str, float]:
    """Return the unit in which errors are shown, and the factor from the unit of the data."""
    return _SHOWN.get(unit or "", (unit or "", 1.0))


def mean_error(predicted: Values, asked: Values) -> Estimate:
    """Return the mean absolute error [M] with its 95 % interval, that of a mean of many."""
    found = mean_estimate(np.abs(predicted - asked))
    return replace(found, low=max(0.0, found.low))


def baselines(
    predicted: Values,
    values: Values,
    sizes: npt.NDArray[np.integer[Any]],
    known: Values,
    known_sizes: npt.NDArray[np.integer[Any]],
) -> dict[str, float]:
    """Return the mean absolute errors that those of generated molecules are compared with.

    Args:
      predicted: the regressor's values of M molecules that it was not trained on, [M].
      values: their own, [M].
      sizes: their atoms, [M].
      known: values of the molecules that it was trained on.
      known_sizes: their atoms.
    """
    # The median has the smallest mean absolute error of all guesses that know the size only.
    median = {size: float(np.median(known[known_sizes == size])) for size in np.unique(known_sizes).tolist()}
    guesses = np.array([median.get(size, float(np.median(known))) for size in sizes.tolist()])
    return {
        "U-bound": float(np.abs(predicted - np.random.default_rng(0).permutation(values)).mean()),
        "number of atoms": float(np.abs(guesses - values).mean()),
        "L-bound": float(np.abs(predicted - values).mean()),
    }


def error_rows(
    name: str, unit: str | None, found: Mapping[str, float], bounds: Mapping[str, float], *, dataset: str
) -> list[tuple[str, float]]:
    """Return what errors of one property to show, in the order of a table, in the unit of ``shown_unit``.

    Args:
      name: of the property.
      unit: of the data.
      found: errors of samples by sampler.
      bounds: see ``baselines``.
      dataset: QM9's published rows follow where it is ``QM9``.
    """
    _, factor = shown_unit(unit)
    rows = [(label, factor * value) for label, value in {**bounds, **found}.items()]
    if dataset == "QM9":
        rows += [(f"{method} (published)", errors[name]) for method, errors in PUBLISHED.items() if name in errors]
    return rows


def error_table(title: str, rows: Sequence[tuple[str, float]]) -> str:
    """Return rows as lines of text under a title."""
    width = max(len(label) for label, _ in rows)
    return "\n".join([title, *(f"  {label:<{width}}  {value:>8.4g}" for label, value in rows)])
