"""Style of all figures: sizes, fonts, colours, and files that are reproducible byte for byte."""

import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import matplotlib
import matplotlib.colors
import seaborn
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from pipeline.core.files import json_digest

PAGE_WIDTH: Final = 7.2
"""Width of every figure in inches: two columns of a paper. Font sizes refer to this width."""

_DPI: Final = 200
"""Resolution of PNG files."""

FONT_SIZE: Final = 9.0
"""Smallest font size in a figure, in points at print size."""

INK: Final = "#262626"
MUTED: Final = "#6b6b6b"
PALE: Final = "#d9d9d9"

RUN_COLOURS: Final = ("#0173b2", "#de8f05", "#029e73", "#cc78bc", "#d55e00", "#56b4e9", "#8c613c", "#5b4ea3")
"""Colours of the runs, in the order of the study: after Okabe and Ito, distinguishable by the colour-blind."""

FLOOR_COLOUR: Final = "#8a8a8a"
CEILING_COLOUR: Final = "#1a1a1a"
"""Noise is grey and the data black, in every figure."""

ALERT: Final = "#c1272d"
"""Colour of errors in a molecule; always used together with a shape or a word."""

FLOOR_LINE: Final[dict[str, Any]] = {"color": FLOOR_COLOUR, "linestyle": (0, (4, 2)), "linewidth": 1.2}
CEILING_LINE: Final[dict[str, Any]] = {"color": CEILING_COLOUR, "linestyle": (0, (1, 1.4)), "linewidth": 1.4}

_RC: Final[dict[str, Any]] = {
    "font.family": "sans-serif",
    # The font that comes with matplotlib, so that figures are the same on every machine.
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": FONT_SIZE,
    "axes.titlesize": FONT_SIZE + 1,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": FONT_SIZE,
    "xtick.labelsize": FONT_SIZE,
    "ytick.labelsize": FONT_SIZE,
    "legend.fontsize": FONT_SIZE,
    "legend.frameon": False,
    "figure.titlesize": FONT_SIZE + 2,
    "figure.titleweight": "bold",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e8e8e8",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    # Text as outlines and identifiers from a fixed salt, so that an SVG depends only on its content.
    "svg.fonttype": "path",
    "svg.hashsalt": "consistent-edm",
    "path.simplify": True,
}


@dataclass(frozen=True)
class Picture:
    """A finished figure with its title and caption."""

    name: str
    """Name of its files, without suffix."""
    title: str
    caption: str
    """Plain text in full sentences."""
    figure: Figure


@contextmanager
def project_style() -> Iterator[None]:
    """Apply the style of the project during the block."""
    settings: dict[Any, Any] = {**seaborn.axes_style("ticks"), **seaborn.plotting_context("paper"), **_RC}
    with matplotlib.rc_context(settings):
        yield


def new_figure(height: float, *, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Return an empty figure, a page wide and ``height`` inches high; ``layout`` makes room for its labels.

    It is not part of pyplot's global state, so it is freed with its last reference.
    """
    figure = Figure(figsize=(PAGE_WIDTH, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def file_name(text: str) -> str:
    """Return a text with the name of a property as a file may be called: a column of data can have any name.

    Texts that differ have names that differ.
    """
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", text)
    return name if name == text else f"{name}-{json_digest(text)[:8]}"


def save(picture: Picture, folder: Path) -> None:
    """Write ``picture`` to ``folder`` as SVG and PNG (200 dpi, 256 colours); equal content gives equal bytes."""
    with project_style():
        _fix_layout(picture.figure)
        # The date and matplotlib's version would make equal figures differ.
        picture.figure.savefig(
            folder / f"{picture.name}.svg", metadata={"Date": None, "Creator": None, "Title": picture.title}
        )
        pixels = io.BytesIO()
        picture.figure.savefig(pixels, format="png", dpi=_DPI)
        # A palette makes pictures of molecules, which the page embeds, a third as large.
        with Image.open(pixels) as image:
            image.convert("RGB").quantize(256).save(folder / f"{picture.name}.png", dpi=(_DPI, _DPI), optimize=True)


def _fix_layout(figure: Figure) -> None:
    """Lay out a figure and round the positions of its axes.

    The last digits of a layout depend on memory addresses, and identifiers in an SVG depend on these digits.
    """
    if figure.get_layout_engine() is None:
        return
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, bottom, width, height = (round(edge, 6) for edge in axes.get_position(original=True).bounds)
        axes.set_position((left, bottom, width, height))


def run_colour(place: int) -> str:
    """Return the colour of the ``place``-th run, counted from 0; from the ninth on, colours repeat darker."""
    rounds, place = divmod(place, len(RUN_COLOURS))
    colour = matplotlib.colors.to_rgb(RUN_COLOURS[place])
    return matplotlib.colors.to_hex(blend(colour, (0.0, 0.0, 0.0), 1 - 0.55**rounds))


def shades(colour: str, count: int) -> list[str]:
    """Return ``count`` shades of a run's colour for its samplers, light to dark; a single one is the colour itself."""
    if count == 1:
        return [colour]
    rgb = matplotlib.colors.to_rgb(colour)
    light = blend(rgb, (1.0, 1.0, 1.0), 0.55)
    dark = blend(rgb, (0.0, 0.0, 0.0), 0.55)
    # With the colour itself in the middle, so that all are recognisable as this run's.
    return list(seaborn.blend_palette([light, rgb, dark], count).as_hex())


def darker(colour: str) -> str:
    """Return a darker colour, for text on white."""
    return matplotlib.colors.to_hex(blend(matplotlib.colors.to_rgb(colour), (0.0, 0.0, 0.0), 0.25))


def blend(
    first: tuple[float, float, float], second: tuple[float, float, float], share: float
) -> tuple[float, float, float]:
    """Return the colour at ``share``, 0 to 1, between ``first`` and ``second``."""
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return red, green, blue


def reserve_header(figure: Figure, height: float) -> None:
    """Keep the top ``height`` inches of a figure free of panels."""
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)  # new_figure sets one
    engine.set(rect=(0, 0, 1, 1 - height / figure.get_figheight()))


