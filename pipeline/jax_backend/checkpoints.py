"""Checkpoints of the full training state, stored with Orbax (``pipeline.training.checkpoint_files``)."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import numpy.typing as npt
import orbax.checkpoint as ocp

from pipeline.training.checkpoint_files import Arrays, CheckpointFiles

State = TypeVar("State")


class Checkpoints:
    """The rolling checkpoints of one run in one folder, of a state that is any tree of arrays."""

    def __init__(self, directory: Path, *, config_digest: str):
        """Open (and make) ``directory``; checkpoints made under another ``config_digest`` are refused."""
        # Orbax reports each save and restore at INFO and its experimental parts at WARNING.
        logging.getLogger("absl").setLevel(logging.ERROR)
        self._files = CheckpointFiles(directory, config_digest=config_digest, write=_write, read=_read)

    def save(self, step: int, state: Any, extra: dict[str, Any]) -> None:
        """Write ``state`` and ``extra`` (JSON) as the checkpoint of ``step`` and remove all but the newest two."""
        self._files.save(step, _host_arrays(state), extra)

    def restore(self, like: State, *, note: Callable[[str], None]) -> tuple[State, dict[str, Any]] | None:
        """Return the newest sound checkpoint in the structure of ``like`` with its ``extra``, or None if there is none.

        Raises:
          InputError: a checkpoint belongs to another configuration of the run.
        """

        def build(arrays: Arrays) -> State:
            state: State = jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in sorted(arrays)])
            return state

        return self._files.restore(build, note=note)


def _write(path: Path, arrays: Arrays) -> None:
    with _checkpointer() as checkpointer:
        checkpointer.save(path, dict(arrays))


def _read(path: Path) -> Arrays:
    with _checkpointer() as checkpointer:
        arrays: Arrays = checkpointer.restore(path)
        return arrays


def _checkpointer() -> ocp.Checkpointer:
    """Return Orbax for this process alone: of several that train together it would wait for the others."""
    this = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=this, active_processes={this}, barrier_sync_key_prefix=f"process_{this}"
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _host_arrays(state: Any) -> dict[str, npt.NDArray[Any]]:
    """Return the leaves of ``state`` as host arrays, named by their position."""
    return {f"leaf_{index:03d}": np.asarray(leaf) for index, leaf in enumerate(jax.tree.leaves(state))}
