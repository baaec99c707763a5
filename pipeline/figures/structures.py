"""Structures of samples and data: torsions, rings, functional groups, and the most similar training molecule.

Torsions are of all molecules; the rest is of those that are connected and valid, by their SMILES.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from rdkit import Chem, DataStructs, rdBase
from rdkit.Chem import rdFingerprintGenerator

from pipeline.chemistry.geometry import dihedral_angles
from pipeline.chemistry.intervals import Z95
from pipeline.chemistry.metrics import Judgement
from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.rdkit_molecules import perceive
from pipeline.figures import style
from pipeline.figures.distributions import Mean, binned_mean, draw_steps, samples_figure, side_by_side
from pipeline.figures.inputs import Run

TORSION_BIN: Final = 6
"""In degrees."""
RINGS: Final = (3, 4, 5, 6, 7, 8)
"""Ring sizes drawn, the last one with all larger ones."""
GROUPS: Final = {
    "alcohol": "[CX4][OX2H]",
    "ether": "[OX2;!$(O-C=[O,N])]([#6])[#6]",
    "amine": "[NX3;!$(N-C=[O,N]);!$(N-[!#6;!#1])]",
    "amide": "[NX3][CX3]=[OX1]",
    "acid, ester": "[CX3](=[OX1])[OX2]",
    "carbonyl": "[CX3;$(C([#6,#1])([#6,#1])=[OX1])]",
    "nitrile": "[CX2]#[NX1]",
    "alkene": "[CX3]=[CX3]",
    "alkyne": "[CX2]#[CX2]",
    "aromatic": "a",
}
"""SMARTS of the functional groups; a carbonyl is an aldehyde or a ketone."""
SIMILARITY_BIN: Final = 0.05
LIBRARY: Final = 10_000
"""Training molecules, at most, that samples are compared with."""
FEWEST: Final = 30
"""Valid molecules, at least, of a sampler whose rings, groups and similarities are drawn."""
_OTHERS: Final = 1_000
"""Training molecules, at most, that stand for the data."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Structures of a set of molecules."""

    molecules: int
    valid: int
    torsions: Mean
    """[bins] torsions per molecule and degree, from 0 to 180 degrees in steps of ``TORSION_BIN``."""
    rings: Mean
    """[6] rings of each size per valid molecule, see ``RINGS``."""
    groups: Mean
    """[10] share of valid molecules with each of the ``GROUPS``."""
    similarity: Mean
    """[20] share of valid molecules by the similarity of the most similar molecule of the library, in steps of
    ``SIMILARITY_BIN``."""


