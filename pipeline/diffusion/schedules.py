"""Noise schedules and noise levels, in NumPy and float64, shared by both backends.

Notation. A variance-preserving (VP) diffusion has z_t = alpha_t x + sigma_t eps with alpha_t^2 + sigma_t^2 = 1
(EDM: Hoogeboom et al., arXiv 2203.17003, section 2.1); a variance-exploding (VE) one has x_sigma = x + sigma eps
(Karras et al., arXiv 2206.00364). They are the same process in other units: x_sigma = z_t / alpha_t at
sigma = sigma_t / alpha_t. Samplers here speak VE, so that one Heun sampler serves every objective; ``sigma`` without a
subscript is the VE noise level.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

CHURN_NOISE: Final = 1.003
"""Deviation of the noise that churn adds (S_noise of Karras et al.)."""

_CHURNED: Final = (0.02, 5.0)
"""The levels at which churn adds noise (S_tmin and S_tmax)."""


@dataclass(frozen=True)
class VariancePreserving:
    """A schedule on the grid t = 0, 1, ..., T.

    Attributes:
      alpha: signal level at each t, shape [T + 1].
      sigma: noise level at each t, shape [T + 1]; alpha^2 + sigma^2 = 1.
    """

    alpha: Array
    sigma: Array

    @property
    def steps(self) -> int:
        """T, the number of diffusion steps."""
        return len(self.alpha) - 1

    @property
    def sigma_ve(self) -> Array:
        """The noise level in VE units, sigma_t / alpha_t, shape [T + 1], increasing."""
        return self.sigma / self.alpha

    @property
    def snr(self) -> Array:
        """The signal-to-noise ratio alpha_t^2 / sigma_t^2, shape [T + 1], decreasing."""
        return (self.alpha / self.sigma) ** 2


def polynomial_schedule(*, steps: int, precision: float) -> VariancePreserving:
    """Return EDM's schedule alpha_t^2 = (1 - 2s) (1 - (t/T)^2)^2 + s with s = ``precision``.

    This is ``polynomial_2`` of its code. As there, the square may fall by no more than a factor 1000 from
    one t to the next, which binds at t = T alone, where it would fall to 0.
    """
    t = np.linspace(0.0, 1.0, steps + 1)
    alpha2 = (1.0 - t**2) ** 2
    ratios = np.clip(alpha2 / np.concatenate([[1.0], alpha2[:-1]]), 1e-3, 1.0)
    alpha2 = (1.0 - 2.0 * precision) * np.cumprod(ratios) + precision
    return VariancePreserving(alpha=np.sqrt(alpha2), sigma=np.sqrt(1.0 - alpha2))


def karras_levels(*, steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Array:
    """Return ``steps`` + 1 decreasing noise levels, sigma_max ... sigma_min, 0 (Karras et al., eq. 5).

    The last level is 0, so a sampler takes ``steps`` steps.
    """
    ramp = np.linspace(0.0, 1.0, steps) if steps > 1 else np.zeros(1)
    low, high = sigma_min ** (1.0 / rho), sigma_max ** (1.0 / rho)
    return np.append((high + ramp * (low - high)) ** rho, 0.0)


def churned_levels(levels: Array, churn: float) -> Array:
    """Return the levels to which noise is added before each step (Karras et al., algorithm 2), at least ``levels``.

    Args:
      levels: of a sampler, decreasing, the last one 0, [S + 1].
      churn: S_churn; divided by S it is the factor by which a level rises, at most by sqrt(2) - 1.
    """
    low, high = _CHURNED
    factor = min(churn / (len(levels) - 1), np.sqrt(2.0) - 1.0)
    return np.where((levels >= low) & (levels <= high), (1.0 + factor) * levels, levels)
