"""Benchmark figures with a row per contestant: throughput, ablation, and share of the machine's peak."""

from collections.abc import Sequence
from typing import Final

import matplotlib.colors
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from pipeline.chemistry.intervals import Estimate
from pipeline.figures import style
from pipeline.figures.benchmark_results import Benchmarks, Contestant, Group
from pipeline.study.benchmark import LADDER

_ROW: Final = 0.25
"""Height of a row in inches."""
_TEXT: Final = 0.42
"""Share of the width reserved for numbers, right of the points."""
_PALE: Final = 0.62
"""Share of white in the colour of operations that were not needed."""


def draw_throughput(benchmarks: Benchmarks) -> style.Picture:
    """Draw molecules per second and speed-up of every contestant except the partial ones of the ablation."""
    groups = [_without_rungs(group) for group in (*benchmarks.training, *benchmarks.sampling)]
    figure = style.new_figure(_ROW * _rows(groups) + 0.7)
    axes = figure.subplots()
    places = _headings(axes, groups)
    for group, heading in zip(groups, places, strict=True):
        for place, one in enumerate(group.contestants, start=1):
            rate = one.stable_rate or one.rate
            _dot(axes, one, rate, heading + place)
    rates = [one.stable_rate or one.rate for group in groups for one in group.contestants]
    high = max(rate.high for rate in rates)
    # On a logarithmic axis a rate of 0 is infinitely far to the left.
    low = max(min(rate.low for rate in rates), 1e-4 * high)
    span = max(high / low, 10.0) ** 1.1
    axes.set_xscale("log")
    axes.set_xlim(high / span, high / span * span ** (1 / (1 - _TEXT)))
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    # No ticks beyond the fastest contestant, where the labels are.
    left, right = axes.get_xlim()
    axes.set_xticks([tick for tick in axes.get_xticks() if left <= tick <= 2.0 * high])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(left, right)
    axes.grid(axis="x")
    axes.set_xlabel("molecules per second")
    return style.Picture(
        name="benchmark-throughput",
        title="Throughput of the backends",
        caption=_throughput_caption(benchmarks, groups),
        figure=figure,
    )


def draw_ablation(benchmarks: Benchmarks) -> style.Picture:
    """Draw molecules per second of the JAX backend, built up step by step."""
    groups = _with_rungs(benchmarks)
    figure = style.new_figure(_ROW * _rows(groups) + 0.7)
    axes = figure.subplots()
    for group, heading in zip(groups, _headings(axes, groups), strict=True):
        scale = 1.0 / max(one.rate.high for one in group.contestants)
        before: Contestant | None = None
        for place, one in enumerate(group.contestants, start=1):
            text = f"{style.count(one.rate.value)} molecules/s"
            if before is not None:
                text += f", × {style.count(one.rate.value / before.rate.value)}"
            _bar(axes, one.colour, one.rate.times(scale), heading + place, text)
            before = one
    axes.set_xlim(0, 1.62)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_xlabel("molecules per second, relative to the fastest of each network")
    caption = (
        f"{_training_sentence(benchmarks)} From the top: one jitted step on the concatenated features of all pairs of "
        "atoms, padded to the largest molecule of the data; the first edge layer factored into products of nodes; "
        "batches of one size bucket each; a gradient of the edge products written for CPU caches; and the complete "
        "backend, which processes a batch in small chunks on one device per core. × is relative to the row above."
    )
    return style.Picture(name="benchmark-ablation", title="What makes it fast", caption=caption, figure=figure)


def draw_roofline(benchmarks: Benchmarks) -> style.Picture:
    """Draw operations per second in training against those of the machine's best matrix product."""
    groups = [group for group in benchmarks.training if any(one.operations for one in group.contestants)]
    peak = benchmarks.peak
    assert peak is not None  # ``figures_of`` omits this figure without a peak
    figure = style.new_figure(_ROW * _rows(groups) + 1.0)
    style.reserve_header(figure, 0.3)
    axes = figure.subplots()
    for group, heading in zip(groups, _headings(axes, groups), strict=True):
        for place, one in enumerate(group.contestants, start=1):
            if one.operations is None:
                continue
            done, needed = one.operations.times(1e-9), group.needed_share[one.name]
            pale = style.blend(matplotlib.colors.to_rgb(one.colour), (1.0, 1.0, 1.0), _PALE)
            share = f"{style.percent(one.operations.value / peak)} of the peak"
            _bar(axes, matplotlib.colors.to_hex(pale), done, heading + place, share)
            axes.barh(heading + place, done.value * needed, height=0.68, color=one.colour, linewidth=0, zorder=3)
    axes.axvline(1e-9 * peak, **style.CEILING_LINE, zorder=1)
    axes.set_xlim(0, 1.04e-9 * peak)
    axes.set_xlabel("GFLOP/s")
    handles = [
        Patch(color=style.INK),
        Patch(color=style.blend(matplotlib.colors.to_rgb(style.INK), (1.0, 1.0, 1.0), _PALE)),
        Line2D([], [], **style.CEILING_LINE),
    ]
    labels = ["needed", "padding and unfactored products", f"peak, {style.count(1e-9 * peak)} GFLOP/s"]
    style.header_legend(figure, handles, labels, columns=3)
    caption = (
        f"{_training_sentence(benchmarks)} Floating-point operations per second in training, counted from the matrix "
        "products of the network and its gradient, against the machine's fastest float32 matrix product on the "
        "same cores (dotted). Dark: operations that are needed, factored and without padding. Pale: operations added "
        "by padding and unfactored products. Elementwise operations take time too but are not counted."
    )
    return style.Picture(
        name="benchmark-roofline", title="Distance from the machine's peak", caption=caption, figure=figure
    )


