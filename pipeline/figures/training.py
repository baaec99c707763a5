"""Training curves: stability of samples and loss, against molecules seen and training time."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from pipeline.chemistry.intervals import Estimate
from pipeline.figures import style
from pipeline.figures.inputs import Checkups, Curve, Floats, Run, estimate, objective_label

SMOOTHING: Final = 1 / 40
"""Share of a curve in the window of its running mean, which has at least five values."""

_VALIDATION: Final[dict[str, Any]] = {
    "linewidth": 1.0,
    "linestyle": (0, (3, 1.5)),
    "marker": "o",
    "markersize": 4.5,
    "markerfacecolor": "white",
    "markeredgewidth": 1.2,
}
_RAW_ALPHA: Final = 0.3
_LEGEND_COLUMNS: Final = 5
_FEWEST: Final = 3
"""Minimum number of points of a curve of scores."""
_METRICS: Final = (("atom_stability", "stable atoms (%)"), ("molecule_stability", "stable molecules (%)"))
_CHECKUPS: Final[tuple[dict[str, Any], ...]] = (
    {"marker": "o", "linestyle": "-", "markersize": 4.0},
    {"marker": "D", "linestyle": (0, (4, 1.2)), "markersize": 3.8},
    {"marker": "s", "linestyle": (0, (1.2, 1.2)), "markersize": 3.8},
    {"marker": "^", "linestyle": (0, (5, 1.2, 1.2, 1.2)), "markersize": 4.4},
)
"""Line and marker of each sampler that drew samples during training, repeated from the fifth on."""


def draw(runs: Sequence[Run], *, floor: Mapping[str, Any], ceiling: Mapping[str, Any], dataset: str) -> style.Picture:
    """Draw the curves of all runs: a row of panels for each kind of stability, and one for each objective's loss.

    Args:
      runs: the runs, in the order of the study.
      floor: the evaluation of noise.
      ceiling: the evaluation of the data.
      dataset: name of the data.
    """
    budgets = [f"{run.name}: {run.budget}" for run in runs]
    runs = [replace(run, checkups=[one for one in run.checkups if len(one) >= _FEWEST]) for run in runs]
    objectives = list(dict.fromkeys(run.config.objective for run in runs))
    samplers = dict.fromkeys(one.sampler for run in runs for one in run.checkups)
    looks = dict(zip(samplers, cycle(_CHECKUPS), strict=False))
    metrics = _METRICS if looks else ()
    heights = [2.2, 1.6][: len(metrics)] + [{1: 2.2, 2: 1.7}.get(len(objectives), 1.35)] * len(objectives)
    kinds = _legend_kinds(looks)
    kind_rows = -(-len(kinds) // _LEGEND_COLUMNS)
    header = 0.2 + 0.17 * (len(runs) + kind_rows)
    figure = style.new_figure(sum(heights) + header + 0.4)
    style.reserve_header(figure, header)
    panels = figure.subplots(len(heights), 2, height_ratios=heights, sharex="col", sharey="row", squeeze=False)
    for letter, axes in zip("abcdefghijklmnop", panels.flat, strict=False):
        axes.set_title(letter, pad=4)
        axes.grid(axis="y")

    unit, length = style.time_unit(max(run.seconds for run in runs))
    number, size = style.number_unit(max(run.molecules for run in runs))
    columns = (
        ("molecules", size, f"molecules seen ({number})" if number else "molecules seen"),
        ("seconds", length, f"training time ({unit})"),
    )
    for column, (quantity, per_unit, label) in enumerate(columns):
        for row, (metric, _) in enumerate(metrics):
            for run in runs:
                for one in run.checkups:
                    _draw_checkups(panels[row, column], run.colour, one, metric, quantity, per_unit, looks[one.sampler])
        for row, objective in enumerate(objectives, start=len(metrics)):
            for run in runs:
                if run.config.objective == objective:
                    _draw_loss(panels[row, column], run, quantity, per_unit)
        panels[-1, column].set_xlabel(label)
        panels[-1, column].set_xlim(left=0)
        panels[-1, column].xaxis.set_major_locator(MaxNLocator(6))

    for row, (metric, label) in zip(panels, metrics, strict=False):
        _bound(row, estimate(floor, metric), estimate(ceiling, metric), dataset)
        row[0].set_ylabel(label)
    for axes, objective in zip(panels[len(metrics) :, 0], objectives, strict=True):
        own = [run for run in runs if run.config.objective == objective]
        _scale_loss(axes, [curve for run in own for curve in (run.training_loss, run.validation_loss)])
        axes.set_ylabel(f"{objective_label(objective)} loss")
    colours = [Line2D([], [], color=run.colour, linewidth=2.5) for run in runs]
    style.header_legend(figure, colours, budgets)
    style.header_legend(
        figure, list(kinds.values()), list(kinds), columns=_LEGEND_COLUMNS, below=0.04 + 0.17 * len(runs)
    )
    return style.Picture(name="training", title="Training", caption=_caption(runs, objectives, dataset), figure=figure)


def smooth(values: Floats) -> Floats:
    """Return the centred running mean of ``values`` [K]: with a shorter window near the ends, ignoring NaN."""
    half = max(2, round(len(values) * SMOOTHING / 2))
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    places = np.arange(len(values))
    # At the start the window stays symmetric, so that the steep descent is not averaged with later values.
    half_here = np.minimum(half, places)
    low, high = places - half_here, np.minimum(places + half_here + 1, len(values))
    number = counts[high] - counts[low]
    return np.where(number > 0, (sums[high] - sums[low]) / np.maximum(number, 1), np.nan)


def _draw_loss(axes: Axes, run: Run, quantity: str, per_unit: float) -> None:
    training, validation = run.training_loss, run.validation_loss
    x = getattr(training, quantity) / per_unit
    # Thousands of raw values are rasterised within the SVG; the curves above remain lines.
    many = len(training) > 2000
    axes.plot(x, training.values, color=run.colour, alpha=_RAW_ALPHA, linewidth=0.6, zorder=2, rasterized=many)
    axes.plot(x, smooth(training.values), color=run.colour, zorder=4)
    if len(validation):
        x = getattr(validation, quantity) / per_unit
        axes.plot(x, validation.values, color=run.colour, zorder=5, **_VALIDATION)


def _draw_checkups(
    axes: Axes, colour: str, checkups: Checkups, metric: str, quantity: str, per_unit: float, look: Mapping[str, Any]
) -> None:
    x = getattr(checkups, quantity) / per_unit
    value, low, high = 100 * getattr(checkups, metric).T
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0, zorder=2)
    size = look["markersize"] if len(x) <= 30 else look["markersize"] / 2
    axes.plot(x, value, color=colour, zorder=4, clip_on=False, **{**look, "markersize": size})


def _bound(row: Sequence[Axes], floor: Estimate, ceiling: Estimate, dataset: str) -> None:
    """Draw the references into a row of panels of one kind of stability, and set its limits to fit the curves."""
    top = 106.0 if floor.value > 0.01 else max(2.0, row[0].get_ylim()[1])
    row[0].set_ylim(0, top)
    data = f"{dataset if len(dataset) <= 6 else 'data'}\n{style.percent(ceiling.value)}"
    for axes in row:
        axes.axhline(100 * floor.value, **style.FLOOR_LINE, zorder=1, clip_on=False)
        axes.axhline(100 * ceiling.value, **style.CEILING_LINE, zorder=1)
    style.label_line(row[-1], 100 * floor.value, f"noise\n{style.percent(floor.value)}")
    if 100 * ceiling.value <= top:
        style.label_line(row[-1], 100 * ceiling.value, data, colour=style.CEILING_COLOUR)
    else:  # far above the curves
        style.label_line(row[-1], 0.9 * top, f"↑ {data}", colour=style.CEILING_COLOUR)


def _scale_loss(axes: Axes, curves: Sequence[Curve]) -> None:
    """Give a row of loss panels a logarithmic axis if possible, without single spikes in its range."""
    values = np.concatenate([curve.values for curve in curves])
    values = values[np.isfinite(values)]
    if not len(values):
        return
    smoothed = np.concatenate([smooth(curve.values)[1:] for curve in curves])
    low = min(np.quantile(values, 0.001), np.nanmin(smoothed, initial=np.inf))
    high = max(np.quantile(values, 0.995), np.nanmax(smoothed, initial=-np.inf))
    if low <= 0 or high < 2 * low:  # below a factor of two a logarithmic axis has no ticks
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


def _legend_kinds(looks: Mapping[str, Mapping[str, Any]]) -> dict[str, Line2D]:
    """Return the legend handle of each kind of line and marker, by label."""
    return {
        **{f"{sampler} samples": Line2D([], [], color=style.INK, **look) for sampler, look in looks.items()},
        "each loss": Line2D([], [], color=style.INK, linewidth=0.8, alpha=2 * _RAW_ALPHA),
        "running mean": Line2D([], [], color=style.INK),
        "validation": Line2D([], [], color=style.INK, **_VALIDATION),
    }


def _caption(runs: Sequence[Run], objectives: Sequence[str], dataset: str) -> str:
    sentences = []
    if checkups := [one for run in runs for one in run.checkups]:
        samplers = style.join_and(list(dict.fromkeys(one.sampler for one in checkups)))
        sentences.append(
            f"Above, the stability of {style.join_or(one.count for one in checkups)} molecules drawn repeatedly by "
            f"{samplers} from the averaged weights, with 95 % intervals, between the scores of noise (dashed) and of "
            f"{dataset} itself (dotted). With so few molecules, the final scores are those of the other figures."
        )
    sentences.append(
        f"{'Below, the' if checkups else 'The'} loss of the training batches (thin: each logged value; thick: running "
        f"mean over {round(100 * SMOOTHING, 1):g} % of the curve) and of the validation molecules (circles). All "
        "against the number of training molecules seen, counting repeats, and against training time; the runs that a "
        "run started or learned from are not included."
    )
    if len(objectives) > 1:
        sentences.append("Losses of different objectives are different quantities and cannot be compared.")
    if "consistency" in objectives:
        sentences.append(
            "The loss of a consistency model refers to a target that changes with its curriculum, so it need not fall "
            "while the model improves."
        )
    return " ".join(sentences)
