"""How JAX is set up for every stage: cores as devices, and compiled programs kept between runs."""

import os
from pathlib import Path

import jax

from pipeline.errors import InputError
from pipeline.jax_backend.parallel import use_cpu_cores

CACHE_VARIABLE = "CONSISTENT_EDM_CACHE"


def start(*, cores: int | None = None) -> None:
    """Set JAX up; call before anything is computed.

    Compiled programs are kept in the folder that ``CONSISTENT_EDM_CACHE`` names, else in the user's cache folder: the
    second start of a study takes seconds.

    Args:
      cores: CPU cores to use as devices; None for all that this process may use.

    Raises:
      InputError: ``cores`` is not positive.
    """
    if cores is not None and cores < 1:
        raise InputError(f"--devices {cores} should be at least 1")
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "consistent-edm"
    cache = Path(os.environ.get(CACHE_VARIABLE, default)) / "jax"
    use_cpu_cores(cores)
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
