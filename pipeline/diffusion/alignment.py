"""Data moved onto noise: the permutation of atoms and the rotation that bring a molecule closest to its noise.

A molecule is the same in every order of its atoms and in every orientation, so it may be paired with Gaussian noise in
the order and orientation that fit best: the pairs are then nearly an optimal transport, and the paths from noise to
data cross less (Song et al. 2023, "Equivariant flow matching with hybrid probability transport", arXiv 2312.07168,
section 4). Noise is drawn first and never moved, so it stays exactly Gaussian.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Floats = npt.NDArray[np.floating]

ROUNDS: Final = 2

LARGEST: Final = 1e6
"""Angstrom; wider than any molecule, and its square is finite."""


def bounded(clouds: Floats) -> Floats:
    """Return clouds with finite numbers in place of what has overflowed, so that an assignment to them exists."""
    return np.clip(np.nan_to_num(clouds), -LARGEST, LARGEST)


def align(
    x: Floats, h: Floats, noise: Floats, sizes: npt.NDArray[np.integer], *, rotate: bool = True
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Move molecules onto their noise: |x - z_x|^2 + |h - z_h|^2 falls over rotations and permutations in turn.

    Rotations may be reflections, which an E(3)-equivariant model cannot tell apart.

    Args:
      x: centred coordinates, [B, N, 3].
      h: features that an atom takes along, [B, N, K].
      noise: [B, N, 3 + K], its coordinates free of a centre of mass.
      sizes: numbers of atoms, [B].
      rotate: False only permutes.

    Returns:
      The moved coordinates [B, N, 3], and for each place the atom that is there now [B, N]; padding stays.
    """
    x, h = x.copy(), h.copy()
    z_x, z_h = noise[..., :3], noise[..., 3:]
    order = np.tile(np.arange(x.shape[1]), (len(x), 1))
    rows = np.arange(len(x))[:, None]
    for _ in range(ROUNDS):
        if rotate:
            x = x @ best_rotation(x, z_x)
        gain = x @ z_x.swapaxes(1, 2) + h @ z_h.swapaxes(1, 2)  # [B, atom, place]
        step = np.tile(np.arange(x.shape[1]), (len(x), 1))
        for one, size in enumerate(sizes):
            places, atoms = linear_sum_assignment(gain[one, :size, :size].T, maximize=True)
            step[one, places] = atoms
        x, h, order = x[rows, step], h[rows, step], order[rows, step]
    if rotate:
        x = x @ best_rotation(x, z_x)
    return x, order


def best_rotation(x: Floats, z: Floats, *, reflect: bool = True) -> Floats:
    """Return the orthogonal R [B, 3, 3] that minimises |x R - z|^2 (Kabsch 1976), with or without reflections."""
    u, _, vt = np.linalg.svd(x.swapaxes(1, 2) @ z)
    if not reflect:
        # The direction that matters least turns round.
        u[..., -1] *= np.linalg.det(u @ vt)[:, None]
    rotation: Floats = u @ vt
    return rotation
