"""Hooks into Snakemake: recovery after a crash, one Snakemake per folder, and brief output."""

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

from pipeline.core.environment import prepare_environment
from pipeline.core.errors import InputError
from pipeline.core.files import exclusive_lock
from pipeline.study.claims import claim_results
from pipeline.study.group import Json
from pipeline.study.own_molecules import own_path

# Messages of Snakemake that repeat the failure of a job.
_REDUNDANT: Final = ("Exiting because a job execution failed", "WorkflowError:\nAt least one job did not complete")


def supervise(workflow: Any, study: Json) -> None:
    """Hook into Snakemake's run of a study; called by the Snakefile.

    - Outputs that a killed Snakemake left incomplete are remade, and its locks are removed. A lock of our own, released
      when its process ends, shows that they are stale.
    - While one Snakemake runs in a folder, a second one ends with a one-line error.
    - A study does not overwrite what another one made (``pipeline.study.claims``), and its molecules are there.
    - On one machine every job is reported on one line, unless an option of Snakemake sets its output.
    """
    prepare_environment()
    if not workflow.is_main_process:
        return
    settings = workflow.output_settings
    # A wrapper of `execute` runs before Snakemake checks its locks, and not for other commands such as --report.
    execute: Callable[..., Any] = workflow.execute

    def execute_locked(*args: Any, **kwargs: Any) -> Any:
        workflow.dag_settings.force_incomplete = True
        owner = " ".join(os.path.relpath(path) for path in workflow.configfiles)
        try:
            with contextlib.ExitStack() as stack:
                lock = _folder_lock()
                if settings.dryrun:
                    with contextlib.suppress(InputError), lock:
                        pass
                else:
                    stack.enter_context(lock)
                molecules = own_path(study["data"], workflow.basedir)
                record = not settings.dryrun
                claim_results(study, owner=owner, molecules=molecules, results=Path("results"), record=record)
                return execute(*args, **kwargs)
        except InputError as error:
            sys.exit(f"study: {error}")

    workflow.execute = execute_locked
    custom = settings.dryrun or settings.verbose or settings.printshellcmds or settings.quiet or settings.debug_dag
    if workflow.nodes is None and not custom:
        for handler in [one for one in logger.handlers if isinstance(one, ColorizingTextHandler)]:
            logger.removeHandler(handler)
            logger.addHandler(_BriefHandler())


@contextlib.contextmanager
def _folder_lock() -> Iterator[None]:
    """Lock this folder and remove the locks of a killed Snakemake; raise InputError if another one is running."""

    def refuse(holder: str) -> None:
        raise InputError(f"{holder} is running Snakemake in {Path.cwd()}; wait for it to end, or stop it")

    with exclusive_lock(".snakemake/running", wait=refuse) as locked:
        if locked:
            shutil.rmtree(".snakemake/locks", ignore_errors=True)
        yield


class _BriefHandler(logging.Handler):
    """Writes one line per job and per failure to stderr; the rest is in Snakemake's log file."""

    def __init__(self) -> None:
        super().__init__()
        self._jobs: dict[int, str] = {}
        self._total = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line for a record, if any."""
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
        # A command that failed has already reported why.
        redundant = message.startswith(_REDUNDANT) or "non-zero exit status" in message
        return (
            message
            if message == NOTHING_TO_BE_DONE_MSG or (record.levelno >= logging.WARNING and not redundant)
            else ""
        )
