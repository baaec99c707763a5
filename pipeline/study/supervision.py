"""Snakemake's run of a study, looked after: it goes on after a crash, is alone in its folder, and says little."""

import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from snakemake.common import NOTHING_TO_BE_DONE_MSG
from snakemake.logging import ColorizingTextHandler, logger
from snakemake_interface_logger_plugins.common import LogEvent

from pipeline.core.environment import settle
from pipeline.core.errors import InputError
from pipeline.core.files import only_one
from pipeline.study.claims import claim_runs
from pipeline.study.group import Json

# What Snakemake says of a failed job beside the job's own message.
_ECHOES: Final = ("Exiting because a job execution failed", "WorkflowError:\nAt least one job did not complete")


def supervise(workflow: Any, study: Json) -> None:
    """Look after Snakemake's run of a study; the Snakefile calls this.

    - Outputs that a killed Snakemake left half made are made again, and its locks are removed. They are known to be
      stale by a lock of ours, which goes with its process.
    - While one Snakemake is at work in a folder, a second one ends with one line.
    - A study does not replace what another one trained (``pipeline.study.claims``).
    - On one machine every job is a line, unless Snakemake is asked for more or less.
    """
    settle()
    if not workflow.is_main_process:
        return
    settings = workflow.output_settings
    # What wraps `execute` runs before Snakemake looks at its locks, and for no other command, such as --report.
    execute: Callable[..., Any] = workflow.execute

    def supervised(*args: Any, **kwargs: Any) -> Any:
        workflow.dag_settings.force_incomplete = True
        owner = " ".join(os.path.relpath(path) for path in workflow.configfiles)
        try:
            with contextlib.ExitStack() as stack:
                alone = _alone()
                if settings.dryrun:
                    with contextlib.suppress(InputError), alone:
                        pass
                else:
                    stack.enter_context(alone)
                claim_runs(study, owner=owner, runs=Path("results/runs"), record=not settings.dryrun)
                return execute(*args, **kwargs)
        except InputError as error:
            sys.exit(f"study: {error}")

    workflow.execute = supervised
    asked = settings.dryrun or settings.verbose or settings.printshellcmds or settings.quiet or settings.debug_dag
    if workflow.nodes is None and not asked:
        for handler in [one for one in logger.handlers if isinstance(one, ColorizingTextHandler)]:
            logger.removeHandler(handler)
            logger.addHandler(_Brief())


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Be the only Snakemake in this folder, without locks of a killed one; raise InputError if another is there."""

    def refuse(holder: str) -> None:
        raise InputError(f"{holder} is running Snakemake in {Path.cwd()}; wait for it to end, or stop it")

    with only_one(".snakemake/running", wait=refuse) as locked:
        if locked:
            shutil.rmtree(".snakemake/locks", ignore_errors=True)
        yield


class _Brief(logging.Handler):
    """A line on stderr for each job and for what went wrong; the rest is in the file that Snakemake logs to."""

    def __init__(self) -> None:
        super().__init__()
        self._jobs: dict[int, str] = {}
        self._total = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of a record, if it has one."""
        # The terminal may be gone.
        with contextlib.suppress(OSError):
            if line := self._line(record):
                print(line, file=sys.stderr, flush=True)

    def _line(self, record: logging.LogRecord) -> str:
        fields, event, message = record.__dict__, getattr(record, "event", None), record.getMessage()
        if event == LogEvent.RUN_INFO:
            self._total = fields["stats"]["total"]
        if event == LogEvent.JOB_INFO:
            words = [fields["rule_name"], *(f"{key}={value}" for key, value in fields["wildcards"].items())]
            job = self._jobs[fields["jobid"]] = " ".join(words)
            return f"{len(self._jobs)} of {self._total}: {job}"
        if event == LogEvent.JOB_ERROR:
            return f"{self._jobs[fields['jobid']]} failed; its log: {' '.join(fields['log'])}"
        # A command that failed has said why.
        echo = message.startswith(_ECHOES) or "non-zero exit status" in message
        return message if message == NOTHING_TO_BE_DONE_MSG or (record.levelno >= logging.WARNING and not echo) else ""
