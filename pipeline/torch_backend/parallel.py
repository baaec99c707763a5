"""Where the work goes: threads that each take a part of a batch.

On a CPU every core computes the gradient of its share of the molecules on its own, with single-threaded operations:
PyTorch releases Python's lock within an operation. Splitting each operation over the cores instead makes them wait for
each other some thousand times a step. On a GPU there is one share.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor

from pipeline.torch_backend.edm import EDM, Draws
from pipeline.torch_backend.features import Cloud
from pipeline.torch_backend.runtime import Machine
from pipeline.torch_backend.weights import use_gradient, use_vector

# Molecules that go through the network together where no gradient is needed.
CPU_CHUNK, GPU_CHUNK = 32, 256

Result = TypeVar("Result")


def take(cloud: Cloud, part: slice) -> Cloud:
    """Return some molecules of a batch."""
    return Cloud(cloud.x[part], cloud.h[part])


class Workers:
    """A thread for each core; one for a GPU."""

    def __init__(self, machine: Machine):
        """Prepare the threads; they start with the first work. From now on no operation uses several by itself."""
        self.count = machine.cores if machine.is_cpu else 1
        self._chunk = CPU_CHUNK if machine.is_cpu else GPU_CHUNK
        self._pool = ThreadPoolExecutor(self.count) if self.count > 1 else None
        if self._pool:
            torch.set_num_threads(1)

    def run(self, tasks: Iterable[Callable[[], Result]]) -> list[Result]:
        """Run tasks at the same time; return their results in order."""
        if self._pool is None:
            return [task() for task in tasks]
        return list(self._pool.map(lambda task: task(), tasks))

    def infer(self, function: Callable[[slice], Tensor], count: int) -> Tensor:
        """Return ``function`` of all of ``count`` molecules, taken in chunks and without gradients: [count, ...]."""

        def task(part: slice) -> Callable[[], Tensor]:
            def call() -> Tensor:
                # A mode is a thread's own.
                with torch.inference_mode():
                    return function(part)

            return call

        parts = [slice(start, min(start + self._chunk, count)) for start in range(0, count, self._chunk)]
        return torch.cat(self.run([task(part) for part in parts]))


class Replicas:
    """Copies of an objective with the same weights and gradients of their own, one for each share of a batch.

    Attributes:
      weights: of all copies, one vector [P]; they follow when it is changed in place.
    """

    def __init__(self, objective: EDM, weights: Tensor, workers: Workers, *, batch_size: int, parts: int):
        """Copy the objective.

        Args:
          objective: whose losses to minimise; on the device already.
          weights: see the class.
          workers: who computes.
          batch_size: molecules a step; split evenly over as many workers as divide it.
          parts: what each share is computed in one after the other, to save memory.
        """
        count = max(n for n in range(1, workers.count + 1) if batch_size % n == 0)
        share = batch_size // count
        self.weights, self._workers = weights, workers
        self._shares = [range(start, start + share) for start in range(0, batch_size, share)]
        self._chunk = max(n for n in range(1, max(1, share // parts) + 1) if share % n == 0)
        self._objectives = [objective] + [deepcopy(objective) for _ in range(count - 1)]
        self._gradients = torch.zeros(count, weights.numel(), dtype=weights.dtype, device=weights.device)
        for replica, gradient in zip(self._objectives, self._gradients, strict=True):
            use_vector(replica.model, weights)
            use_gradient(replica.model, gradient)
        self._seen: set[int] = set()

    def value_and_gradient(self, data: Cloud, mask: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a batch, a scalar, and its gradient [P]; their sums are in a fixed order."""

        def task(replica: EDM, gradient: Tensor, share: range) -> Callable[[], Tensor]:
            def call() -> Tensor:
                gradient.zero_()
                total = gradient.new_zeros(())
                for start in share[:: self._chunk]:
                    part = slice(start, start + self._chunk)
                    here = Draws(draws.t[part], take(draws.noise, part))
                    loss = replica.losses(take(data, part), mask[part], here).sum()
                    torch.autograd.backward(loss)
                    total += loss.detach()
                return total

            return call

        tasks = [task(*arguments) for arguments in zip(self._objectives, self._gradients, self._shares, strict=True)]
        width, batch_size = mask.shape[1], mask.shape[0]
        # One thread at a time may compile a program; later it is there for all.
        totals = self._workers.run(tasks) if width in self._seen else [each() for each in tasks]
        self._seen.add(width)
        return torch.stack(totals).sum() / batch_size, self._gradients.sum(dim=0) / batch_size
