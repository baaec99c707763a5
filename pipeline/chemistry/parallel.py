"""Work on many molecules, shared among processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final, TypeVar

import numpy as np

from pipeline.chemistry.molecules import Molecules

_MOLECULES_AT_ONCE: Final = 500
"""Molecules a worker process is given together, and between two steps of a progress bar."""

Advance = Callable[[int], object]
Part = TypeVar("Part")
Result = TypeVar("Result")


def map_molecules(
    function: Callable[[Molecules], Result],
    molecules: Molecules,
    *,
    processes: int = 1,
    at_once: int | None = None,
    advance: Advance = lambda count: None,
) -> Iterator[Result]:
    """Yield ``function`` of consecutive parts of the molecules, in their order.

    Args:
        function: of a module's top level, so that another process can import it.
        molecules: M molecules.
        processes: how many processes share the work; 1 starts none.
        at_once: molecules in each part; 500 by default.
        advance: is told the number of molecules done since the last call.
    """
    step = at_once or _MOLECULES_AT_ONCE
    parts = [
        molecules.select(np.arange(start, min(start + step, len(molecules))))
        for start in range(0, len(molecules), step)
    ]
    for part, result in zip(parts, map_parts(function, parts, processes=processes), strict=True):
        advance(len(part))
        yield result


def map_parts(function: Callable[[Part], Result], parts: Sequence[Part], *, processes: int) -> Iterator[Result]:
    """Yield ``function`` of each of the parts, in their order; see ``map_molecules`` for the rest."""
    if processes == 1 or len(parts) < 2:
        yield from map(function, parts)
        return
    with worker_pool(min(processes, len(parts))) as pool:
        yield from pool.map(function, parts)


def worker_pool(processes: int) -> ProcessPoolExecutor:
    """Return a pool whose processes end with this one, however that ends, and leave Ctrl-C to it."""
    # Not forked: the parent may hold the threads of Arrow and JAX.
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_follow_parent)


def _follow_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent, "this is a worker"
    parent.join()
    os._exit(1)
