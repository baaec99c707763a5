"""Molecules as balls and sticks, drawn with matplotlib alone.

Balls are stacks of discs that get lighter towards a light at the upper left, sticks are three stripes. They are painted
from back to front, paler with depth. A molecule is one collection of vector paths, sharp at any size.
"""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib.colors
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.path import Path

from pipeline.chemistry.elements import SYMBOLS, symbols_of
from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.stability import stability
from pipeline.figures import style

Floats = npt.NDArray[np.float64]
Colour = tuple[float, float, float]
Shape = tuple[Path, Colour, Colour]
"""Outline, face, edge."""

ELEMENT_COLOURS: Final = {
    "H": "#e9e9e9", "B": "#ffb5b5", "C": "#565656", "N": "#3f6fd8", "O": "#d8412f", "F": "#a8d84e", "Al": "#bfa6a6",
    "Si": "#f0c8a0", "P": "#ff8000", "S": "#e6c800", "Cl": "#1fb01f", "As": "#bd80e3", "Br": "#8a2a1a", "I": "#7a1f94",
    "Hg": "#b8b8d0", "Bi": "#9e4fb5",
}  # fmt: skip
"""The usual colours of ball-and-stick models; QM9's also differ in lightness, for the colour-blind."""

COLOUR_NAMES: Final = {
    "H": "white", "B": "pink", "C": "dark grey", "N": "blue", "O": "red", "F": "green", "Al": "greyish pink",
    "Si": "beige", "P": "orange", "S": "yellow", "Cl": "dark green", "As": "violet", "Br": "brown", "I": "purple",
    "Hg": "bluish grey", "Bi": "dark violet",
}  # fmt: skip
"""The same colours in words."""

RADII: Final = {
    "H": 0.27, "B": 0.42, "C": 0.40, "N": 0.39, "O": 0.38, "F": 0.36, "Al": 0.46, "Si": 0.46, "P": 0.45, "S": 0.45,
    "Cl": 0.44, "As": 0.46, "Br": 0.46, "I": 0.50, "Hg": 0.48, "Bi": 0.50,
}  # fmt: skip
"""Radius of each ball in angstrom: about a quarter of the van der Waals radius."""

MARGIN: Final = 0.6
"""Space for a ball and its ring around its centre, in angstrom."""

_STICK: Final = (0.0, 0.10, 0.07, 0.055)
"""Half-width of a stick by bond order, in angstrom."""
_STICK_OFFSETS: Final = ((), (0.0,), (-0.12, 0.12), (-0.18, 0.0, 0.18))
"""Sideways offsets of the sticks of a bond from its axis, by bond order, in angstrom."""
_STICK_COLOUR: Final = "#9a9a9a"
_FOG: Final = 0.45
"""Paleness of the farthest atom, 0 to 1."""
_DISCS: Final = 8
_WHITE: Final = (1.0, 1.0, 1.0)
_BLACK: Final = (0.0, 0.0, 0.0)
_LIGHT: Final = np.array([-0.30, 0.36])
"""Position of the highlight on a unit disc."""


@dataclass(frozen=True, eq=False)
class View:
    """A molecule in the orientation that it is drawn in."""

    molecule: Molecules
    """Of length 1, rotated: x to the right, y up, z towards the viewer, the centre of the atoms at the origin."""
    unstable: npt.NDArray[np.bool_]
    """[N] atoms to mark with a ring."""

    @property
    def reach(self) -> tuple[float, float]:
        """Half of the width and height of the molecule in angstrom, including its balls."""
        across, up = np.abs(self.molecule.positions[:, :2]).max(axis=0) + MARGIN
        return float(across), float(up)


def best_view(molecule: Molecules) -> View:
    """Return a single molecule seen from its best side, with its unstable atoms marked."""
    return View(molecule=turned(molecule, best_side(molecule.positions)), unstable=~stability(molecule).atoms)


