"""Named arrays in safetensors files that carry a digest of all that they hold."""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save

from pipeline.core.errors import InputError
from pipeline.core.files import atomic_path

Arrays = Mapping[str, npt.NDArray[Any]]

_DIGEST = "sha256"


def write_arrays(path: str | os.PathLike[str], arrays: Arrays, metadata: Mapping[str, str]) -> None:
    """Write arrays and metadata, atomically."""
    metadata = {**metadata, _DIGEST: digest(arrays, metadata)}
    with atomic_path(path) as temporary:
        # Not by save_file, whose files nobody else may read, whatever the umask.
        temporary.write_bytes(save({name: np.asarray(array, order="C") for name, array in arrays.items()}, metadata))


def read_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Return the arrays and the metadata of a file; ``is_intact`` tells whether they are what was written.

    Raises:
      SafetensorError: it is not a safetensors file.
    """
    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        return arrays, file.metadata() or {}


def is_intact(arrays: Arrays, metadata: Mapping[str, str]) -> bool:
    """Return whether the digest is that of the content."""
    others = {name: value for name, value in metadata.items() if name != _DIGEST}
    return metadata.get(_DIGEST) == digest(arrays, others)


def check_shapes(arrays: Arrays, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Check that arrays are the weights of a network.

    Raises:
      InputError: names or shapes are not the expected ones.
    """
    for name in sorted(arrays.keys() | expected.keys()):
        given = arrays[name].shape if name in arrays else None
        if given != expected.get(name):
            raise InputError(f"weights: {name} should have shape {expected.get(name)} for this network and has {given}")


def digest(arrays: Arrays, metadata: Mapping[str, str]) -> str:
    """Return a SHA-256 of arrays, with their names, types and shapes, and of metadata."""
    content = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        content.update(f"{name} {array.dtype} {array.shape}".encode())
        content.update(array.tobytes())
    return content.hexdigest()
