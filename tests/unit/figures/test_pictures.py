"""Properties of every figure: nothing is clipped, nothing overlaps, nothing is too small to be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from pipeline.chemistry.metrics import read_summary
from pipeline.chemistry.molecules import Molecules
from pipeline.figures import distributions, gallery, stability, style, training, trajectory
from pipeline.figures.inputs import estimate, read_runs, read_trajectory

if TYPE_CHECKING:
    from tests.unit.figures.conftest import FakeStudy


def pictures_of(study: FakeStudy, real: Molecules) -> Iterator[style.Picture]:
    files: Any = {option: study.options[option] for option in ("configs", "curves", "metrics", "samples")}
    runs = read_runs(**files)
    floor, ceiling = (read_summary(study.options[option][0]) for option in ("floor", "ceiling"))
    atoms = {"floor": estimate(floor, "atom_stability"), "ceiling": estimate(ceiling, "atom_stability")}
    with style.look():
        yield stability.draw(runs, floor=floor, ceiling=ceiling, dataset="QM9")
        yield training.draw(runs, **atoms, dataset="QM9")
        yield gallery.draw(runs[0], molecules=12)
        yield distributions.draw(runs[0], reference=distributions.measure(real), dataset="QM9")
        if "trajectory" in study.options:
            yield trajectory.draw(read_trajectory(study.options["trajectory"][0]))


@pytest.fixture(params=["one_run", "many_runs"])
def pictures(request: pytest.FixtureRequest, real: Molecules) -> Iterator[style.Picture]:
    return pictures_of(request.getfixturevalue(request.param), real)


def test_all_type_is_whole_apart_and_large_enough(pictures: Iterator[style.Picture]) -> None:
    for picture in pictures:
        assert picture.caption.endswith(".")
        assert "  " not in picture.caption
        assert "None" not in picture.caption
        with style.look():
            picture.figure.draw_without_rendering()
        page = picture.figure.bbox
        texts = drawn_texts(picture.figure)
        assert texts
        boxes = []
        for text in texts:
            assert float(text.get_fontsize()) >= style.FONT_SIZE, text
            box = text.get_window_extent()
            inside = box.x0 >= page.x0 and box.y0 >= page.y0 and box.x1 <= page.x1 and box.y1 <= page.y1
            assert inside, (picture.name, text, box)
            boxes.append(box.shrunk(0.97, 0.8).extents)
        left, bottom, right, top = np.array(boxes).T[:, :, None]
        overlap = (left < right.T) & (right > left.T) & (bottom < top.T) & (top > bottom.T)
        np.fill_diagonal(overlap, False)
        assert not overlap.any(), (picture.name, [texts[place] for place in np.argwhere(overlap)[0]])


def drawn_texts(figure: Figure) -> list[Text]:
    """Return all texts of a figure that leave a trace, without the ticks that an axis keeps in store."""
    texts: dict[Any, None] = dict.fromkeys(figure.findobj(Text))
    for axes in figure.axes:
        axis: Any
        for axis in (axes.xaxis, axes.yaxis):
            # Only matplotlib itself knows which of an axis' ticks it draws.
            used = [label for tick in axis._update_ticks() for label in (tick.label1, tick.label2)]
            for text in set(axis.findobj(Text)) - {axis.label, axis.offsetText, *used}:
                texts.pop(text, None)
        if not axes.axison:
            for text in axes.findobj(Text):
                texts.pop(text, None)
    return [text for text in texts if text.get_text().strip() and text.get_visible()]


def test_the_stability_figure_says_what_training_took(one_run: FakeStudy, real: Molecules) -> None:
    picture = next(pictures_of(one_run, real))
    texts = [text.get_text() for text in picture.figure.findobj(Text)]
    assert "edm: 12 min training, 3.1 epochs" in texts
    assert any("noise" in text for text in texts)
    assert any("QM9" in text for text in texts)
