"""Samplers. They take a denoise function, not a model, and are pure functions of their noise.

A ``Denoise`` maps a noisy cloud at the variance-exploding level sigma to its estimate of the clean one. All clouds are
free of a centre of mass, which every linear combination keeps. Levels decrease.

Each sampler is a generator: it yields the noisy cloud before every step, and at last the sample.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from pipeline.diffusion.schedules import CHURN_NOISE
from pipeline.torch_backend.features import Cloud, combine

Denoise = Callable[[Cloud, float], Cloud]
DrawNoise = Callable[[], Cloud]
"""Fresh unit noise, independent of all before."""


def ddim(denoise: Denoise, noise: Cloud, sigmas: Sequence[float]) -> Iterator[Cloud]:
    """Deterministic DDIM (Song et al. 2021, eq. 13), which is Euler's method on dx/dsigma = (x - D(x, sigma)) / sigma.

    Args:
      denoise: the model.
      noise: unit noise, [B, N, .].
      sigmas: levels that end in 0, [S + 1]; S network calls.
    """
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
    """Karras et al. 2022, algorithm 1: Heun's second-order method, with an Euler step to sigma = 0 at the end.

    Args:
      denoise: the model.
      noise: unit noise, [B, N, .].
      sigmas: levels that end in 0, [S + 1]; 2 S - 1 network calls.
      churned: levels that fresh noise raises each state to before its step (algorithm 2), [S + 1]; None adds none.
      draw: that noise.
    """
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
    """Ancestral sampling (Hoogeboom et al. 2022, algorithm 2): x_s ~ q(x_s | x_t, D(x_t)) from level t to level s.

    In variance-exploding units the posterior has mean r x_t + (1 - r) D with r = s^2 / t^2, and variance s^2 (1 - r).

    Args:
      denoise: the model.
      noise: unit noise, [B, N, .].
      sigmas: levels down to the lowest one, above 0, [S + 1]; S + 1 network calls.
      draw: fresh noise, for S steps and the sample.

    The sample's coordinates are drawn from the Gaussian p(x | z_0) around the last estimate, its features are those of
    z_0 itself: there p(h | z_0) is a rounding of z_0, and nothing trains the network's estimate of h.
    """
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
