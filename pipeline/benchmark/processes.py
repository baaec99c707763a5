"""Worker processes of the contestants, seen from the process that measures them."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, Final, Self

from pipeline.benchmark.tasks import Task

ANSWER_TIMEOUT: Final = 1800.0
"""Seconds after which a contestant that does not answer has failed; compiling for many shapes takes minutes."""


class ContestantFailed(Exception):
    """A contestant failed at its task; the message gives the reason on one line."""


class Process:
    """A worker process; ``worker`` lists its requests."""

    def __init__(self, environment: Mapping[str, str] | None = None):
        """Start the process with additional environment variables."""
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
        """Start a task and run its first unit; ``seconds`` in the answer count from the start of the process."""
        answer = self.request("start", task=dataclasses.asdict(task))
        return answer | {"seconds": time.monotonic() - self._began}

    def request(self, action: str, **details: Any) -> dict[str, Any]:
        """Send a request and wait for the answer.

        Raises:
          ContestantFailed: the process answers with an error, has ended, or does not answer in time.
        """
        try:
            self._requests.send_bytes(json.dumps({"do": action, **details}).encode())
            if not self._answers.poll(ANSWER_TIMEOUT):
                self.close()
                raise ContestantFailed(f"no answer within {ANSWER_TIMEOUT:.0f} s")
            answer: dict[str, Any] = json.loads(self._answers.recv_bytes())
        except (EOFError, OSError):
            raise ContestantFailed(self._exit_reason()) from None
        if "failed" in answer:
            raise ContestantFailed(answer["failed"])
        return answer

    def close(self) -> None:
        """End the process."""
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

    def __exit__(self, *exception: object) -> None:
        """End the process."""
        self.close()

    def _exit_reason(self) -> str:
        """Return why the process ended, as far as known."""
        status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        if status < 0:
            reason = f"killed by signal {-status}" + (", out of memory?" if status == -9 else "")
        else:
            reason = f"ended with status {status}"
        return f"{reason}: {lines[-1][:300]}" if lines else reason


def _environment() -> dict[str, str]:
    """Return the environment variables of every worker."""
    return {
        # Workers import from the same places as this process.
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        # Several workers share one GPU.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
