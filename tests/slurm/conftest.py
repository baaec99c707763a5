"""The tiny study on a real SLURM, through the profile that users have."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from safetensors.numpy import load_file

from .cluster import Cluster, missing_programs

ROOT: Final = Path(__file__).parents[2]
IMPATIENT: Final = Path(__file__).with_name("impatient.py")
PROFILE: Final = ROOT / "workflow" / "profiles" / "slurm"
WEIGHTS: Final = "results/runs/tiny/weights.safetensors"
REQUIRED: Final = "CONSISTENT_EDM_REQUIRE_SLURM"
HOW: Final = "SLURM is not installed; on Debian, as root: apt-get install slurmctld slurmd slurm-client munge"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Return a cluster that runs. Where SLURM is missing its tests are skipped, or fail where it has to be there."""
    if missing := missing_programs():
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(f"{HOW} (no {', '.join(missing)})")
    # Not in pytest's folders: socket paths have to be short, and accessible to every user.
    directory = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = Cluster(directory)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)


def tiny_study() -> dict[str, Any]:
    """Return two runs of the tiny study: an EDM that trains for some seconds and draws more than a batch of samples,
    and a one-step model whose level is searched for.
    """
    study: dict[str, Any] = yaml.safe_load((ROOT / "workflow" / "studies" / "tiny.yaml").read_text())
    study["data"]["path"] = str(ROOT / study["data"]["path"])
    run = study["runs"]["tiny"]
    run["training"] |= {"steps": 240, "checkpoint_seconds": 1000, "validation_interval": 240, "sample_interval": 0}
    run["samplers"] = {"heun-5": {"kind": "heun", "steps": 3, "num": 300}}
    few = study["runs"]["tiny-isolated"]
    few["samplers"] = {"steps-1": {"kind": "consistency", "steps": 1, "num": 16}}
    study["runs"] = {"tiny": run, "few": few}
    study["figures"]["trajectory"] = None
    return study


@dataclass(frozen=True)
class Study:
    """A study in a folder of its own, sent to a cluster.

    Attributes:
      directory: where results go.
      cluster: where jobs go.
    """

    directory: Path
    cluster: Cluster
    _started: list["subprocess.Popen[str]"] = field(default_factory=list)

    def start(self, *args: str | Path, study: Mapping[str, Any] | None = None) -> "subprocess.Popen[str]":
        """Start Snakemake with the profile for SLURM; what it says goes to the file ``said``."""
        path = self.directory / "study.yaml"
        path.write_text(yaml.safe_dump(dict(study or tiny_study()), sort_keys=False))
        # What this cluster lacks is accounting, and the tests patience.
        command: list[str | Path] = [sys.executable, IMPATIENT, "--profile", PROFILE, "--configfile", path]
        command += ["--directory", self.directory, "--slurm-status-command", "squeue"]
        command += ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10", *args]
        folders = [str(Path(sys.executable).parent), self.cluster.environment["PATH"]]
        with self.said.open("a") as said:
            process = subprocess.Popen(
                list(map(str, command)),
                cwd=ROOT,
                env=self.cluster.environment | {"PATH": os.pathsep.join(folders)},
                stdout=said,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self._started.append(process)
        return process

    def stop(self) -> None:
        """End what still runs, as it does after a test that failed: Snakemake and its jobs."""
        for process in self._started:
            process.kill()
            process.wait()
        for job in self.jobs():
            if job["JobState"] in ("PENDING", "RUNNING"):
                self.cluster.cancel(job["JobId"])

    def run(self, *args: str | Path, study: Mapping[str, Any] | None = None) -> None:
        """Run Snakemake to its end, which has to be a good one."""
        self.ends_well(self.start(*args, study=study))

    def ends_well(self, process: "subprocess.Popen[str]") -> None:
        """Wait for Snakemake to end with success."""
        try:
            status = process.wait(timeout=900)
        except subprocess.TimeoutExpired:
            status = None
        assert status == 0, self.said.read_text()[-6000:] + self.cluster.log()

    @property
    def said(self) -> Path:
        """What Snakemake has said."""
        return self.directory / "said"

    def jobs(self, rule: str | None = None) -> list[dict[str, str]]:
        """Return SLURM's records of the jobs of this study, or of those of a rule, in the order of their numbers."""
        records = self.cluster.jobs(self.directory)
        return [record for record in records if rule in (None, rule_of(record))]

    def weights(self) -> dict[str, bytes]:
        """Return the trained weights by name."""
        return {name: array.tobytes() for name, array in load_file(self.directory / WEIGHTS).items()}

    def told(self, record: Mapping[str, str]) -> str:
        """Return what a job has written; that of a job that succeeded is deleted when Snakemake learns of it."""
        (log,) = self.directory.glob(f"results/logs/slurm/**/{record['JobId']}.log")
        return log.read_text()

    def reached(self) -> int:
        """Return the last step that the training has noted, 0 if none."""
        logs = self.directory.glob("results/runs/tiny/state/*/metrics.jsonl")
        return max((json.loads(line)["step"] for log in logs for line in log.read_text().splitlines()), default=0)


def rule_of(record: Mapping[str, str]) -> str:
    """Return the rule of a job, from the comment that Snakemake's executor gives it."""
    return record["Comment"].removeprefix("rule_").partition("_wildcards_")[0]


@contextmanager
def study_in(directory: Path, cluster: Cluster) -> Iterator[Study]:
    """Yield a study in a folder, of which nothing outlives the block."""
    study = Study(directory, cluster)
    try:
        yield study
    finally:
        study.stop()


@pytest.fixture(scope="session")
def finished(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """Return a study that was sent to the cluster and is done, sampled and judged in parts."""
    with study_in(tmp_path_factory.mktemp("finished"), cluster) as study:
        study.run("--set-scatter", "sample=2", "evaluate=2", "--", "results/figures")
        yield study


@pytest.fixture
def untrained(finished: Study, tmp_path: Path) -> Iterator[Study]:
    """Return a study of the same, with the data made and nothing trained."""
    shutil.copytree(finished.directory / "results" / "data", tmp_path / "results" / "data")
    with study_in(tmp_path, finished.cluster) as study:
        yield study
