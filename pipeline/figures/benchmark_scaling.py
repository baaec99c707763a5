"""Scaling of a training step: time and memory against atoms, batch size and cores."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from pipeline.figures import style
from pipeline.figures.benchmark_results import Axis, Benchmarks, Contestant

_QUANTITIES: Final = {"atoms": "atoms per molecule", "batch_size": "molecules per batch", "cores": "cores"}
_IDEAL: Final = {"atoms": 2.0, "batch_size": 0.0, "cores": -1.0}
"""Power of the quantity that the time per molecule is ideally proportional to."""

_MARKER: Final[dict[str, Any]] = {"marker": "o", "markersize": 4.5}
_GUIDE: Final[dict[str, Any]] = {"color": style.MUTED, "linewidth": 0.9, "linestyle": (0, (1, 1.5))}


def draw_scaling(benchmarks: Benchmarks) -> style.Picture:
    """Draw milliseconds per molecule and peak memory against each quantity."""
    drawn = [axis for axis in benchmarks.scaling if axis.points]
    figure = style.new_figure(4.4)
    style.reserve_header(figure, 0.3)
    panels = figure.subplots(2, len(drawn), sharex="col", squeeze=False)
    for letter, axes in zip("abcdef", panels.flat, strict=False):
        axes.set_title(letter, pad=4)
        axes.grid(axis="y")
    contestants = _contestants(drawn)
    for axis, (time, memory) in zip(drawn, panels.T, strict=True):
        for name, one in contestants.items():
            _draw_line(time, memory, axis, name, one.colour)
        _draw_guide(time, axis)
        memory.set_xlabel(_QUANTITIES[axis.name])
        for axes in (time, memory):
            _scale(axes, [value for value, _ in axis.points])
    panels[0, 0].set_ylabel("ms per molecule")
    panels[1, 0].set_ylabel("peak memory (GB)")
    handles = [Line2D([], [], color=one.colour, **_MARKER) for one in contestants.values()]
    labels = [one.label for one in contestants.values()]
    style.header_legend(figure, [*handles, Line2D([], [], **_GUIDE)], [*labels, "ideal"], columns=len(handles) + 1)
    return style.Picture(
        name="benchmark-scaling", title="Scaling of training", caption=_caption(benchmarks, drawn), figure=figure
    )


def _contestants(axes: Iterable[Axis]) -> dict[str, Contestant]:
    """Return all contestants on any axis, by name."""
    return {one.name: one for axis in axes for _, group in axis.points for one in group.contestants}


def _draw_line(time: Axes, memory: Axes, axis: Axis, name: str, colour: str) -> None:
    found = [(value, one) for value, group in axis.points if (one := group.named(name))]
    values = [value for value, _ in found]
    middle, low, high = ([1e3 * getattr(one.seconds, key) for _, one in found] for key in ("value", "low", "high"))
    time.vlines(values, low, high, color=colour, linewidth=1.4, zorder=3)
    time.plot(values, middle, color=colour, zorder=4, **_MARKER)
    memory.plot(values, [one.peak_mb / 1024 for _, one in found], color=colour, zorder=4, **_MARKER)


def _draw_guide(axes: Axes, axis: Axis) -> None:
    """Draw the ideal time of the last contestant, ours, through its best point."""
    _, group = axis.points[-1]
    if not group.contestants:
        return
    name, power = group.contestants[-1].name, _IDEAL[axis.name]
    found = [(value, one.seconds.value) for value, at in axis.points if (one := at.named(name))]
    best = min(seconds / value**power for value, seconds in found)
    values = [value for value, _ in axis.points]
    axes.plot(values, [1e3 * best * value**power for value in values], zorder=2, **_GUIDE)


def _scale(axes: Axes, values: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_spaced(values)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(min(values) / 1.25, max(values) * 1.25)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    # A narrow range would contain at most one decade.
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _spaced(values: Sequence[int]) -> list[int]:
    """Return the largest value and those others that have room for a label on a logarithmic axis."""
    least = (max(values) / min(values)) ** 0.16
    kept: list[int] = []
    for value in sorted(values, reverse=True):
        if not kept or kept[-1] / value >= least:
            kept.append(value)
    return kept


def _caption(benchmarks: Benchmarks, drawn: Sequence[Axis]) -> str:
    words = {"atoms": "{} atoms per molecule", "batch_size": "batches of {}", "cores": "{} cores"}
    fixed = [
        f"{_QUANTITIES[axis.name]} ({', '.join(words[key].format(value) for key, value in axis.fixed.items())})"
        for axis in drawn
    ]
    *_, last = _contestants(drawn).values()
    return (
        "Time of a training step per molecule, and peak memory of the process, or of its GPU, "
        f"against {style.join_and(fixed)}. {benchmarks.scaling_network} features × layers, synthetic molecules, "
        f"{benchmarks.machine}; medians over interleaved repetitions with 95 % intervals. Dotted: ideal scaling "
        f"from the best point of the {last.label}, with time proportional to pairs of atoms, independent of the batch "
        "size, and inversely proportional to cores. Memory includes that of the framework itself."
    )
