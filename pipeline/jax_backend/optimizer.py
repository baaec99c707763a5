"""The optimiser, the learning rate and the average of the weights, all on one flat vector.

One vector instead of a tree of some hundred small arrays: an update is a handful of vector operations. Muon takes the
matrices out of it, those of one shape together.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from pipeline.jax_backend.weights import Layout
from pipeline.study.config import ClipConfig, TrainingConfig
from pipeline.training.constants import (
    ADAM_EPSILON,
    CLIP_EPSILON,
    CLIP_START,
    CLIP_WINDOW,
    MUON_EPSILON,
    NEWTON_SCHULZ,
    NEWTON_SCHULZ_STEPS,
)
from pipeline.training.hidden_matrices import hidden_matrices, muon_rate


class AdaptiveClipState(NamedTuple):
    """The last gradient norms, a ring of [window], and how many norms entered it so far."""

    norms: Array
    entered: Array


def clip_by_recent_norms() -> optax.GradientTransformation:
    """Clip to 1.5 times the mean plus twice the standard deviation of the last 50 gradient norms (EDM's code).

    Like there, the history starts with one norm of 3000, and a clipped gradient enters it with its clipped norm.
    """

    def init(params: Any) -> AdaptiveClipState:
        del params
        return AdaptiveClipState(jnp.zeros(CLIP_WINDOW).at[0].set(CLIP_START), jnp.ones((), jnp.int32))

    def update(updates: Any, state: AdaptiveClipState, params: Any = None) -> tuple[Any, AdaptiveClipState]:
        seen = (jnp.arange(CLIP_WINDOW) < state.entered).astype(jnp.float32)
        mean = jnp.sum(state.norms * seen) / jnp.sum(seen)
        deviation = jnp.sqrt(jnp.sum(seen * (state.norms - mean) ** 2) / jnp.sum(seen))
        limit = 1.5 * mean + 2.0 * deviation
        norm = optax.tree.norm(updates)
        scale = jnp.minimum(1.0, limit / (norm + CLIP_EPSILON))
        norms = state.norms.at[state.entered % CLIP_WINDOW].set(jnp.minimum(norm, limit))
        return optax.tree.scale(scale, updates), AdaptiveClipState(norms, state.entered + 1)

    return optax.GradientTransformation(init, update)


class AMSGradState(NamedTuple):
    """Steps taken, decaying means of gradients and of their squares, and the largest of the latter so far."""

    steps: Array
    mean: Array
    square: Array
    largest: Array


def scale_by_torch_amsgrad(*, b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Scale by AMSGrad as PyTorch does, for the reference's learning rate to mean what it means there.

    The largest mean of squares is taken before its bias is corrected. ``optax.scale_by_amsgrad`` corrects first, so
    that the first squares count in full for ever: steps stay as short as those first, large gradients made them.
    """

    def init(params: Array) -> AMSGradState:
        # Three arrays and not one thrice: the training step gives their memory back one by one.
        return AMSGradState(jnp.zeros((), jnp.int32), *(jnp.zeros_like(params) for _ in range(3)))

    def update(updates: Array, state: AMSGradState, params: Array | None = None) -> tuple[Array, AMSGradState]:
        steps = state.steps + 1
        mean = b1 * state.mean + (1.0 - b1) * updates
        square = b2 * state.square + (1.0 - b2) * updates**2
        largest = jnp.maximum(state.largest, square)
        root = jnp.sqrt(largest / (1.0 - b2**steps))
        return mean / (1.0 - b1**steps) / (root + eps), AMSGradState(steps, mean, square, largest)

    return optax.GradientTransformation(init, update)


def scale_by_muon(layout: Layout, rest: optax.GradientTransformation, *, beta: float) -> optax.GradientTransformation:
    """Scale a vector [P] of updates by Muon (Jordan et al. 2024), and by ``rest`` what is no hidden matrix in it.

    The mean of a matrix's gradients, with Nesterov's look ahead, is made nearly orthogonal, so that an update changes
    every direction by as much.

    Args:
      layout: of the vector.
      rest: for the other parameters, as one vector.
      beta: decay of the mean.
    """
    groups = hidden_matrices(layout.shapes)
    hidden = {name for names in groups.values() for name in names}
    others = Layout({name: shape for name, shape in layout.shapes.items() if name not in hidden})
    axes = {str(shape): optax.contrib.MuonDimensionNumbers(1, 2) for shape in groups}
    muon = optax.contrib.scale_by_muon(
        NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS, beta, MUON_EPSILON, weight_dimension_numbers=axes
    )

    def split(vector: Array) -> tuple[dict[str, Array], Array]:
        named = layout.named(vector)
        stacks = {str(shape): jnp.stack([named[name] for name in names]) for shape, names in groups.items()}
        return stacks, others.vector(named)

    def init(params: Array) -> tuple[Any, Any]:
        stacks, remaining = split(params)
        return muon.init(stacks), rest.init(remaining)

    def update(updates: Array, state: tuple[Any, Any], params: Array | None = None) -> tuple[Array, tuple[Any, Any]]:
        stacks, remaining = split(updates)
        with jax.default_matmul_precision("highest"):
            stacks, muon_state = muon.update(stacks, state[0])
        remaining, rest_state = rest.update(remaining, state[1])
        named = others.named(remaining)
        for shape, names in groups.items():
            named |= zip(names, muon_rate(shape) * stacks[str(shape)], strict=True)
        return layout.vector(named), (muon_state, rest_state)

    return optax.GradientTransformation(init, update)


def learning_rate(config: TrainingConfig) -> optax.Schedule:
    """Return the learning rate by step: a linear warm-up, then constant or a linear or cosine fall to 0 at the end."""
    optimizer = config.optimizer
    rest = max(1, config.steps - optimizer.warmup_steps)
    after = {
        "constant": optax.constant_schedule(optimizer.learning_rate),
        "linear": optax.linear_schedule(optimizer.learning_rate, 0.0, rest),
        "cosine": optax.cosine_decay_schedule(optimizer.learning_rate, rest),
    }[optimizer.schedule]
    warmup = optimizer.warmup_steps
    if warmup == 0:
        return after
    # Starts above 0, so that the first step is not lost.
    start = optimizer.learning_rate / (warmup + 1)
    return optax.join_schedules([optax.linear_schedule(start, optimizer.learning_rate, warmup), after], [warmup])


def make_optimizer(config: TrainingConfig, layout: Layout) -> optax.GradientTransformation:
    """Return clipping, Muon, Adam or AMSGrad, decoupled weight decay and the learning rate, for vectors of a layout."""
    optimizer = config.optimizer
    kind = scale_by_torch_amsgrad if optimizer.kind == "amsgrad" else optax.scale_by_adam
    scale = kind(b1=optimizer.beta1, b2=optimizer.beta2, eps=ADAM_EPSILON)
    if optimizer.kind == "muon":
        scale = scale_by_muon(layout, scale, beta=optimizer.beta1)
    return optax.chain(
        _clip(optimizer.clip),
        scale,
        optax.add_decayed_weights(optimizer.weight_decay),
        optax.scale_by_learning_rate(learning_rate(config)),
    )


def _clip(config: ClipConfig) -> optax.GradientTransformation:
    return {
        "norm": optax.clip_by_global_norm(config.value),
        "adaptive": clip_by_recent_norms(),
        "none": optax.identity(),
    }[config.kind]


def ema_decay(step: Array, limit: float) -> Array:
    """Return the decay of the weights' average at ``step``: short at first, so that the average forgets its start."""
    return jnp.minimum(limit, 1.0 - 1.0 / (step.astype(jnp.float32) / 10.0 + 2.0))
