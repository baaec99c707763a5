import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.batches import Batch, PaddedMolecules
from pipeline.data.shards import Shard
from pipeline.data.statistics import measure
from pipeline.diffusion.clouds import draw_noise
from pipeline.study.config import run_config
from pipeline.training.feeding import prepared, worker_processes
from pipeline.training.noisy_batches import Draw, HostBatch, Noising

BATCH = Batch(9, np.array([3, 1, 4, 1, 5, 9, 2, 6], np.int32))
SETTINGS = {"name": "run", "data": "test", "objective": "denoiser", "levels": {"alignment": "full"}}


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes, which start with this one's path, import this file's classes."""
    monkeypatch.syspath_prepend(Path(__file__).parents[3])


def noising() -> Noising:
    generator = np.random.default_rng(9)
    sizes = generator.integers(2, 10, 12).astype(np.int32)
    numbers = np.where(np.arange(9) < sizes[:, None], generator.choice([1, 6, 7], (12, 9)), 0).astype(np.uint8)
    positions = 1.4 * draw_noise(generator, sizes, 9, 0)
    shard = Shard(9, np.arange(12, dtype=np.int32), sizes, numbers, positions)
    statistics = measure(dict.fromkeys(("train", "validation", "test"), [shard]), dataset=None)
    return Noising(run_config(SETTINGS | {"training": {"steps": 1000}}), [shard], statistics)


def bits(batch: HostBatch) -> list[bytes]:
    return [part.tobytes() for part in (*batch[:4], batch.levels.t)]


class Watched(Noising):
    """Records which batches were requested."""

    def __init__(self, *, fails_at: int = -1):
        self._of, self.requested = noising(), 0
        self.draw = FailingDraw(self._of.draw, fails_at)

    def molecules(self, batch: Batch) -> PaddedMolecules:
        self.requested += 1
        return self._of.molecules(batch)


class FailingDraw(Draw):
    def __init__(self, of: Draw, fails_at: int):
        self._of, self._fails_at = of, fails_at

    def training(self, molecules: PaddedMolecules, step: int) -> HostBatch:
        if step == self._fails_at:
            raise ValueError(f"no batch {step}")
        return self._of.training(molecules, step)


def steps(count: int, first: int = 0) -> Iterator[tuple[int, float, Batch]]:
    return ((step, step / 10, BATCH) for step in range(first, count))


@pytest.mark.parametrize(("processes", "first"), [(0, 0), (1, 0), (2, 4)])
def test_batches_come_in_order_and_bit_for_bit_whoever_prepares_them(processes: int, first: int) -> None:
    found = list(prepared(steps(9, first), noising(), processes=processes))
    assert [(step, epoch) for step, epoch, _ in found] == [(step, step / 10) for step in range(first, 9)]
    for step, _, batch in found:
        assert bits(batch) == bits(noising().training(BATCH, step))


@pytest.mark.parametrize(("processes", "ahead"), [(0, 1), (2, 4)])
def test_so_many_batches_are_prepared_ahead_and_no_more(processes: int, ahead: int) -> None:
    watched = Watched()
    batches = prepared(steps(100), watched, processes=processes)
    assert watched.requested == 0
    for step in range(3):
        assert next(batches)[0] == step
        assert watched.requested == step + 1 + ahead
    assert len(multiprocessing.active_children()) == processes
    # A training that stops leaves it at that.
    batches.close()
    assert watched.requested == 3 + ahead
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("processes", [0, 1])
def test_what_goes_wrong_ahead_is_raised_when_its_turn_comes(processes: int) -> None:
    seen = []
    with pytest.raises(ValueError, match="no batch 2"):
        for step, _, _ in prepared(steps(9), Watched(fails_at=2), processes=processes):
            seen.append(step)
    assert seen == [0, 1]


def test_a_killed_worker_is_an_error() -> None:
    batches = prepared(steps(10**6), noising(), processes=2)
    assert next(batches)[0] == 0
    os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
    with pytest.raises(ChildProcessError, match="was killed"):
        for _ in batches:
            pass
    assert not multiprocessing.active_children()


PARENT = """
import json, multiprocessing, sys, time
from tests_feeding import noising, steps
from pipeline.training.feeding import prepared

if __name__ == "__main__":
    batches = prepared(steps(10**6), noising(), processes=2)
    next(batches)
    print(json.dumps([child.pid for child in multiprocessing.active_children()]), flush=True)
    for _ in batches:
        time.sleep(0.05)
"""


def alive(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_workers_ignore_stop_signals_but_end_with_a_killed_training(tmp_path: Path) -> None:
    (tmp_path / "tests_feeding.py").write_text(Path(__file__).read_text())
    (tmp_path / "parent.py").write_text(PARENT)
    with subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = json.loads(parent.stdout.readline())
        for number in (signal.SIGINT, signal.SIGTERM):
            for worker in workers:
                os.kill(worker, number)
        time.sleep(0.3)
        assert len(workers) == 2
        assert all(alive(worker) for worker in workers)
        parent.kill()
    deadline = time.monotonic() + 60
    while any(alive(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_workers_are_for_gpus_and_leave_a_core_to_the_training() -> None:
    assert worker_processes(64, on_cpu=True) == 0
    assert [worker_processes(cores, on_cpu=False) for cores in (1, 2, 8, 64)] == [0, 1, 7, 16]
