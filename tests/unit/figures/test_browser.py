"""The page as a person meets it, in a browser without a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.unit.figures.browser import PROGRAM, Browser, browser

REQUIRED: Final = "CONSISTENT_EDM_REQUIRE_CHROMIUM"


@pytest.fixture
def page(drawn: Path) -> Path:
    return drawn / "index.html"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Run Chromium. Where it is missing its tests are skipped, or fail where it has to be there."""
    if not shutil.which(PROGRAM):
        missing = f"{PROGRAM} is not installed; on Debian, as root: apt-get install chromium"
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(missing)
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def desktop(running: Browser, page: Path) -> Browser:
    running.complaints.clear()
    running.requests.clear()
    running.open(page, width=1280, height=900)
    return running


def picture(running: Browser, place: str = "viewer") -> str:
    """Return what a 3D view shows."""
    return str(running.evaluate(f"document.querySelector('#{place} canvas').toDataURL()"))


def choose(running: Browser, control: str, place: int) -> None:
    running.evaluate(
        f"(() => {{ const one = document.getElementById('{control}');"
        f" one.selectedIndex = {place}; one.dispatchEvent(new Event('change')); }})()"
    )


def test_it_shows_molecules_without_a_complaint_or_a_network(desktop: Browser, page: Path) -> None:
    empty = "document.createElement('canvas').toDataURL()"
    assert desktop.evaluate("document.getElementById('cards').childElementCount") == 24
    assert len(picture(desktop)) > 5 * len(desktop.evaluate(empty))
    assert "molecule 1" in desktop.evaluate("document.getElementById('details').innerText")
    assert desktop.evaluate("[...document.images].every((one) => one.loading === 'lazy' || one.naturalWidth > 0)")
    assert set(desktop.requests) == {page.as_uri()}
    assert desktop.complaints == []


def test_the_view_turns_zooms_and_comes_back_by_keyboard(desktop: Browser) -> None:
    before = picture(desktop)
    desktop.evaluate("document.getElementById('viewer').focus()")
    for key in ("ArrowRight", "ArrowUp", "+"):
        last = picture(desktop)
        desktop.press(key)
        assert picture(desktop) != last, key
    desktop.press("Tab")
    assert desktop.evaluate("document.activeElement.id") == "reset"
    desktop.press("Enter")
    assert picture(desktop) == before
    assert desktop.complaints == []


def test_molecules_are_filtered_and_gone_through_by_keyboard(desktop: Browser) -> None:
    marks = "[...document.querySelectorAll('#cards .mark')].map((one) => one.textContent)"
    kinds = {"✓" in mark for mark in desktop.evaluate(marks)}
    assert kinds == {True, False}
    choose(desktop, "show", 1)
    assert all("✓" in mark for mark in desktop.evaluate(marks))
    choose(desktop, "show", 2)
    assert all("✗" in mark for mark in desktop.evaluate(marks))
    details = "document.getElementById('details').innerText"
    first = desktop.evaluate(details)
    assert "Not stable" in first
    assert "bond" in first
    before = picture(desktop)
    desktop.evaluate("document.querySelector('#cards input').focus()")
    desktop.press("ArrowRight")
    assert desktop.evaluate(details) != first
    assert picture(desktop) != before
    assert desktop.complaints == []


def test_the_table_sorts(desktop: Browser) -> None:
    # Three rows, of which one does not know its value.
    desktop.evaluate(
        "(() => { const body = document.querySelector('#table .results'), row = body.rows[0];"
        " for (const value of ['0.1', '0.9', '']) { const copy = row.cloneNode(true);"
        " copy.cells[5].dataset.value = value; body.append(copy); } row.remove(); })()"
    )
    order = "[...document.querySelectorAll('#table .results tr')].map((one) => one.cells[5].dataset.value)"
    heading = "document.querySelectorAll('#table thead button')[5]"
    desktop.evaluate(f"{heading}.focus()")
    desktop.press("Enter")
    assert desktop.evaluate(order) == ["0.9", "0.1", ""]
    desktop.press("Enter")
    assert desktop.evaluate(order) == ["0.1", "0.9", ""]
    assert desktop.evaluate(f"{heading}.parentNode.getAttribute('aria-sort')") == "ascending"


def test_the_way_from_noise_plays_and_steps_by_keyboard(desktop: Browser) -> None:
    label = "document.getElementById('frame-label').textContent"
    desktop.evaluate("document.getElementById('trajectory').scrollIntoView()")
    desktop.wait(f"{label} !== ''")
    assert desktop.evaluate(label) == "5 of 5: noise of 0 Å"
    end = picture(desktop, "way")
    desktop.evaluate("document.getElementById('frame').focus()")
    desktop.press("ArrowLeft")
    assert desktop.evaluate(label) == "4 of 5: noise of 0.10 Å"
    assert picture(desktop, "way") != end
    desktop.evaluate("document.getElementById('play').focus()")
    desktop.press("Enter")
    assert desktop.evaluate("document.getElementById('play').textContent") == "Pause"
    desktop.wait("document.getElementById('play').textContent === 'Play'")
    assert desktop.evaluate(label) == "5 of 5: noise of 0 Å"
    assert picture(desktop, "way") == end


def test_everything_can_be_reached_by_tab_and_has_a_name(desktop: Browser) -> None:
    desktop.evaluate("document.body.focus()")
    reached = []
    for _ in range(60):
        desktop.press("Tab")
        reached.append(desktop.evaluate("document.activeElement.id"))
    assert {"run", "sampler", "show", "viewer", "reset", "spin", "names", "way", "play", "frame"} <= set(reached)
    controls = "[...document.querySelectorAll('button, select, input, [tabindex=\"0\"]')]"
    named = "one.labels?.length || one.textContent.trim() || one.ariaLabel || one.getAttribute('aria-labelledby')"
    assert desktop.evaluate(f"{controls}.filter((one) => !({named})).map((one) => one.outerHTML)") == []


def test_it_is_readable_on_a_phone(running: Browser, page: Path) -> None:
    running.complaints.clear()
    running.open(page, width=360, height=740)
    # Nothing makes the page wider than the screen, and no text is tiny.
    assert running.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [360, 360]
    texts = "[...document.querySelectorAll('main :not(sub, sup)')]"
    small = f"{texts}.filter((one) => parseFloat(getComputedStyle(one).fontSize) < 11)"
    assert running.evaluate(f"{small}.map((one) => one.outerHTML.slice(0, 80))") == []
    low = "[...document.querySelectorAll('main button, main select')].filter((one) => one.offsetParent)"
    assert running.evaluate(f"{low}.every((one) => one.closest('table') || one.offsetHeight >= 36)")
    assert len(picture(running)) > 1000
    assert running.complaints == []