@dataclass(frozen=True, eq=False)
class Reference:
    """The data to compare samples with."""

    measured: Measured
    """Of training molecules that are not in the library."""
    library: Sequence[Any]
    """Fingerprints of training molecules."""

    @classmethod
    def of(cls, train: Molecules) -> "Reference":
        """Measure up to 1,000 training molecules, and take up to 10,000 others as the library; drawn with seed 0."""
        order = np.random.default_rng(0).permutation(len(train))[: LIBRARY + _OTHERS]
        cut = min(_OTHERS, -(-len(order) // 10))
        others, known = train.select(order[:cut]), train.select(order[cut:])
        library = _fingerprints(_parsed(perceive(known).connected))
        return cls(measure(Judgement.of(others), library), library)


def measure(judgement: Judgement, library: Sequence[Any]) -> Measured:
    """Measure judged molecules; intervals are over molecules.

    Args:
      judgement: of the molecules.
      library: fingerprints of the molecules that each is compared with.
    """
    molecules, valid = judgement.molecules, _parsed(judgement.perceived.connected)
    patterns = [Chem.MolFromSmarts(pattern) for pattern in GROUPS.values()]
    groups = [[one.HasSubstructMatch(pattern) for pattern in patterns] for one in valid]
    # By place in ``RINGS``.
    places = [[min(len(ring), RINGS[-1]) - RINGS[0] for ring in Chem.GetSSSR(one)] for one in valid]
    rings = [np.bincount(own, minlength=len(RINGS)) for own in places]
    nearest = [max(DataStructs.BulkTanimotoSimilarity(one, library), default=0.0) for one in _fingerprints(valid)]
    count = round(1 / SIMILARITY_BIN)
    bins = np.minimum((np.array(nearest, dtype=np.float64) / SIMILARITY_BIN).astype(int), count - 1)
    return Measured(
        molecules=len(molecules),
        valid=len(valid),
        torsions=binned_mean(dihedral_angles(molecules), len(molecules), low=0, high=180, width=TORSION_BIN),
        rings=_mean(rings, len(RINGS)),
        groups=_mean(groups, len(GROUPS)),
        similarity=_mean(list(np.eye(count)[bins]), count),
    )


def _parsed(smiles: Sequence[str | None]) -> list[Chem.Mol]:
    with rdBase.BlockLogs():
        found = [Chem.MolFromSmiles(one) for one in smiles if one is not None]
    return [one for one in found if one is not None]


def _fingerprints(molecules: Sequence[Chem.Mol]) -> list[Any]:
    """Return Morgan fingerprints of radius 2 (ECFP4, Rogers and Hahn 2010), 2,048 bits."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    return [generator.GetFingerprint(one) for one in molecules]


def _mean(rows: Sequence[Any], width: int) -> Mean:
    # One row of zeros where no molecule is valid.
    values = np.array(rows or [np.zeros(width)], dtype=np.float64)
    return Mean(value=values.mean(axis=0), error=Z95 * values.std(axis=0) / np.sqrt(len(values)))


def draw(run: Run, judged: Mapping[str, Judgement], *, reference: Reference, dataset: str) -> style.Picture:
    """Draw the structures of a run's samples over those of the data.

    Args:
      run: the run.
      judged: its judged samples by sampler.
      reference: the data.
      dataset: name of the data.
    """
    measured = {sampler: measure(one, reference.library) for sampler, one in judged.items()}
    figure, colours = samples_figure(run, dataset, height=4.9)
    (torsions, rings), (groups, similarity) = figure.subplots(2, 2, height_ratios=(1.0, 1.3))
    data, enough = reference.measured, {name: one for name, one in measured.items() if one.valid >= FEWEST}
    for axes, key, of, edges, scale in (
        (torsions, "torsions", measured, np.arange(0.0, 180.1, TORSION_BIN), 1.0),
        (similarity, "similarity", enough, np.linspace(0.0, 1.0, len(data.similarity.value) + 1), 100.0),
    ):
        axes.stairs(scale * getattr(data, key).value, edges, fill=True, color=style.PALE)
        for sampler, one in of.items():
            draw_steps(axes, edges, getattr(one, key), scale, colours[sampler], faint=len(measured) > 3)
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(bottom=0)
    torsions.set_xticks([0, 60, 120, 180])
    torsions.set_xlabel("torsion without its sign (°)")
    torsions.set_ylabel("torsions per molecule\nand degree")
    similarity.set_xlabel("highest similarity to training")
    similarity.set_ylabel("valid molecules (%)")
    _draw_rings(rings, data.rings, {name: one.rings for name, one in enough.items()}, colours)
    _draw_groups(groups, data.groups, {name: one.groups for name, one in enough.items()}, colours)
    for letter, axes in zip("abcd", (torsions, rings, groups, similarity), strict=True):
        axes.set_title(letter, pad=4)
    caption = _caption(run, measured, reference, dataset)
    title = f"Structures of {run.name} against {dataset}"
    return style.Picture(name=f"structures-{run.name}", title=title, caption=caption, figure=figure)


def _draw_rings(axes: Axes, data: Mean, measured: Mapping[str, Mean], colours: Mapping[str, str]) -> None:
    axes.bar(range(len(RINGS)), data.value, width=0.84, color=style.PALE, linewidth=0)
    for (sampler, one), shift in zip(measured.items(), side_by_side(len(measured)), strict=True):
        bars: dict[str, Any] = {"yerr": [np.minimum(one.error, one.value), one.error], "color": colours[sampler]}
        axes.errorbar(np.arange(len(RINGS)) + shift, one.value, fmt="o", markersize=3.2, clip_on=False, **bars)
    axes.set_xticks(range(len(RINGS)), [*map(str, RINGS[:-1]), f"{RINGS[-1]}+"])
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("atoms in a ring")
    axes.set_ylabel("rings per valid molecule")


def _draw_groups(axes: Axes, data: Mean, measured: Mapping[str, Mean], colours: Mapping[str, str]) -> None:
    axes.barh(range(len(GROUPS)), 100 * data.value, height=0.84, color=style.PALE, linewidth=0)
    for (sampler, one), shift in zip(measured.items(), side_by_side(len(measured)), strict=True):
        bars: dict[str, Any] = {
            "xerr": [100 * np.minimum(one.error, one.value), 100 * one.error],
            "color": colours[sampler],
        }
        axes.errorbar(100 * one.value, np.arange(len(GROUPS)) + shift, fmt="o", markersize=2.6, clip_on=False, **bars)
    axes.set_yticks(range(len(GROUPS)), list(GROUPS))
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("valid molecules with it (%)")


def _caption(run: Run, measured: Mapping[str, Measured], reference: Reference, dataset: str) -> str:
    numbers = style.join_or(one.molecules for one in measured.values())
    valid = style.join_or(one.valid for one in measured.values())
    return (
        f"Samples of {run.name} (lines and points, with 95 % intervals over molecules) against {dataset} (grey; "
        f"{reference.measured.molecules:,} training molecules): torsions of atoms other than hydrogen, of all "
        f"{numbers} molecules; and, of the connected and valid ones ({valid}), rings, functional groups and the "
        f"Tanimoto similarity (ECFP4 fingerprints) of the most similar of {len(reference.library):,} other training "
        f"molecules. Samplers with fewer than {FEWEST} valid molecules are in the first panel only. A similarity of 1 "
        "is usually the same molecule; a model that repeats its training data lies to the right of the grey area."
    )