def header_title(figure: Figure, text: str, *, colour: str = INK) -> None:
    """Write the top line of a figure's header."""
    figure.text(
        0.06 / figure.get_figwidth(), 1 - 0.05 / figure.get_figheight(), text, ha="left", va="top", color=colour,
        fontsize=FONT_SIZE + 1, weight="bold",
    ).set_in_layout(False)  # fmt: skip


def header_legend(
    figure: Figure,
    handles: Sequence[Any],
    labels: Sequence[str],
    *,
    columns: int = 1,
    below: float = 0.0,
    handlelength: float = 2.2,
) -> None:
    """Put a legend into the left corner of a figure's header, ``below`` inches from its top."""
    figure.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(0.0, 1.0 - below / figure.get_figheight()),
        borderaxespad=0.3,
        ncols=columns,
        columnspacing=1.4,
        labelspacing=0.3,
        handlelength=handlelength,
    ).set_in_layout(False)


def write(figure: Figure, x: float, y: float, text: str, **properties: Any) -> None:
    """Write text at a position in inches from the lower left corner of a figure."""
    figure.text(x / figure.get_figwidth(), y / figure.get_figheight(), text, **properties)


def percent(fraction: float) -> str:
    """Return a fraction as a percentage with one decimal, "73.3 %"; 99.96 is not rounded to 100."""
    value = 100 * fraction
    shown = f"{value:.1f}"
    if (shown == "100.0" and value < 100) or (shown == "0.0" and value > 0):
        shown = f"{value:.2f}"
    if shown in ("100.00", "0.00"):
        shown = ">99.99" if value > 50 else "<0.01"
    return f"{shown} %"


def noise_level(sigma: float) -> str:
    """Return a noise level with two significant figures and its unit."""
    if sigma == 0:
        return "0 Å"
    return f"{sigma:.{max(0, min(4, 1 - math.floor(math.log10(sigma))))}f} Å"


def duration(seconds: float) -> str:
    """Return a duration in a suitable unit, such as "45 s", "12 min", "3.4 h" or "2.1 days"."""
    unit, length = time_unit(seconds)
    value = seconds / length
    return f"{value:.0f} {unit}" if value >= 9.95 or unit == "s" else f"{value:.1f}".removesuffix(".0") + f" {unit}"


def time_unit(seconds: float) -> tuple[str, float]:
    """Return the name and the length in seconds of a suitable unit for times up to ``seconds``."""
    for unit, length, least in (("days", 86400.0, 2.0), ("h", 3600.0, 2.0), ("min", 60.0, 1.5)):
        if seconds >= least * length:
            return unit, length
    return "s", 1.0


def count(value: float) -> str:
    """Return a number with two or more significant figures: "0.42", "3.1", "57", "1,012"."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if value < 0.995:
        return f"{value:.2f}"
    return f"{value:.1f}".removesuffix(".0") if value < 9.95 else f"{value:,.0f}"


def large_number(number: float) -> str:
    """Return a number of molecules such as "640", "448,000", "1.3 million" or "25 million", to three figures."""
    if number < 1000:
        return f"{number:.0f}"
    rounded = float(f"{number:.3g}")
    return f"{rounded:,.0f}" if rounded < 1e6 else f"{rounded / 1e6:.3g} million"


def number_unit(number: float) -> tuple[str, float]:
    """Return the name (empty for 1) and the size of a suitable unit for numbers up to ``number``."""
    for unit, size in (("millions", 1e6), ("thousands", 1e3)):
        if number >= 2 * size:
            return unit, size
    return "", 1.0


def label_line(axes: Axes, value: float, text: str, *, colour: str = MUTED) -> None:
    """Label a horizontal line in the margin to its right; the axis must have its final limits."""
    height = float(axes.transAxes.inverted().transform(axes.transData.transform((axes.get_xlim()[1], value)))[1])
    # Not below the panel, where the tick labels are.
    axes.annotate(
        text, (1.0, value), (4, -2 if height < 0.05 else 0), xycoords=axes.get_yaxis_transform(),
        textcoords="offset points", ha="left", va="bottom" if height < 0.05 else "center", color=colour,
        linespacing=1.05,
    )  # fmt: skip


def join_and(names: Sequence[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def join_or(numbers: Iterable[int]) -> str:
    """Return the distinct numbers, such as "1,000" or "500 or 1,000"."""
    return " or ".join(f"{number:,}" for number in sorted(set(numbers)))
