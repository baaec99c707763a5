"""Sampling a consistency model in one step or a few: from noise to an estimate, back to a lower level, and again.

Song et al. 2023 (arXiv 2303.01469), algorithm 1, on the host, around one compiled network call: the same for both
backends. A run that was trained on aligned pairs (``pipeline.diffusion.alignment``) gets its fresh noise aligned too,
since the level-sigma clouds it has learned from are x + sigma z with z close to x: independent noise would be a cloud
it has never seen.
"""

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.diffusion.alignment import align, bounded
from pipeline.diffusion.clouds import Floats, Sizes
from pipeline.diffusion.feature_scales import Scales
from pipeline.sampling.composition import round_to_even_electrons
from pipeline.sampling.fixed_atoms import FixedAtoms

Denoise = Callable[[Floats, float, Sizes], Floats]
"""Maps clouds [B, N, 3 + K] at a level sigma, of molecules of these sizes [B], to the estimates of the clean ones."""


def few_step(
    denoise: Denoise,
    draw: Callable[[], Floats],
    levels: Sequence[float],
    sizes: Sizes,
    *,
    alignment: str,
    sigma_data: Scales,
    fixed: FixedAtoms | None = None,
    even_electrons: bool = False,
) -> list[Floats]:
    """Sample with as many network calls as there are levels.

    The first cloud is as wide as data with noise of the first level is, sqrt(sigma^2 + sigma_data^2): at high levels
    that is pure noise, and at low ones, where a single call does best, about what the network was trained on.

    Args:
      denoise: the model.
      draw: returns fresh unit noise [B, N, 3 + K].
      levels: decreasing, at least one.
      sizes: numbers of atoms, [B].
      alignment: of the run's training: none, permutation or full.
      sigma_data: root mean squares of coordinates and types.
      fixed: atoms to hold in place.
      even_electrons: whether types are rounded to an even number of electrons after every call.

    Returns:
      The cloud before every call, and at last the sample.
    """
    scales = np.array([sigma_data.coordinates] * 3 + [sigma_data.types] * len(sigma_data.elements))
    states = [np.hypot(levels[0], scales).astype(np.float32) * draw()]

    def settled(estimate: Floats) -> Floats:
        if fixed:
            estimate = fixed.hold(estimate, sizes)
        if even_electrons:
            # A radical cannot be made stable by moving its atoms.
            free = len(fixed) if fixed else 0
            estimate = round_to_even_electrons(estimate, sigma_data.elements, sizes, free=free)
        return estimate

    estimate = denoise(states[0], levels[0], sizes)
    estimate = settled(fixed.fit(estimate, sizes) if fixed else estimate)
    for sigma in levels[1:]:
        noise = draw()
        if alignment != "none":
            # The noise is moved and not the molecule, which comes to the same and keeps the order of the atoms.
            # What has overflowed has no nearest noise; it stays broken, and is counted at the end.
            x, order = align(noise[..., :3], noise[..., 3:], bounded(estimate), sizes, rotate=alignment == "full")
            noise = np.concatenate([x, np.take_along_axis(noise[..., 3:], order[..., None], axis=1)], axis=-1)
        states.append(estimate + np.float32(sigma) * noise)
        estimate = settled(denoise(states[-1], sigma, sizes))
    return [*states, estimate]