def best_side(positions: npt.ArrayLike) -> Floats:
    """Return the rotation [3, 3] that turns the longest axis of a molecule to the horizontal and the shortest to depth.

    Its rows are the x, y and z axes of the view: the principal axes, with signs fixed by the third moments (the longer
    tail to the right and up), so that the same molecule always looks the same. It is never mirrored.

    Args:
      positions: [N, 3], the whole molecule.
    """
    points = np.asarray(positions, dtype=np.float64)
    points = points - points.mean(axis=0)
    _, axes = np.linalg.eigh(points.T @ points)
    across, up = axes[:, 2], axes[:, 1]
    across, up = (axis * (1.0 if ((points @ axis) ** 3).sum() >= 0 else -1.0) for axis in (across, up))
    # Exactly along an axis, atoms of a symmetric molecule would hide each other: tilt it slightly.
    return _tilt(x=np.radians(16), y=np.radians(-14)) @ np.stack([across, up, np.cross(across, up)])


def turned(molecules: Molecules, rotation: Floats) -> Molecules:
    """Return molecules, each centred on the mean of its atoms and then rotated by a matrix [3, 3]."""
    centres = np.add.reduceat(molecules.positions.astype(np.float64), molecules.offsets[:-1]) / molecules.sizes[:, None]
    rotated = (molecules.positions - centres[molecules.owners]) @ rotation.T
    return dataclasses.replace(molecules, positions=rotated.astype(np.float32))


def _tilt(*, x: float, y: float) -> Floats:
    about_x: Floats = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y: Floats = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    return about_x @ about_y


def draw_molecule(axes: Axes, view: View, *, scale: float = 1.0, fog: float = _FOG) -> None:
    """Draw a molecule into axes whose data units are angstrom.

    Args:
      axes: where to draw, of equal aspect.
      view: the molecule.
      scale: factor on all lengths, for a molecule too large for its panel.
      fog: paleness of the farthest atom, 0 to 1.
    """
    points = view.molecule.positions.astype(np.float64) * scale
    symbols = symbols_of(view.molecule.atomic_numbers.tolist())
    radii = np.array([RADII[symbol] for symbol in symbols]) * scale
    depth = points[:, 2]
    near, far = depth.max(), depth.min()
    paleness = fog * (near - depth) / (near - far) if near > far else np.zeros(len(depth))

    # (depth, shapes): a stick is painted after the ball at its back end and before the one at its front end.
    layers: list[tuple[float, list[Shape]]] = []
    for atom, symbol in enumerate(symbols):
        layers.append((depth[atom], _ball(points[atom, :2], radii[atom], ELEMENT_COLOURS[symbol], paleness[atom])))
    bonds = view.molecule.bonds
    for first, second, order in zip(bonds.first.tolist(), bonds.second.tolist(), bonds.order.tolist(), strict=True):
        pale = float(paleness[[first, second]].mean())
        # From surface to surface: parts inside the balls would be painted over them.
        along = points[second] - points[first]
        along /= max(float(np.sqrt((along**2).sum())), 1e-9)
        start, end = points[first] + 0.9 * radii[first] * along, points[second] - 0.9 * radii[second] * along
        sticks = _sticks(start, end, order, scale, pale)
        layers.append((float(depth[[first, second]].mean()), sticks))
    layers.sort(key=lambda layer: layer[0])

    shapes = [shape for _, layer in layers for shape in layer]
    paths, faces, edges = zip(*shapes, strict=True)
    axes.add_collection(
        PathCollection(paths, facecolors=faces, edgecolors=edges, linewidths=0.35, zorder=2), autolim=False
    )
    for atom in np.flatnonzero(view.unstable).tolist():
        centre, radius = (points[atom, 0], points[atom, 1]), radii[atom] + 0.13 * scale
        axes.add_patch(Circle(centre, radius, fill=False, edgecolor=style.ALERT, linewidth=1.1, zorder=3))


def panel(figure: Figure, left: float, bottom: float, size: tuple[float, float], reach: tuple[float, float]) -> Axes:
    """Return axes to draw a molecule into, without a frame.

    Args:
      figure: its page.
      left: of the panel, in inches.
      bottom: likewise.
      size: width and height, in inches.
      reach: what is seen to each side of the centre, across and up, in angstrom.
    """
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, bottom / height, size[0] / width, size[1] / height))
    axes.set_axis_off()
    axes.set_xlim(-reach[0], reach[0])
    axes.set_ylim(-reach[1], reach[1])
    return axes


def fit(reach: tuple[float, float], across: float, up: float) -> float:
    """Return the factor, at most 1, that scales a molecule to fit into a panel."""
    return min(1.0, across / reach[0], up / reach[1])


