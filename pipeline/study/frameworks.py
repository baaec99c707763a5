"""Frameworks that a run or a benchmark may ask for, and how they are installed."""

from importlib.util import find_spec
from typing import Final

from pipeline.core.errors import InputError

_PACKAGES: Final = {"jax": "JAX", "torch": "PyTorch"}
_ADVICE: Final = {
    "jax": "pip install -r requirements/runtime.txt",
    "torch": "make torch, or pip install -r requirements/torch.txt",
}


def check_framework(name: str, who: str) -> None:
    """Check that jax or torch is installed, without importing it.

    Args:
        name: the framework.
        who: needs it; begins the message.

    Raises:
        InputError: it is not there.
    """
    if not find_spec(name):
        raise InputError(f"{who} needs {_PACKAGES[name]}, which is not installed: {_ADVICE[name]}")
