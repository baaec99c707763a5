"""Samplers, whose equations and arguments are those of ``pipeline.jax_backend.samplers``.

Each is a generator: it yields the noisy cloud before every step, and at last the sample.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from pipeline.diffusion.schedules import CHURN_NOISE
from pipeline.torch_backend.features import Cloud, combine

Denoise = Callable[[Cloud, float], Cloud]
DrawNoise = Callable[[], Cloud]
"""Fresh unit noise, independent of all before."""


def ddim(denoise: Denoise, noise: Cloud, sigmas: Sequence[float]) -> Iterator[Cloud]:
    """Deterministic DDIM (Song et al. 2021, eq. 13)."""
    state = combine(lambda e: sigmas[0] * e, noise)
    for sigma, following in pairwise(sigmas):
        yield state
        clean = denoise(state, sigma)
        state = combine(lambda x, d, ratio=following / sigma: d + ratio * (x - d), state, clean)
    yield state


def heun(
    denoise: Denoise,
    noise: Cloud,
    sigmas: Sequence[float],
    *,
    churned: Sequence[float] | None = None,
    draw: DrawNoise | None = None,
) -> Iterator[Cloud]:
    """Heun's second-order method (Karras et al. 2022, algorithms 1 and 2), with an Euler step to 0 at the end."""
    churned = sigmas if churned is None else churned

    def slope(state: Cloud, sigma: float) -> Cloud:
        return combine(lambda x, d: (x - d) / sigma, state, denoise(state, sigma))

    state = combine(lambda e: sigmas[0] * e, noise)
    for lower, sigma, following in zip(sigmas[:-2], churned[:-2], sigmas[1:-1], strict=True):
        yield state
        if draw is not None:
            deviation = CHURN_NOISE * ((sigma - lower) * (sigma + lower)) ** 0.5
            state = combine(lambda x, e, deviation=deviation: x + deviation * e, state, draw())
        step = following - sigma
        first = slope(state, sigma)
        euler = combine(lambda x, d, step=step: x + step * d, state, first)
        second = slope(euler, following)
        state = combine(lambda x, a, b, step=step: x + step * 0.5 * (a + b), state, first, second)
    yield state
    yield denoise(state, sigmas[-2])


def ancestral(denoise: Denoise, noise: Cloud, sigmas: Sequence[float], draw: DrawNoise) -> Iterator[Cloud]:
    """Ancestral sampling (Hoogeboom et al. 2022, algorithm 2)."""
    state = combine(lambda e: sigmas[0] * e, noise)
    for sigma, following in pairwise(sigmas):
        yield state
        clean = denoise(state, sigma)
        ratio = (following / sigma) ** 2
        state = combine(
            lambda x, d, e, r=ratio, s=following: r * x + (1.0 - r) * d + s * (1.0 - r) ** 0.5 * e, state, clean, draw()
        )
    clean, final = denoise(state, sigmas[-1]), draw()
    yield Cloud(clean.x + sigmas[-1] * final.x, state.h)
