"""Failures of Snakemake itself. Stages are replaced by stubs."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT, STUDY, TINY, Workflow, stand_in
from .test_schedule import BOTH


def test_a_second_snakemake_is_told_that_the_first_is_at_work(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path, path=stand_in(tmp_path / "bin"))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    command = [sys.executable, "-m", "snakemake", "--configfile", tmp_path / "study.yaml", "--directory", tmp_path]
    path = f"{workflow.path}:{Path(sys.executable).parent}:/usr/bin:/bin"
    held = tmp_path / "held"
    held.touch()
    first = subprocess.Popen(
        [*map(str, command), "--cores", "2", *BOTH],
        cwd=ROOT,
        env={"PATH": path, "HOME": str(tmp_path), "STAND_IN_HOLD": str(held)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (tmp_path / "training.txt").exists():
        assert first.poll() is None
        time.sleep(0.05)
    second = workflow.run("--cores", "2", *BOTH, study=tmp_path / "study.yaml")
    assert workflow.planned(BOTH[0], study=tmp_path / "study.yaml")
    held.unlink()
    assert second.returncode != 0
    assert second.stderr.startswith(f"study: process {first.pid} on ")
    assert second.stderr.count("\n") == 1
    assert first.wait(timeout=60) == 0
    assert workflow.planned(*BOTH, study=STUDY) == []


def test_a_job_is_a_line_and_a_failure_two(tmp_path: Path) -> None:
    (tmp_path / "bad.sdf").write_text("nothing")
    data = {"name": "bad", "source": "path", "path": str(tmp_path / "bad.sdf")}
    done = Workflow(tmp_path).run("--cores", "1", "results/data/bad/shards", study=STUDY | {"data": data})
    assert done.returncode != 0
    job, reason, log = done.stderr.splitlines()
    assert job == "1 of 2: parse data=bad"
    assert reason.startswith(f"parse: error: {tmp_path / 'bad.sdf'}")
    assert log == "parse data=bad failed; its log: results/logs/parse/bad.log"


def test_a_property_that_the_data_lack_is_told_before_any_training(tmp_path: Path) -> None:
    study: dict[str, Any] = yaml.safe_load(TINY.read_text())
    study["runs"]["tiny-tuned"]["condition"] = ["colour"]
    done = Workflow(tmp_path).run("--cores", "1", "results/runs/tiny-tuned/weights.safetensors", study=study)
    assert done.returncode != 0
    assert "has no property colour; its columns are " in done.stderr
    assert done.stderr.splitlines()[-1].startswith("check_condition run=tiny-tuned failed; its log: ")
    assert not list(tmp_path.glob("results/runs/*/state"))


@pytest.mark.parametrize("skew", ["1 hour", "-1 hour"])
def test_jobs_of_a_machine_whose_clock_is_wrong_are_not_made_again(
    tmp_path: Path, skew: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_SKEW", skew)
    workflow = Workflow(tmp_path, path=stand_in(tmp_path / "bin"))
    done = workflow.run("--cores", "2", BOTH[0], study=STUDY)
    assert done.returncode == 0, done.stderr
    assert workflow.planned(BOTH[0], study=STUDY) == []
