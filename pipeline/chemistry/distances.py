"""How far the samples' distributions are from the data's: sizes, elements, bonds, angles, dihedrals and rings.

| key                | distance                   | unit     | of                                                     |
|--------------------|----------------------------|----------|--------------------------------------------------------|
| size               | Wasserstein-1              | atoms    | atoms of a molecule                                    |
| heavy_atoms        | Wasserstein-1              | atoms    | atoms of a molecule other than hydrogen                |
| element            | Jensen-Shannon divergence  | bits     | elements of the atoms                                  |
| bond_length_CC ... | Wasserstein-1              | angstrom | bonded pairs of two elements, by EDM's distances       |
| bond_angle         | Wasserstein-1              | degrees  | angles between bonds, hydrogens left out               |
| dihedral           | Wasserstein-1              | degrees  | dihedral angles without their sign, hydrogens left out |
| ring_size          | Jensen-Shannon divergence  | bits     | smallest rings of each molecule, hydrogens left out    |

The Wasserstein-1 distance is the area between two cumulative distributions: by how much a value has to be moved, on
average (Vaserstein 1969). The Jensen-Shannon divergence (Lin 1991) lies between 0, equal, and 1, nothing in common.

A distance between two finite sets is never 0, even if both are drawn from the same distribution: compare it with that
of the test split, the floor, at about as many molecules. Intervals are a normal approximation with the bootstrap's
standard error over the samples; the data are taken as they are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rdkit import Chem
from scipy.sparse import csr_array

from pipeline.chemistry.elements import SYMBOLS
from pipeline.chemistry.geometry import Values, bond_angles, dihedral_angles, heavy_bonds
from pipeline.chemistry.intervals import USUAL, Z95, Resampling
from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.parallel import map_molecules

PAIRS: Final = ("CH", "CC", "CN", "CO", "HN", "HO", "CF", "NN", "NO")
"""Pairs of elements that are bonded in at least one of a thousand bonds of QM9, or with fluorine."""

_LARGEST_RING: Final = 9
_LARGEST_SIZE: Final = 512
"""Larger molecules count as this large."""

_AT_ONCE: Final = 50


@dataclass(frozen=True)
class Quantity:
    """A quantity and how two distributions of it are compared."""

    unit: str
    low: float
    step: float
    """Width of a bin, in the unit: the precision of the distance."""
    bins: int
    ordered: bool = True
    """Whether values can be moved (Wasserstein-1) or are kinds (Jensen-Shannon)."""


QUANTITIES: Final[dict[str, Quantity]] = {
    "size": Quantity("atoms", 0, 1, _LARGEST_SIZE + 1),
    "heavy_atoms": Quantity("atoms", 0, 1, _LARGEST_SIZE + 1),
    "element": Quantity("bits", 0, 1, len(SYMBOLS), ordered=False),
    **{f"bond_length_{pair}": Quantity("angstrom", 0, 0.001, 1_700) for pair in PAIRS},
    "bond_angle": Quantity("degrees", 0, 0.25, 721),
    "dihedral": Quantity("degrees", 0, 0.5, 361),
    "ring_size": Quantity("bits", 0, 1, _LARGEST_RING + 1, ordered=False),
}

_ENDS: Final = np.cumsum([quantity.bins for quantity in QUANTITIES.values()])


@dataclass(frozen=True, eq=False)
class Histograms:
    """Histograms of all quantities, for each of M molecules."""

    counts: csr_array
    """[M, B], the quantities' bins side by side."""

    def __len__(self) -> int:
        """Return the number of molecules, M."""
        return int(self.counts.shape[0])

    @classmethod
    def of(cls, molecules: Molecules, *, processes: int = 1) -> "Histograms":
        """Measure molecules; QM9's take about 0.15 ms each, see ``perceive`` for ``processes``."""
        heavy = np.bincount(molecules.owners[molecules.atomic_numbers > 1], minlength=len(molecules))
        measured = {
            name: Values(np.arange(len(molecules)), np.minimum(count, _LARGEST_SIZE).astype(np.float64))
            for name, count in (("size", molecules.sizes), ("heavy_atoms", heavy))
        } | {
            "element": Values(molecules.owners, molecules.types().astype(np.float64)),
            **_bond_lengths(molecules),
            "bond_angle": bond_angles(molecules),
            "dihedral": dihedral_angles(molecules),
            "ring_size": _rings(molecules, processes),
        }
        rows, columns = [], []
        for (name, quantity), end in zip(QUANTITIES.items(), _ENDS.tolist(), strict=True):
            # The middle of a bin is its value: a whole number stays one.
            bins = np.rint((measured[name].value - quantity.low) / quantity.step).astype(np.int64)
            rows.append(measured[name].owner)
            columns.append(end - quantity.bins + np.clip(bins, 0, quantity.bins - 1))
        places = (np.concatenate(rows), np.concatenate(columns))
        return cls(csr_array((np.ones(len(places[0])), places), shape=(len(molecules), int(_ENDS[-1]))))


