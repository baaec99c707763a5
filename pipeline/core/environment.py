"""Replacements for a missing home folder, user name or UTF-8 terminal."""

import contextlib
import io
import os
import pwd
import sys
from pathlib import Path


def prepare_environment() -> None:
    """Let this process and its children run without a home folder, a user name or a UTF-8 terminal.

    A container that runs under a bare user ID (``docker run -u 12345``) has none of them, but matplotlib, JAX and
    Snakemake store files in the home folder and look up the user name. If the home folder is not writable, ``.cache``
    in the working directory replaces it. Characters that a stream cannot encode are written as escapes; what is written
    to a stream that was closed, as by ``>&-``, is dropped.
    """
    if not os.access(os.path.expanduser("~"), os.W_OK | os.X_OK):
        home = Path.cwd() / ".cache"
        with contextlib.suppress(OSError):
            home.mkdir(exist_ok=True)
            os.environ["HOME"] = str(home)
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("LOGNAME", str(os.getuid()))
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # This also takes the number of the closed one, which the next file to write would get otherwise.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
