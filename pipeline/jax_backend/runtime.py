"""How JAX is set up for every stage: cores as devices, and compiled programs kept between runs."""

import jax

from pipeline.core.files import cache_directory
from pipeline.jax_backend.parallel import use_cpu_cores


def start(*, cores: int) -> None:
    """Set JAX up to use ``cores`` CPU cores, or a GPU where there is one; call before anything is computed.

    Compiled programs are kept (see ``pipeline.core.files.cache_directory``): the second start of a study takes seconds.
    """
    use_cpu_cores(cores)
    jax.config.update("jax_compilation_cache_dir", str(cache_directory("jax")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
