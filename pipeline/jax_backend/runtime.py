"""How JAX is set up for every stage: cores as devices, and compiled programs kept between runs."""

import jax

from pipeline.core.errors import InputError
from pipeline.core.files import cache_directory
from pipeline.jax_backend.parallel import use_cpu_cores


def start(*, cores: int | None = None) -> None:
    """Set JAX up; call before anything is computed.

    Compiled programs are kept (see ``pipeline.core.files.cache_directory``): the second start of a study takes seconds.

    Args:
      cores: CPU cores to use as devices; None for all that this process may use.

    Raises:
      InputError: ``cores`` is not positive.
    """
    if cores is not None and cores < 1:
        raise InputError(f"--devices {cores} should be at least 1")
    use_cpu_cores(cores)
    jax.config.update("jax_compilation_cache_dir", str(cache_directory("jax")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
