"""Gallery of samples: the first molecules of each file, as balls and sticks."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Final

from pipeline.chemistry.metrics import Judgement
from pipeline.chemistry.molecules import Molecules
from pipeline.figures import drawing, style
from pipeline.figures.inputs import Run

COLUMNS: Final = 6

_LARGEST: Final = 6.0
"""Maximum half-width of a panel in angstrom: larger molecules are shrunk, since all share one scale."""
_MARGIN: Final = 0.04
_TEXT: Final = 0.38
"""Height of the two lines under a molecule in inches."""
_LINE: Final = 0.16
"""Height of a line of SMILES in inches."""
_SMILES_WIDTH: Final = 12
"""Characters in a line of SMILES."""
_HEADING: Final = 0.27
"""Height of the line above a sampler's molecules in inches."""
_HEADER: Final = 0.55


def draw(run: Run, judged: Mapping[str, Judgement], *, molecules: int) -> style.Picture:
    """Draw the first molecules of each of a run's sample files.

    Args:
      run: the run.
      judged: evaluation of its samples, by sampler.
      molecules: how many in total; samplers share them equally, in full rows of six, with at least one row each.
    """
    share = max(1, -(-molecules // len(run.samples)))
    if len(run.samples) > 1:  # full rows
        share = max(COLUMNS, share // COLUMNS * COLUMNS)
    shown = {sampler: drawn.select(range(min(share, len(drawn)))) for sampler, drawn in run.samples.items()}
    views = {
        sampler: [drawing.best_view(drawn.select([place])) for place in range(len(drawn))]
        for sampler, drawn in shown.items()
    }

    # One scale for all, so that large molecules look large.
    reaches = [view.reach for one in views.values() for view in one]
    across = min(_LARGEST, max(reach[0] for reach in reaches))
    width = (style.PAGE_WIDTH - 2 * _MARGIN) / COLUMNS
    up = min(across * 1.05, max(drawing.fit(reach, across, across) * reach[1] for reach in reaches))
    height = width * up / across
    rows = {
        sampler: [
            (one[place : place + COLUMNS], _lines(judged[sampler], place)) for place in range(0, len(one), COLUMNS)
        ]
        for sampler, one in views.items()
    }
    heights = {sampler: [height + _text(lines) for _, lines in some] for sampler, some in rows.items()}
    total = _HEADER + sum(_HEADING + sum(some) for some in heights.values()) + _MARGIN
    figure = style.new_figure(total, layout=None)

    top = total - _HEADER
    for sampler, some in rows.items():
        style.write(figure, _MARGIN, top - 0.06, _heading(run, sampler, len(views[sampler])), va="top")
        top -= _HEADING
        for (one, lines), row_height in zip(some, heights[sampler], strict=True):
            bottom = top - height
            for column, (view, smiles) in enumerate(zip(one, lines, strict=False)):
                left = _MARGIN + column * width
                axes = drawing.panel(figure, left, bottom, (width, height), (across, up))
                drawing.draw_molecule(axes, view, scale=drawing.fit(view.reach, across, up))
                drawing.describe(figure, left + width / 2, bottom, view)
                style.write(
                    figure, left + width / 2, bottom - _TEXT + 0.03, smiles, ha="center", va="top", linespacing=1.1
                )
            top -= row_height

    style.header_title(figure, f"{run.name}: {run.budget}", colour=style.darker(run.colour))
    drawing.element_legend(figure, drawing.elements_of(*shown.values()))
    title = f"Samples of {run.name}"
    return style.Picture(name=f"gallery-{run.name}", title=title, caption=_caption(run, shown), figure=figure)


def _lines(judged: Judgement, start: int) -> list[str]:
    """Return the text under each molecule of a row: the SMILES of those that are connected and valid."""
    return [
        "\n".join(wrap(smiles or "", _SMILES_WIDTH, max_lines=3, placeholder="…", break_on_hyphens=False))
        for smiles in judged.perceived.connected[start : start + COLUMNS]
    ]


def _text(lines: Sequence[str]) -> float:
    """Return the height of the text under a row of molecules in inches."""
    return _TEXT + _LINE * max(text.count("\n") + 1 if text else 0 for text in lines)


def _heading(run: Run, sampler: str, number: int) -> str:
    stable = run.evaluations[sampler]["molecule_stability"]["value"]
    return (
        f"{run.sampler_label(sampler)}: the first {number} of {len(run.samples[sampler]):,} molecules; "
        f"of all, {style.percent(stable)} are stable"
    )


def _caption(run: Run, shown: dict[str, Molecules]) -> str:
    numbers = style.join_or(len(molecules) for molecules in shown.values())
    return (
        f"The first {numbers} molecules of each sample file of {run.name}, not selected by eye or score. "
        "Each is rotated to its principal axes. Balls are atoms, sticks are bonds by EDM's table of distances (single, "
        "double, triple), rings mark atoms whose bonds do not add up to their valence. All have the same scale, except "
        "those too large for their panel. SMILES are given for connected and valid molecules."
    )
