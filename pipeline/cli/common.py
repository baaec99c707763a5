"""What every stage's command line shares: how it ends, and where its log goes."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.core.errors import InputError


def add_log(parser: argparse.ArgumentParser) -> None:
    """Add ``--log``, the file that also receives the progress lines and the final error."""
    parser.add_argument("--log", type=Path, default=None, help="also write progress and errors to this file")


def run(
    stage: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> int:
    """Parse ``argv``, run ``stage`` and return the exit status.

    0 on success; 2 with one line on stderr for anything the user can mend (``InputError``, a missing or
    unreadable file, a full disk). Anything else is a defect of ours and keeps its traceback.
    """
    args = parser.parse_args(argv)
    log: Path | None = getattr(args, "log", None)
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("", encoding="utf-8")
    try:
        stage(args)
    except (InputError, OSError) as error:
        tell(f"{parser.prog}: error: {' '.join(str(error).split())}", log=log)
        return 2
    return 0


def tell(*lines: str, log: Path | None) -> None:
    """Write lines to stderr and to the log."""
    for line in lines:
        print(line, file=sys.stderr)
    if log:
        with log.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
