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
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("jax")))
