"""What a process needs of its surroundings: a home folder, a user's name, and streams that take every character."""

import contextlib
import io
import os
import pwd
import sys
from pathlib import Path


def settle() -> None:
    """Let this process and those it starts run where a home folder, a user's name or a UTF-8 terminal is missing.

    For example in a container that runs under a bare number (``docker run -u 12345``): matplotlib, JAX and Snakemake
    keep files in the home folder and ask for the user's name. If the home folder cannot be written to, ``.cache`` in
    the working directory takes its place. Characters that a stream cannot encode are written as escapes.
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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
