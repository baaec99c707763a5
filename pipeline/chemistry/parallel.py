"""Work on many molecules, shared among processes."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Final, TypeVar

import numpy as np

from pipeline.chemistry.molecules import Molecules

_MOLECULES_AT_ONCE: Final = 500
"""Molecules a worker process is given together, and between two steps of a progress bar."""

Result = TypeVar("Result")


def map_molecules(
    function: Callable[[Molecules], Result], molecules: Molecules, *, processes: int = 1, at_once: int | None = None
) -> Iterator[Result]:
    """Yield ``function`` of consecutive parts of the molecules, in their order.

    Args:
        function: of a module's top level, so that another process can import it.
        molecules: M molecules.
        processes: how many processes share the work; 1 starts none.
        at_once: molecules in each part; 500 by default.
    """
    step = at_once or _MOLECULES_AT_ONCE
    parts = [
        molecules.select(np.arange(start, min(start + step, len(molecules))))
        for start in range(0, len(molecules), step)
    ]
    if processes == 1 or len(parts) < 2:
        yield from map(function, parts)
        return
    # Not forked: the parent may hold the threads of Arrow and JAX.
    with ProcessPoolExecutor(min(processes, len(parts)), multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(function, parts)