def has_ablation(benchmarks: Benchmarks) -> bool:
    """Return whether at least two steps of the ablation were measured for one network."""
    return bool(_with_rungs(benchmarks))


def _with_rungs(benchmarks: Benchmarks) -> list[Group]:
    groups = []
    for group in benchmarks.training:
        rungs = [one for name in LADDER if (one := group.named(name))]
        if len(rungs) > 1:
            # Label the last one by what it adds.
            if rungs[-1].name == LADDER[-1]:
                rungs[-1] = rungs[-1].model_copy(update={"label": "+ chunks on every core"})
            groups.append(Group(group.title, rungs, [], group.needed_share))
    return groups


def _without_rungs(group: Group) -> Group:
    kept = [one for one in group.contestants if one.name not in LADDER[:-1]]
    return Group(group.title, kept, group.failed, group.needed_share)


def _rows(groups: Sequence[Group]) -> float:
    return sum(len(group.contestants) + 1.5 for group in groups)


def _headings(axes: Axes, groups: Sequence[Group]) -> list[float]:
    """Write the heading of each group and the names of its contestants; return the rows of the headings."""
    places, names, rows, row = [], [], [], 0.0
    for group in groups:
        places.append(row)
        rows += [row + place for place in range(1, len(group.contestants) + 1)]
        names += [one.label for one in group.contestants]
        text = group.title + (f" (failed: {style.join_and(list(group.failed))})" if group.failed else "")
        axes.annotate(
            text, (0, row), (0, -1), xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
            weight="bold", annotation_clip=False,
        ).set_in_layout(False)  # fmt: skip
        row += len(group.contestants) + 1.5
    axes.set_yticks(rows, names)
    axes.set_ylim(row - 0.75, -0.4)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    return places


def _dot(axes: Axes, one: Contestant, rate: Estimate, place: float) -> None:
    axes.add_line(Line2D([max(rate.low, 1e-9), rate.high], [place, place], color=one.colour, linewidth=2, zorder=3))
    axes.plot([rate.value], [place], marker="o", color=one.colour, markersize=6, zorder=4)
    text = f"{style.count(rate.value)}/s"
    if one.speed_up is not None:
        low, high = style.count(one.speed_up.low), style.count(one.speed_up.high)
        text += f", × {style.count(one.speed_up.value)} ({low} to {high})"
    axes.annotate(
        text, (rate.high, place), (7, 0), textcoords="offset points", va="center_baseline", zorder=5,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )  # fmt: skip


def _bar(axes: Axes, colour: str, value: Estimate, place: float, text: str) -> None:
    axes.barh(place, value.value, height=0.68, color=colour, linewidth=0, zorder=2)
    axes.add_line(Line2D([value.low, value.high], [place, place], color=style.INK, linewidth=1.4, zorder=4))
    axes.annotate(
        text, (max(value.value, value.high), place), (5, 0), textcoords="offset points", va="center_baseline",
        zorder=5, annotation_clip=False,
    )  # fmt: skip


def _training_sentence(benchmarks: Benchmarks) -> str:
    return (
        f"Training the same EDM objective, batches of {benchmarks.batch_size} real molecules, on {benchmarks.machine}; "
        "medians over interleaved repetitions with 95 % intervals."
    )


def _throughput_caption(benchmarks: Benchmarks, groups: Sequence[Group]) -> str:
    low, high = benchmarks.load
    sentences = [
        _training_sentence(benchmarks),
        "Networks are given as features × layers. × with its interval: speed-up over the published EDM in the same "
        "repetitions; EDM pads random batches to their largest molecule, the backends use batches of one size bucket "
        "each, in the same proportions.",
    ]
    if benchmarks.sampling:
        sentences.append("Sampling: all use the same number of network calls, and time is proportional to it.")
    if any(one.stable_rate for group in groups for one in group.contestants):
        sentences.append("Stable molecules: those from trained weights whose atoms are all stable.")
    sentences.append(f"Load average during the measurements: {low:.1f} to {high:.1f} for {benchmarks.cores} cores.")
    return " ".join(sentences)
