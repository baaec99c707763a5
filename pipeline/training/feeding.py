"""Noisy batches prepared ahead of the training, by a thread or by processes.

A step's batch depends on the seed and the step alone, so the number of workers changes no result. The assignment of
atoms holds Python's global lock (SciPy 1.17), so two threads prepare no more than one (measured).
"""

import contextlib
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from queue import SimpleQueue

from pipeline.data.batches import Batch, PaddedMolecules
from pipeline.study.costs import MAX_WORKERS
from pipeline.training.noisy_batches import Draw, HostBatch, Noising

Prepare = Callable[[PaddedMolecules, int], HostBatch]


def worker_processes(cores: int, *, on_cpu: bool) -> int:
    """Return how many processes should prepare batches; 0 for a thread of this process.

    Training on a CPU is far slower than one thread, and uses all cores. Beside a GPU one core is left to this process.
    """
    return 0 if on_cpu else min(cores - 1, MAX_WORKERS)


def prepared(
    steps: Iterator[tuple[int, float, Batch]], noising: Noising, *, processes: int = 0
) -> Generator[tuple[int, float, HostBatch]]:
    """Yield (step, epochs done, noisy batch) for every (step, epochs done, batch), in order.

    Args:
      steps: what to prepare.
      noising: prepares it.
      processes: how many work at the same time, two batches ahead each; 0 for one thread, one batch ahead.

    Raises:
      ChildProcessError: a process was killed.
    """
    with contextlib.ExitStack() as stack:
        prepare = stack.enter_context(_processes(noising.draw, processes)) if processes else noising.draw.training
        threads = ThreadPoolExecutor(processes or 1)
        stack.callback(threads.shutdown, cancel_futures=True)
        waiting: deque[tuple[int, float, Future[HostBatch]]] = deque()
        for step, epoch, batch in steps:
            waiting.append((step, epoch, threads.submit(prepare, noising.molecules(batch), step)))
            if len(waiting) > max(1, 2 * processes):
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())


def _result(step: int, epoch: float, batch: Future[HostBatch]) -> tuple[int, float, HostBatch]:
    return step, epoch, batch.result()


@contextlib.contextmanager
def _processes(draw: Draw, count: int) -> Iterator[Prepare]:
    """Yield ``draw.training`` as ``count`` processes compute it, for as many threads; they end with the block."""
    # Not forked: this process has the threads of its backend.
    context = multiprocessing.get_context("spawn")
    # Otherwise the first process starts it and unblocks the signals that are blocked around that (Python 3.11).
    resource_tracker.ensure_running()
    idle: SimpleQueue[Connection] = SimpleQueue()
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(draw, theirs))
            with _stop_signals_blocked():
                process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(ours.close)
            idle.put(ours)

        def prepare(molecules: PaddedMolecules, step: int) -> HostBatch:
            connection = idle.get()
            result: HostBatch | Exception
            try:
                connection.send((molecules, step))
                result = connection.recv()
            except (EOFError, OSError):
                # Raised below: the traceback of this one would keep the buffers of the pipe alive.
                result = ChildProcessError("a process that prepares batches was killed, perhaps for its memory")
            finally:
                idle.put(connection)
            if isinstance(result, Exception):
                raise result
            return result

        yield prepare


def _work(draw: Draw, connection: Connection) -> None:
    """Prepare batches until the other end of the pipe is closed, or killed."""
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            molecules, step = connection.recv()
            try:
                result: HostBatch | Exception = draw.training(molecules, step)
            except Exception as error:
                result = error
            connection.send(result)


@contextlib.contextmanager
def _stop_signals_blocked() -> Iterator[None]:
    """Let processes that start in the block never receive stop signals: the training saves its state first."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
