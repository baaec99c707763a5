"""Quality against cost: stability and validity against network calls and seconds per molecule.

A line joins the samplers of one kind of a run in the order of their calls.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from pipeline.chemistry.intervals import Estimate
from pipeline.figures import style
from pipeline.figures.inputs import Run, estimate
from pipeline.study.frameworks import FRAMEWORKS

_PANELS: Final = (
    ("atom_stability", "stable atoms (%)", 2.3),
    ("molecule_stability", "stable molecules (%)", 2.1),
    ("connected_validity", "connected and valid (%)", 2.1),
)
"""Metric, label and height in inches of each row."""

_TICKS: Final = (0, 2, 10, 25, 50, 75, 100)
"""Ticks of an axis whose lower end is stretched."""

_MOST_TICKS: Final = 7
_LEGEND_COLUMNS: Final = 5

_LINES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "consistency": ("few-step", {"marker": "o", "linestyle": "-", "markersize": 6.0}),
    "consistency-none": ("unaligned", {"marker": "v", "linestyle": (0, (3, 1, 1, 1, 1, 1)), "markersize": 6.5}),
    "consistency-permutation": ("permuted", {"marker": "<", "linestyle": (0, (6, 1)), "markersize": 6.5}),
    "consistency-full": ("aligned", {"marker": ">", "linestyle": (0, (2, 1)), "markersize": 6.5}),
    "consistency-any": ("any electrons", {"marker": "X", "linestyle": (0, (3, 1, 1, 1)), "markersize": 6.5}),
    "heun": ("Heun", {"marker": "s", "linestyle": (0, (4, 1.5)), "markersize": 5.5}),
    "ddim": ("DDIM", {"marker": "^", "linestyle": (0, (1.2, 1.2)), "markersize": 6.5}),
    "ancestral": ("ancestral", {"marker": "D", "linestyle": (0, (5, 1.5, 1.2, 1.5)), "markersize": 5.2}),
}
"""Label, marker and line of each kind of sampler, see ``Run.kind``."""
_OTHER: Final[tuple[str, dict[str, Any]]] = ("other", {"marker": "P", "linestyle": (0, (1, 2.5)), "markersize": 6.5})
_EDGE: Final[dict[str, Any]] = {"markeredgecolor": "white", "markeredgewidth": 0.6}
_HOLLOW: Final[dict[str, Any]] = {"markerfacecolor": "white", "markeredgecolor": None, "markeredgewidth": 1.4}


class Kind(NamedTuple):
    """Samplers of a run that a line joins."""

    name: str
    """See ``Run.kind``."""
    guidance: float


def draw(runs: Sequence[Run], *, floor: Mapping[str, Any], ceiling: Mapping[str, Any], dataset: str) -> style.Picture:
    """Draw a row of panels for each metric: against network calls on the left, against seconds on the right.

    Args:
      runs: the runs, in the order of the study.
      floor: the evaluation of noise.
      ceiling: the evaluation of the data.
      dataset: name of the data.
    """
    looks = dict(map(_look, _shown_kinds(runs)))
    header = 0.24 + 0.17 * (len(runs) + -(-len(looks) // _LEGEND_COLUMNS))
    figure = style.new_figure(sum(height for *_, height in _PANELS) + header + 0.4)
    style.reserve_header(figure, header)
    panels = figure.subplots(len(_PANELS), 2, height_ratios=[height for *_, height in _PANELS])
    for row, (metric, label, _) in zip(panels, _PANELS, strict=True):
        for column, axes in enumerate(row):
            for run in runs:
                for kind, samplers in _kinds(run).items():
                    _draw_line(axes, run, kind, samplers, metric, seconds=column == 1)
        row[0].set_ylabel(label)
        for axes in row:
            if metric != "atom_stability":
                _stretch(axes)
            axes.set_ylim(0, 104)
        row[1].tick_params(labelleft=False)
        _draw_references(row, estimate(floor, metric), estimate(ceiling, metric), dataset)
    for letter, axes in zip("abcdef", panels.flat, strict=True):
        axes.set_title(letter, pad=4)
        axes.grid()
    calls = [number for run in runs for name in run.samples if (number := run.calls(name))]
    seconds = [cost for run in runs for name in run.samples if (cost := run.seconds_per_molecule(name))]
    for row in panels:
        _scale_calls(row[0], calls)
        _scale_seconds(row[1], seconds)
    for axes in panels[:-1].flat:
        axes.tick_params(labelbottom=False)
        axes.set_xlabel("")

    colours = [Line2D([], [], color=run.colour, linewidth=2.5) for run in runs]
    labels = [f"{run.name}: {run.budget}, {FRAMEWORKS[run.config.backend]}" for run in runs]
    style.header_legend(figure, colours, labels)
    handles = [Line2D([], [], color=style.INK, **look) for look in looks.values()]
    style.header_legend(
        figure,
        handles,
        list(looks),
        columns=_LEGEND_COLUMNS,
        below=0.04 + 0.17 * len(runs),
        handlelength=3.0,
    )
    caption = _caption(runs, floor, ceiling, dataset)
    return style.Picture(name="quality", title="Quality against cost", caption=caption, figure=figure)


def _look(kind: Kind) -> tuple[str, dict[str, Any]]:
    """Return the label, and the marker and line, of a kind of sampler; hollow if it is guided."""
    name, look = _LINES.get(kind.name, _OTHER)
    return (f"{name}, guided {kind.guidance:g}", {**look, **_HOLLOW}) if kind.guidance else (name, look)


def _kinds(run: Run) -> dict[Kind, list[str]]:
    """Return a run's samplers by kind, in the order of network calls; those of unknown calls are left out."""
    kinds: dict[Kind, list[str]] = {}
    for sampler in sorted((name for name in run.samples if run.calls(name)), key=lambda name: run.calls(name) or 0):
        kinds.setdefault(Kind(run.kind(sampler), run.guidance(sampler)), []).append(sampler)
    return kinds


