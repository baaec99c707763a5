"""How PyTorch is set up for every stage: the device, the threads, and whether to compile."""

import ctypes
import os
import shutil
import sys
from dataclasses import dataclass

import torch

from pipeline.core.errors import InputError
from pipeline.core.files import cache_directory

# Programs that torch.compile may make of one layer: one for each size bucket, with and without gradients, and more.
PROGRAMS = 128


@dataclass(frozen=True)
class Machine:
    """What a stage runs on.

    Attributes:
      device: the first GPU where there is one, else the CPU.
      cores: CPU cores that computations may use.
      compile: whether the network's layers go through ``torch.compile``, one program for each shape.
    """

    device: torch.device
    cores: int
    compile: bool

    @property
    def is_cpu(self) -> bool:
        """Return whether there is no GPU."""
        return self.device.type == "cpu"

    @property
    def gpu(self) -> str | None:
        """Name of the GPU; None for the CPU."""
        return None if self.is_cpu else torch.cuda.get_device_name(self.device)


def start(*, cores: int, compile: bool = False) -> Machine:
    """Set PyTorch up and return what it runs on; call before anything is computed.

    Compiled programs are kept (see ``pipeline.core.files.cache_directory``).

    Args:
      cores: CPU cores to use.
      compile: see ``Machine``.

    Raises:
      InputError: there is nothing to compile with.
    """
    machine = Machine(
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        cores=cores,
        compile=compile,
    )
    torch.set_num_threads(machine.cores)
    _keep_memory()
    if compile:
        if machine.is_cpu and not (os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")):
            raise InputError("torch.compile needs a C++ compiler: install g++")
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_directory("torch")))
        torch._dynamo.config.recompile_limit = PROGRAMS
    return machine


def _keep_memory() -> None:
    """Let the C library keep freed memory for the next operation instead of giving it back to the system.

    An operation's result is a few megabytes that are freed soon after. Fetched anew from the system each time, page by
    page, they took a third of the time of a training step, and half of that of a sampler.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        trim_threshold, mmap_threshold = -1, -3
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**25)
