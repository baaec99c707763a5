"""Where the work goes: threads that each take a part of a batch.

On a CPU every core computes the gradient of its share of the molecules on its own, with single-threaded operations:
PyTorch releases Python's lock within an operation. Splitting each operation over the cores instead makes them wait for
each other some thousand times a step. On a GPU there is one share.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from pipeline.study.config import ModelConfig
from pipeline.torch_backend.egnn import EGNN
from pipeline.torch_backend.objective import Objective
from pipeline.torch_backend.runtime import Machine
from pipeline.torch_backend.weights import use_gradient, use_vector
from pipeline.training.noisy_batches import NoisyBatch

# Molecules that go through the network together on a CPU, and how large an array of all their pairs may be: more would
# leave the core's cache, fewer would be all overhead.
CPU_CHUNK, CPU_CHUNK_BYTES = 16, 2**23
# Such an array on a GPU; the gradient of nine layers needs about sixty of them.
GPU_CHUNK_BYTES = 2**30

Result = TypeVar("Result")


def take(batch: NoisyBatch[Tensor], part: slice) -> NoisyBatch[Tensor]:
    """Return some of a batch's molecules."""
    return batch.map(lambda tensor: tensor[part])


class Workers:
    """A thread for each core; one for a GPU."""

    def __init__(self, machine: Machine):
        """Prepare the threads; they start with the first work. From now on no operation uses several by itself."""
        self.count = machine.cores if machine.is_cpu else 1
        self._is_cpu = machine.is_cpu
        self._pool = ThreadPoolExecutor(self.count) if self.count > 1 else None
        if self._pool:
            torch.set_num_threads(1)

    def run(self, tasks: Iterable[Callable[[], Result]]) -> list[Result]:
        """Run tasks at the same time; return their results in order."""
        if self._pool is None:
            return [task() for task in tasks]
        return list(self._pool.map(lambda task: task(), tasks))

    def chunk(self, config: ModelConfig, width: int) -> int:
        """Return how many molecules, padded to ``width``, may go through a network together: a power of two.

        On a CPU so few that they stay in a core's cache; on a GPU as many as its memory should hold.
        """
        fitting = (CPU_CHUNK_BYTES if self._is_cpu else GPU_CHUNK_BYTES) // (4 * width**2 * config.edge_hidden)
        chunk = 1 << max(fitting.bit_length() - 1, 0)
        return min(CPU_CHUNK, chunk) if self._is_cpu else chunk

    def infer(self, function: Callable[[slice], Tensor], count: int, *, chunk: int) -> Tensor:
        """Return ``function`` of ``count`` molecules, ``chunk`` at a time and without gradients: [count, ...]."""

        def infer(part: slice) -> Tensor:
            # A mode is a thread's own.
            with torch.inference_mode():
                return function(part)

        parts = [slice(start, min(start + chunk, count)) for start in range(0, count, chunk)]
        return torch.cat(self.run([partial(infer, part) for part in parts]))


class Replicas:
    """Copies of an objective with the same weights and gradients of their own, one for each share of a batch."""

    def __init__(
        self,
        objective: Objective,
        weights: Tensor,
        workers: Workers,
        *,
        batch_size: int,
        parts: int,
        compile: bool = False,
    ):
        """Copy the objective.

        Args:
          objective: whose losses to minimise; on the device already.
          weights: of all copies, one vector [P]; they follow when it is changed in place.
          workers: who computes.
          batch_size: molecules a step; split evenly over as many workers as divide it.
          parts: what each share is computed in one after the other, to save memory.
          compile: whether the layers of each copy go through ``torch.compile``.
        """
        count = max(n for n in range(1, workers.count + 1) if batch_size % n == 0)
        share = batch_size // count
        self._workers = workers
        self._shares = [range(start, start + share) for start in range(0, batch_size, share)]
        self._largest_chunk = max(1, share // parts)
        self._objectives = [objective] + [deepcopy(objective) for _ in range(count - 1)]
        self._gradients = torch.zeros(count, weights.numel(), dtype=weights.dtype, device=weights.device)
        for replica, gradient in zip(self._objectives, self._gradients, strict=True):
            use_vector(replica, weights)
            use_gradient(replica, gradient)
            # Not before: a copy of a compiled network is not compiled.
            if compile:
                replica.model.compile_layers()
        self._seen: set[int] = set()

    def value_and_gradient(self, batch: NoisyBatch[Tensor], teacher: EGNN) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a batch, a scalar, and its gradient [P]; their sums are in a fixed order."""
        batch_size, width = batch.mask.shape
        share_size = len(self._shares[0])
        config = self._objectives[0].model.config
        largest = min(self._workers.chunk(config, width), self._largest_chunk)
        chunk = max(n for n in range(1, largest + 1) if share_size % n == 0)

        def add_up(replica: Objective, gradient: Tensor, share: range) -> Tensor:
            gradient.zero_()
            total = gradient.new_zeros(())
            for start in share[::chunk]:
                loss = replica.losses(take(batch, slice(start, start + chunk)), teacher).sum()
                torch.autograd.backward(loss)
                total += loss.detach()
            return total

        shares = zip(self._objectives, self._gradients, self._shares, strict=True)
        tasks = [partial(add_up, *own) for own in shares]
        # One thread at a time may compile a program; later it is there for all.
        totals = self._workers.run(tasks) if width in self._seen else [each() for each in tasks]
        self._seen.add(width)
        return torch.stack(totals).sum() / batch_size, self._gradients.sum(dim=0) / batch_size
