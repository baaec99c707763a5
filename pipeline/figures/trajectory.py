"""How a molecule comes out of noise: frames of one denoising trajectory."""

import math
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.chemistry.stability import stability
from pipeline.figures import drawing, style
from pipeline.figures.inputs import Floats, Trajectory

MOST_COLUMNS: Final = 6
"""Frames in a row at most; more are broken into rows of equal length."""

_HEADER: Final = 0.55
_TALLEST: Final = 1.4
"""Height of a frame in inches at most."""
_TEXT: Final = 0.42
"""Height of scale bar and noise level under a frame, in inches."""
_BAND: Final = 0.28
"""Height of the band that is as thick as the noise, with the air below it, in inches."""
_BARS: Final = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Lengths of scale bars in angstrom."""


def draw(trajectory: Trajectory, *, colour: str = style.INK) -> style.Picture:
    """Draw all frames of a trajectory, from noise to molecule.

    Args:
        trajectory: one molecule, F times.
        colour: of the run it belongs to.
    """
    number = len(trajectory.frames)
    rows = -(-number // MOST_COLUMNS)
    columns = -(-number // rows)
    width = style.PAGE_WIDTH / columns
    height = min(width, _TALLEST)
    cell = height + _TEXT + _BAND
    figure = style.new_figure(_HEADER + rows * cell, layout=None)
    page = figure.get_figheight()

    turned = drawing.turned(trajectory.frames, drawing.best_side(trajectory.frames[number - 1][1]))
    unstable = ~stability(trajectory.frames.select([number - 1])).atoms
    none = np.zeros_like(unstable)
    views = [
        drawing.View(molecule=turned.select([frame]), unstable=unstable if frame == number - 1 else none)
        for frame in range(number)
    ]
    # The panels fit the finished molecule. A frame that is larger is shrunk, and its scale bar says how much.
    reach = views[-1].reach
    across = max(reach[0], reach[1] * width / height) * 1.05
    up = across * height / width
    noisiness = _noisiness(trajectory.sigma)
    for frame, view in enumerate(views):
        row, column = divmod(frame, columns)
        left, bottom = column * width, page - _HEADER - row * cell - height
        axes = figure.add_axes((column / columns, bottom / page, 1 / columns, height / page))
        axes.set_axis_off()
        axes.set_xlim(-across, across)
        axes.set_ylim(-up, up)
        # Balls keep their size on paper, among atoms 50 angstrom apart they would be dots: only distances shrink.
        spread = np.abs(view.molecule.positions[:, :2]).max(axis=0) + 1e-9
        scale = float(min(1.0, *(np.array([across, up]) - drawing.MARGIN) / spread))
        drawing.draw_molecule(axes, view, scale=scale, ball=1 / scale, fog=0.35)
        _draw_scale_bar(figure, left + width / 2, bottom - 0.08, inch=2 * across / scale / width)
        label = f"σ = {_level(trajectory.sigma[frame])}"
        style.write(figure, left + width / 2, bottom - 0.2, label, ha="center", va="top")
    for row in range(rows):
        middle = page - _HEADER - row * cell - height - _TEXT - 0.08
        _draw_band(figure, middle, width, noisiness, range(row * columns, min((row + 1) * columns, number)))

    who = " ".join(part for part in (trajectory.run, trajectory.sampler) if part)
    heading = f"{who}: from noise to a molecule" if who else "From noise to a molecule"
    style.header_title(figure, heading, colour=style.darker(colour))
    drawing.element_legend(figure, below=0.24)
    caption = _caption(trajectory, int(unstable.sum()))
    return style.Picture(name="trajectory", title="From noise to a molecule", caption=caption, figure=figure)


def _level(sigma: float) -> str:
    """Return a noise level with two figures and its unit."""
    if sigma == 0:
        return "0 Å"
    return f"{sigma:.{max(0, min(4, 1 - math.floor(math.log10(sigma))))}f} Å"


def _noisiness(sigma: Floats) -> Floats:
    """Return how noisy each frame is, 0 to 1: logarithmic between the smallest level above 0 and the largest."""
    positive = sigma[sigma > 0]
    if not len(positive) or positive.min() == positive.max():
        return (sigma > 0).astype(np.float64)
    span = np.log(positive.max() / positive.min())
    # The smallest level is thin but there; only 0 is nothing.
    return np.where(sigma > 0, 0.1 + 0.9 * np.log(np.maximum(sigma, positive.min()) / positive.min()) / span, 0.0)


def _draw_scale_bar(figure: Figure, x: float, y: float, *, inch: float) -> None:
    """Draw a bar with its length, centred at ``x`` and ``y`` inches, where an inch is ``inch`` angstrom."""
    length = next((bar for bar in _BARS if bar > 0.15 * inch), _BARS[-1])
    half, page = length / inch / 2, figure.get_size_inches()
    start, end = (x - 0.2 - half) / page[0], (x - 0.2 + half) / page[0]
    figure.add_artist(Line2D([start, end], [y / page[1]] * 2, color=style.MUTED, linewidth=1.6, solid_capstyle="butt"))
    style.write(figure, x - 0.12 + half, y, f"{length:g} Å", ha="left", va="center_baseline", color=style.MUTED)


def _draw_band(figure: Figure, middle: float, width: float, noisiness: Floats, frames: range) -> None:
    """Draw a band under a row of frames that is as thick as the noise and runs on into the next row."""
    page = figure.get_figheight()
    axes = figure.add_axes((0, (middle - 0.09) / page, width * len(frames) / style.PAGE_WIDTH, 0.18 / page))
    axes.set_axis_off()
    axes.set_xlim(-0.5, len(frames) - 0.5)
    axes.set_ylim(-1, 1)
    ends = np.array([frames[0] - 0.4, *frames, frames[-1] + 0.4])
    thickness = np.interp(ends, np.arange(len(noisiness)), noisiness)
    axes.fill_between(ends - frames[0], -thickness, thickness, color=style.FLOOR_COLOUR, linewidth=0)


def _caption(trajectory: Trajectory, unstable: int) -> str:
    metadata = trajectory.frames.metadata
    who = f" of {trajectory.run}, sampler {trajectory.sampler}," if trajectory.run and trajectory.sampler else ""
    shown = _SHOWN.get(str(metadata.get("shows")), "")
    atoms = len(trajectory.frames[0][0])
    end = "all of its atoms are stable" if not unstable else f"{unstable} of its {atoms} atoms are not stable (ringed)"
    return (
        f"One molecule{who} on its way from noise, left to right; the first one drawn, not a chosen one. {shown}"
        "Under each frame a scale bar (what is larger than the finished molecule is shrunk to fit, with balls of "
        f"constant size) and the noise level σ, which the grey band shows on a logarithmic scale. In the end {end}."
    )


_SHOWN: Final = {
    "state": "Each frame is the noisy cloud itself. ",
    "estimate": "Each frame is the network's estimate of the finished molecule, given the noisy cloud. ",
}
"""What the frames are, by the key ``shows`` of the file's metadata."""
