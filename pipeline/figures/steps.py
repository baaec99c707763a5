"""Samples from the same noise with one, two, four and more network calls: molecules in rows, samplers in columns."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from pipeline.chemistry.stability import stability
from pipeline.figures import drawing, style
from pipeline.figures.inputs import Run

ROWS: Final = 4
MOST_COLUMNS: Final = 5

_KIND: Final = "consistency"
_LARGEST: Final = 5.5
"""Maximum half-width of a panel in angstrom; larger molecules are shrunk."""
_TALLEST: Final = 1.3
_MARGIN: Final = 0.04
_TEXT: Final = 0.4
"""Height of the two lines under a molecule in inches."""
_HEADING: Final = 0.42
"""Height of the two lines above a column in inches."""
_HEADER: Final = 0.55


def few_step_samplers(run: Run) -> list[str]:
    """Return a run's few-step samplers that start from the same noise, in the order of their network calls.

    Samplers must have the alignment of training and no guidance. Molecule i of two samplers starts from the same noise
    if they have the same seed; of several seeds, the one with the most samplers is taken. If there are more samplers
    than columns, evenly spaced ones are returned, including the first and the last; if fewer than two, none.
    """
    seeds: dict[int, dict[int, str]] = {}
    for sampler, molecules in run.samples.items():
        seed, calls = molecules.metadata.get("seed"), run.calls(sampler)
        comparable = run.kind(sampler) == _KIND and not run.guidance(sampler)
        if comparable and isinstance(seed, int) and calls is not None:
            seeds.setdefault(seed, {}).setdefault(calls, sampler)
    calls_of = max(seeds.values(), key=len, default={})
    samplers = [calls_of[calls] for calls in sorted(calls_of)]
    if len(samplers) < 2 or not len(_common(run, samplers)):
        return []
    chosen = np.unique(np.round(np.linspace(0, len(samplers) - 1, min(len(samplers), MOST_COLUMNS))).astype(int))
    return [samplers[place] for place in chosen]


def draw(run: Run) -> style.Picture:
    """Draw a few molecules of different sizes from each of the ``few_step_samplers`` of a run, at least two."""
    samplers = few_step_samplers(run)
    rows = [_views(run, samplers, place) for place in _places(run, samplers)]
    width = (style.PAGE_WIDTH - 2 * _MARGIN) / len(samplers)
    # One scale for all, limited by the width of a column and the maximum height of a row.
    across = min(_LARGEST, max(view.reach[0] for views in rows for view in views))
    ups = [min(across, max(drawing.fit(v.reach, across, across) * v.reach[1] for v in views)) for views in rows]
    per_inch = max(2 * across / width, 2 * max(ups) / _TALLEST)
    across, heights = per_inch * width / 2, [2 * up / per_inch for up in ups]
    figure = style.new_figure(_HEADER + _HEADING + sum(height + _TEXT for height in heights) + _MARGIN, layout=None)
    page = figure.get_figheight()

    for column, sampler in enumerate(samplers):
        x, top = _MARGIN + (column + 0.5) * width, page - _HEADER
        calls = run.calls(sampler)
        style.write(figure, x, top, f"{calls} call{'' if calls == 1 else 's'}", ha="center", va="top", weight="bold")
        stable = run.evaluations[sampler]["atom_stability"]["value"]
        style.write(
            figure, x, top - 0.17, f"{style.percent(stable)} atoms stable", ha="center", va="top", color=style.MUTED
        )
        bottom = top - _HEADING + _TEXT
        for views, up, height in zip(rows, ups, heights, strict=True):
            bottom -= _TEXT + height
            axes = drawing.panel(figure, _MARGIN + column * width, bottom, (width, height), (across, up))
            drawing.draw_molecule(axes, views[column], scale=drawing.fit(views[column].reach, across, up))
            drawing.describe(figure, x, bottom, views[column])

    style.header_title(figure, f"{run.name}: {run.budget}", colour=style.darker(run.colour))
    elements = drawing.elements_of(*(view.molecule for views in rows for view in views))
    drawing.element_legend(figure, elements)
    return style.Picture(
        name=f"steps-{run.name}",
        title=f"The same noise in more and more steps: {run.name}",
        caption=_caption(run, samplers, rows),
        figure=figure,
    )


def _common(run: Run, samplers: Sequence[str]) -> list[int]:
    """Return the indices of the molecules that have the same size in all samplers."""
    number = min(len(run.samples[sampler]) for sampler in samplers)
    sizes = np.array([run.samples[sampler].sizes[:number] for sampler in samplers])
    return [int(place) for place in np.flatnonzero((sizes == sizes[0]).all(axis=0))]


def _places(run: Run, samplers: Sequence[str]) -> list[int]:
    """Return the indices of the molecules to draw, small to large: the first of each of a few sizes."""
    common = _common(run, samplers)
    sizes = run.samples[samplers[0]].sizes[common]
    # Quantiles of the sizes that occur, without the extremes.
    selected = np.unique(np.quantile(sizes, np.linspace(0.1, 0.9, ROWS), method="nearest"))
    return [common[int(np.flatnonzero(sizes == size)[0])] for size in selected]


def _views(run: Run, samplers: Sequence[str], place: int) -> list[drawing.View]:
    """Return one molecule from each sampler, all oriented by the one with the most calls."""
    molecules = [run.samples[sampler].select([place]) for sampler in samplers]
    side = drawing.best_side(molecules[-1].positions)
    return [drawing.View(molecule=drawing.turned(one, side), unstable=~stability(one).atoms) for one in molecules]


def _caption(run: Run, samplers: Sequence[str], rows: Sequence[Sequence[drawing.View]]) -> str:
    sizes = style.join_and([str(len(views[0].unstable)) for views in rows])
    numbers = style.join_or(len(run.samples[sampler]) for sampler in samplers)
    names = style.join_and(list(samplers))
    return (
        f"Each row shows samples of {names} of {run.name} from the same noise, with {sizes} atoms from top to bottom "
        "(more network calls to the right; each call after the first gets the last estimate with new, weaker noise). "
        "They are the first samples of their sizes, not selected by eye or score, with one orientation per "
        "row. Rings mark atoms whose bonds do not add up to their valence. Above each column is the share of "
        f"stable atoms among its {numbers} samples.{run.first_calls} Budget: {run.budget}."
    )
