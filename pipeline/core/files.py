"""Atomic writes of files and directories, a lock between processes, what a folder holds, and digests of content."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

from pipeline.core.errors import InputError

CACHE_VARIABLE: Final = "CONSISTENT_EDM_CACHE"


def cache_directory(name: str) -> Path:
    """Return the folder for files that can be regenerated, such as compiled programs; it is not created here.

    It is inside the folder named by the environment variable ``CONSISTENT_EDM_CACHE``, or the user's cache folder.
    """
    default = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "consistent-edm"
    return Path(os.environ.get(CACHE_VARIABLE) or default) / name


@contextlib.contextmanager
def _named_if_full(path: Path) -> Iterator[None]:
    """Add the file to the error of a full disk, which names none."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it there on success, delete it on failure.

    An existing file at ``path`` is kept until the new content is complete and on disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkdtemp makes the folder private; the caller creates the file inside, with the permissions of the umask.
    with _named_if_full(path), tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)


@contextlib.contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a new, empty temporary directory; on success it replaces ``path``, on failure it is deleted.

    An existing directory is kept until the new content is complete and on disk, and then replaced as a whole, so that
    no old file remains among the new ones.

    Raises:
      NotADirectoryError: ``path`` is a file.
    """
    path = Path(os.path.realpath(path))
    if path.is_file():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with _named_if_full(path), tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        temporary, previous = Path(folder) / "new", Path(folder) / "previous"
        temporary.mkdir()
        yield temporary
        for name in temporary.rglob("*"):
            if name.is_file():
                with name.open("rb") as file:
                    os.fsync(file.fileno())
        # A non-empty directory cannot be replaced in one step: the old one moves to the folder deleted at the end.
        if path.exists():
            os.rename(path, previous)
        try:
            os.rename(temporary, path)
        except OSError:
            if previous.exists():
                os.rename(previous, path)
            raise


@contextlib.contextmanager
def exclusive_lock(path: str | os.PathLike[str], *, wait: Callable[[str], None]) -> Iterator[bool]:
    """Hold an exclusive lock on a file during the block, against processes on this machine and on others.

    The lock is released when its process ends, however it ends; the file stays.

    Args:
      path: the lock file; its folder is created if necessary.
      wait: called repeatedly, with the process and host that hold the lock, until it is released; should sleep, and may
        raise.

    Yields:
      Whether the lock is held; False on a file system without locks, where the block runs unlocked.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        locked = False
        while not locked:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked = True
            except BlockingIOError:
                wait(path.read_text(encoding="utf-8") or "another process")
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise
                break
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}")
        file.flush()
        yield locked


def visible_entries(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield what is in a folder and below, in any order, but for folders and what is hidden.

    A link to a folder is an entry: what is behind it may be anywhere, a folder above included.

    Raises:
      OSError: a folder cannot be read.
    """

    def refuse(error: OSError) -> NoReturn:
        raise error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in [*names, *links] if not name.startswith("."))


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` to ``path`` as indented JSON, atomically.

    Raises:
      ValueError: it contains NaN or infinity.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return the JSON value in a file.

    Raises:
      InputError: the file is missing, or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except ValueError as error:  # UnicodeDecodeError too
        raise InputError(f"{path}: not JSON, truncated or damaged ({error})") from None


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the hexadecimal SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_digest(value: Any) -> str:
    """Return a SHA-256 of a JSON value that does not depend on the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
