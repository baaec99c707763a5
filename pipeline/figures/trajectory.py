"""Frames of one denoising trajectory, from noise to a molecule."""

from typing import Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.chemistry.stability import stability
from pipeline.figures import drawing, style
from pipeline.figures.inputs import Floats, Trajectory

FRAMES: Final = 8
"""Maximum number of frames in the strip, evenly spaced from the first one with enough atoms in view."""
COLUMNS: Final = 4
"""Maximum number of frames in a row."""

_HEADER: Final = 0.55
_WIDTH: Final = style.PAGE_WIDTH / COLUMNS
_HEIGHT: Final = 1.5
"""Width and height of a frame in inches."""
_TEXT: Final = 0.42
"""Height of the two lines under a frame, in inches."""
_BAND: Final = 0.28
"""Height of the band that shows the noise level, with the space below it, in inches."""
_ROOM: Final = 1.8
"""Size of a panel relative to the finished molecule."""
_BAR: Final = 2.0
"""Length of the scale bar in angstrom."""


def draw(trajectory: Trajectory, *, colour: str = style.INK) -> style.Picture:
    """Draw frames of a trajectory, from noise to molecule, all on the scale of the finished one.

    Args:
      trajectory: one molecule in F frames.
      colour: colour of its run.
    """
    last, size = len(trajectory.frames) - 1, int(trajectory.frames.sizes[0])
    turned = drawing.turned(trajectory.frames, drawing.best_side(trajectory.frames[last][1]))
    unstable = ~stability(trajectory.frames.select([last])).atoms
    views = [drawing.View(turned.select([frame]), unstable & (frame == last)) for frame in range(last + 1)]
    reach = views[last].reach
    across = max(reach[0], reach[1] * _WIDTH / _HEIGHT) * _ROOM
    up = across * _HEIGHT / _WIDTH
    inside = [int((np.abs(view.molecule.positions[:, :2]) < [across, up]).all(axis=1).sum()) for view in views]
    # Skip the noisiest frames, in which most atoms are outside the panel.
    first = next(frame for frame in range(last + 1) if 2 * inside[frame] >= size)
    frames = np.unique(np.round(np.linspace(first, last, FRAMES)).astype(int)).tolist()
    noisiness = _noisiness(trajectory.sigma)[frames]

    rows = -(-len(frames) // COLUMNS)
    cell = _HEIGHT + _TEXT + _BAND
    figure = style.new_figure(_HEADER + rows * cell, layout=None)
    page = figure.get_figheight()
    for place, frame in enumerate(frames):
        row, column = divmod(place, COLUMNS)
        middle, bottom = (column + 0.5) * _WIDTH, page - _HEADER - row * cell - _HEIGHT
        axes = drawing.panel(figure, column * _WIDTH, bottom, (_WIDTH, _HEIGHT), (across, up))
        drawing.draw_molecule(axes, views[frame], fog=0.35)
        label = f"σ = {style.noise_level(trajectory.sigma[frame])}"
        style.write(figure, middle, bottom - 0.04, label, ha="center", va="top")
        if inside[frame] < size:
            outside = f"{size - inside[frame]} of {size} atoms outside"
            style.write(figure, middle, bottom - 0.2, outside, ha="center", va="top", color=style.MUTED)
    for row in range(rows):
        height = page - _HEADER - row * cell - _HEIGHT - _TEXT - 0.08
        _draw_band(figure, height, noisiness, range(row * COLUMNS, min((row + 1) * COLUMNS, len(frames))))
    _draw_scale_bar(figure, style.PAGE_WIDTH - 0.9, page - 0.33, inch=2 * across / _WIDTH)

    who = " ".join(part for part in (trajectory.run, trajectory.sampler) if part)
    heading = f"{who}: from noise to a molecule" if who else "From noise to a molecule"
    style.header_title(figure, heading, colour=style.darker(colour))
    drawing.element_legend(figure, drawing.elements_of(trajectory.frames))
    caption = _caption(trajectory, int(unstable.sum()), begins=float(trajectory.sigma[first]))
    return style.Picture(name="trajectory", title="The same as a strip", caption=caption, figure=figure)


def _noisiness(sigma: Floats) -> Floats:
    """Return how noisy each frame is, 0 to 1: logarithmic between the smallest level above 0 and the largest."""
    positive = sigma[sigma > 0]
    if not len(positive) or positive.min() == positive.max():
        return (sigma > 0).astype(np.float64)
    span = np.log(positive.max() / positive.min())
    # The smallest level is thin but visible; only 0 vanishes.
    return np.where(sigma > 0, 0.1 + 0.9 * np.log(np.maximum(sigma, positive.min()) / positive.min()) / span, 0.0)


def _draw_scale_bar(figure: Figure, x: float, y: float, *, inch: float) -> None:
    """Draw a labelled scale bar that starts at ``x`` and ``y`` inches; one inch is ``inch`` angstrom."""
    end, page = x + _BAR / inch, figure.get_size_inches()
    line = Line2D([x / page[0], end / page[0]], [y / page[1]] * 2, color=style.MUTED, linewidth=1.6)
    line.set_solid_capstyle("butt")
    figure.add_artist(line)
    style.write(figure, x - 0.06, y, f"{_BAR:g} Å", ha="right", va="center_baseline", color=style.MUTED)


def _draw_band(figure: Figure, middle: float, noisiness: Floats, frames: range) -> None:
    """Draw a band under a row of frames, as thick as the noise level, that continues in the next row."""
    page = figure.get_figheight()
    axes = figure.add_axes((0, (middle - 0.09) / page, _WIDTH * len(frames) / style.PAGE_WIDTH, 0.18 / page))
    axes.set_axis_off()
    axes.set_xlim(-0.5, len(frames) - 0.5)
    axes.set_ylim(-1, 1)
    ends = np.array([frames[0] - 0.4, *frames, frames[-1] + 0.4])
    thickness = np.interp(ends, np.arange(len(noisiness)), noisiness)
    axes.fill_between(ends - frames[0], -thickness, thickness, color=style.FLOOR_COLOUR, linewidth=0)


def _caption(trajectory: Trajectory, unstable: int, *, begins: float) -> str:
    metadata = trajectory.frames.metadata
    who = f" of {trajectory.run}, sampler {trajectory.sampler}," if trajectory.run and trajectory.sampler else ""
    shown = _SHOWN.get(str(metadata.get("shows")), "")
    atoms = len(trajectory.frames[0][0])
    end = "all of its atoms are stable" if not unstable else f"{unstable} of its {atoms} atoms are not stable (ringed)"
    start = trajectory.sigma[0]
    later = (
        f" They start at σ = {style.noise_level(begins)}, with half of the atoms in view, not at the "
        f"{style.noise_level(start)} that sampling starts from."
    )
    return (
        f"One molecule{who} from noise to sample, left to right; the first one sampled, not a selected one. {shown}"
        f"All frames have the same scale.{later if begins < start else ''} Below each frame is its "
        f"noise level σ, shown on a logarithmic scale by the grey band. In the last frame {end}."
    )


_SHOWN: Final = {
    "state": "Each frame is the noisy cloud itself. ",
    "estimate": "Each frame is the network's estimate of the finished molecule, given the noisy cloud. ",
}
"""Meaning of the frames, by the key ``shows`` of the file's metadata."""
