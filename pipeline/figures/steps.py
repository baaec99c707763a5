"""What one network call, two, four and more make of the same noise: a molecule a row, a few-step sampler a column."""

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
"""Half the width of a panel in angstrom at most; what is larger is shrunk."""
_TALLEST: Final = 1.3
_MARGIN: Final = 0.04
_TEXT: Final = 0.4
"""Height of the two lines under a molecule in inches."""
_HEADING: Final = 0.42
"""Height of the two lines above a column in inches."""
_HEADER: Final = 0.55


def few_step_samplers(run: Run) -> list[str]:
    """Return the few-step samplers of a run, as it was trained, that start from the same noise, by their network calls.

    Molecule i of two samplers starts from the same noise when they have the same seed. Where there are more seeds, the
    one with the most samplers; where there are more samplers than columns, evenly many, the first and the last among
    them; none where there are not two different ones.
    """
    seeds: dict[int, dict[int, str]] = {}
    for sampler, molecules in run.samples.items():
        seed, calls = molecules.metadata.get("seed"), run.calls(sampler)
        if run.kind(sampler) == _KIND and isinstance(seed, int) and calls is not None:
            seeds.setdefault(seed, {}).setdefault(calls, sampler)
    calls_of = max(seeds.values(), key=len, default={})
    samplers = [calls_of[calls] for calls in sorted(calls_of)]
    if len(samplers) < 2 or not len(_common(run, samplers)):
        return []
    chosen = np.unique(np.round(np.linspace(0, len(samplers) - 1, min(len(samplers), MOST_COLUMNS))).astype(int))
    return [samplers[place] for place in chosen]


def draw(run: Run) -> style.Picture:
    """Draw a few molecules of different sizes, by each of the ``few_step_samplers`` of a run, of which it needs two."""
    samplers = few_step_samplers(run)
    rows = [_views(run, samplers, place) for place in _places(run, samplers)]
    width = (style.PAGE_WIDTH - 2 * _MARGIN) / len(samplers)
    # One scale for all of them: as the width of a column or the greatest height of a row has it.
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
            axes = figure.add_axes(
                ((_MARGIN + column * width) / style.PAGE_WIDTH, bottom / page, width / style.PAGE_WIDTH, height / page)
            )
            axes.set_axis_off()
            axes.set_xlim(-across, across)
            axes.set_ylim(-up, up)
            drawing.draw_molecule(axes, views[column], scale=drawing.fit(views[column].reach, across, up))
            drawing.describe(figure, x, bottom, views[column])

    style.header_title(figure, f"{run.name}: {run.budget}", colour=style.darker(run.colour))
    drawing.element_legend(figure, below=0.24)
    return style.Picture(
        name=f"steps-{run.name}",
        title=f"The same noise in more and more steps: {run.name}",
        caption=_caption(run, samplers, rows),
        figure=figure,
    )


def _common(run: Run, samplers: Sequence[str]) -> list[int]:
    """Return the numbers of the molecules that all samplers drew in the same size."""
    number = min(len(run.samples[sampler]) for sampler in samplers)
    sizes = np.array([run.samples[sampler].sizes[:number] for sampler in samplers])
    return [int(place) for place in np.flatnonzero((sizes == sizes[0]).all(axis=0))]


def _places(run: Run, samplers: Sequence[str]) -> list[int]:
    """Return the numbers of the molecules to draw, small to large: the first of each of a few sizes."""
    common = _common(run, samplers)
    sizes = run.samples[samplers[0]].sizes[common]
    # Quantiles that are sizes of molecules, from the small ones to the large ones, extremes left out.
    wanted = np.unique(np.quantile(sizes, np.linspace(0.1, 0.9, ROWS), method="nearest"))
    return [common[int(np.flatnonzero(sizes == size)[0])] for size in wanted]


def _views(run: Run, samplers: Sequence[str], place: int) -> list[drawing.View]:
    """Return one molecule by each sampler, all seen from the side that suits the one of the most calls."""
    molecules = [run.samples[sampler].select([place]) for sampler in samplers]
    side = drawing.best_side(molecules[-1].positions)
    return [drawing.View(molecule=drawing.turned(one, side), unstable=~stability(one).atoms) for one in molecules]


def _caption(run: Run, samplers: Sequence[str], rows: Sequence[Sequence[drawing.View]]) -> str:
    sizes = style.listed([str(len(views[0].unstable)) for views in rows])
    numbers = style.either(len(run.samples[sampler]) for sampler in samplers)
    names = style.listed(list(samplers))
    return (
        f"Each row starts from the same noise, of molecules with {sizes} atoms, and goes through {names} of {run.name} "
        "(left to right: more network calls, each but the first on an estimate with new noise of a lower level). They "
        "are the first samples of sizes between the small and the large ones, not chosen by eye or score, and a row is "
        "seen from one side. Rings mark atoms whose bonds do not add up to their valence. Above each column, the share "
        f"of stable atoms among its {numbers} samples. The budget: {run.budget}."
    )
