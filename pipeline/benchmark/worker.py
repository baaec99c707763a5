"""A contestant's process: reads requests from standard input and writes answers to standard output.

A process per contestant keeps their threads, caches and memory apart. ``pipeline.benchmark.processes`` starts it as
``python -m pipeline.benchmark.worker``. Requests are JSON objects:

- ``{"do": "start", "task": ...}``: start a task and run its first unit. May be repeated.
- ``{"do": "warm"}``: run a unit of every other kind, then one of every kind; the answer has the times of both.
- ``{"do": "measure", "passes": n}``: run n units of every kind.
- ``{"do": "judge"}``: return the stability of the last samples.
"""

import gc
import json
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from pipeline.benchmark import memory
from pipeline.benchmark.contestants import CONTESTANTS
from pipeline.benchmark.tasks import Task

Answer = dict[str, Any]


class Worker:
    """State of a worker between requests."""

    def __init__(self) -> None:
        """Start without a task."""
        self._subject: Any = None
        self._framework: Any = None
        self._base = 0.0

    def answer(self, request: dict[str, Any]) -> Answer:
        """Handle a request and return the answer."""
        handlers: dict[str, Callable[[], Answer]] = {
            "start": lambda: self._start(Task(**request["task"])),
            "warm": self._warm,
            "measure": lambda: self._measure(request["passes"]),
            "judge": self._judge,
        }
        return handlers[request["do"]]()

    def _start(self, task: Task) -> Answer:
        if self._framework is None:
            # Before the framework starts its threads, whose number depends on it.
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: task.cores])
            self._framework = _framework(task)
            self._base = memory.resident_mb()
        # Release the memory of the last task before the next one starts.
        self._subject = None
        gc.collect()
        self._subject = self._framework.make(task)
        self._subject.unit(next(iter(self._subject.shares)))
        return {
            "gpu": self._framework.gpu,
            "base_mb": self._base,
            "molecules": self._subject.molecules,
            "shares": dict(self._subject.shares),
        }

    def _warm(self) -> Answer:
        began = time.perf_counter()
        for kind in list(self._subject.shares)[1:]:
            self._subject.unit(kind)
        compiled = time.perf_counter()
        self._pass()
        return {"first_seconds": compiled - began, "seconds": time.perf_counter() - compiled}

    def _measure(self, passes: int) -> Answer:
        compilations = self._framework.compilations()
        memory.reset_peak()
        done = [self._pass() for _ in range(passes)]
        kinds = list(self._subject.shares)
        return {
            "seconds": {kind: [one[kind][0] for one in done] for kind in kinds},
            "widths": {kind: [one[kind][1] for one in done] for kind in kinds},
            "compilations": self._framework.compilations() - compilations,
            "resident_mb": memory.resident_mb(),
            "peak_mb": self._framework.gpu_peak_mb() or memory.peak_mb(),
        }

    def _pass(self) -> dict[str, tuple[float, int]]:
        """Run a unit of every kind; return seconds and padded width of each."""
        done = {}
        for kind in self._subject.shares:
            began = time.perf_counter()
            width = self._subject.unit(kind)
            done[kind] = (time.perf_counter() - began, width)
        return done

    def _judge(self) -> Answer:
        from pipeline.chemistry.stability import stability_metrics

        return {"stability": stability_metrics(self._subject.samples())}


def _framework(task: Task) -> Any:
    """Set up the framework of a task, the only one imported; return it as a ``subjects.Framework``."""
    if CONTESTANTS[task.contestant].framework == "jax":
        from pipeline.benchmark import jax_subjects

        return jax_subjects.prepare(task)
    from pipeline.benchmark import torch_subjects

    return torch_subjects.prepare(task)


def main() -> None:
    """Answer requests until the input closes."""
    # Standard output is reserved for answers: what libraries print goes to standard error.
    answers = Connection(os.dup(1), readable=False)
    os.dup2(2, 1)
    requests = Connection(os.dup(0), writable=False)
    worker = Worker()
    while True:
        try:
            request = json.loads(requests.recv_bytes())
        except EOFError:
            return
        try:
            answer = worker.answer(request)
        except Exception as error:
            # Any failure of a contestant is a result and does not end the benchmark.
            answer = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        answers.send_bytes(json.dumps(answer).encode())


if __name__ == "__main__":
    main()
