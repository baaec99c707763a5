"""How many cores this process may use."""

import os


def available_cores() -> int:
    """Return the cores that this process may use: those it is bound to, on a cluster no more than its task has.

    Not every cluster binds a task to its cores.
    """
    bound = len(os.sched_getaffinity(0))
    asked = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(bound, int(asked)) if asked.isdigit() and int(asked) else bound
