"""Signs that molecules are not what they are taken for: all of their atoms, in three dimensions, in angstrom."""

from typing import Final

import numpy as np
from scipy.spatial import KDTree

from pipeline.chemistry.bonds import MARGINS_PM, THRESHOLDS_PM
from pipeline.chemistry.molecules import Molecules

_HYDROGEN: Final = 1
_LOOKED_AT: Final = 1000
_PLANAR_ANYWAY: Final = 3
_USUAL_RATIO: Final = (0.6, 1.7)
_UNITS: Final = {"nanometres": 0.1, "bohr": 1.8897, "picometres": 100.0}
"""Numbers that stand for an angstrom."""


def plausibility_warnings(molecules: Molecules) -> list[str]:
    """Return a line for everything about at least one molecule that looks like a mistake, and may not be one."""
    warnings = []
    if not (molecules.atomic_numbers == _HYDROGEN).any():
        warnings.append("there are no hydrogens; every atom has to be in the file, none is ever added")
    flat = [name for name, extent in zip("xyz", np.ptp(molecules.positions, axis=0), strict=True) if not extent]
    if molecules.sizes.max() > _PLANAR_ANYWAY and flat:
        warnings.append(
            f"every {flat[-1]} coordinate is the same, as in a drawing; molecules should be in three dimensions"
        )
    ratio = _neighbour_ratio(molecules)
    if ratio is not None and not _USUAL_RATIO[0] <= ratio <= _USUAL_RATIO[1]:
        unit = min(_UNITS, key=lambda name: abs(np.log(ratio / _UNITS[name])))
        warnings.append(
            f"the nearest neighbour of an atom is typically {ratio:.2g} times as far away as a bond is long; positions "
            f"should be in angstrom (in {unit} it would be {_UNITS[unit]:.2g})"
        )
    return warnings


def _neighbour_ratio(molecules: Molecules) -> float | None:
    """Return the median distance to the nearest neighbour in units of a single bond; None where there are none."""
    some = molecules.select(np.unique(np.linspace(0, len(molecules) - 1, _LOOKED_AT).astype(int)))
    single = (THRESHOLDS_PM[0] - MARGINS_PM[0]) / 100
    types, ratios = some.types(), []
    for index, (_, positions) in enumerate(some):
        if len(positions) > 1:
            distance, neighbour = KDTree(positions).query(positions, k=2)
            own = types[some.offsets[index] : some.offsets[index + 1]]
            lengths = single[own, own[neighbour[:, 1]]]
            listed = lengths > 0
            ratios.append(distance[listed, 1] / lengths[listed])
    # Atoms at one point stand for molecules that a generator failed on.
    found = np.concatenate([*ratios, np.zeros(1)])
    found = found[found > 0]
    return float(np.median(found)) if len(found) else None