def _bond_lengths(molecules: Molecules) -> dict[str, Values]:
    types, owner, bonds = molecules.types(), molecules.owners, molecules.bonds
    low = np.minimum(types[bonds.first], types[bonds.second])
    high = np.maximum(types[bonds.first], types[bonds.second])
    found = {}
    for pair in PAIRS:
        a, b = sorted(map(SYMBOLS.index, pair))
        wanted = (low == a) & (high == b)
        found[f"bond_length_{pair}"] = Values(owner[bonds.first[wanted]], bonds.length[wanted].astype(np.float64))
    return found


def _rings(molecules: Molecules, processes: int) -> Values:
    parts = list(map_molecules(_ring_sizes, molecules, processes=processes))
    sizes = [ring for part in parts for ring in part]
    owner = np.repeat(np.arange(len(molecules)), list(map(len, sizes)))
    return Values(owner, np.array([min(size, _LARGEST_RING) for one in sizes for size in one], dtype=np.float64))


def _ring_sizes(molecules: Molecules) -> list[list[int]]:
    """Return the sizes of each molecule's smallest rings (the SSSR of its atoms other than hydrogen)."""
    first, second = heavy_bonds(molecules)
    ends = np.searchsorted(first, molecules.offsets)
    found = []
    for index, start in enumerate(molecules.offsets[:-1].tolist()):
        own = slice(ends[index], ends[index + 1])
        graph = Chem.RWMol()
        for _ in range(molecules.sizes[index]):
            graph.AddAtom(Chem.Atom(6))
        for a, b in zip((first[own] - start).tolist(), (second[own] - start).tolist(), strict=True):
            graph.AddBond(a, b, Chem.BondType.SINGLE)
        found.append([len(ring) for ring in Chem.GetSSSR(graph)])
    return found


def distances(
    samples: Histograms, reference: Histograms, resampling: Resampling = USUAL
) -> dict[str, dict[str, Any] | None]:
    """Return the distance of every quantity, and its 95 % interval over the samples.

    Args:
        samples: of M molecules.
        reference: of the data.
        resampling: of the bootstrap.

    Returns:
        By the keys of ``QUANTITIES``, "value", "low", "high" and "unit"; None where either side has nothing.
    """
    expected = np.asarray(reference.counts.sum(axis=0))
    value = _distances(np.asarray(samples.counts.sum(axis=0))[None], expected)
    drawn = [_distances(weights @ samples.counts, expected) for weights in _weights(len(samples), *resampling)]
    found: dict[str, dict[str, Any] | None] = {}
    for name, quantity in QUANTITIES.items():
        middle = float(value[name][0])
        if np.isnan(middle):
            found[name] = None
            continue
        error = Z95 * float(np.nanstd(np.concatenate([one[name] for one in drawn])))
        found[name] = {
            "value": middle,
            "low": max(0.0, middle - error),
            "high": middle + error,
            "unit": quantity.unit,
        }
    return found


def _weights(number: int, replicates: int, seed: int) -> Iterator[npt.NDArray[np.float64]]:
    """Yield how often each of M molecules is drawn in each resample, in blocks [K, M]."""
    generator = np.random.default_rng(seed)
    for start in range(0, replicates, _AT_ONCE):
        drawn = min(_AT_ONCE, replicates - start)
        yield generator.multinomial(number, np.full(number, 1 / number), size=drawn).astype(np.float64)


def _distances(
    found: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]
) -> Mapping[str, npt.NDArray[np.float64]]:
    """Return by quantity the distance [K] of histograms [K, B] from one, [B]; nan where either is empty."""
    by_name = {}
    for (name, quantity), end in zip(QUANTITIES.items(), _ENDS.tolist(), strict=True):
        own = slice(end - quantity.bins, end)
        with np.errstate(invalid="ignore"):
            p = found[:, own] / found[:, own].sum(axis=1, keepdims=True)
            q = expected[own] / expected[own].sum()
        if quantity.ordered:
            by_name[name] = np.abs(np.cumsum(p - q, axis=1)).sum(axis=1) * quantity.step
        else:
            by_name[name] = _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2
    return by_name


def _entropy(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    bits: npt.NDArray[np.float64] = -(p * np.log2(np.where(p > 0, p, 1.0))).sum(axis=-1)
    return bits
