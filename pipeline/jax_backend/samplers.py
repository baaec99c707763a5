"""Samplers. They take a denoise function, not a model, and are pure functions of their noise.

A ``Denoise`` maps a noisy cloud at the variance-exploding level sigma (a scalar) to its estimate of the clean one. All
clouds are free of a centre of mass, which every linear combination keeps. Levels decrease.

Each sampler returns the sample and the noisy cloud before every step, stacked to [S, B, N, .] (free when not used).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from pipeline.diffusion.schedules import CHURN_NOISE
from pipeline.jax_backend.features import Cloud

Denoise = Callable[[Cloud, Array], Cloud]
DrawNoise = Callable[[Array], Cloud]
"""Unit noise of a step, from its number (a traced integer)."""


def ddim(denoise: Denoise, noise: Cloud, sigmas: Array) -> tuple[Cloud, Cloud]:
    """Deterministic DDIM (Song et al. 2021, eq. 13), which is Euler's method on dx/dsigma = (x - D(x, sigma)) / sigma.

    Args:
      denoise: the model.
      noise: unit noise, [B, N, .].
      sigmas: levels that end in 0, [S + 1]; S network calls.
    """

    def step(state: Cloud, levels: tuple[Array, Array]) -> tuple[Cloud, Cloud]:
        sigma, following = levels
        clean = denoise(state, sigma)
        return jax.tree.map(lambda x, d: d + (following / sigma) * (x - d), state, clean), state

    sample, states = lax.scan(step, _start(noise, sigmas), (sigmas[:-1], sigmas[1:]))
    return sample, states


def heun(
    denoise: Denoise, noise: Cloud, sigmas: Array, *, churned: Array | None = None, draw: DrawNoise | None = None
) -> tuple[Cloud, Cloud]:
    """Karras et al. 2022, algorithm 1: Heun's second-order method, with an Euler step to sigma = 0 at the end.

    Args:
      denoise: the model.
      noise: unit noise, [B, N, .].
      sigmas: levels that end in 0, [S + 1]; 2 S - 1 network calls.
      churned: levels that fresh noise raises each state to before its step (algorithm 2), [S + 1]; None adds none.
      draw: that noise, for steps 0 to S - 2.
    """
    churned = sigmas if churned is None else churned

    def slope(state: Cloud, sigma: Array) -> Cloud:
        return Cloud(*jax.tree.map(lambda x, d: (x - d) / sigma, state, denoise(state, sigma)))

    def step(before: Cloud, inputs: tuple[Array, Array, Array, Array]) -> tuple[Cloud, Cloud]:
        index, lower, sigma, following = inputs
        state = before
        if draw is not None:
            # As a product, since a fused sigma^2 - lower^2 can round to below 0.
            deviation = CHURN_NOISE * jnp.sqrt((sigma - lower) * (sigma + lower))
            state = jax.tree.map(lambda x, e: x + deviation * e, before, draw(index))
        first = slope(state, sigma)
        euler = jax.tree.map(lambda x, d: x + (following - sigma) * d, state, first)
        second = slope(euler, following)
        return jax.tree.map(lambda x, a, b: x + (following - sigma) * 0.5 * (a + b), state, first, second), before

    steps = jnp.arange(len(sigmas) - 2)
    last, states = lax.scan(step, _start(noise, sigmas), (steps, sigmas[:-2], churned[:-2], sigmas[1:-1]))
    return denoise(last, sigmas[-2]), jax.tree.map(lambda all_, one: jnp.concatenate([all_, one[None]]), states, last)


def ancestral(denoise: Denoise, noise: Cloud, sigmas: Array, draw: DrawNoise) -> tuple[Cloud, Cloud]:
    """Ancestral sampling (Hoogeboom et al. 2022, algorithm 2): x_s ~ q(x_s | x_t, D(x_t)) from level t to level s.

    In variance-exploding units the posterior has mean r x_t + (1 - r) D with r = s^2 / t^2, and variance s^2 (1 - r).

    Args:
      denoise: the model.
      noise: unit noise, [B, N, .].
      sigmas: levels down to the lowest one, above 0, [S + 1]; S + 1 network calls.
      draw: fresh noise for steps 0 to S.

    Returns:
      The sample, its coordinates drawn from the Gaussian p(x | z_0) around the last estimate, its features those of z_0
      itself: there p(h | z_0) is a rounding of z_0, and nothing trains the network's estimate of h. And the states.
    """

    def step(state: Cloud, inputs: tuple[Array, Array, Array]) -> tuple[Cloud, Cloud]:
        index, sigma, following = inputs
        clean = denoise(state, sigma)
        ratio = (following / sigma) ** 2
        deviation = following * jnp.sqrt(1.0 - ratio)
        posterior = jax.tree.map(
            lambda x, d, e: ratio * x + (1.0 - ratio) * d + deviation * e, state, clean, draw(index)
        )
        return posterior, state

    steps = sigmas.shape[0] - 1
    last, states = lax.scan(step, _start(noise, sigmas), (jnp.arange(steps), sigmas[:-1], sigmas[1:]))
    clean, final = denoise(last, sigmas[-1]), draw(jnp.array(steps))
    return Cloud(clean.x + sigmas[-1] * final.x, last.h), states


def _start(noise: Cloud, sigmas: Array) -> Cloud:
    return Cloud(sigmas[0] * noise.x, sigmas[0] * noise.h)
