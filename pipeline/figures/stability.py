"""Stability and validity of the samples of every run and sampler, between noise and the data."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import matplotlib.colors
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from pipeline.chemistry.intervals import Estimate
from pipeline.figures import style
from pipeline.figures.inputs import Run, estimate

_PANELS: Final = (
    ("atom_stability", "stable atoms"),
    ("molecule_stability", "stable molecules"),
    ("validity", "valid molecules"),
)
_LABEL: Final = 0.52
"""Width reserved for the name and value of a reference, in inches."""
_ROW: Final = 0.25
"""Height of a row in inches."""


def draw(runs: Sequence[Run], *, floor: Mapping[str, Any], ceiling: Mapping[str, Any], dataset: str) -> style.Picture:
    """Draw a bar with its interval for each sampler of each run.

    Args:
      runs: the runs, in the order of the study.
      floor: the evaluation of noise.
      ceiling: the evaluation of the data.
      dataset: name of the data.
    """
    # Rows from the top: for each run a heading, its samplers and a gap.
    headings, row = [], 0.0
    for run in runs:
        headings.append(row)
        row += len(run.evaluations) + 1.5
    figure = style.new_figure(_ROW * row + 1.0)
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    for axes, letter, (metric, label) in zip(panels, "abc", _PANELS, strict=True):
        low, high = estimate(floor, metric), estimate(ceiling, metric)
        for run, heading in zip(runs, headings, strict=True):
            for place, evaluation in enumerate(run.evaluations.values(), start=1):
                _draw_bar(axes, run.colour, estimate(evaluation, metric), heading + place)
            _draw_references(axes, low, high, top=heading + 0.5, bottom=heading + len(run.evaluations) + 0.5)
        axes.set_title(f"{letter}   {label}", pad=28)
        axes.set_xlim(0, 100)
        axes.set_xticks([0, 25, 50, 75, 100])
        axes.set_xlabel("%")
        axes.set_ylim(row - 0.75, 0.0 - 0.4)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.patch.set_visible(False)  # a heading may extend into the next panel

    places = [heading + place for run, heading in zip(runs, headings, strict=True) for place in _places(run)]
    panels[0].set_yticks(places, [run.sampler_label(sampler) for run in runs for sampler in run.evaluations])
    for run, heading in zip(runs, headings, strict=True):
        panels[0].annotate(
            f"{run.name}: {run.budget}", (0, heading), (4, -1), xycoords=(figure.transFigure, "data"),
            textcoords="offset points", va="center", color=style.darker(run.colour), weight="bold",
            annotation_clip=False,
        ).set_in_layout(False)  # fmt: skip
    figure.draw_without_rendering()  # sets the widths of the panels
    for axes, (metric, _) in zip(panels, _PANELS, strict=True):
        _label_references(axes, estimate(floor, metric), estimate(ceiling, metric), dataset)
    caption = _caption(runs, floor, ceiling, dataset)
    return style.Picture(name="stability", title="Stability and validity", caption=caption, figure=figure)


def _places(run: Run) -> range:
    return range(1, len(run.evaluations) + 1)


def _draw_bar(axes: Axes, colour: str, measured: Estimate, place: float) -> None:
    value, low, high = 100 * measured.value, 100 * measured.low, 100 * measured.high
    face = style.blend(matplotlib.colors.to_rgb(colour), (1.0, 1.0, 1.0), 0.15)
    axes.barh(place, value, height=0.68, color=face, linewidth=0, zorder=2)
    axes.add_line(Line2D([low, high], [place, place], color=style.INK, linewidth=1.4, zorder=4))
    for end in (low, high):
        axes.add_line(Line2D([end, end], [place - 0.16, place + 0.16], color=style.INK, linewidth=1.4, zorder=4))
    inside = high > 55  # no room for the value beside a long bar
    halo = withStroke(linewidth=2.5, foreground=face if inside else "white")  # the line of a reference may be behind it
    axes.annotate(
        style.percent(measured.value), (low if inside else high, place), (-4 if inside else 4, 0),
        textcoords="offset points", ha="right" if inside else "left", va="center_baseline", zorder=5,
        color="white" if inside and _is_dark(colour) else style.INK, path_effects=[halo],
    )  # fmt: skip


def _is_dark(colour: str) -> bool:
    red, green, blue = matplotlib.colors.to_rgb(colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue < 0.5


def _draw_references(axes: Axes, floor: Estimate, ceiling: Estimate, *, top: float, bottom: float) -> None:
    axes.fill_betweenx([top, bottom], 0, 100 * floor.value, color=style.PALE, alpha=0.6, linewidth=0, zorder=0)
    axes.plot([100 * floor.value] * 2, [top, bottom], **style.FLOOR_LINE, zorder=3, clip_on=False)
    axes.plot([100 * ceiling.value] * 2, [top, bottom], **style.CEILING_LINE, zorder=3)


def _label_references(axes: Axes, floor: Estimate, ceiling: Estimate, dataset: str) -> None:
    """Label both references above their lines, or as close as the panel and the other label allow."""
    width = 100 * _LABEL / (axes.get_window_extent().width / axes.figure.dpi)
    right = min(100 * ceiling.value, 100 - width / 2)
    left = max(min(100 * floor.value, right - width), width / 2)
    for name, measured, x, colour in (
        ("noise", floor, left, style.MUTED),
        (dataset if len(dataset) <= 6 else "data", ceiling, max(right, left + width), style.CEILING_COLOUR),
    ):
        axes.annotate(
            f"{name}\n{style.percent(measured.value)}", (x, 1), (0, 2), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha="center", va="bottom", color=colour, linespacing=1.05,
        )  # fmt: skip


def _caption(runs: Sequence[Run], floor: Mapping[str, Any], ceiling: Mapping[str, Any], dataset: str) -> str:
    numbers = style.join_or(len(molecules) for run in runs for molecules in run.samples.values())
    return (
        "Share of stable atoms, of molecules whose atoms are all stable, and of molecules that RDKit accepts, by EDM's "
        f"definitions, with 95 % bootstrap intervals over {numbers} samples. "
        "Dashed line and grey area: score of Gaussian noise with random elements "
        f"({floor['num_molecules']:,} clouds); results in the grey area are no better than chance. Dotted line: "
        f"{dataset} itself ({ceiling['num_molecules']:,} molecules), the best meaningful score. "
        f"Calls: network evaluations per molecule.{''.join(run.first_calls for run in runs)}"
    )
