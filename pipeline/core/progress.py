"""Progress with rate and remaining time: a bar on stderr, and plain lines in a log file."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn, TextIO

from tqdm import tqdm

LOG_INTERVAL_SECONDS = 10.0


class Progress:
    """A tqdm bar on stderr that also writes a line to ``log`` every ten seconds and at the end."""

    def __init__(self, bar: "tqdm[NoReturn]", log: TextIO | None):
        """Take what ``progress`` has opened, which also closes it."""
        self._bar, self._log, self._logged = bar, log, time.monotonic()

    def update(self, count: int, **values: str) -> None:
        """Advance by ``count`` and show ``values`` (already formatted) behind the bar."""
        self._bar.set_postfix(values, refresh=False)
        self._bar.update(count)
        if time.monotonic() - self._logged >= LOG_INTERVAL_SECONDS:
            self._write_line()

    def show(self, **values: str) -> None:
        """Show ``values`` behind the bar at once, until the next update."""
        # A bar that was shown is to end its line, which tqdm omits within the delay.
        self._bar.delay = 0
        self._bar.set_postfix(values)

    def resume(self, count: int) -> None:
        """Start at ``count``, the work of an earlier session, which does not count towards the rate."""
        # tqdm's reset would show the bar immediately, in front of the error of a stage that fails now.
        self._bar.initial = self._bar.n = self._bar.last_print_n = count
        self._bar.start_t = self._bar.last_print_t = time.time()

    def note(self, message: str) -> None:
        """Write a message above the bar and to the log."""
        # Training continues, or saves its state, when its terminal is gone.
        with suppress(OSError):
            self._bar.write(message, file=sys.stderr)
        if self._log:
            print(message, file=self._log, flush=True)

    def close(self) -> None:
        """Close the bar and the log."""
        self._write_line()
        self._bar.close()
        if self._log:
            self._log.close()

    def _write_line(self) -> None:
        self._logged = time.monotonic()
        if self._log:
            print(str(self._bar), file=self._log, flush=True)


@contextmanager
def progress(
    *,
    total: int | None,
    description: str,
    unit: str,
    unit_scale: bool = False,
    log: Path | None = None,
) -> Iterator[Progress]:
    """Yield a ``Progress`` and close it at the end; ``unit_scale`` shows counts in k, M and G."""
    # Without a terminal (a batch job, CI) every update of the bar adds to the output: print it only now and then.
    interactive = sys.stderr.isatty()
    bar = tqdm(
        total=total,
        desc=description,
        unit=f" {unit}",
        unit_scale=unit_scale,
        dynamic_ncols=interactive,
        # A stage that fails immediately should print its error and nothing else.
        delay=1.0,
        mininterval=0.5 if interactive else LOG_INTERVAL_SECONDS,
        file=sys.stderr,
    )
    shown = Progress(bar, log.open("a", encoding="utf-8", errors="backslashreplace") if log else None)
    try:
        yield shown
    finally:
        shown.close()
