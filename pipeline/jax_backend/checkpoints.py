"""Checkpoints of the full training state (Orbax), each with the digest of its run's configuration and of its content.

A checkpoint is written to a temporary folder and renamed, so a killed process leaves a complete one or none. One whose
content does not match its digest (a flipped bit, a cut file) is passed over with a note, for the one before it.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from pipeline.errors import InputError
from pipeline.files import write_text

KEEP = 2
State = TypeVar("State")


class Checkpoints:
    """The rolling checkpoints of one run in one folder.

    Attributes:
      directory: holds one folder a checkpoint, named after its step.
      config_digest: of the run's configuration; a checkpoint made under another one is refused.
    """

    def __init__(self, directory: Path, *, config_digest: str):
        """Open (and make) ``directory``."""
        self.directory = directory.absolute()
        self.config_digest = config_digest
        self.directory.mkdir(parents=True, exist_ok=True)
        # Orbax reports each save and restore at INFO and its experimental parts at WARNING.
        logging.getLogger("absl").setLevel(logging.ERROR)

    def save(self, step: int, state: Any, extra: dict[str, Any]) -> None:
        """Write ``state`` and ``extra`` (JSON) as the checkpoint of ``step`` and remove all but the newest two."""
        folder = self.directory / f"{step:08d}"
        temporary = self.directory / f"{step:08d}.partial"
        for path in (folder, temporary):
            shutil.rmtree(path, ignore_errors=True)
        temporary.mkdir()
        arrays = _host_arrays(state)
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            checkpointer.save(temporary / "state", arrays)
        meta = {"step": step, "config": self.config_digest, "content": _digest(arrays), "extra": extra}
        write_text(temporary / "meta.json", json.dumps(meta))
        temporary.rename(folder)
        for old in self._folders()[:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(self, like: State, *, note: Callable[[str], None]) -> tuple[State, dict[str, Any]] | None:
        """Return the newest sound checkpoint in the structure of ``like`` with its ``extra``, or None if there is none.

        Raises:
          InputError: a checkpoint belongs to another configuration of the run.
        """
        for folder in reversed(self._folders()):
            try:
                meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
                if meta["config"] != self.config_digest:
                    raise InputError(
                        f"{folder}: this checkpoint belongs to another configuration of the run; "
                        f"remove {self.directory} to start afresh"
                    )
                with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
                    arrays = checkpointer.restore(folder / "state")
                if _digest(arrays) != meta["content"]:
                    raise ValueError("its content does not match its digest")
                leaves = [arrays[name] for name in sorted(arrays)]
                return jax.tree.unflatten(jax.tree.structure(like), leaves), meta["extra"]
            except InputError:
                raise
            except Exception as error:
                # Whatever a damaged file makes Orbax raise; the checkpoint before it may be sound.
                reason = " ".join(str(error).split())[:200]
                note(f"{folder.name}: damaged checkpoint passed over ({type(error).__name__}: {reason})")
        return None

    def _folders(self) -> list[Path]:
        return sorted(path for path in self.directory.iterdir() if path.name.isdigit())


def _host_arrays(state: Any) -> dict[str, np.ndarray]:
    """Return the leaves of ``state`` as host arrays, named by their position."""
    return {f"leaf_{index:03d}": np.asarray(leaf) for index, leaf in enumerate(jax.tree.leaves(state))}


def _digest(arrays: dict[str, np.ndarray]) -> str:
    """Return a SHA-256 of names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
