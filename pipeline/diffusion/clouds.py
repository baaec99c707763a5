"""Molecules as a network sees them: coordinates and atom features, and the noise that is mixed with them.

Atom features are [one-hot of the data's elements divided by 4, atomic number divided by 10], the last one for EDM alone
(arXiv 2203.17003, "Scaling features"; the divisors are those of its code).
"""

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Sizes = npt.NDArray[np.integer[Any]]
Array = TypeVar("Array")


class Cloud(NamedTuple, Generic[Array]):
    """Coordinates and atom features of a batch, of NumPy or of a backend: data, noise or a network output.

    Attributes:
      x: coordinates in angstrom or noise units, [B, N, 3].
      h: features, [B, N, K].
    """

    x: Array
    h: Array


def one_hot(atomic_numbers: npt.NDArray[np.integer[Any]], elements: Sequence[int]) -> Floats:
    """Return the types of atoms [B, N], one-hot over the atomic numbers ``elements``: [B, N, T], 0 in the padding."""
    types: npt.NDArray[np.bool_] = atomic_numbers[..., None] == np.array(elements)
    return types.astype(np.float32)


def draw_noise(generator: np.random.Generator, sizes: Sizes, width: int, features: int) -> Floats:
    """Draw unit noise for a batch, [B, width, 3 + features]: see ``centred``."""
    return centred(generator.standard_normal((len(sizes), width, 3 + features), np.float32), sizes)


def draw_noise_of_each(generators: Sequence[np.random.Generator], sizes: Sizes, width: int, features: int) -> Floats:
    """Draw unit noise for a batch, [B, width, 3 + features], each molecule's from a generator of its own."""
    noise = np.zeros((len(sizes), width, 3 + features), np.float32)
    for one, generator, size in zip(noise, generators, sizes, strict=True):
        one[:size] = generator.standard_normal((int(size), 3 + features), np.float32)
    return centred(noise, sizes)


def centred(noise: Floats, sizes: Sizes) -> Floats:
    """Return normal numbers [B, N, 3 + K] with the coordinates of each molecule's atoms centred; 0 in the padding.

    The mean-free Gaussian is the projection of an isotropic one (EDM, arXiv 2203.17003, section 3.1).
    """
    mask = (np.arange(noise.shape[1]) < sizes[:, None])[..., None]
    noise = noise * mask
    noise[..., :3] -= noise[..., :3].sum(axis=1, keepdims=True) / sizes[:, None, None].astype(np.float32)
    return noise * mask
