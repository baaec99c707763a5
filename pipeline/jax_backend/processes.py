"""Several processes that train one run together, each on its share of every batch.

Started by `srun --ntasks=2 python -m pipeline.cli.train ...`; SLURM's environment variables number them. Every process
holds the whole state and takes the same steps; only gradients are summed over them. The first one, the leader, reads
and writes the files.
"""

import os
from typing import Any, Final, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

Tree = TypeVar("Tree")

AXIS: Final = "processes"

# What a process that srun has started finds in its environment; a batch script has no step, and an interactive
# allocation no process number.
_TASKS: Final = "SLURM_STEP_NUM_TASKS"
_STARTED_BY_SRUN: Final = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")


class Processes:
    """The processes of this training, and where this one stands among them.

    Attributes:
      count: number of processes.
      index: of this one, from 0.
    """

    def __init__(self) -> None:
        """Take the processes that JAX has joined (``join``), or this one alone."""
        self.count, self.index = jax.process_count(), jax.process_index()
        first: dict[int, jax.Device] = {}
        for device in jax.devices():
            first.setdefault(device.process_index, device)
        self._here = jax.local_devices()[0]
        mesh = Mesh(np.array([first[process] for process in sorted(first)]), (AXIS,))
        self._split = NamedSharding(mesh, PartitionSpec(AXIS))
        self._add = jax.jit(lambda parts: jnp.sum(parts, axis=0), out_shardings=NamedSharding(mesh, PartitionSpec()))

    @property
    def leads(self) -> bool:
        """Whether this process is the one that reads and writes files."""
        return self.index == 0

    def share(self, batch: Tree) -> Tree:
        """Return this process's rows of a batch, every leaf of which has the molecules first."""
        if self.count == 1:
            return batch

        def rows(leaf: Any) -> Any:
            each = len(leaf) // self.count
            return leaf[self.index * each : (self.index + 1) * each]

        share: Tree = jax.tree.map(rows, batch)
        return share

    def sum(self, vector: Array) -> Array:
        """Return the sum over all processes of a vector [K] of each, on one device; all have to ask for it.

        One device of each process takes part: on a CPU the others would wait in the threads that it needs.
        """
        if self.count == 1:
            return vector
        here = jax.device_put(vector, SingleDeviceSharding(self._here))[None]
        parts = jax.make_array_from_single_device_arrays((self.count, *vector.shape), self._split, [here])
        added: Array = self._add(parts).addressable_data(0)
        return added

    def any(self, *wishes: bool) -> tuple[bool, ...]:
        """Return for each wish whether any process has it; all have to ask for it, and all get the same answer."""
        if self.count == 1:
            return wishes
        return tuple(bool(votes) for votes in np.asarray(self.sum(jnp.asarray(wishes, jnp.float32))))

    def as_leader_has(self, tree: Tree) -> Tree:
        """Return a tree of 32-bit arrays as it is in the leader, to the bit.

        All have to ask for it, with trees of the same shape.
        """
        if self.count == 1:
            return tree
        leaves, structure = jax.tree.flatten(tree)
        arrays = [np.asarray(leaf) for leaf in leaves]
        # As whole numbers, for a sum with zeros would lose the sign of a float's zero.
        words = np.frombuffer(b"".join(array.tobytes() for array in arrays), np.uint32)
        theirs = np.asarray(self.sum(jnp.asarray(words if self.leads else np.zeros_like(words)))).tobytes()
        ends = np.cumsum([array.nbytes for array in arrays])
        received = [
            np.frombuffer(theirs[end - array.nbytes : end], array.dtype).reshape(array.shape)
            for array, end in zip(arrays, ends, strict=True)
        ]
        of_leader: Tree = jax.tree.unflatten(structure, received)
        return of_leader


def join() -> None:
    """Join the other processes that srun has started for this training, if there are any; before anything is computed.

    The processes find each other through the first node of the step.
    """
    if not all(name in os.environ for name in _STARTED_BY_SRUN) or int(os.environ.get(_TASKS, "1")) == 1:
        return
    # Between processes; XLA's own collectives within one are not used (pipeline.jax_backend.parallel).
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would take SIGTERM for itself, which here saves the state (pipeline.cli.train).
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(cluster_detection_method="slurm")
