"""What holds in every test: reproducible examples, no silent promotion of types, compilations kept from run to run."""

import os
from pathlib import Path

from hypothesis import settings

# The same examples on every machine; no deadline, since a first call may compile.
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")

# JAX reads these when it is imported, which other conftest.py files do; the processes that tests start inherit them.
CACHE = Path(__file__).parents[1] / ".pytest_cache" / "d"
JAX = {
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    # Programs of the tests run for moments: compiling them with less care halves the time of a test.
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
    "JAX_COMPILATION_CACHE_DIR": str(CACHE / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    # What the command lines make of it (pipeline.jax_backend.runtime) is the same folder.
    "CONSISTENT_EDM_CACHE": str(CACHE),
}
for name, value in JAX.items():
    os.environ.setdefault(name, value)
