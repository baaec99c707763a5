"""How JAX is set up for every stage: cores as devices, and compiled programs kept between runs."""

import contextlib

import jax

from pipeline.core.files import cache_directory


def start(*, cores: int) -> None:
    """Set JAX up to use ``cores`` CPU cores, each a device, or a GPU where there is one; call before anything computes.

    Compiled programs are kept (see ``pipeline.core.files.cache_directory``): the second start of a study takes seconds.
    """
    with contextlib.suppress(RuntimeError):
        # Where JAX has started already, as in a notebook, it keeps the devices that it has.
        jax.config.update("jax_num_cpu_devices", cores)
    # Dispatched asynchronously, a program's parts for two devices run one after the other as often as side by side, at
    # half the throughput (measured): they wait for each other where the same thread has started both.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    jax.config.update("jax_compilation_cache_dir", str(cache_directory("jax")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def gpu_name() -> str | None:
    """Return the name of the GPU that JAX computes on; None for the CPU."""
    device = jax.local_devices()[0]
    return device.device_kind if device.platform == "gpu" else None