def _shown_kinds(runs: Sequence[Run]) -> list[Kind]:
    """Return the kinds of samplers in the runs, in the order of the known kinds, guided ones after the others."""
    order = list(_LINES)
    kinds = {kind for run in runs for kind in _kinds(run)}
    return sorted(kinds, key=lambda kind: (order.index(kind.name) if kind.name in order else len(order), kind.guidance))


def _draw_line(axes: Axes, run: Run, kind: Kind, samplers: Sequence[str], metric: str, *, seconds: bool) -> None:
    name, look = _look(kind)
    cost: Callable[[str], float | None] = run.seconds_per_molecule if seconds else run.calls
    known = [(x, estimate(run.evaluations[one], metric)) for one in samplers if (x := cost(one)) is not None]
    if not known:
        return
    value, low, high = 100 * np.array([(one.value, one.low, one.high) for _, one in known]).T
    axes.errorbar(
        [x for x, _ in known], value, yerr=[value - low, high - value], color=run.colour, capsize=2, elinewidth=1.1,
        capthick=1.1, zorder=4, clip_on=False, label=f"{run.name}, {name}",
        **{**_EDGE, **look},
    )  # fmt: skip


def _draw_references(row: Sequence[Axes], floor: Estimate, ceiling: Estimate, dataset: str) -> None:
    for axes in row:
        axes.axhspan(0, 100 * floor.value, color=style.PALE, alpha=0.6, linewidth=0, zorder=0)
        axes.axhline(100 * floor.value, **style.FLOOR_LINE, zorder=3, clip_on=False)
        axes.axhline(100 * ceiling.value, **style.CEILING_LINE, zorder=3)
    style.label_line(row[-1], 100 * floor.value, f"noise\n{style.percent(floor.value)}")
    data = dataset if len(dataset) <= 6 else "data"
    style.label_line(
        row[-1], 100 * ceiling.value, f"{data}\n{style.percent(ceiling.value)}", colour=style.CEILING_COLOUR
    )


