"""Where the work goes: devices, and the pieces that each device takes one after another.

A batch is sharded over a one-dimensional mesh of devices. On a CPU every core is a device, and each scans over chunks
of a few molecules: the N^2 temporaries of a chunk stay in that core's cache, and no big allocation is made at all. What
comes back is one partial sum a device, stacked; adding them up is left to the caller. No collective runs on a CPU:
XLA's in-process all-reduce waits inside the threads that the other devices need, and two cores deadlock within minutes.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from pipeline.study.config import ModelConfig

AXIS = "data"
# Molecules that a core takes at a time, and how many elements an array of all their pairs may then have.
CPU_CHUNK, CPU_CHUNK_ELEMENTS = 4, 2**19
# Such an array is 1 GiB on a GPU; the gradient of nine layers needs about sixty of them.
GPU_CHUNK_ELEMENTS = 2**28


def make_mesh(batch_size: int) -> Mesh:
    """Return a mesh over as many devices of this process as divide ``batch_size`` evenly."""
    devices = jax.local_devices()
    count = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    return Mesh(np.array(devices[:count]), (AXIS,))


def is_cpu(mesh: Mesh) -> bool:
    """Return whether the mesh is made of CPU cores."""
    return bool(mesh.devices.flat[0].platform == "cpu")


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def update_sharding(mesh: Mesh) -> Sharding:
    """Return where partial sums are added up and the optimiser runs: on a CPU its first core, else everywhere."""
    return SingleDeviceSharding(mesh.devices.flat[0]) if is_cpu(mesh) else replicated(mesh)


def chunk_size(mesh: Mesh, molecules: int, width: int, model: ModelConfig, *, parts: int = 1) -> int:
    """Return how many molecules of its share of a batch a device takes at a time, an equal part of them.

    On a CPU at most four; on a GPU all, unless their pairs would fill its memory.

    Args:
      mesh: the devices.
      molecules: of the batch.
      width: atoms that they are padded to; fewer large molecules than small ones fit a core's cache, or a GPU's memory.
      model: the network, of which the features of all pairs are the largest array.
      parts: what a share is divided into to save memory, for other devices than CPUs. Where it cannot be, the next
        larger number that it can be divided into counts.
    """
    share, elements = molecules // mesh.size, width**2 * model.edge_hidden
    most, fitting = (CPU_CHUNK, CPU_CHUNK_ELEMENTS) if is_cpu(mesh) else (share // parts, GPU_CHUNK_ELEMENTS)
    largest = max(1, min(most, fitting // elements))
    return max(n for n in range(1, largest + 1) if share % n == 0)


def partial_value_and_grad(loss: Callable[..., Array], mesh: Mesh, *, chunk: int) -> Callable[..., tuple[Array, Array]]:
    """Return ``(params, batch, constants) -> (sums of losses [D], gradients of those sums [D, P])`` over D devices.

    Args:
      loss: maps ``(params, batch, constants)`` to losses [B]; ``params`` is one flat vector [P], and every leaf of
        ``batch`` has B first.
      mesh: the D devices; B is a multiple of D.
      chunk: molecules a device takes at a time, see ``chunk_size``.
    """

    def on_device(params: Array, batch: Any, constants: Any) -> tuple[Array, Array]:
        share = jax.tree.leaves(batch)[0].shape[0]

        def add_chunk(total: tuple[Array, Array], part: Any) -> tuple[tuple[Array, Array], None]:
            value, gradient = jax.value_and_grad(lambda p: jnp.sum(loss(p, part, constants)))(params)
            return (total[0] + value, total[1] + gradient), None

        zero = (jnp.zeros((), params.dtype), jnp.zeros_like(params))
        (value, gradient), _ = lax.scan(add_chunk, zero, _chunks(batch, share, chunk))
        return value[None], gradient[None]

    return _on_devices(on_device, mesh)


def mapped(function: Callable[..., Any], mesh: Mesh, *, chunk: int) -> Callable[..., Any]:
    """Return ``function(params, batch, constants)`` on every device's share of the batch, in chunks.

    Every leaf of the batch and of the result has the molecules first.
    """

    def on_device(params: Any, batch: Any, constants: Any) -> Any:
        share = jax.tree.leaves(batch)[0].shape[0]
        results = lax.map(lambda part: function(params, part, constants), _chunks(batch, share, chunk))
        return jax.tree.map(lambda leaf: leaf.reshape(share, *leaf.shape[2:]), results)

    return _on_devices(on_device, mesh)


def _on_devices(function: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """Return ``function`` with its second argument and its results sharded over the molecules."""
    whole, split = PartitionSpec(), PartitionSpec(AXIS)
    # Nothing here is summed over devices, so there is nothing for JAX to check about what varies among them.
    return jax.shard_map(function, mesh=mesh, in_specs=(whole, split, whole), out_specs=split, check_vma=False)


def _chunks(batch: Any, share: int, size: int) -> Any:
    return jax.tree.map(lambda leaf: leaf.reshape(share // size, size, *leaf.shape[1:]), batch)
