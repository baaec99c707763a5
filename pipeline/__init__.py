"""Consistent EDM: equivariant diffusion and consistency models of molecules, as a reproducible pipeline."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.api import Run


def load_run(path: str | os.PathLike[str]) -> "Run":
    """Return a trained run, see ``pipeline.api.load_run``."""
    # Imported when it is called, so that a stage imports only what it needs.
    from pipeline import api

    return api.load_run(path)
