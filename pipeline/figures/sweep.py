"""Samples of one size in the order of the value of a property that they were asked for, as a strip."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from pipeline.chemistry.property_errors import shown_unit
from pipeline.figures import drawing, style
from pipeline.figures.inputs import Run
from pipeline.figures.properties import PropertyErrors

COLUMNS: Final = 6
ROWS: Final = 2

_LARGEST: Final = 5.5
"""Maximum half-width of a panel in angstrom; larger molecules are shrunk."""
_TALLEST: Final = 1.3
_MARGIN: Final = 0.04
_TEXT: Final = 0.56
"""Height of the three lines under a molecule in inches."""
_HEADING: Final = 0.22
"""Height of the line above a column in inches."""
_HEADER: Final = 0.55


def swept(one: PropertyErrors, run: Run) -> tuple[str, list[list[int]]] | None:
    """Return a sampler and its molecules to draw, by column and row; None if no sampler asked for several values.

    It is the sampler with the smallest error. Its molecules are those of the commonest size whose values are nearest to
    evenly spaced ones between the 2nd and the 98th percentile, and none is drawn twice.
    """
    found = sorted(one.samplers, key=lambda sampler: float(one.samplers[sampler]["error"]["value"]))
    for sampler in found:
        asked = np.array(one.samplers[sampler]["asked"], np.float64)
        sizes = run.samples[sampler].sizes[: len(asked)]
        places = np.flatnonzero(sizes == np.bincount(sizes).argmax())
        columns = min(COLUMNS, len(places) // ROWS)
        if columns > 1 and np.ptp(asked[places]):
            left, chosen = places.tolist(), []
            low, high = np.quantile(asked[places], [0.02, 0.98]).tolist()
            for value in np.linspace(low, high, columns):
                left.sort(key=lambda place: abs(asked[place] - value))
                chosen.append([left.pop(0) for _ in range(ROWS)])
            return sampler, chosen
    return None


def draw(one: PropertyErrors, run: Run, sampler: str, columns: Sequence[Sequence[int]]) -> style.Picture:
    """Draw the molecules of ``swept``, with the value that each was asked for and the one that is predicted for it."""
    unit, factor = shown_unit(one.unit)
    asked, predicted = (factor * np.array(one.samplers[sampler][key], np.float64) for key in ("asked", "predicted"))
    molecules = run.samples[sampler]
    views = {place: drawing.best_view(molecules.select([place])) for places in columns for place in places}

    width = (style.PAGE_WIDTH - 2 * _MARGIN) / len(columns)
    across = min(_LARGEST, max(view.reach[0] for view in views.values()))
    up = min(across, max(drawing.fit(view.reach, across, across) * view.reach[1] for view in views.values()))
    per_inch = max(2 * across / width, 2 * up / _TALLEST)
    across, height = per_inch * width / 2, 2 * up / per_inch
    figure = style.new_figure(_HEADER + ROWS * (_HEADING + height + _TEXT) + _MARGIN, layout=None)
    for column, places in enumerate(columns):
        x, bottom = _MARGIN + (column + 0.5) * width, figure.get_figheight() - _HEADER
        for place in places:
            style.write(figure, x, bottom, f"{asked[place]:.4g}", ha="center", va="top", weight="bold")
            bottom -= _HEADING + height
            axes = drawing.panel(figure, _MARGIN + column * width, bottom, (width, height), (across, up))
            drawing.draw_molecule(axes, views[place], scale=drawing.fit(views[place].reach, across, up))
            drawing.describe(figure, x, bottom, views[place])
            text = f"predicted {predicted[place]:.4g}"
            style.write(figure, x, bottom - 0.34, text, ha="center", va="top", color=style.MUTED)
            bottom -= _TEXT

    suffix = f" ({unit})" if unit else ""
    heading = f"{run.name}, {sampler}: rising {one.name}{suffix}"
    style.header_title(figure, heading, colour=style.darker(run.colour))
    drawing.element_legend(figure, drawing.elements_of(*(view.molecule for view in views.values())))
    size = len(next(iter(views.values())).unstable)
    return style.Picture(
        name=style.file_name(f"sweep-{run.name}-{one.name}"),
        title=f"Molecules for rising {one.name}: {run.name}",
        caption=(
            f"Samples of {sampler} of {run.name} with {size} atoms, asked for {one.name} from low (left) to high. "
            f"Above each molecule is the value that it was asked for{suffix}, below it the one that the regressor "
            "predicts. They are those whose values are nearest to evenly spaced ones, not selected by eye, score or "
            "error. Rings mark atoms whose bonds do not add up to their valence."
        ),
        figure=figure,
    )
