"""One training that meets all that a cluster does to jobs, and ends in the same bits as an undisturbed one."""

import os
import re
import signal
import subprocess
from dataclasses import dataclass

import pytest

from .cluster import Cluster, eventually
from .conftest import WEIGHTS, Study

pytestmark = pytest.mark.end_to_end

# The first attempt gets less memory than Python and JAX need.
TOO_LITTLE = "train:mem_mb=200 if attempt == 1 else 3000"
ENOUGH = "train:mem_mb=3000"


@dataclass(frozen=True)
class Disturbed:
    """A training job and the failures it has had so far.

    Attributes:
      study: the training.
    """

    study: Study

    def start(self, memory: str) -> "subprocess.Popen[str]":
        """Start Snakemake for the weights, in the partition of the profile."""
        return self.study.start("--set-resources", "train:slurm_partition=gpu", memory, "--", WEIGHTS)

    def job(self, number: int) -> str:
        """Wait until there is a training job of this number, from 0; return its number in SLURM."""
        eventually(lambda: len(self.study.jobs("train")) > number, f"attempt {number}", seconds=300)
        return self.study.jobs("train")[number]["JobId"]

    def state(self, number: int) -> str:
        """Return the state of the training job of this number."""
        return self.study.jobs("train")[number]["JobState"]

    def frozen(self) -> int:
        """Wait until the training has come further than it is, and stop its process there; return the process's number.

        Failures injected after that hit it while it trains, however slow or fast the machine is.
        """
        before = self.study.reached()
        eventually(lambda: self.study.reached() > before, f"more than {before} steps", seconds=600)
        (lock,) = self.study.directory.glob("results/runs/tiny/state/*/lock")
        found = re.match(r"process (\d+) on ", lock.read_text())
        assert found
        os.kill(int(found[1]), signal.SIGSTOP)
        return int(found[1])

    def ended(self, number: int) -> str:
        """Wait until the training job of this number is over; return its state."""
        over = lambda: self.state(number) not in ("PENDING", "RUNNING", "COMPLETING")  # noqa: E731
        eventually(over, f"the end of attempt {number}", seconds=300)
        return self.state(number)

    def resumed(self, number: int) -> int:
        """Return the step that the training job of this number went on from."""
        text = self.study.told(self.study.jobs("train")[number])
        found = re.search(r"tiny: resumed at step (\d+) of ", text)
        assert found, text
        return int(found[1])


@pytest.fixture
def disturbed(untrained: Study) -> Disturbed:
    """Return a training with the data made, and nothing trained."""
    return Disturbed(untrained)


def test_a_training_survives_all_of_it(disturbed: Disturbed, cluster: Cluster, finished: Study) -> None:
    study = disturbed.study
    snakemake = disturbed.start(TOO_LITTLE)

    # Killed for too much memory; the next attempt asks for more.
    disturbed.job(0)
    assert disturbed.ended(0) in ("OUT_OF_MEMORY", "FAILED", "CANCELLED")
    cancelled = disturbed.job(1)
    assert [job["MinMemoryNode"] for job in study.jobs("train")] == ["200M", "3000M"]

    # Cancelled by somebody: it saves its state, the only checkpoint that there is, and the next attempt takes it up.
    disturbed.frozen()
    reached = study.reached()
    cluster.cancel(cancelled)
    assert disturbed.ended(1) == "CANCELLED"

    # Over its time limit: likewise.
    limited = disturbed.job(2)
    disturbed.frozen()
    assert disturbed.resumed(2) >= reached
    reached = study.reached()
    cluster.update(limited, EndTime="now")
    assert disturbed.ended(2) == "TIMEOUT"

    # The node's daemon dies and comes back; the training does not notice.
    disturbed.job(3)
    pid = disturbed.frozen()
    assert disturbed.resumed(3) >= reached
    cluster.kill_node()
    os.kill(pid, signal.SIGCONT)
    cluster.start_node()
    assert disturbed.frozen() == pid
    assert disturbed.state(3) == "RUNNING"

    # Snakemake is killed; its job lives on while another Snakemake sends the next.
    snakemake.kill()
    snakemake.wait()
    study.ends_well(study.start("--unlock"))
    snakemake = disturbed.start(ENOUGH)
    disturbed.job(4)
    log = study.directory / "results" / "logs" / "train" / "tiny.log"
    # Snakemake has deleted the log of the attempt before.
    waits = lambda: log.exists() and "waiting for it to end" in log.read_text()  # noqa: E731
    eventually(waits, "the second training to wait", seconds=300)
    os.kill(pid, signal.SIGCONT)
    study.ends_well(snakemake)

    assert len(study.jobs("train")) == 5
    assert study.weights() == finished.weights()
