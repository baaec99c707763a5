"""What the JAX backend would be without each of the things that make it fast: the rungs of the ablation.

All train the same objective with the same optimiser on the same parameters; ``EGNN.edge_mlp`` is where the slower forms
of the edge network go.
"""

from typing import Any, Final

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from pipeline.data.batches import PaddedMolecules
from pipeline.data.statistics import Statistics
from pipeline.diffusion.clouds import atom_features, atom_mask
from pipeline.diffusion.feature_scales import FEATURES
from pipeline.jax_backend.build import build_edm, build_layout, build_weights
from pipeline.jax_backend.edm import EDM
from pipeline.jax_backend.egnn import EdgeMLP, Linear
from pipeline.jax_backend.features import Cloud, draw_noise
from pipeline.jax_backend.optimizer import ema_decay, make_optimizer
from pipeline.jax_backend.train import State
from pipeline.study.config import RunConfig
from pipeline.training.noisy_batches import NoisyBatch


class PlainEdgeMLP(nn.Module):
    """The edge network with the gradient that XLA makes of it, the first layer factored: parameters of ``EdgeMLP``."""

    features: int

    @nn.compact
    def __call__(self, h: Array, edges: Array) -> Array:
        """Map nodes ``h`` [B, N, H] and ``edges`` [B, N, N, K] to [B, N, N, features]."""
        receiver = Linear(self.features, name="receiver")(h)
        sender = Linear(self.features, use_bias=False, name="sender")(h)
        distance = Linear(self.features, use_bias=False, name="distance")(edges)
        inner = nn.silu(receiver[:, :, None, :] + sender[:, None, :, :] + distance)
        return nn.silu(Linear(self.features, name="hidden")(inner))


class _Parameters(nn.Module):
    """The parameters of a ``Linear``, without its product."""

    features: int
    inputs: int
    use_bias: bool = True

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        """Return the kernel [inputs, features] and the bias [features], which is 0 where there is none."""
        kernel = self.param("kernel", nn.initializers.zeros, (self.inputs, self.features))
        if not self.use_bias:
            return kernel, jnp.zeros(self.features)
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))


class UnfactoredEdgeMLP(nn.Module):
    """The edge network on the concatenation [h_i, h_j, a_ij] of every pair, as published: parameters of ``EdgeMLP``.

    Its parameters start at zero: it is given those of ``EdgeMLP``.
    """

    features: int

    @nn.compact
    def __call__(self, h: Array, edges: Array) -> Array:
        """Map nodes ``h`` [B, N, H] and ``edges`` [B, N, N, K] to [B, N, N, features]."""
        width, inputs = h.shape[-1], edges.shape[-1]
        receiver, bias = _Parameters(self.features, width, name="receiver")()
        sender, _ = _Parameters(self.features, width, use_bias=False, name="sender")()
        distance, _ = _Parameters(self.features, inputs, use_bias=False, name="distance")()
        pairs = (*edges.shape[:-1], width)
        h_i, h_j = jnp.broadcast_to(h[:, :, None, :], pairs), jnp.broadcast_to(h[:, None, :, :], pairs)
        concatenated = jnp.concatenate([h_i, h_j, edges], axis=-1)  # [B, N, N, 2 H + K]
        inner = nn.silu(concatenated @ jnp.concatenate([receiver, sender, distance]) + bias)
        return nn.silu(Linear(self.features, name="hidden")(inner))


EDGE_NETWORKS: Final[dict[str, type[nn.Module]]] = {
    "jax-naive": UnfactoredEdgeMLP,
    "jax-factored": PlainEdgeMLP,
    "jax-buckets": PlainEdgeMLP,
    "jax-gradient": EdgeMLP,
}
"""The edge network of each rung below the whole backend."""


def objective_of(rung: str, config: RunConfig, statistics: Statistics) -> EDM:
    """Return the objective of a run with the edge network of a rung."""
    objective = build_edm(config, statistics)
    model = objective.model.clone(edge_mlp=EDGE_NETWORKS[rung])
    return EDM(model=model, schedule=objective.schedule, scales=objective.scales, loss=objective.loss)


class PlainTraining:
    """A training run as one would first write it: the whole step jitted, the batch at once, on one device."""

    def __init__(self, rung: str, config: RunConfig, statistics: Statistics):
        """Draw the weights; nothing is compiled yet."""
        self._objective = objective_of(rung, config, statistics)
        # Those of the backend: a rung's own are laid out alike.
        whole = build_edm(config, statistics)
        params, self._layout = build_weights(whole, jax.random.key(config.seed)), build_layout(whole)
        self._config = config
        self._optimizer = make_optimizer(config.training)
        self._key = jax.random.key(config.seed)
        self._state = State(jnp.zeros((), jnp.int32), params, self._optimizer.init(params), params.copy())
        self._step = jax.jit(self._update, donate_argnums=0)

    def step(self, molecules: PaddedMolecules) -> float:
        """Take a step on a padded batch; return its mean loss."""
        self._state, loss = self._step(self._state, *_as_arrays(molecules))
        return float(loss)

    def loss(self, flat: Array, data: Cloud, mask: Array, key: Array) -> Array:
        """Return the mean loss of a batch with the mask [B, N]."""
        key_t, key_noise = jax.random.split(key)
        t = jax.random.randint(key_t, mask.shape[:1], 0, self._objective.schedule.steps + 1)
        noise = draw_noise(jax.random.split(key_noise, len(mask)), mask, FEATURES)
        return jnp.mean(self._objective.losses(self._layout.unravel(flat), NoisyBatch(data, noise, mask, t)))

    def _update(self, state: State, data: Cloud, mask: Array) -> tuple[State, Array]:
        key = jax.random.fold_in(self._key, state.step)
        loss, gradient = jax.value_and_grad(self.loss)(state.params, data, mask, key)
        # Optax mixes floats and integers, which strict promotion of types (the tests' setting) forbids.
        with jax.numpy_dtype_promotion("standard"):
            updates, optimizer = self._optimizer.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = ema_decay(state.step, self._config.training.ema_decay)
        return State(state.step + 1, params, optimizer, decay * state.ema + (1.0 - decay) * params), loss

    def operations(self, molecules: PaddedMolecules) -> float:
        """Return how many floating-point operations XLA counts in the gradient of a batch's loss, before optimising."""
        lowered = jax.jit(jax.value_and_grad(self.loss)).lower(self._state.params, *_as_arrays(molecules), self._key)
        analysis: Any = lowered.cost_analysis()
        return float(analysis["flops"])


def _as_arrays(molecules: PaddedMolecules) -> tuple[Cloud, Array]:
    """Return molecules as a cloud and its mask [B, N]."""
    data = Cloud(jnp.asarray(molecules.positions), jnp.asarray(atom_features(molecules.atomic_numbers, FEATURES)))
    return data, jnp.asarray(atom_mask(molecules.sizes, molecules.positions.shape[1]))
