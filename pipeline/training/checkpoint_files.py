"""Rolling checkpoints of a training state, each with the digest of its run's configuration and of its content.

A checkpoint is a folder named after its step. It is written to a temporary folder and renamed, so a killed process
leaves a complete one or none. One whose content does not match its digest (a flipped bit, a cut file) is passed over
with a note, for the one before it. How the arrays themselves are stored is up to each backend.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy.typing as npt

from pipeline.core.errors import InputError
from pipeline.core.files import sha256, write_text

KEEP = 2
DESCRIPTION = "meta.json"

Arrays = Mapping[str, npt.NDArray[Any]]
State = TypeVar("State")


class CheckpointFiles:
    """The rolling checkpoints of one run in one folder.

    Attributes:
      directory: holds one folder a checkpoint, named after its step.
      config_digest: of the run's configuration; a checkpoint made under another one is refused.
    """

    def __init__(
        self,
        directory: Path,
        *,
        config_digest: str,
        write: Callable[[Path, Arrays], None],
        read: Callable[[Path], Arrays],
    ):
        """Open (and make) ``directory``.

        Args:
          directory: for the checkpoints.
          config_digest: see the class.
          write: stores arrays at a path that does not exist yet, as a file or a folder.
          read: returns what ``write`` stored; may raise anything when that is damaged.
        """
        self.directory = directory.absolute()
        self.config_digest = config_digest
        self._write, self._read = write, read
        self.directory.mkdir(parents=True, exist_ok=True)

    def save(self, step: int, arrays: Arrays, extra: Mapping[str, Any]) -> None:
        """Write ``arrays`` and ``extra`` (JSON) as the checkpoint of ``step`` and remove all but the newest two."""
        # What a killed process did not finish, and later steps that were found damaged: both would be there for ever.
        passed_over = [path for path in self._folders() if int(path.name) >= step]
        for path in [*self.directory.glob("*.partial"), *passed_over]:
            shutil.rmtree(path, ignore_errors=True)
        folder = self.directory / f"{step:08d}"
        temporary = self.directory / f"{step:08d}.partial"
        temporary.mkdir()
        self._write(temporary / "state", arrays)
        meta = {"step": step, "config": self.config_digest, "content": content_digest(temporary), "extra": dict(extra)}
        write_text(temporary / DESCRIPTION, json.dumps(meta))
        temporary.rename(folder)
        for old in self._folders()[:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(
        self, build: Callable[[Arrays], State], *, note: Callable[[str], None]
    ) -> tuple[State, dict[str, Any]] | None:
        """Return the newest sound checkpoint as a state that ``build`` makes of its arrays, and its ``extra``, or None.

        Raises:
          InputError: a checkpoint belongs to another configuration of the run.
        """
        for folder in reversed(self._folders()):
            try:
                meta = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
                if meta["config"] != self.config_digest:
                    raise InputError(
                        f"{folder}: this checkpoint belongs to another configuration or other data of the run; "
                        f"remove {self.directory} to start afresh"
                    )
                # Before anything reads it: readers of arrays leave a mess behind when they stumble.
                if content_digest(folder) != meta["content"]:
                    raise ValueError("its content does not match its digest")
                return build(self._read(folder / "state")), meta["extra"]
            except InputError:
                raise
            except Exception as error:
                # Whatever a damaged file makes its reader raise; the checkpoint before it may be sound.
                reason = " ".join(str(error).split())[:200]
                note(f"{folder.name}: damaged checkpoint passed over ({type(error).__name__}: {reason})")
        return None

    def _folders(self) -> list[Path]:
        return sorted(path for path in self.directory.iterdir() if path.name.isdigit())


def content_digest(folder: Path) -> str:
    """Return a SHA-256 of the names and bytes of all files in a checkpoint's folder but the description."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / DESCRIPTION:
            digest.update(f"{path.relative_to(folder)} {sha256(path)}\n".encode())
    return digest.hexdigest()
