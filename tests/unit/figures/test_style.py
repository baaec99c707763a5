import math
import re

import matplotlib
import numpy as np
import pytest

from pipeline.figures import style
from pipeline.figures.training import smooth


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0, "0.0 %"), (1, "100.0 %"), (0.733, "73.3 %"), (0.99964, "99.96 %"), (0.0003, "0.03 %"), (1e-6, "<0.01 %"),
     (1 - 1e-6, ">99.99 %")],
)  # fmt: skip
def test_percent_never_rounds_to_nothing_or_all(fraction: float, text: str) -> None:
    assert style.percent(fraction) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (45, "45 s"), (720, "12 min"), (300, "5 min"), (12240, "3.4 h"), (2e5, "2.3 days")],
)
def test_duration_has_the_unit_that_suits_it(seconds: float, text: str) -> None:
    assert style.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.422, "0.42"), (0.999, "1"), (3.1, "3.1"), (9.97, "10"), (1012.4, "1,012")]
)
def test_count(value: float, text: str) -> None:
    assert style.count(value) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(64, "64"), (999, "999"), (4844 * 64, "310,000"), (448_000, "448,000"), (999_600, "1 million"),
     (1_342_000, "1.34 million"), (25_000_000, "25 million")],
)  # fmt: skip
def test_large_numbers_have_three_figures(number: int, text: str) -> None:
    assert style.large_number(number) == text


@pytest.mark.parametrize(("number", "unit"), [(640, ("", 1)), (2000, ("thousands", 1e3)), (1e8, ("millions", 1e6))])
def test_numbers_have_a_unit_that_suits_them(number: float, unit: tuple[str, float]) -> None:
    assert style.number_unit(number) == unit


def test_lists_in_words() -> None:
    assert style.join_and(["a"]) == "a"
    assert style.join_and(["a", "b", "c"]) == "a, b and c"
    assert style.join_or([1000, 500, 1000]) == "500 or 1,000"


def test_a_property_of_any_name_has_a_file() -> None:
    assert style.file_name("properties-run-alpha") == "properties-run-alpha"
    names = {
        style.file_name(f"properties-run-{name}") for name in ("E/eV (0 K)", "E-eV-0-K-", "E eV (0 K)", "E-eV-0-K")
    }
    assert len(names) == 4 and all(re.fullmatch(r"properties-run-E-eV-0-K[0-9a-f-]*", name) for name in names)


def test_runs_have_colours_of_their_own_and_samplers_shades_of_it() -> None:
    assert [style.run_colour(place) for place in range(8)] == list(style.RUN_COLOURS)
    assert len({style.run_colour(place) for place in range(16)}) == 16
    assert style.shades("#0173b2", 1) == ["#0173b2"]
    shades = style.shades("#0173b2", 8)
    lightness = [sum(matplotlib.colors.to_rgb(shade)) for shade in shades]
    assert lightness == sorted(lightness, reverse=True)
    assert len(set(shades)) == 8


def test_the_look_ends_with_the_drawing() -> None:
    before = dict(matplotlib.rcParams)
    with style.project_style():
        assert matplotlib.rcParams["font.size"] == style.FONT_SIZE
    assert dict(matplotlib.rcParams) == before


def test_running_mean_keeps_a_constant_and_a_straight_line() -> None:
    np.testing.assert_allclose(smooth(np.full(100, 3.0)), 3.0)
    line = np.arange(200.0)
    np.testing.assert_allclose(smooth(line)[:190], line[:190])


def test_running_mean_leaves_out_what_is_not_finite() -> None:
    values = np.ones(50)
    values[[10, 49]] = math.nan
    np.testing.assert_allclose(smooth(values), 1.0)
    assert np.isnan(smooth(np.full(3, math.nan))).all()
