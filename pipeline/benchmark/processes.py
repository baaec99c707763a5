"""Contestants' processes, from the side of the one who measures."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Final, Self

from pipeline.benchmark.tasks import Task

ANSWER_TIMEOUT: Final = 1800.0
"""Seconds after which a contestant that does not answer has failed; compiling for many shapes takes minutes."""


class ContestantFailed(Exception):
    """A contestant cannot do its task; the message says why, on one line."""


class Process:
    """A worker process; see ``worker`` for what it can be asked."""

    def __init__(self, environment: Mapping[str, str] | None = None):
        """Start it, with variables of the environment besides those there are."""
        self._began = time.monotonic()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process runs
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.benchmark.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **_environment(), **(environment or {})},
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests = Connection(os.dup(self._process.stdin.fileno()), readable=False)
        self._answers = Connection(os.dup(self._process.stdout.fileno()), writable=False)
        self._process.stdin.close()
        self._process.stdout.close()

    def start(self, task: Task) -> dict[str, Any]:
        """Let it take up a task and do a first unit; ``seconds`` of the answer count from the start of the process."""
        answer = self.ask("start", task=task.to_json())
        return answer | {"seconds": time.monotonic() - self._began}

    def ask(self, what: str, **details: Any) -> dict[str, Any]:
        """Ask for something and wait for the answer.

        Raises:
          ContestantFailed: it says so, or ended, or does not answer.
        """
        try:
            self._requests.send_bytes(json.dumps({"do": what, **details}).encode())
            if not self._answers.poll(ANSWER_TIMEOUT):
                self.close()
                raise ContestantFailed(f"no answer within {ANSWER_TIMEOUT:.0f} s")
            answer: dict[str, Any] = json.loads(self._answers.recv_bytes())
        except (EOFError, OSError):
            raise ContestantFailed(self._failure()) from None
        if "failed" in answer:
            raise ContestantFailed(answer["failed"])
        return answer

    def close(self) -> None:
        """End it."""
        self._requests.close()
        self._answers.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> Self:
        """Return the process."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the process."""
        self.close()

    def _failure(self) -> str:
        """Return why it ended, as far as can be seen."""
        status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        if status < 0:
            reason = f"killed by signal {-status}" + (", out of memory?" if status == -9 else "")
        else:
            reason = f"ended with status {status}"
        return f"{reason}: {lines[-1][:300]}" if lines else reason


def _environment() -> dict[str, str]:
    """Return what every worker's environment has."""
    return {
        # Where this program's packages are found, and only there.
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        # Several of them live on one GPU.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
