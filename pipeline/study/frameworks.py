"""Checks that the frameworks of a run or a benchmark are installed."""

from importlib.util import find_spec
from typing import Final

from pipeline.core.errors import InputError

FRAMEWORKS: Final = {"jax": "JAX", "torch": "PyTorch"}
_ADVICE: Final = {
    "jax": "pip install -r requirements/runtime.txt",
    "torch": "make torch, or pip install -r requirements/torch.txt",
}


def check_framework(name: str, who: str) -> None:
    """Check that jax or torch is installed, without importing it.

    Args:
      name: the framework.
      who: what needs it; the message starts with this.

    Raises:
      InputError: it is not installed.
    """
    if not find_spec(name):
        raise InputError(f"{who} needs {FRAMEWORKS[name]}, which is not installed: {_ADVICE[name]}")
