"""All figures of a study, its tables and its page, in one folder."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline.chemistry.metrics import Judgement
from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.tables import Summary
from pipeline.figures import (
    distributions,
    gallery,
    properties,
    quality,
    stability,
    steps,
    structures,
    style,
    training,
    trajectory,
)
from pipeline.figures.benchmark import figures_of
from pipeline.figures.benchmark_results import Benchmarks
from pipeline.figures.inputs import Run, Trajectory, over_seeds
from pipeline.figures.molecules import Judged, molecules_csv, viewer
from pipeline.figures.page import Entry, html_page
from pipeline.figures.properties import PropertyErrors

PAGE: Final = "index.html"
CSV: Final = "table.csv"
MARKDOWN: Final = "table.md"
MOLECULES: Final = "molecules.csv"

_SEEDS: Final = " Runs with several seeds: the mean over the seeds, and one standard deviation instead of the interval."


@dataclass(frozen=True, eq=False)
class Study:
    """Inputs of all figures."""

    runs: Sequence[Run]
    """In the order of the study."""
    floor: Mapping[str, Any]
    """The evaluation of noise."""
    ceiling: Mapping[str, Any]
    """The evaluation of the data."""
    molecules: Molecules
    """The training molecules, to compare samples with."""
    dataset: str
    """Name of the data."""
    trajectory: Trajectory | None
    gallery_molecules: int
    """Molecules in the gallery of a run."""
    properties: Sequence[PropertyErrors] = ()
    benchmarks: Benchmarks | None = None
    """Speed of the backends, if measured."""


def number_of_figures(study: Study) -> int:
    """Return how many figures ``draw_study`` draws."""
    speed = figures_of(study.benchmarks) if study.benchmarks else []
    few_step = [run for run in study.runs if steps.few_step_samplers(run)]
    several = 3 * len(study.runs) + len(few_step) + len(study.properties)
    return 2 + bool(_with_losses(study.runs)) + several + (study.trajectory is not None) + len(speed)


def _with_losses(runs: Sequence[Run]) -> list[Run]:
    """Return the runs whose losses are known; those of released models are not."""
    return [run for run in runs if np.isfinite(run.training_loss.values).any()]


def draw_study(study: Study, folder: Path, *, advance: Callable[[], None] = lambda: None) -> None:
    """Write all figures, the tables and the page into a folder; ``advance`` is called after each figure."""
    judged = {run.name: {name: Judgement.of(one) for name, one in run.samples.items()} for run in study.runs}
    entries = []
    with style.project_style():
        for picture in _pictures(study, judged):
            style.save(picture, folder)
            entries.append(Entry(name=picture.name, title=picture.title, caption=picture.caption))
            advance()
    # Of several seeds the mean, then each of them.
    rows = list(dict.fromkeys([*over_seeds(study.runs), *study.runs]))
    results = {f"{run.name}, {name}": one for run in rows for name, one in run.evaluations.items()}
    minutes = {
        f"{run.name}, {name}": run.all_seconds / 60
        for run in rows
        for name in run.evaluations
        if run.all_seconds is not None
    }
    summary = Summary(results, study.floor, study.ceiling, minutes)
    html = html_page(
        title=f"Molecules like those of {study.dataset}: results of a study",
        introduction=_introduction(study),
        runs=study.runs,
        rows=rows,
        floor=study.floor,
        ceiling=study.ceiling,
        dataset=study.dataset,
        figures=entries,
        viewer=viewer(study.runs, judged, study.trajectory),
        folder=folder,
    )
    for name, text in (
        (CSV, summary.csv()),
        (MARKDOWN, summary.markdown()),
        (MOLECULES, molecules_csv(judged)),
        (PAGE, html),
    ):
        (folder / name).write_text(text, encoding="utf-8")


def _pictures(study: Study, judged: Judged) -> Iterator[style.Picture]:
    """Yield the figures one by one, so that only one is in memory."""
    bounds = {"floor": study.floor, "ceiling": study.ceiling}
    averaged = over_seeds(study.runs)
    note = _SEEDS if len(averaged) < len(study.runs) else ""
    picture = quality.draw(averaged, **bounds, dataset=study.dataset)
    yield replace(picture, caption=picture.caption + note)
    for run in study.runs:
        if steps.few_step_samplers(run):
            yield steps.draw(run)
    if trained := _with_losses(study.runs):
        yield training.draw(trained, **bounds, dataset=study.dataset)
    picture = stability.draw(averaged, **bounds, dataset=study.dataset)
    yield replace(picture, caption=picture.caption + note)
    for run in study.runs:
        yield gallery.draw(run, judged[run.name], molecules=study.gallery_molecules)
    colours = {run.name: run.colour for run in study.runs}
    if study.trajectory is not None:
        yield trajectory.draw(study.trajectory, colour=colours.get(study.trajectory.run, style.INK))
    for one in study.properties:
        yield properties.draw(one, dataset=study.dataset, colour=colours.get(one.run, style.INK))
    reference = distributions.measure(study.molecules)
    structure = structures.Reference.of(study.molecules)
    for run in study.runs:
        yield distributions.draw(run, reference=reference, dataset=study.dataset)
        yield structures.draw(run, judged[run.name], reference=structure, dataset=study.dataset)
    if study.benchmarks is not None:
        for draw in figures_of(study.benchmarks):
            yield draw(study.benchmarks)


def _introduction(study: Study) -> str:
    budgets = style.join_and([f"{run.name} ({run.budget})" for run in study.runs])
    return (
        f"Molecules generated by {budgets}, compared with {study.dataset}. Every score is between two "
        f"references: that of Gaussian noise with random elements, and that of {study.dataset} itself."
    )
