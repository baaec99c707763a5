"""What every stage's command line shares: how it ends, and where its log goes."""

import argparse
import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from pipeline.backends import BACKENDS
from pipeline.core.environment import prepare_environment
from pipeline.core.errors import InputError

# Ctrl-C, what a scheduler or `kill` sends, and what a closed terminal sends.
STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def add_log(parser: argparse.ArgumentParser) -> None:
    """Add ``--log``, the file that also receives the progress lines and the final error."""
    parser.add_argument("--log", type=Path, default=None, help="also write progress and errors to this file")


def on_signals(handler: Callable[[int, object], None]) -> None:
    """Let ``handler`` have the signals that ask a stage to end, but for those that are ignored, as under ``nohup``."""
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def add_backend(parser: argparse.ArgumentParser, *, override: bool) -> None:
    """Add ``--devices``, and ``--backend`` where the run's own can be overridden."""
    if override:
        parser.add_argument("--backend", choices=BACKENDS, default=None, help="instead of the one it was trained on")
    parser.add_argument("--devices", type=int, default=None, help="CPU cores to use; default: all")


def run(
    stage: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> int:
    """Parse ``argv``, run ``stage`` and return the exit status.

    0 on success; 2 with one line on stderr for anything the user can mend (``InputError``, a missing or
    unreadable file, a full disk); 128 plus the signal's number, with one line, when a signal ended it. Anything else
    is a defect of ours and keeps its traceback.
    """
    prepare_environment()
    args = parser.parse_args(argv)
    log: Path | None = getattr(args, "log", None)
    try:
        with _stopped_by_signals():
            if log:
                log.parent.mkdir(parents=True, exist_ok=True)
                log.write_text("", encoding="utf-8")
            stage(args)
        return 0
    except (InputError, OSError) as error:
        status, reason = 2, f"error: {' '.join(str(error).split())}"
    except KeyboardInterrupt as stopped:
        number = stopped.args[0] if stopped.args else signal.SIGINT
        status, reason = 128 + number, f"stopped by {signal.Signals(number).name}"
    tell(f"{parser.prog}: {reason}", log=log)
    return status


def tell(*lines: str, log: Path | None) -> None:
    """Write lines to stderr and to the log."""
    text = "".join(f"{line}\n" for line in lines)
    # The terminal may be gone, or the log be what could not be written.
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
    if log:
        with contextlib.suppress(OSError), log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt in the block on a signal, so that temporary files go; leave the handlers as they were."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt(number)

    before = {number: signal.getsignal(number) for number in STOPPING}
    on_signals(stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
