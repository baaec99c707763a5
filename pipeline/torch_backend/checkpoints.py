"""Checkpoints of the full training state, stored as safetensors (``pipeline.training.checkpoint_files``)."""

import os
from pathlib import Path

from safetensors.numpy import load_file, save

from pipeline.training.checkpoint_files import Arrays, CheckpointFiles


def open_checkpoints(directory: Path, *, config_digest: str) -> CheckpointFiles:
    """Return the rolling checkpoints of a run; those made under another ``config_digest`` are refused."""
    return CheckpointFiles(directory, config_digest=config_digest, write=_write, read=_read)


def _write(path: Path, arrays: Arrays) -> None:
    file = _file(path)
    # Not by save_file, whose files nobody else may read, whatever the umask.
    file.write_bytes(save(dict(arrays)))
    with file.open("rb") as written:
        os.fsync(written.fileno())


def _read(path: Path) -> Arrays:
    arrays: Arrays = load_file(_file(path))
    return arrays


def _file(path: Path) -> Path:
    return path.with_suffix(".safetensors")
