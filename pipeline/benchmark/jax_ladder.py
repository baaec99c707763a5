"""The JAX backend without some of its optimisations: the steps of the ablation.

All train the same objective with the same optimiser on the same parameters; ``EGNN.edge_mlp`` takes the slower forms
of the edge network.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from pipeline.data.batches import PaddedMolecules
from pipeline.data.statistics import Statistics
from pipeline.jax_backend.build import build_edm, build_layout, build_weights
from pipeline.jax_backend.edm import EDM
from pipeline.jax_backend.egnn import EdgeMLP, Linear
from pipeline.jax_backend.features import Cloud, atom_features, draw_noise, node_mask
from pipeline.jax_backend.optimizer import make_optimizer
from pipeline.jax_backend.products import matmul
from pipeline.jax_backend.train import State, next_state
from pipeline.study.config import Precision, RunConfig
from pipeline.training.noisy_batches import NoisyBatch


class _Parameters(nn.Module):
    """The parameters of a ``Linear``, without its product."""

    features: int
    inputs: int
    use_bias: bool = True

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        """Return the kernel [inputs, features] and the bias [features], zero if there is none."""
        kernel = self.param("kernel", nn.initializers.zeros, (self.inputs, self.features))
        if not self.use_bias:
            return kernel, jnp.zeros(self.features)
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))


class UnfactoredEdgeMLP(nn.Module):
    """The edge network on the concatenation [h_i, h_j, a_ij] of pairs, as published; same parameters as ``EdgeMLP``.

    They are initialised to zero, since those of ``EdgeMLP`` replace them.
    """

    features: int
    precision: Precision = "float32"

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
        inner = nn.silu(matmul(concatenated, jnp.concatenate([receiver, sender, distance]), self.precision) + bias)
        return nn.silu(Linear(self.features, precision=self.precision, name="hidden")(inner))


# With XLA's own gradient.
_PLAIN: Final = partial(EdgeMLP, product=matmul)

EDGE_NETWORKS: Final[dict[str, Callable[..., nn.Module]]] = {
    "jax-naive": UnfactoredEdgeMLP,
    "jax-factored": _PLAIN,
    "jax-buckets": _PLAIN,
    "jax-gradient": EdgeMLP,
}
"""Edge network of each step of the ablation below the complete backend."""


def build_step_objective(step: str, config: RunConfig, statistics: Statistics) -> EDM:
    """Return the objective of a run with the edge network of a step of the ablation."""
    objective = build_edm(config, statistics)
    return replace(objective, model=objective.model.clone(edge_mlp=EDGE_NETWORKS[step]))


class PlainTraining:
    """A straightforward training run: one jitted step on the whole batch, on one device."""

    def __init__(self, step: str, config: RunConfig, statistics: Statistics):
        """Draw the weights; nothing is compiled yet."""
        self._objective = build_step_objective(step, config, statistics)
        # Weights of the backend; those of each step have the same layout.
        whole = build_edm(config, statistics)
        params, self._layout = build_weights(whole, jax.random.key(config.seed)), build_layout(whole)
        self._config = config
        self._optimizer = make_optimizer(config.training, self._layout)
        self._key = jax.random.key(config.seed)
        self._state = State(jnp.zeros((), jnp.int32), params, self._optimizer.init(params), params.copy())
        self._step = jax.jit(self._update, donate_argnums=0)

    def step(self, molecules: PaddedMolecules) -> float:
        """Take a step on a padded batch; return its mean loss."""
        self._state, loss = self._step(self._state, molecules)
        return float(loss)

    def loss(self, flat: Array, molecules: PaddedMolecules, key: Array) -> Array:
        """Return the mean loss of a batch."""
        _, positions, atomic_numbers, sizes = (jnp.asarray(column) for column in molecules)
        elements, features = self._objective.elements, self._objective.features
        data = Cloud(positions, atom_features(atomic_numbers, elements, features))
        mask = node_mask(sizes, positions.shape[1])
        key_t, key_noise = jax.random.split(key)
        t = jax.random.randint(key_t, mask.shape[:1], 0, self._objective.schedule.steps + 1)
        noise = draw_noise(jax.random.split(key_noise, len(mask)), mask, features)
        return jnp.mean(self._objective.losses(self._layout.unravel(flat), NoisyBatch(data, noise, mask, t)))

    def _update(self, state: State, molecules: PaddedMolecules) -> tuple[State, Array]:
        key = jax.random.fold_in(self._key, state.step)
        loss, gradient = jax.value_and_grad(self.loss)(state.params, molecules, key)
        return next_state(state, gradient, self._optimizer, self._config.training), loss
