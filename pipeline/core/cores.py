"""Number of CPU cores available to this process."""

import os


def available_cores() -> int:
    """Return the number of cores this process is bound to, at most ``SLURM_CPUS_PER_TASK`` where that is set.

    Not every cluster binds a task to its cores.
    """
    bound = len(os.sched_getaffinity(0))
    requested = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(bound, int(requested)) if requested.isdigit() and int(requested) else bound
