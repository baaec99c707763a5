"""The user's own molecules: where they are, and whether they have changed."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pipeline.core.errors import InputError
from pipeline.core.files import json_digest, sha256, visible_entries
from pipeline.study.group import Json

_SMALL: Final = 1_000_000
"""Bytes of a file that is compared by content, as Snakemake does, so that its copy on another machine is no change."""


def own_path(data: Json, base: str) -> str | None:
    """Return the path of a study's own molecules, which may be relative to the folder ``base``; None for a download.

    It is relative to the working directory, so that moving the project changes no input.
    """
    path: str | None = data["path"]
    return path if path is None or os.path.isabs(path) else os.path.relpath(os.path.join(base, path))


def own_version(path: str) -> str:
    """Return a digest that changes when one of the user's files is changed, replaced, added or removed.

    It is empty if there is no such file or folder. The newest time in a folder would not do, since an older file may
    replace one.

    Raises:
      InputError: the file or folder, or one below, cannot be read.
    """
    if not os.path.exists(path):
        return ""
    try:
        if os.path.isfile(path) and os.path.getsize(path) <= _SMALL:
            return sha256(path)
        return json_digest(sorted(_states(path)))
    except OSError as error:
        raise InputError(f"data.path: {error.filename}: {error.strerror}") from None


def _states(path: str) -> Iterator[tuple[str, int, int]]:
    """Yield name, size and time of a file, or of those below a folder, through links and without hidden ones."""
    for file in visible_entries(path) if os.path.isdir(path) else [Path(path)]:
        if file.exists() and not file.is_dir():  # and is no link to nothing or to a folder
            state = file.stat()
            # Whole seconds, which every archive keeps.
            yield str(file), state.st_size, int(state.st_mtime)
