"""What holds in every test: reproducible examples, no silent promotion of types, compilations kept from run to run."""

import os

import pytest
from hypothesis import settings

# The same examples on every machine; no deadline, since a first call may compile.
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")


def pytest_configure(config: pytest.Config) -> None:
    """Set up JAX, here and in every process that a test starts, before anything imports it."""
    os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")
    # Programs of the tests run for moments: compiling them with less care halves the time of a test.
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
    cache = config.cache.mkdir("jax")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    # What the command lines make of it (pipeline.jax_backend.runtime) is the same folder.
    os.environ.setdefault("CONSISTENT_EDM_CACHE", str(cache.parent))
