"""All figures of a study, its tables and its page, in one folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline.chemistry.metrics import Judgement
from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.tables import Summary
from pipeline.core.progress import progress
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


def _with_losses(runs: Sequence[Run]) -> list[Run]:
    """Return the runs whose losses are known; those of released models are not."""
    return [run for run in runs if np.isfinite(run.training_loss.values).any()]


def draw_study(study: Study, folder: Path, *, log: Path | None = None) -> None:
    """Write all figures, the tables and the page into a folder; ``log`` receives the progress."""
    judged = {run.name: {name: Judgement.of(one) for name, one in run.samples.items()} for run in study.runs}
    entries, drawings = [], _drawings(study, judged)
    with style.project_style(), progress(total=len(drawings), description="figures", unit="figures", log=log) as bar:
        # One by one, so that only one is in memory.
        for draw in drawings:
            picture = draw()
            style.save(picture, folder)
            entries.append(Entry(name=picture.name, title=picture.title, caption=picture.caption))
            bar.update(1)
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


def _drawings(study: Study, judged: Judged) -> list[Callable[[], style.Picture]]:
    """Return what draws each figure, in the order of the page."""
    runs, dataset, averaged = study.runs, study.dataset, over_seeds(study.runs)
    bounds: dict[str, Any] = {"floor": study.floor, "ceiling": study.ceiling, "dataset": dataset}
    note = _SEEDS if len(averaged) < len(runs) else ""
    colours = {run.name: run.colour for run in runs}

    def averages(draw: Callable[..., style.Picture]) -> style.Picture:
        picture = draw(averaged, **bounds)
        return replace(picture, caption=picture.caption + note)

    @cache
    def data() -> tuple[distributions.Measured, structures.Reference]:
        return distributions.measure(study.molecules), structures.Reference.of(study.molecules)

    def distributed(run: Run) -> style.Picture:
        return distributions.draw(run, reference=data()[0], dataset=dataset)

    def structured(run: Run) -> style.Picture:
        return structures.draw(run, judged[run.name], reference=data()[1], dataset=dataset)

    found = [partial(averages, quality.draw)]
    found += [partial(steps.draw, run) for run in runs if steps.few_step_samplers(run)]
    found += [partial(training.draw, trained, **bounds) for trained in [_with_losses(runs)] if trained]
    found += [partial(gallery.draw, run, judged[run.name], molecules=study.gallery_molecules) for run in runs]
    if study.trajectory:
        colour = colours.get(study.trajectory.run, style.INK)
        found.append(partial(trajectory.draw, study.trajectory, colour=colour))
    for one in study.properties:
        found.append(partial(properties.draw, one, dataset=dataset, colour=colours.get(one.run, style.INK)))
        for run in runs:
            if run.name == one.run and (swept := sweep.swept(one, run)):
                found.append(partial(sweep.draw, one, run, *swept))
    found += [partial(draw, run) for run in runs for draw in (distributed, structured)]
    if study.benchmarks:
        found += [partial(draw, study.benchmarks) for draw in figures_of(study.benchmarks)]
    return list(found)


def _introduction(study: Study) -> str:
    budgets = style.join_and([f"{run.name} ({run.budget})" for run in study.runs])
    return (
        f"Molecules generated by {budgets}, compared with {study.dataset}. Every score is between two "
        f"references: that of Gaussian noise with random elements, and that of {study.dataset} itself."
    )