def describe(figure: Figure, x: float, bottom: float, view: View) -> None:
    """Write a molecule's formula and whether it is stable in two lines below a panel; positions are in inches."""
    subscripts = re.sub(r"(\d+)", r"$_{\1}$", formula(view.molecule))
    style.write(figure, x, bottom - 0.02, subscripts, ha="center", va="top")
    wrong, number = int(view.unstable.sum()), len(view.unstable)
    if wrong:
        style.write(figure, x, bottom - 0.18, f"{wrong} of {number} unstable", ha="center", va="top", color=style.MUTED)
    else:
        style.write(figure, x, bottom - 0.18, "✓ stable", ha="center", va="top", weight="bold")


def _ball(centre: Floats, radius: float, colour: str, paleness: float) -> list[Shape]:
    base = matplotlib.colors.to_rgb(colour)
    shapes = []
    for share in np.linspace(0.0, 1.0, _DISCS):
        inner = radius * (1 - 0.9 * share)
        if share < 0.45:
            face = style.blend(style.blend(base, _BLACK, 0.4), base, share / 0.45)
        else:
            face = style.blend(base, _WHITE, 0.85 * ((share - 0.45) / 0.55) ** 1.5)
        edge = style.blend(base, _BLACK, 0.55) if share == 0 else face
        middle = centre + _LIGHT * (radius - inner)
        circle = Path.circle((float(middle[0]), float(middle[1])), inner)
        shapes.append((circle, style.blend(face, _WHITE, paleness), style.blend(edge, _WHITE, paleness)))
    return shapes


def _sticks(first: Floats, second: Floats, order: int, scale: float, paleness: float) -> list[Shape]:
    along = second[:2] - first[:2]
    length = float(np.hypot(*along))
    if length < 1e-6:  # end on, and hidden by its balls
        return []
    # Perpendicular to the stick and upwards, towards the light.
    aside = np.array([-along[1], along[0]]) / length
    aside *= -1.0 if aside[1] < 0 else 1.0
    half = _STICK[order] * scale
    base = matplotlib.colors.to_rgb(_STICK_COLOUR)
    dark, light = style.blend(base, _BLACK, 0.35), style.blend(base, _WHITE, 0.5)
    stripes = ((-1.0, 1.0, dark), (-0.5, 0.9, base), (0.1, 0.6, light))
    shapes = []
    for offset in _STICK_OFFSETS[order]:
        for low, high, colour in stripes:
            face = style.blend(colour, _WHITE, paleness)
            a, b = (aside * (offset * scale + edge * half) for edge in (low, high))
            corners = [first[:2] + a, second[:2] + a, second[:2] + b, first[:2] + b, first[:2] + a]
            shapes.append((Path(np.array(corners), closed=True), face, face))
    return shapes


def elements_of(*molecules: Molecules) -> list[str]:
    """Return the symbols of all elements of some molecules, by atomic number."""
    there = np.unique(np.concatenate([one.atomic_numbers for one in molecules]))
    return symbols_of(there.tolist())


def element_legend(figure: Figure, elements: Sequence[str]) -> None:
    """Add a legend of the elements' colours and the ring to a figure's header, below its title."""
    balls = [
        _marker(markersize=30 * RADII[symbol] - 2, markerfacecolor=ELEMENT_COLOURS[symbol], markeredgecolor="#444444")
        for symbol in elements
    ]
    ring = _marker(markersize=9, markerfacecolor="none", markeredgecolor=style.ALERT, markeredgewidth=1.1)
    style.header_legend(
        figure, [*balls, ring], [*elements, "atom not stable"], columns=len(elements) + 1, below=0.24,
        handlelength=1.0,
    )  # fmt: skip


def _marker(**properties: Any) -> Line2D:
    return Line2D([], [], linestyle="", marker="o", **{"markeredgewidth": 0.6, **properties})


def formula(molecule: Molecules) -> str:
    """Return the sum formula of a single molecule, in the order C, H, then the alphabet, such as "C2H6O"."""
    counts = dict(zip(SYMBOLS, np.bincount(molecule.types(), minlength=len(SYMBOLS)).tolist(), strict=True))
    order = sorted((symbol for symbol in SYMBOLS if counts[symbol]), key=lambda symbol: (symbol not in "CH", symbol))
    return "".join(f"{symbol}{counts[symbol]}" if counts[symbol] > 1 else symbol for symbol in order)
