"""When benchmarks are measured, and when they are finished. Stages are replaced by stubs."""

import shutil
from pathlib import Path

import pytest

from .conftest import STUDY, Workflow, changed

BENCHMARKS = "results/benchmarks"


@pytest.fixture(scope="module")
def measured(finished: Workflow, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Return the workflow with benchmarks too."""
    folder = tmp_path_factory.mktemp("measured")
    workflow = Workflow(shutil.copytree(finished.directory, folder, dirs_exist_ok=True), path=finished.path)
    done = workflow.run("--cores", "8", BENCHMARKS, study=STUDY)
    assert done.returncode == 0, done.stderr
    return workflow


def test_figures_do_not_ask_for_benchmarks(finished: Workflow) -> None:
    assert not (finished.directory / BENCHMARKS).exists()


def test_they_are_measured_by_name_on_the_data_alone(finished: Workflow) -> None:
    assert finished.planned(BENCHMARKS, study=STUDY) == ["benchmark"]


def test_a_study_can_ask_for_them(finished: Workflow) -> None:
    assert finished.planned("results/figures", study=changed(figures__benchmarks=True)) == ["benchmark", "figures"]


def test_trained_weights_come_first(tmp_path: Path) -> None:
    study = changed(benchmark__sampling__trained={"run": "one", "sampler": "heun-9"})
    planned = Workflow(tmp_path).planned(BENCHMARKS, study=study)
    assert {"benchmark", "train run=one", "configure_sampler run=one sampler=heun-9"} <= set(planned)
    assert "train run=two" not in planned


def test_searched_levels_come_first_too(tmp_path: Path) -> None:
    study = changed(benchmark__sampling__trained={"run": "two", "sampler": "steps-2"})
    study["runs"]["two"] |= {"objective": "consistency", "samplers": {"steps-2": {"kind": "consistency", "steps": 2}}}
    planned = Workflow(tmp_path).planned(BENCHMARKS, study=study)
    assert {"benchmark", "train run=two", "levels run=two calls=2"} <= set(planned)


def test_once_there_they_are_drawn_and_not_measured_again(measured: Workflow) -> None:
    assert measured.planned("results/figures", study=STUDY) == ["figures"]


def test_a_changed_setting_measures_again(measured: Workflow) -> None:
    assert measured.planned(BENCHMARKS, study=changed(benchmark__batch_size=3)) == ["benchmark"]


def test_a_figure_setting_measures_nothing(measured: Workflow) -> None:
    assert measured.planned(BENCHMARKS, study=changed(figures__gallery_molecules=3)) == []
