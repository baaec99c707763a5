"""How jobs share the machine. Stages are replaced by stubs."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT, STUDY, TINY, Workflow, stand_in

BOTH = ("results/runs/one/weights.safetensors", "results/runs/two/weights.safetensors")


def trained(workflow: Workflow, *args: str) -> list[str]:
    """Train both runs of STUDY; return the lines that the trainings wrote when they started and ended."""
    study: dict[str, Any] = STUDY
    done = workflow.run(*BOTH, *args, study=study)
    assert done.returncode == 0, done.stderr
    return (workflow.directory / "training.txt").read_text().split()


@pytest.fixture
def pretending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workflow:
    """Return a workflow whose stages only pretend; a training waits for another one to start."""
    monkeypatch.setenv("STAND_IN_WAIT", "yes")
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


@pytest.mark.parametrize("profile", sorted((ROOT / "workflow" / "profiles").iterdir()), ids=lambda path: path.name)
def test_every_profile_is_understood(workflow: Workflow, profile: Path) -> None:
    done = workflow.run("--profile", profile, "--dry-run", study=TINY)
    assert done.returncode == 0, done.stderr


def test_jobs_with_a_network_go_to_the_gpu_partition() -> None:
    rules = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    named = (re.search("\n        gpu=", text) and text.split(":")[0] for text in rules.split("\nrule ")[1:])
    profile = yaml.safe_load((ROOT / "workflow" / "profiles" / "slurm" / "config.yaml").read_text())
    # Scattered parts are a rule that is made of another.
    assert {*filter(None, named), "sample_part"} == set(profile["set-resources"])


def test_snakemake_needs_no_activated_environment(tmp_path: Path) -> None:
    # The Makefile puts .venv first on PATH; who calls .venv/bin/snakemake by hand may not.
    command = [sys.executable, "-m", "snakemake", "--directory", str(tmp_path), "--configfile", str(TINY)]
    target = "results/data/molecules64/molecules.parquet"
    environment = os.environ | {"PATH": "/usr/bin:/bin"}
    done = subprocess.run([*command, "--cores", "1", target], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
