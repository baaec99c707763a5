"""Code shared by the command lines of all stages: exit status, signals and log."""

import argparse
import contextlib
import math
import os
import re
import select
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NoReturn, TextIO, TypeVar

from pipeline.core.environment import prepare_environment
from pipeline.core.errors import InputError
from pipeline.study.frameworks import FRAMEWORKS

# From Ctrl-C, from a scheduler or `kill`, and from a closed terminal.
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_OUT_OF_MEMORY: Final = re.compile("RESOURCE_EXHAUSTED|out of memory|can't allocate memory")
"""What JAX and PyTorch say, whose errors are not MemoryError."""

Number = TypeVar("Number", int, float)


def stage_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return the parser of a stage, which is described by its module's docstring: "Stage NAME: what it does."."""
    first, _, rest = (doc or "").partition("\n")
    name, _, what = first.removeprefix("Stage ").partition(": ")
    raw = argparse.RawDescriptionHelpFormatter
    return _Parser(prog=name or None, description=what[:1].upper() + what[1:], epilog=rest, formatter_class=raw)


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are told on one line, like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise InputError with the message."""
        raise InputError(message)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the process after ``--help``; whoever reads it, such as head, may have seen enough."""
        sys.stdout.flush()
        super().exit(status, message)


def at_least(least: Number) -> Callable[[str], Number]:
    """Return the type of an option: a finite number of the type of ``least`` that is not below it."""

    def number(text: str) -> Number:
        value = type(least)(text)
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} should be at least {least}")
        return value

    return number


def check_folder(path: Path, what: str, file: str) -> None:
    """Refuse an output that would replace anything but an earlier folder of ``what``, which has this file."""
    if path.is_dir():
        if any(path.iterdir()) and not (path / file).is_file():
            raise InputError(f"--output: {path} contains other files than {what}; name a new folder")
    elif path.exists():
        raise InputError(f"--output: {path} is a file; name a new folder")


def handle_stop_signals(handler: Callable[[int, object], None]) -> None:
    """Install ``handler`` for the signals that stop a stage, except for those that are ignored, as under ``nohup``."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def add_backend(parser: argparse.ArgumentParser, *, override: bool) -> None:
    """Add ``--devices`` and, if ``override``, ``--backend`` to replace that of the run."""
    if override:
        parser.add_argument("--backend", choices=FRAMEWORKS, help="default: the one that the run was trained on")
    parser.add_argument("--devices", type=int, help="CPU cores to use; default: all")


def run(
    stage: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> int:
    """Parse ``argv``, run ``stage`` and return the exit status; adds ``--log``, which receives progress and error.

    The status is 0 on success; 2, with one line on stderr, for errors that the user can fix (``InputError``, a missing
    or unreadable file, a full disk, too little memory); 128 plus the signal number after a signal, with one line on
    stderr; and 128 + SIGPIPE, without a line, when nobody reads the output any more. Any other exception is a bug and
    keeps its traceback.
    """
    prepare_environment()
    parser.add_argument("--log", type=Path, help="also write progress and errors to this file")
    log: Path | None = None
    try:
        args = parser.parse_args(argv)
        _check_outputs(args)
        log = args.log
        with _interrupted_by_signals():
            if log:
                log.parent.mkdir(parents=True, exist_ok=True)
                log.write_text("", encoding="utf-8")
            stage(args)
            sys.stdout.flush()
        return 0
    except (InputError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _is_unread(sys.stdout):
            return 128 + signal.SIGPIPE
        status, reason = 2, f"error: {' '.join(str(error).split())}"
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(str(error)):
            raise
        status, reason = 2, ": ".join(["error: not enough memory", *str(error).splitlines()[:1]])
    except KeyboardInterrupt as stopped:
        number = stopped.args[0] if stopped.args else signal.SIGINT
        status, reason = 128 + number, f"stopped by {signal.Signals(number).name}"
    tell(f"{parser.prog}: {reason}", log=log)
    return status


def _check_outputs(args: argparse.Namespace) -> None:
    """Refuse, before any work, a log or an output that would replace an input, and an output without a place.

    Raises:
      InputError: the log or the output is another file of the command, or the log lies in a folder that it reads.
      OSError: the output's folder cannot be written to or made.
    """
    written = ("output", "log")
    values = [value if isinstance(value, list) else [value] for key, value in vars(args).items() if key not in written]
    reads = {Path(os.path.realpath(one)) for value in values for one in value if isinstance(one, Path)}
    taken = set(reads)
    for key in written:
        if path := getattr(args, key, None):
            place = Path(os.path.realpath(path))
            if place in taken:
                raise InputError(f"--{key}: {path} is another file of this command")
            if key == "log" and (folders := reads & {*place.parents}):
                raise InputError(f"--log: {path} is in {folders.pop()}, which this command reads; put it elsewhere")
            taken.add(place)
    if output := getattr(args, "output", None):
        folder = output if output.is_dir() else output.absolute().parent
        nearest = next(one for one in (folder, *folder.parents) if one.exists())
        tempfile.TemporaryDirectory(prefix=".", dir=nearest).cleanup()


def _is_unread(stream: TextIO) -> bool:
    """Return whether nobody reads a stream any more, such as head once it has seen enough; what is left is dropped."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    if unread := bool(poll.poll(0)):
        # Python would complain about what is left as it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return unread


def tell(*lines: str, log: Path | None) -> None:
    """Write lines to stderr and to the log."""
    text = "".join(f"{line}\n" for line in lines)
    # The terminal may be gone, or the log may be the file that could not be written.
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
    if log:
        with contextlib.suppress(OSError), log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)


@contextlib.contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Turn stop signals in the block into KeyboardInterrupt, so that temporary files are deleted."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt(number)

    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    handle_stop_signals(stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
