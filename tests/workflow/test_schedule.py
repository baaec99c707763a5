"""How jobs share the machine. The stages are stood in for."""

from pathlib import Path
from typing import Any

import pytest

from .conftest import Workflow
from .test_reruns import STUDY, stand_in

BOTH = ("results/runs/one/weights.safetensors", "results/runs/two/weights.safetensors")


def trained(workflow: Workflow, *args: str) -> list[str]:
    """Train both runs of STUDY; return the lines that the trainings wrote when they started and ended."""
    study: dict[str, Any] = STUDY
    done = workflow.run(*BOTH, *args, study=study)
    assert done.returncode == 0, done.stderr
    return (workflow.directory / "training.txt").read_text().split()


@pytest.fixture
def pretending(tmp_path: Path) -> Workflow:
    """Return a workflow whose stages only pretend."""
    return Workflow(tmp_path, path=stand_in(tmp_path / "bin"))


def test_on_cores_runs_train_one_after_the_other(pretending: Workflow) -> None:
    assert trained(pretending, "--cores", "8") == ["start", "end", "start", "end"]


def test_with_a_thread_each_runs_train_side_by_side(pretending: Workflow) -> None:
    assert trained(pretending, "--cores", "8", "--set-threads", "train=1") == ["start", "start", "end", "end"]


def test_on_one_gpu_runs_train_one_after_the_other(pretending: Workflow) -> None:
    # The Snakefile's one GPU is set in a way that Snakemake does not document.
    arguments = ["--cores", "8", "--set-threads", "train=1", "--set-resources", "train:gpu=1"]
    assert trained(pretending, *arguments) == ["start", "end", "start", "end"]


def test_more_gpus_train_more_runs(pretending: Workflow) -> None:
    arguments = ["--cores", "8", "--set-threads", "train=1", "--set-resources", "train:gpu=1", "--resources", "gpu=2"]
    assert trained(pretending, *arguments) == ["start", "start", "end", "end"]
