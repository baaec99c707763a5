"""Properties of every figure: nothing is clipped, nothing overlaps, nothing is too small to be read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from pipeline.chemistry.metrics import Judgement, read_summary
from pipeline.chemistry.molecules import Molecules
from pipeline.data.molecule_parquet import read_molecules, write_molecules
from pipeline.figures import (
    distributions,
    gallery,
    properties,
    quality,
    steps,
    structures,
    style,
    sweep,
    training,
    trajectory,
)
from pipeline.figures.inputs import Run, read_runs, read_trajectory
from pipeline.figures.properties import PropertyErrors

if TYPE_CHECKING:
    from tests.unit.figures.conftest import FakeStudy


def runs_of(study: FakeStudy, **changes: list[Path]) -> list[Run]:
    files: Any = {option: study.options[option] for option in ("weights", "curves", "metrics", "samples")}
    return read_runs(**{**files, **changes})


def bounds_of(study: FakeStudy) -> dict[str, Any]:
    return {option: read_summary(study.options[option][0]) for option in ("floor", "ceiling")}


def pictures_of(study: FakeStudy, real: Molecules) -> Iterator[style.Picture]:
    runs, bounds = runs_of(study), bounds_of(study)
    with style.project_style():
        yield quality.draw(runs, **bounds, dataset="QM9")
        yield training.draw(runs, **bounds, dataset="QM9")
        yield from (steps.draw(run) for run in runs[:3] if steps.few_step_samplers(run))
        judged = {name: Judgement.of(one) for name, one in runs[0].samples.items()}
        yield gallery.draw(runs[0], judged, molecules=12)
        yield distributions.draw(runs[0], reference=distributions.measure(real), dataset="QM9")
        structure = structures.Reference.of(real)
        yield structures.draw(runs[0], judged, reference=structure, dataset="QM9")
        found = {"num": 3, "error": {"value": 0.01}, "asked": [0.1, 0.2, 0.3], "predicted": [0.15, 0.2, 0.25]}
        errors = PropertyErrors(
            runs[0].name,
            "gap",
            "hartree",
            {"heun-50": found},
            {"U-bound": 0.05, "number of atoms": 0.03, "L-bound": 0.002},
        )
        yield properties.draw(errors, dataset="QM9", colour=style.INK)
        swept = sweep.swept(errors_of(runs[0]), runs[0])
        assert swept is not None
        yield sweep.draw(errors_of(runs[0]), runs[0], *swept)
        if "trajectory" in study.options:
            yield trajectory.draw(read_trajectory(study.options["trajectory"][0]))


def errors_of(run: Run) -> PropertyErrors:
    """Return what the first sampler of a run was asked for, in no order, and what is predicted."""
    sampler, molecules = next(iter(run.samples.items()))
    asked = np.random.default_rng(0).uniform(40.0, 110.0, len(molecules))
    found = {"num": len(asked), "error": {"value": 1.0}, "asked": asked.tolist(), "predicted": (asked + 1).tolist()}
    return PropertyErrors(run.name, "polarizability", "bohr^3", {sampler: found}, {"U-bound": 9.0})


@pytest.fixture(params=["one_run", "many_runs"])
def pictures(request: pytest.FixtureRequest, real: Molecules) -> Iterator[style.Picture]:
    return pictures_of(request.getfixturevalue(request.param), real)


def test_all_type_is_whole_apart_and_large_enough(pictures: Iterator[style.Picture]) -> None:
    for picture in pictures:
        assert picture.caption.endswith(".")
        assert "  " not in picture.caption
        assert "None" not in picture.caption
        with style.project_style():
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


def lines_of(figure: Figure, panel: int) -> dict[str, Any]:
    """Return the points [K, 2] of each line of a panel with error bars, by what it shows."""
    containers: Any = figure.axes[panel].containers
    return {one.get_label(): one.lines[0].get_xydata() for one in containers}


def test_quality_joins_the_samplers_of_one_kind_in_the_order_of_their_calls(many_runs: FakeStudy) -> None:
    runs = runs_of(many_runs)
    with style.project_style():
        figure = quality.draw(runs, **bounds_of(many_runs), dataset="QM9").figure
    calls, seconds = lines_of(figure, 0), lines_of(figure, 1)
    kinds = {f"{run.name}, {kind}" for run in runs[:2] for kind in ("Heun", "DDIM")}
    assert kinds | {"run-2, few-step", "run-0, ancestral"} <= set(calls) == set(seconds)
    stable = [100 * runs[2].evaluations[name]["atom_stability"]["value"] for name in runs[2].samples]
    np.testing.assert_allclose(calls["run-2, few-step"].T, [[1, 2, 4, 8, 16, 32], stable])
    np.testing.assert_allclose(
        seconds["run-2, few-step"].T, [[0.0008 * count for count in (1, 2, 4, 8, 16, 32)], stable]
    )
    np.testing.assert_allclose(calls["run-0, DDIM"][:, 0], [2, 8, 32])


def test_quality_says_how_long_each_run_was_trained_and_leaves_out_what_says_no_cost(
    one_run: FakeStudy, tmp_path: Path
) -> None:
    path = tmp_path / "samples.parquet"
    molecules = read_molecules(one_run.options["samples"][0])
    for cost, points in (({}, 0), ({"network_calls": 49}, 1)):
        write_molecules(path, molecules, metadata={"run": "edm", "sampler": "heun-50", **cost})
        runs = runs_of(one_run, samples=[path])
        with style.project_style():
            picture = quality.draw(runs, **bounds_of(one_run), dataset="QM9")
            picture.figure.draw_without_rendering()
        assert [len(lines_of(picture.figure, panel)) for panel in (0, 1)] == [points, 0]
    assert "edm: 12 min training, 310,000 molecules, JAX" in {text.get_text() for text in drawn_texts(picture.figure)}
    assert "trained for 12 min in all" in picture.caption


@pytest.mark.parametrize(
    ("key", "value", "label", "said"),
    [
        ("alignment", "none", "unaligned", "labelled 'unaligned' add fresh noise"),
        ("electrons", "any", "any electrons", "where the training molecules have them, but for 'any electrons'."),
    ],
)
def test_quality_draws_a_line_of_its_own_for_what_samples_in_another_way_than_it_was_trained(
    many_runs: FakeStudy, key: str, value: str, label: str, said: str
) -> None:
    run = runs_of(many_runs)[2]
    samples = {
        name: dataclasses.replace(molecules, metadata={**molecules.metadata, key: own})
        for own, (name, molecules) in zip([None, value] * 3, run.samples.items(), strict=True)
    }
    with style.project_style():
        picture = quality.draw([dataclasses.replace(run, samples=samples)], **bounds_of(many_runs), dataset="QM9")
    lines = lines_of(picture.figure, 0)
    np.testing.assert_allclose(lines["run-2, few-step"][:, 0], [1, 4, 16])
    np.testing.assert_allclose(lines[f"run-2, {label}"][:, 0], [2, 8, 32])
    assert said in picture.caption
    assert len(steps.few_step_samplers(dataclasses.replace(run, samples=samples))) == 3


def test_quality_does_not_join_samplers_of_different_guidance(many_runs: FakeStudy) -> None:
    run = runs_of(many_runs)[2]
    samples = {
        name: dataclasses.replace(molecules, metadata={**molecules.metadata, "guidance": guidance})
        for guidance, (name, molecules) in zip([0.0, 0.5, 1.0] * 2, run.samples.items(), strict=True)
    }
    guided = dataclasses.replace(run, samples=samples)
    with style.project_style():
        picture = quality.draw([guided], **bounds_of(many_runs), dataset="QM9")
    containers: Any = picture.figure.axes[0].containers
    first, *others = containers
    assert [line.lines[0].get_xdata().tolist() for line in (first, *others)] == [[1, 8], [2, 16], [4, 32]]
    assert [line.get_label() for line in others] == ["run-2, few-step, guided 0.5", "run-2, few-step, guided 1"]
    assert "Hollow markers: guided with this weight" in picture.caption
    assert steps.few_step_samplers(guided) == [name for name in samples if run.calls(name) in (1, 8)]


def samplers_of(run: Run, molecules: Molecules, **metadata: tuple[int, int]) -> list[str]:
    """Return the few-step samplers of a run whose samplers have these network calls and seeds."""
    samples = {
        name.replace("_", "-"): dataclasses.replace(
            molecules, metadata={"sampler_kind": "consistency", "network_calls": calls, "seed": seed}
        )
        for name, (calls, seed) in metadata.items()
    }
    return steps.few_step_samplers(dataclasses.replace(run, samples=samples))


def test_steps_shows_samplers_that_start_from_the_same_noise(many_runs: FakeStudy, real: Molecules) -> None:
    run = runs_of(many_runs)[2]
    assert samplers_of(run, real, four=(4, 0), one=(1, 0), other=(2, 1), again=(4, 0)) == ["one", "four"]
    assert samplers_of(run, real, one=(1, 0), other=(2, 1)) == []
    many = {f"calls_{calls}": (calls, 0) for calls in range(1, 12)}
    chosen = samplers_of(run, real, **many)
    assert (chosen[0], chosen[-1], len(chosen)) == ("calls-1", "calls-11", steps.MOST_COLUMNS)
    assert steps.few_step_samplers(runs_of(many_runs)[1]) == []


def test_steps_never_puts_molecules_of_different_sizes_into_one_row(many_runs: FakeStudy, real: Molecules) -> None:
    run = runs_of(many_runs)[2]
    one, two, *_ = run.samples
    # Of the second sampler some molecules are others: shifted by one place from the fifth on.
    order = [*range(4), *range(5, 60)]
    samples = {one: run.samples[one], two: run.samples[two].select(order)}
    same = run.samples[one].sizes[: len(order)] == run.samples[two].sizes[order]
    assert 4 < same.sum() < len(order)
    with style.project_style():
        picture = steps.draw(dataclasses.replace(run, samples=samples))
    texts = [text.get_text() for text in picture.figure.texts]
    assert [text for text in texts if "call" in text] == ["1 call", "2 calls"]
    formulas = [text for text in texts if re.fullmatch(r"([A-Z](\$_\{\d+\}\$)?)+", text)]
    atoms = [atoms_of(formula) for formula in formulas]
    assert len(atoms) > 2
    assert atoms == 2 * sorted(set(atoms))


def atoms_of(formula: str) -> int:
    """Return the number of atoms of a sum formula in mathtext."""
    return sum(int(number or 1) for _, number in re.findall(r"([A-Z])(?:\$_{(\d+)}\$)?", formula))


def test_a_sweep_shows_molecules_of_one_size_in_the_order_of_the_value_asked_for(one_run: FakeStudy) -> None:
    run = runs_of(one_run)[0]
    one = errors_of(run)
    sampler, columns = sweep.swept(one, run) or ("", [])
    places = [place for column in columns for place in column]
    assert sampler == "heun-50" and len(set(places)) == len(places) == sweep.ROWS * len(columns) >= 4
    assert len(set(run.samples[sampler].sizes[places].tolist())) == 1
    asked = np.array(one.samplers[sampler]["asked"])[columns]
    assert (np.diff(asked.mean(axis=1)) > 0).all()
    # A sampler that asks for one value is passed over, whatever its error.
    fixed = {**one.samplers[sampler], "error": {"value": 0.1}, "asked": [90.0] * len(run.samples[sampler])}
    assert sweep.swept(dataclasses.replace(one, samplers={sampler: fixed}), run) is None


def test_training_tells_the_samplers_apart(many_runs: FakeStudy) -> None:
    with style.project_style():
        figure = training.draw(runs_of(many_runs), **bounds_of(many_runs), dataset="QM9").figure
    texts = {text.get_text() for text in drawn_texts(figure)}
    assert {"heun-12 samples", "one-step samples", "molecules seen (millions)"} <= texts
    markers = {(line.get_marker(), line.get_color()) for line in figure.axes[0].lines if line.get_marker() != "None"}
    assert len({marker for marker, _ in markers}) == 2
    assert len(markers) == 9  # eight runs, one of them with both
