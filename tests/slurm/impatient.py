"""Snakemake that looks after its jobs every second.

Its executor lets ten seconds more go by after every look that found nothing new, out of regard for a scheduler that
many ask; most of a test would be spent waiting for that.
"""

import sys

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor


def _set(executor: Executor, seconds: int) -> None:
    """Leave it at one second."""


Executor.next_seconds_between_status_checks = property(lambda executor: 1, _set)

if __name__ == "__main__":
    main(sys.argv[1:])
