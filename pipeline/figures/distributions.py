"""Distributions of samples and data: elements, angles between bonds and distances of bonded atoms."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipeline.chemistry.bonds import THRESHOLDS_PM, near_pairs
from pipeline.chemistry.elements import SYMBOLS
from pipeline.chemistry.geometry import Values, bond_angles
from pipeline.chemistry.intervals import Z95
from pipeline.chemistry.molecules import Molecules
from pipeline.figures import style
from pipeline.figures.inputs import Floats, Run

PAIRS: Final = (("C", "H"), ("C", "C"), ("C", "N"), ("C", "O"), ("N", "H"), ("O", "H"))
"""Pairs of elements whose distances are drawn; others are rare in QM9."""

WINDOWS_PM: Final = {
    "CH": (94, 136),
    "CC": (110, 176),
    "CN": (104, 170),
    "CO": (104, 166),
    "NH": (84, 126),
    "OH": (80, 120),
}
"""Range of distances drawn, in picometres: all bonds, and slightly beyond the longest that EDM counts."""

BIN_PM: Final = 2
ANGLES: Final = (45, 180)
"""Range of angles drawn, in degrees: from three-membered rings to alkynes."""

BIN_DEGREES: Final = 3


@dataclass(frozen=True, eq=False)
class Mean:
    """A quantity averaged over molecules, with the half-width of its 95 % interval; both of the same shape."""

    value: Floats
    error: Floats


@dataclass(frozen=True, eq=False)
class Measured:
    """Distributions of a set of molecules."""

    molecules: int
    angles: Mean
    """[bins] angles per molecule and degree between bonds of atoms other than H, over ``ANGLES``."""
    elements: Mean
    """[16] share of each element among the atoms."""
    distances: dict[str, Mean]
    """[bins] pairs of atoms per molecule and picometre, by elements, over ``WINDOWS_PM`` in steps of ``BIN_PM``."""


def measure(molecules: Molecules) -> Measured:
    """Measure elements, angles and short distances of molecules; intervals are over molecules."""
    number, kinds = len(molecules), len(SYMBOLS)
    atoms = np.bincount(molecules.owners * kinds + molecules.types(), minlength=number * kinds).reshape(number, kinds)
    # A ratio of two means over molecules: its error is that of the residual (delta method).
    elements = atoms.sum(axis=0) / molecules.sizes.sum()
    residual = (atoms - elements * molecules.sizes[:, None]) / molecules.sizes.mean()
    return Measured(
        molecules=number,
        angles=binned_mean(bond_angles(molecules), number, low=ANGLES[0], high=ANGLES[1], width=BIN_DEGREES),
        elements=Mean(value=elements, error=Z95 * residual.std(axis=0) / np.sqrt(number)),
        distances=_distances(molecules),
    )


def _distances(molecules: Molecules) -> dict[str, Mean]:
    number, types = len(molecules), molecules.types()
    # A little farther than what is drawn, for rounding.
    first, second = near_pairs(molecules, max(high for _, high in WINDOWS_PM.values()) / 100 + 0.01)
    points = 100 * molecules.positions
    distance, owner = np.sqrt(((points[first] - points[second]) ** 2).sum(axis=-1)), molecules.owners[first]
    lower, upper, found = np.minimum(types[first], types[second]), np.maximum(types[first], types[second]), {}
    for a, b in PAIRS:
        low, high = WINDOWS_PM[a + b]
        bins = (high - low) // BIN_PM
        place = np.floor((distance - low) / BIN_PM).astype(np.int64)
        one, other = sorted((SYMBOLS.index(a), SYMBOLS.index(b)))
        wanted = (lower == one) & (upper == other) & (place >= 0) & (place < bins)
        found[a + b] = _mean(_moments(owner[wanted], place[wanted], bins), number, BIN_PM)
    return found


def _moments(owner: npt.NDArray[np.int64], place: npt.NDArray[np.int64], width: int) -> Floats:
    """Return the sums over molecules [2, width] of the counts in each bin and of their squares."""
    keys, counts = np.unique(owner * width + place, return_counts=True)
    return np.stack([np.bincount(keys % width, counts**power, minlength=width) for power in (1, 2)])


def _mean(moments: Floats, number: int, bin_width: float) -> Mean:
    mean, squares = moments / number
    return Mean(
        value=mean / bin_width,
        error=Z95 * np.sqrt(np.maximum(squares - mean**2, 0.0) / number) / bin_width,
    )


def binned_mean(values: Values, number: int, *, low: int, high: int, width: int) -> Mean:
    """Return the values per molecule and unit in bins of a width from low to high, [bins].

    Args:
      values: of ``number`` molecules; those below ``low`` are left out, and ``high`` is in the last bin.
      number: of molecules.
      low: start of the first bin.
      high: end of the last bin.
      width: of a bin.
    """
    bins = (high - low) // width
    place = np.minimum(np.floor((values.value - low) / width).astype(np.int64), bins - 1)
    wanted = place >= 0
    return _mean(_moments(values.owner[wanted], place[wanted], bins), number, width)


def samples_figure(run: Run, dataset: str, *, height: float) -> tuple[Figure, dict[str, str]]:
    """Return a figure with a header for the samplers of a run beside the data, and the colour of each sampler.

    Args:
      run: the run.
      dataset: name of the data.
      height: in inches, without the header.
    """
    colours = dict(zip(run.samples, style.shades(run.colour, len(run.samples)), strict=True))
    columns = 3 if len(colours) > 1 else 2
    header = 0.35 + 0.17 * -(-(1 + len(colours)) // columns)
    figure = style.new_figure(height + header)
    style.reserve_header(figure, header)
    style.header_title(figure, f"{run.name}: {run.budget}", colour=style.darker(run.colour))
    handles = [Patch(color=style.PALE), *(Line2D([], [], color=colour, linewidth=2.5) for colour in colours.values())]
    labels = [dataset, *map(run.sampler_label, colours)]
    style.header_legend(figure, handles, labels, columns=columns, below=0.22)
    return figure, colours


def side_by_side(number: int) -> npt.NDArray[np.float64]:
    """Return where ``number`` points stand beside each other around their place."""
    return np.linspace(-0.3, 0.3, number) if number > 1 else np.zeros(number)


def draw(run: Run, *, reference: Measured, dataset: str) -> style.Picture:
    """Draw the samples of a run, a line for each sampler, over the data.

    Args:
      run: the run.
      reference: distributions of the data.
      dataset: name of the data.
    """
    measured = {sampler: measure(molecules) for sampler, molecules in run.samples.items()}
    figure, colours = samples_figure(run, dataset, height=5.7)
    grid = figure.add_gridspec(3, 6, height_ratios=(1.15, 1.0, 1.0))
    elements, angles = figure.add_subplot(grid[0, :3]), figure.add_subplot(grid[0, 3:])
    _draw_elements(elements, reference, measured, colours)
    _draw_angles(angles, reference, measured, colours)
    panels = [elements, angles]
    for place, (a, b) in enumerate(PAIRS):
        row, column = divmod(place, 3)
        axes = figure.add_subplot(grid[1 + row, 2 * column : 2 * column + 2])
        _draw_distances(axes, a, b, reference, measured, colours)
        if column == 0:
            axes.set_ylabel("pairs per molecule\nand pm")
        if row == 1:
            axes.set_xlabel("distance (Å)")
        panels.append(axes)
    for letter, axes in zip("abcdefgh", panels, strict=True):
        axes.set_title(f"{letter}   {axes.get_title(loc='left')}", pad=4)
    caption = _caption(run, measured, reference, dataset)
    title = f"Samples of {run.name} against {dataset}"
    return style.Picture(name=f"distributions-{run.name}", title=title, caption=caption, figure=figure)


def _draw_angles(axes: Axes, reference: Measured, measured: dict[str, Measured], colours: dict[str, str]) -> None:
    edges = np.arange(ANGLES[0], ANGLES[1] + BIN_DEGREES, BIN_DEGREES, dtype=np.float64)
    axes.stairs(reference.angles.value, edges, fill=True, color=style.PALE)
    for sampler, one in measured.items():
        draw_steps(axes, edges, one.angles, 1.0, colours[sampler], faint=len(measured) > 3)
    axes.set_xlim(*ANGLES)
    axes.set_xticks([60, 90, 120, 150, 180])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("angle between bonds (°)")
    axes.set_ylabel("angles per molecule\nand degree")


def _draw_elements(axes: Axes, reference: Measured, measured: dict[str, Measured], colours: dict[str, str]) -> None:
    there = np.flatnonzero(sum((one.elements.value for one in measured.values()), reference.elements.value))
    places = np.arange(len(there))
    axes.bar(places, 100 * reference.elements.value[there], width=0.84, color=style.PALE, linewidth=0)
    few = len(measured) < 5
    for shift, (sampler, one) in zip(side_by_side(len(measured)), measured.items(), strict=True):
        value, error = 100 * one.elements.value[there], 100 * one.elements.error[there]
        axes.errorbar(
            places + shift, value, yerr=error, color=colours[sampler],
            fmt="o", clip_on=False, markersize=4.5 if few else 3.2, capsize=2.5 if few else 0,
        )  # fmt: skip
    axes.set_xticks(places, [SYMBOLS[place] for place in there.tolist()])
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("element")
    axes.set_ylabel("atoms (%)")


def _draw_distances(
    axes: Axes, a: str, b: str, reference: Measured, measured: dict[str, Measured], colours: dict[str, str]
) -> None:
    low, high = WINDOWS_PM[a + b]
    edges = np.arange(low, high + BIN_PM, BIN_PM) / 100
    axes.stairs(reference.distances[a + b].value, edges, fill=True, color=style.PALE)
    for sampler, one in measured.items():
        draw_steps(axes, edges, one.distances[a + b], 1.0, colours[sampler], faint=len(measured) > 3)
    for limit in THRESHOLDS_PM[:, SYMBOLS.index(a), SYMBOLS.index(b)]:
        if low < limit < high:
            axes.axvline(limit / 100, color=style.MUTED, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1)
    axes.set_title(f"{a}–{b}")
    axes.set_xlim(low / 100, high / 100)
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="y", nbins=4)
    axes.locator_params(axis="x", nbins=5)


def draw_steps(axes: Axes, edges: Floats, mean: Mean, scale: float, colour: str, *, faint: bool) -> None:
    """Draw a mean over the bins between ``edges``, times ``scale``, with its interval as a band."""
    low, high = scale * np.maximum(mean.value - mean.error, 0.0), scale * (mean.value + mean.error)
    axes.stairs(high, edges, baseline=low, fill=True, color=colour, alpha=0.1 if faint else 0.25, linewidth=0)
    axes.stairs(scale * mean.value, edges, color=colour, linewidth=1.3, baseline=None)


def _caption(run: Run, measured: dict[str, Measured], reference: Measured, dataset: str) -> str:
    numbers = style.join_or(one.molecules for one in measured.values())
    return (
        f"Samples of {run.name} ({numbers} molecules for each sampler; lines and points, with 95 % intervals over "
        f"molecules) against {dataset} (grey; {reference.molecules:,} training molecules): elements; the angles "
        "between bonds of atoms other than hydrogen (60° is a three-membered ring); and the distances of all "
        "close pairs of two elements. Areas are numbers of angles or pairs, so a lower curve has fewer. Below the "
        "dotted lines EDM counts a single, double or triple bond. Sizes are not compared, since samplers draw them "
        "from those of the data."
    )