def _stretch(axes: Axes) -> None:
    """Give a percentage axis a square-root scale, so that 1 % is distinguishable from 0 and 100 % still fits."""
    axes.set_yscale("function", functions=(lambda y: np.sqrt(np.maximum(y, 0.0)), lambda root: root**2))
    axes.yaxis.set_major_locator(FixedLocator(_TICKS))
    axes.yaxis.set_minor_locator(NullLocator())


def _scale_calls(axes: Axes, calls: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    least, most = min(calls, default=1), max(calls, default=16)
    first, last = math.floor(math.log2(least)), math.ceil(math.log2(most))
    every = -(-(last - first + 1) // _MOST_TICKS)
    axes.set_xlim(2.0**first / 1.4, 2.0**last * 1.4)
    axes.xaxis.set_major_locator(FixedLocator([2**power for power in range(first, last + 1, every)]))
    axes.xaxis.set_minor_locator(FixedLocator([2**power for power in range(first, last + 1)]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("network calls per molecule")


def _scale_seconds(axes: Axes, seconds: Sequence[float]) -> None:
    axes.set_xscale("log")
    low, high = min(seconds, default=0.001), max(seconds, default=1.0)
    if high < 10 * low:  # from one power of ten to another, so that there are ticks
        low, high = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high * 1.01))
    axes.set_xlim(low / 1.6, high * 1.6)
    axes.xaxis.set_major_locator(LogLocator(numticks=_MOST_TICKS))
    axes.xaxis.set_minor_locator(LogLocator(subs=tuple(range(2, 10)), numticks=99))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("seconds per molecule")


def _caption(runs: Sequence[Run], floor: Mapping[str, Any], ceiling: Mapping[str, Any], dataset: str) -> str:
    numbers = style.join_or(len(molecules) for run in runs for molecules in run.samples.values())
    spent = sorted(one for run in runs if (one := run.all_seconds) is not None)
    times = " to ".join(dict.fromkeys(style.duration(one) for one in (spent[0], spent[-1]))) if spent else ""
    shown = _shown_kinds(runs)
    names = {kind.name for kind in shown}
    aligned = names & {"consistency-none", "consistency-permutation", "consistency-full"}
    odd = " and ".join(f"'{label}'" for name, (label, _) in _LINES.items() if name in aligned)
    other = (
        f" Few-step samplers labelled {odd} add fresh noise with a different alignment than in training." if odd else ""
    )
    if any(name.startswith("consistency") for name in names):
        other += " Few-step samples have even numbers of electrons where the training molecules have them"
        other += f", but for '{_LINES['consistency-any'][0]}'." if "consistency-any" in names else "."
    if any(kind.guidance for kind in shown):
        other += " Hollow markers: guided with this weight, at two network calls for each estimate."
    trained = f" Each run was trained for {times} in all, including the runs it started from." if times else ""
    trained += "".join(f" {run.name} was trained on one {run.gpu}." for run in runs if run.gpu)
    firsts = "".join(run.first_calls for run in runs)
    return (
        "Quality of molecules against their cost: shares of stable atoms, of stable molecules (EDM's definitions) and "
        "of connected and valid molecules, against network calls and seconds per molecule (network and sampler only, "
        "without compilation, the time of a batch divided by its molecules; it depends on the machine). Lines "
        f"join a run's samplers of one kind; bars are 95 % bootstrap intervals over {numbers} samples."
        f"{firsts}{other}{trained} Dashed line and grey area: score of Gaussian noise with random elements "
        f"({floor['num_molecules']:,} clouds); results in the grey area are no better than chance. Dotted line: "
        f"{dataset} itself ({ceiling['num_molecules']:,} molecules). The lower two rows have a square-root axis."
    )
