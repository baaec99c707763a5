"""Memory of this process, as counted by Linux."""

import contextlib
from pathlib import Path
from typing import Final

_MEGABYTE: Final = 1024.0


def resident_mb() -> float:
    """Return the resident memory of this process in MiB."""
    return _status("VmRSS") / _MEGABYTE


def peak_mb() -> float:
    """Return the peak resident memory since the process started, or since ``reset_peak``, in MiB."""
    return _status("VmHWM") / _MEGABYTE


def reset_peak() -> None:
    """Reset the peak to the current memory, where Linux allows it."""
    # 5 resets the high-water mark: Linux, Documentation/filesystems/proc.rst. Some containers forbid it.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _status(name: str) -> int:
    """Return a value of /proc/self/status, in KiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    raise LookupError(f"/proc/self/status has no {name}")
