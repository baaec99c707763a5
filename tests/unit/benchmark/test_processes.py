"""Real worker processes: what they answer, and how they end."""

import os
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from pipeline.benchmark import memory, processes, worker
from pipeline.benchmark.processes import ContestantFailed, Process
from pipeline.benchmark.subjects import Framework, Subject
from pipeline.benchmark.tasks import Task


def test_memory_is_counted_and_its_peak_is_forgotten_on_request() -> None:
    memory.reset_peak()
    ballast = bytearray(64 * 2**20)
    ballast[::4096] = b"x" * len(ballast[::4096])
    peak = memory.peak_mb()
    assert peak >= memory.resident_mb() > 64
    del ballast
    memory.reset_peak()
    assert memory.peak_mb() < peak - 32


def test_a_contestant_that_cannot_says_why_on_one_line() -> None:
    task = Task("edm", "multiply", 1, {}, "missing", molecules=-1)
    with Process() as process:
        with pytest.raises(ContestantFailed, match="^RuntimeError: .*negative dimension"):
            process.start(task)
        # It is still there for another task.
        started = process.start(Task("edm", "multiply", 1, {}, "missing", molecules=8))
        answer = process.request("measure", passes=2)
    assert started["shares"] == {"all": 1.0}
    assert len(answer["seconds"]["all"]) == 2
    assert answer["widths"] == {"all": [8, 8]}
    assert answer["compilations"] == 0


@pytest.mark.parametrize("gpu", [0.0, 9e6])
def test_memory_is_that_of_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch, gpu: float) -> None:
    subject = Subject({"all": 1.0}, lambda kind: 3, 1)
    monkeypatch.setattr(worker, "_framework", lambda task: Framework(lambda task: subject, int, lambda: gpu))
    process = worker.Worker()
    every_core = len(os.sched_getaffinity(0))
    process.answer({"do": "start", "task": asdict(Task("edm", "train", every_core, {}, "none"))})
    peak = process.answer({"do": "measure", "passes": 1})["peak_mb"]
    assert peak == gpu if gpu else 1 < peak < 9e6


def test_a_contestant_that_ends_is_told_from_one_that_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\necho Killed by the kernel >&2\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with Process() as process, pytest.raises(ContestantFailed, match="ended with status 3: Killed by the kernel"):
        process.request("warm")


def test_a_contestant_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\ncat >/dev/null\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(processes, "ANSWER_TIMEOUT", 0.1)
    with Process() as process, pytest.raises(ContestantFailed, match="no answer within"):
        process.request("warm")
