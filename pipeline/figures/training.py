"""How training went: loss and sample stability, against epochs and against time."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from pipeline.chemistry.intervals import Estimate
from pipeline.figures import style
from pipeline.figures.inputs import Curve, Floats, Run, objective_label

SMOOTHING: Final = 1 / 40
"""The part of a curve that its running mean spans; at least five values."""

_VALIDATION: Final[dict[str, Any]] = {
    "linewidth": 1.0,
    "linestyle": (0, (3, 1.5)),
    "marker": "o",
    "markersize": 4.5,
    "markerfacecolor": "white",
    "markeredgewidth": 1.2,
}
_RAW_ALPHA: Final = 0.3
_METRICS: Final = (("atom_stability", "stable atoms (%)"), ("molecule_stability", "stable molecules (%)"))


def draw(runs: Sequence[Run], *, floor: Estimate, ceiling: Estimate, dataset: str) -> style.Picture:
    """Draw the curves of all runs: a row of panels for each objective's loss, and one for each kind of stability.

    Args:
        runs: the runs, in the order of the study.
        floor: atom stability of noise.
        ceiling: atom stability of the data.
        dataset: what the data are called.
    """
    objectives = list(dict.fromkeys(run.objective for run in runs))
    metrics = _METRICS if any(len(run.checkups) for run in runs) else ()
    heights = [2.2 if len(objectives) == 1 else 1.8] * len(objectives) + [1.6] * len(metrics)
    header = 0.15 + 0.17 * max(len(runs), 1 if len(runs) == 1 else 3)
    figure = style.new_figure(sum(heights) + header + 0.4)
    style.reserve_header(figure, header)
    panels = figure.subplots(len(heights), 2, height_ratios=heights, sharex="col", sharey="row", squeeze=False)
    for letter, axes in zip("abcdefghij", panels.flat, strict=False):
        axes.set_title(letter, pad=4)
        axes.grid(axis="y")

    unit, length = style.time_unit(max(float(run.training_loss.seconds[-1]) for run in runs))
    columns = (("epoch", 1.0, "epochs"), ("seconds", length, f"training time ({unit})"))
    for column, (quantity, per_unit, label) in enumerate(columns):
        for row, objective in enumerate(objectives):
            for run in runs:
                if run.objective == objective:
                    _draw_loss(panels[row, column], run, quantity, per_unit)
        for row, (metric, _) in enumerate(metrics, start=len(objectives)):
            for run in runs:
                _draw_checkups(panels[row, column], run, metric, quantity, per_unit)
        panels[-1, column].set_xlabel(label)
        panels[-1, column].set_xlim(left=0)

    for axes, objective in zip(panels[:, 0], objectives, strict=False):
        _scale_loss(axes, [curve for run in runs if run.objective == objective for curve in _losses(run)])
        axes.set_ylabel(f"{objective_label(objective)} loss")
    for (left, right), (metric, label) in zip(panels[len(objectives) :], metrics, strict=True):
        left.set_ylabel(label)
        if metric == "atom_stability":
            left.set_ylim(0, 106)
            for axes in (left, right):
                axes.axhline(100 * floor.value, **style.FLOOR_LINE, zorder=1)
                axes.axhline(100 * ceiling.value, **style.CEILING_LINE, zorder=1)
            _label_reference(right, 100 * floor.value, f"noise\n{style.percent(floor.value)}")
            _label_reference(
                right,
                100 * ceiling.value,
                f"{dataset if len(dataset) <= 6 else 'data'}\n{style.percent(ceiling.value)}",
            )
        else:
            left.set_ylim(0, max(2.0, left.get_ylim()[1]))
    _legend(figure, runs)
    return style.Picture(name="training", title="Training", caption=_caption(runs, objectives, dataset), figure=figure)


def smooth(values: Floats) -> Floats:
    """Return the centred running mean of ``values`` [K]: a shorter window near the ends, NaN left out."""
    half = max(2, round(len(values) * SMOOTHING / 2))
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    places = np.arange(len(values))
    # At the beginning the window shrinks on both sides alike, lest the steep descent be averaged with what follows it.
    half_here = np.minimum(half, places)
    low, high = places - half_here, np.minimum(places + half_here + 1, len(values))
    number = counts[high] - counts[low]
    return np.where(number > 0, (sums[high] - sums[low]) / np.maximum(number, 1), np.nan)


def _losses(run: Run) -> tuple[Curve, ...]:
    return (run.training_loss, run.validation_loss)


def _draw_loss(axes: Axes, run: Run, quantity: str, per_unit: float) -> None:
    training, validation = run.training_loss, run.validation_loss
    x = getattr(training, quantity) / per_unit
    # Tens of thousands of raw values become one image inside the SVG; the curves on top of it remain lines.
    many = len(training) > 2000
    axes.plot(x, training.values, color=run.colour, alpha=_RAW_ALPHA, linewidth=0.6, zorder=2, rasterized=many)
    axes.plot(x, smooth(training.values), color=run.colour, zorder=4)
    if len(validation):
        x = getattr(validation, quantity) / per_unit
        axes.plot(x, validation.values, color=run.colour, zorder=5, **_VALIDATION)


def _draw_checkups(axes: Axes, run: Run, metric: str, quantity: str, per_unit: float) -> None:
    if not len(run.checkups):
        return
    x = getattr(run.checkups, quantity) / per_unit
    value, low, high = 100 * getattr(run.checkups, metric).T
    if len(x) == 1:  # a band needs two points
        axes.errorbar(x, value, yerr=[value - low, high - value], color=run.colour, capsize=2)
    axes.fill_between(x, low, high, color=run.colour, alpha=0.2, linewidth=0, zorder=2)
    axes.plot(x, value, color=run.colour, marker="o", markersize=4 if len(x) <= 30 else 2, zorder=4, clip_on=False)


def _label_reference(axes: Axes, value: float, text: str) -> None:
    """Name a horizontal line, in the margin to its right where no curve can be."""
    axes.annotate(
        text, (1.0, value), (4, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
        ha="left", va="center", color=style.MUTED, linespacing=1.05,
    )  # fmt: skip


def _scale_loss(axes: Axes, curves: Sequence[Curve]) -> None:
    """Give a row of loss panels a logarithmic axis where the loss allows, and leave single spikes out of its range."""
    values = np.concatenate([curve.values for curve in curves])
    values = values[np.isfinite(values)]
    if not len(values):
        return
    smoothed = np.concatenate([smooth(curve.values)[1:] for curve in curves])
    low = min(np.quantile(values, 0.001), np.nanmin(smoothed, initial=np.inf))
    high = max(np.quantile(values, 0.995), np.nanmax(smoothed, initial=-np.inf))
    if low <= 0 or high < 2 * low:  # below a factor of two a logarithmic axis has no ticks to read it by
        margin = 0.05 * (high - low) or 0.5
        axes.set_ylim(low - margin, high + margin)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        return
    decades = np.log10(high / low)
    axes.set_yscale("log")
    axes.set_ylim(low * 0.9, high * 1.12)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2 else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(LogLocator(subs=tuple(range(1, 10))))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, runs: Sequence[Run]) -> None:
    colours = [Line2D([], [], color=run.colour, linewidth=2.5) for run in runs]
    style.header_legend(figure, colours, [f"{run.name}: {run.budget}" for run in runs], side="left")
    kinds = [
        Line2D([], [], color=style.INK, linewidth=0.8, alpha=2 * _RAW_ALPHA),
        Line2D([], [], color=style.INK),
        Line2D([], [], color=style.INK, **_VALIDATION),
    ]
    style.header_legend(
        figure, kinds, ["each value", "running mean", "validation"], side="right", columns=3 if len(runs) == 1 else 1
    )


def _caption(runs: Sequence[Run], objectives: Sequence[str], dataset: str) -> str:
    sentences = [
        "Loss of the training batches (thin: each logged value; thick: running mean over "
        f"{round(100 * SMOOTHING, 1):g} % of the curve) and of the validation molecules (circles), against epochs, "
        "that is passes over the training molecules, and against the time spent training."
    ]
    if len(objectives) > 1:
        sentences.append("Losses of different objectives are different quantities and not to be compared.")
    checked = [run for run in runs if len(run.checkups)]
    if checked:
        drawn = style.either(run.checkups.molecules for run in checked)
        samplers = sorted({run.checkups.sampler for run in checked})
        sentences.append(
            f"Below, the stability of {drawn} molecules drawn now and then by {' or '.join(samplers)}, with 95 % "
            "intervals, between what Gaussian noise scores (dashed; no stable molecules) and what "
            f"{dataset} itself scores (dotted)."
        )
    return " ".join(sentences)
