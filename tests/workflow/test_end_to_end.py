"""The tiny study for real, from molecules to figures and report, as a user runs it."""

import csv
import json
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.numpy import load_file

from .conftest import TINY, Workflow

pytestmark = pytest.mark.end_to_end

WEIGHTS = "results/runs/tiny-denoiser/weights.safetensors"
# The networks take longer to compile than to compute with, and compile on one core: two jobs at a time.
THREADS = ("--set-threads", *(f"{rule}=1" for rule in ("train", "levels", "sample", "trajectory", "likelihood")))
# Every run with one of its samplers.
RUNS = {
    "tiny": "heun-9",
    "tiny-denoiser": "heun-3",
    "tiny-tuned": "steps-2",
    "tiny-isolated": "steps-1",
}


# Where the machine lets a user do that: no network, not even to itself.
OFFLINE = ("unshare", "--map-root-user", "--net")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Return a workflow in which the tiny study is done, without a network and hidden from all but owner and group."""
    allowed = shutil.which(OFFLINE[0]) and not subprocess.run([*OFFLINE, "true"], capture_output=True).returncode
    workflow = Workflow(tmp_path_factory.mktemp("tiny"), umask=0o027, within=OFFLINE if allowed else ())
    done = workflow.run("--cores", "2", *THREADS, "--", "results/figures", study=TINY)
    assert done.returncode == 0, done.stderr
    return workflow


def changed(**values: Any) -> dict[str, Any]:
    """Return the tiny study with values set by dotted keys."""
    study: dict[str, Any] = yaml.safe_load(TINY.read_text())
    for dotted, value in values.items():
        *path, last = dotted.split("__")
        node = study
        for key in path:
            node = node[key]
        node[last] = value
    return study


def weights(workflow: Workflow) -> dict[str, bytes]:
    """Return the weights of the denoiser by name."""
    return {name: array.tobytes() for name, array in load_file(workflow.directory / WEIGHTS).items()}


def test_every_figure_is_there(finished: Workflow) -> None:
    figures = finished.directory / "results" / "figures"
    of_runs = [f"{figure}-{run}" for figure in ("distributions", "gallery", "structures") for run in RUNS]
    for name in ("quality", "training", "trajectory", *of_runs):
        assert (figures / f"{name}.svg").stat().st_size > 1000
        assert (figures / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    with (figures / "table.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) >= 9  # a heading, floor, ceiling, six samplers


def test_results_stand_between_floor_and_ceiling(finished: Workflow) -> None:
    def stability(name: str) -> float:
        value = json.loads((finished.directory / "results" / name).read_text())["atom_stability"]["value"]
        assert isinstance(value, float)
        return value

    metrics = json.loads((finished.directory / "results/runs/tiny/metrics.json").read_text())
    assert list(metrics["samplers"]) == ["heun-9", "ancestral-50"]
    assert metrics["likelihood"]["nll"]["low"] < metrics["likelihood"]["nll"]["value"]
    assert 0.0 < stability("reference/noise.json") < 0.4 < 0.9 < stability("reference/molecules64.json")


def test_every_run_has_its_scores_and_edm_alone_a_likelihood(finished: Workflow) -> None:
    for run, sampler in RUNS.items():
        metrics = json.loads((finished.directory / f"results/runs/{run}/metrics.json").read_text())
        assert sampler in metrics["samplers"]
        assert 0.0 <= metrics["samplers"][sampler]["atom_stability"]["value"] < 0.9
        assert (metrics["likelihood"] is not None) == (run == "tiny")


def test_the_run_with_a_sampler_without_levels_has_found_some(finished: Workflow) -> None:
    runs = finished.directory / "results" / "runs"
    assert sorted(path.relative_to(runs).as_posix() for path in runs.glob("*/levels/*")) == [
        "tiny-tuned/levels/1.json",
        "tiny-tuned/levels/2.json",
    ]
    found = json.loads((runs / "tiny-tuned" / "levels" / "2.json").read_text())
    assert 20.0 >= found["2"][0] > found["2"][1] > 0.0


def test_every_stage_left_a_log(finished: Workflow) -> None:
    logs = {path.parent.name for path in (finished.directory / "results" / "logs").rglob("*.log")}
    stages = {"parse", "shard", "train", "levels", "sample", "evaluate", "likelihood", "gather", "noise", "reference"}
    assert stages <= logs


def test_it_took_no_network(finished: Workflow) -> None:
    if not finished.within:
        pytest.skip(f"this machine does not let its users run {' '.join(OFFLINE)}")
    # The study is done; what is left to see is that there was no network.
    reach = "import socket; socket.create_connection(('127.0.0.1', 9), timeout=5)"
    done = subprocess.run([*finished.within, sys.executable, "-c", reach], capture_output=True, text=True)
    assert "Network is unreachable" in done.stderr


def test_files_are_open_to_those_that_the_umask_says(finished: Workflow) -> None:
    paths = list((finished.directory / "results").rglob("*"))
    assert len(paths) > 100
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640), path


def test_nothing_is_made_twice(finished: Workflow) -> None:
    assert finished.planned("results/figures", study=TINY) == []


def test_the_report_is_one_file_that_needs_no_network(finished: Workflow) -> None:
    report = finished.directory / "results" / "report.html"
    done = finished.run("--report", report, study=TINY)
    assert done.returncode == 0, done.stderr
    page = report.read_text()
    assert not re.search(r"""<(script|link|img|iframe)[^>]+(src|href)=["']?(https?:)?//""", page)
    assert "results/figures/quality.svg" in page
    assert "between the floor (noise)" in page


def test_other_settings_give_other_weights_and_the_same_the_same(finished: Workflow, workflow: Workflow) -> None:
    shutil.copytree(finished.directory / "results" / "data", workflow.directory / "results" / "data")
    trained = []
    for study in (changed(**{"runs__tiny-denoiser__seed": 1}), changed()):
        done = workflow.run("--cores", "2", *THREADS, "--", WEIGHTS, study=study)
        assert done.returncode == 0, done.stderr
        trained.append(weights(workflow))
    assert trained[0] != trained[1] == weights(finished)


def test_a_missing_source_is_one_line(workflow: Workflow, tmp_path: Path) -> None:
    study = changed(data__path=str(tmp_path / "nothing.sdf"))
    done = workflow.run("--cores", "1", "results/figures", study=study)
    assert done.returncode != 0
    assert "nothing.sdf" in done.stderr
    assert "Traceback" not in done.stderr
