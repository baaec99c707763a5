"""Rolling checkpoints of a training state: one file each, with the digest of its run's configuration.

A file is named after its step and written atomically, so a killed process leaves a complete one or none. One whose
content does not match its digest (a flipped bit, a cut file) is passed over with a note, for the one before it.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pipeline.core.errors import InputError
from pipeline.training.array_files import Arrays, is_intact, read_arrays, write_arrays

KEEP: Final = 2

State = TypeVar("State")


class CheckpointFiles:
    """The rolling checkpoints of one run in one folder."""

    def __init__(self, directory: Path, *, config_digest: str):
        """Open (and make) ``directory``; checkpoints made under another ``config_digest`` are refused."""
        self._directory, self._config_digest = directory.absolute(), config_digest
        self._directory.mkdir(parents=True, exist_ok=True)

    def save(self, step: int, arrays: Arrays, extra: Mapping[str, Any]) -> None:
        """Write ``arrays`` and ``extra`` (JSON) as the checkpoint of ``step`` and remove all but the newest two."""
        # What a killed process did not finish, and later steps that were found damaged: both would be there for ever.
        for unfinished in self._directory.glob(".*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        for passed_over in [path for path in self._files() if int(path.stem) >= step]:
            passed_over.unlink()
        metadata = {"config": self._config_digest, "extra": json.dumps(extra)}
        write_arrays(self._directory / f"{step:08d}.safetensors", arrays, metadata)
        for old in self._files()[:-KEEP]:
            old.unlink()

    def restore(
        self, build: Callable[[Arrays], State], *, note: Callable[[str], None]
    ) -> tuple[State, dict[str, Any]] | None:
        """Return the newest sound checkpoint as a state that ``build`` makes of its arrays, and its ``extra``, or None.

        Raises:
          InputError: a checkpoint belongs to another configuration of the run.
        """
        for path in reversed(self._files()):
            try:
                arrays, metadata = read_arrays(path)
                if not is_intact(arrays, metadata):
                    raise ValueError("its content does not match its digest")
                if metadata["config"] != self._config_digest:
                    raise InputError(
                        f"{path}: this checkpoint belongs to another configuration or other data of the run; "
                        f"remove {self._directory} to start afresh"
                    )
                return build(arrays), json.loads(metadata["extra"])
            except InputError:
                raise
            except Exception as error:
                # Whatever a damaged file makes its reader raise; the checkpoint before it may be sound.
                reason = " ".join(str(error).split())[:200]
                note(f"{path.stem}: damaged checkpoint passed over ({type(error).__name__}: {reason})")
        return None

    def _files(self) -> list[Path]:
        return sorted(self._directory.glob("[0-9]*.safetensors"))
