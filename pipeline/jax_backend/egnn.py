"""The E(n)-equivariant graph network of EDM (Hoogeboom et al. 2022, arXiv 2203.17003, "The Dynamics"), in Flax.

Notation. x_i are coordinates, h_i node features, d_ij = |x_i - x_j|, a_ij the edge features made of d_ij now and at the
input of the network. One layer (``GCL`` followed by ``EquivariantUpdate`` in EDM's code) is

  m_ij   = phi_e(h_i, h_j, a_ij)
  h_i   <- h_i + phi_h(h_i, sum_{j != i} sigmoid(w . m_ij) m_ij / divisor)
  x_i   <- x_i + sum_{j != i} (x_i - x_j) / (d_ij + norm_constant) phi_x(h_i, h_j, a_ij)

with phi_x bounded by tanh and, as in the code, fed with the new h. The first layer of phi_e and phi_x is linear in
[h_i, h_j, a_ij], so it is computed as W_receiver h_i + W_sender h_j + W_distance a_ij: the same function and weights, a
third of the multiplications.

Two forms share this code (``pipeline.study.config.ModelConfig``). The reference form is EDM's: a_ij = (d_ij^2, d_ij^2
at the input). The stabilised form trains at a twenty times higher learning rate: radial functions of the distances
instead of their raw squares, and RMS-normalised node features before each MLP.

A layer may instead have one edge network for both updates (``shared_edges``), with F vectors at every node, as many as
a message has features, in the manner of PaiNN (Schuett et al. 2021, arXiv 2102.03150):

  v_i    = sum_{j != i} sigmoid(w . m_ij) m_ij (x_i - x_j) / (d_ij + norm_constant) / divisor
  q_i    = (A v_i) . (B v_i), products of vectors: what the node learns of the angles between its neighbours
  h_i   <- h_i + phi_h(h_i, sum_j ..., q_i)
  x_i   <- x_i + v_i . phi_x(h_i, sum_j ..., q_i)
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from pipeline.jax_backend.products import edge_product, float32, matmul
from pipeline.study.config import ModelConfig, Precision
from pipeline.training.constants import DISTANCE_EPSILON, RADIAL_COUNT, RADIAL_START, RADIAL_STOP, RMS_EPSILON


def _uniform(bound: float) -> Callable[..., Array]:
    """Return an initialiser that gives ``bound``, for a parameter to be drawn from U(-bound, bound)."""

    def init(key: Array, shape: tuple[int, ...]) -> Array:
        del key
        return jnp.full(shape, bound)

    return init


class Linear(nn.Module):
    """A linear layer whose input may be one of several summands (``fan_in`` counts all of them).

    Fresh weights are PyTorch's, which the reference leaves as they are: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
    """

    features: int
    use_bias: bool = True
    fan_in: int | None = None
    product: Callable[[Array, Array, Precision], Array] = matmul
    precision: Precision = "float32"

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Map [..., K] to [..., features]."""
        fan_in = self.fan_in or inputs.shape[-1]
        kernel = self.param("kernel", _uniform(fan_in**-0.5), (inputs.shape[-1], self.features))
        outputs = self.product(inputs, kernel, self.precision)
        if self.use_bias:
            outputs = outputs + self.param("bias", _uniform(fan_in**-0.5), (self.features,))
        return outputs


def squared_distances(x: Array) -> Array:
    """Return |x_i - x_j|^2, [B, N, N], for ``x`` [B, N, 3]."""
    difference = x[:, :, None, :] - x[:, None, :, :]
    return jnp.sum(difference**2, axis=-1)


def radial_features(distance2: Array, *, kind: str) -> Array:
    """Return what an edge knows of a distance: its square (``squared``), or smooth bounded functions (``gaussian``).

    Args:
      distance2: squared distances, [B, N, N].
      kind: ``squared`` gives [B, N, N, 1]; ``gaussian`` gives [B, N, N, 18]: d, d^2 / (1 + d^2 / 10) and 16 Gaussians.
    """
    if kind == "squared":
        return distance2[..., None]
    distance = jnp.sqrt(distance2 + DISTANCE_EPSILON)[..., None]
    centres = jnp.linspace(RADIAL_START, RADIAL_STOP, RADIAL_COUNT, dtype=distance.dtype)
    width = (RADIAL_STOP - RADIAL_START) / (RADIAL_COUNT - 1)
    gaussians = jnp.exp(-0.5 * ((distance - centres) / width) ** 2)
    bounded = distance2[..., None] / (1.0 + 0.1 * distance2[..., None])
    return jnp.concatenate([distance, bounded, gaussians], axis=-1)


def normalised(h: Array, kind: str) -> Array:
    """Return each node's features [..., F], for kind rms scaled to unit root mean square (a linear layer follows)."""
    return h if kind == "none" else h * jax.lax.rsqrt(jnp.mean(h**2, axis=-1, keepdims=True) + RMS_EPSILON)


class EdgeMLP(nn.Module):
    """Two linear layers with SiLU on every ordered pair of atoms, the first of them factored."""

    features: int
    precision: Precision = "float32"
    product: Callable[[Array, Array, Precision], Array] = edge_product

    @nn.compact
    def __call__(self, h: Array, edges: Array) -> Array:
        """Map nodes ``h`` [B, N, H] and ``edges`` [B, N, N, K] to [B, N, N, features]."""
        linear = partial(Linear, self.features, precision=self.precision)
        fan_in = 2 * h.shape[-1] + edges.shape[-1]
        receiver = linear(fan_in=fan_in, name="receiver")(h)
        sender = linear(fan_in=fan_in, use_bias=False, name="sender")(h)
        distance = linear(fan_in=fan_in, use_bias=False, product=self.product, name="distance")(edges)
        inner = nn.silu(receiver[:, :, None, :] + sender[:, None, :, :] + distance)
        return nn.silu(linear(product=self.product, name="hidden")(inner))


class Messages(NamedTuple):
    """What the atoms of a molecule tell each other."""

    difference: Array
    """x_i - x_j, [B, N, N, 3]."""
    distance2: Array
    """[B, N, N]."""
    edges: Array
    """Features of the distances, [B, N, N, K]."""
    nodes: Array
    """Normalised features of the nodes, [B, N, H]."""
    values: Array
    """m_ij, [B, N, N, F]."""
    gate: Array
    """Weight of each message, [B, N, N]; 0 for padding and for i = j."""


class Layer(nn.Module):
    """One equivariant layer: messages, node update, coordinate update."""

    config: ModelConfig
    edge_mlp: Callable[..., nn.Module] = EdgeMLP
    precision: Precision = "float32"

    @nn.compact
    def __call__(
        self, x: Array, h: Array, initial_radial: Array, pair_mask: Array, step: Array | None = None
    ) -> tuple[Array, Array]:
        """Update ``x`` [B, N, 3] and ``h`` [B, N, H]; ``pair_mask`` [B, N, N] is 0 for padding and for i = j.

        ``step`` [B] multiplies the update of ``x``.
        """
        config, linear = self.config, partial(Linear, precision=self.precision)
        told = self._messages(x, h, initial_radial, pair_mask)
        # A product of [N, N] gates with [N, F] messages per receiver, summed over the senders j.
        received = jnp.einsum("bij,bijf->bif", told.gate, told.values, precision=float32())
        received = received / config.aggregation_divisor
        update = nn.silu(linear(config.hidden, name="node_hidden")(jnp.concatenate([told.nodes, received], axis=-1)))
        h = h + linear(config.hidden, name="node_output")(update)

        values = self._edge_network("coordinate")(normalised(h, config.node_norm), told.edges)
        # Xavier with gain 0.001, as the reference: the network starts as the identity on coordinates.
        xavier = (6.0 / (config.edge_hidden + 1)) ** 0.5
        kernel = self.param("coordinate_output", _uniform(0.001 * xavier), (config.edge_hidden, 1))
        weight = (
            jnp.tanh(jnp.matmul(values, kernel, precision=float32()))[..., 0] * config.coordinate_range
        )  # [B, N, N]
        scale = weight * pair_mask / (jnp.sqrt(told.distance2 + DISTANCE_EPSILON) + config.norm_constant)
        change = jnp.einsum("bij,bijc->bic", scale, told.difference, precision=float32())
        return x + (change if step is None else step[:, None, None] * change), h

    def _edge_network(self, name: str) -> nn.Module:
        return self.edge_mlp(self.config.edge_hidden, precision=self.precision, name=name)

    def _messages(self, x: Array, h: Array, initial_radial: Array, pair_mask: Array) -> Messages:
        config = self.config
        difference = x[:, :, None, :] - x[:, None, :, :]
        distance2 = jnp.sum(difference**2, axis=-1)
        edges = jnp.concatenate([radial_features(distance2, kind=config.radial_features), initial_radial], axis=-1)
        nodes = normalised(h, config.node_norm)
        values = self._edge_network("message")(nodes, edges)
        gate = pair_mask
        if config.attention:
            gate = gate * nn.sigmoid(Linear(1, precision=self.precision, name="attention")(values)[..., 0])
        return Messages(difference, distance2, edges, nodes, values, gate)


class VectorLayer(Layer):
    """One equivariant layer with one edge network: the messages make vectors, which make angles and move the atoms."""

    @nn.compact
    def __call__(
        self, x: Array, h: Array, initial_radial: Array, pair_mask: Array, step: Array | None = None
    ) -> tuple[Array, Array]:
        """Update ``x`` [B, N, 3] and ``h`` [B, N, H], see ``Layer``."""
        config, linear = self.config, partial(Linear, precision=self.precision)
        features = config.edge_hidden
        told = self._messages(x, h, initial_radial, pair_mask)
        towards = told.difference / (jnp.sqrt(told.distance2 + DISTANCE_EPSILON) + config.norm_constant)[..., None]
        # One product for all sums over the senders j: of the messages, and of the messages times x, y and z.
        factors = told.gate[..., None] * jnp.concatenate([jnp.ones_like(told.gate)[..., None], towards], axis=-1)
        sums = jnp.einsum("bijk,bijf->bikf", factors, told.values, precision=float32()) / config.aggregation_divisor
        received, vectors = sums[:, :, 0], sums[:, :, 1:]  # [B, N, F], [B, N, 3, F]
        length2 = jnp.mean(jnp.sum(vectors**2, axis=2), axis=-1)
        bounded = vectors * jax.lax.rsqrt(1.0 + length2)[..., None, None]
        left, right = (linear(features, use_bias=False, name=f"angle_{side}")(bounded) for side in ("left", "right"))
        known = jnp.concatenate([received, jnp.sum(left * right, axis=2)], axis=-1)
        update = nn.silu(linear(config.hidden, name="node_hidden")(jnp.concatenate([told.nodes, known], axis=-1)))
        h = h + linear(config.hidden, name="node_output")(update)

        inputs = jnp.concatenate([normalised(h, config.node_norm), known], axis=-1)
        inner = nn.silu(linear(features, name="coordinate_hidden")(inputs))
        kernel = self.param("coordinate_output", _uniform(0.001 * (3.0 / features) ** 0.5), (features, features))
        weight = jnp.tanh(jnp.matmul(inner, kernel, precision=float32())) * config.coordinate_range  # [B, N, F]
        change = jnp.sum(weight[:, :, None, :] * vectors, axis=-1)
        return x + (change if step is None else step[:, None, None] * change), h


class EGNN(nn.Module):
    """The network: (x, h) -> (change of x, features), equivariant in x, invariant in h, equivariant to permutations.

    Its ``init`` returns the bounds between which parameters are to be drawn, all uniformly: ``weights.initial_weights``
    draws them at once, which compiles ten times faster than a draw for each.

    Attributes:
      config: the network's shape.
      output_features: features of a node that come out.
      condition_features: features of the whole molecule that come in, beside those of its nodes.
      edge_mlp: computes phi_e and phi_x; the benchmarks put slower forms of the same function here.
      precision: of the linear layers' products.
    """

    config: ModelConfig
    output_features: int
    condition_features: int = 0
    edge_mlp: Callable[..., nn.Module] = EdgeMLP
    precision: Precision = "float32"

    @nn.compact
    def __call__(
        self, x: Array, h: Array, mask: Array, step: Array | None = None, condition: Array | None = None
    ) -> tuple[Array, Array]:
        """Apply the network.

        Args:
          x: coordinates, centred, [B, N, 3].
          h: node features, the noise level among them, [B, N, K].
          mask: 1 for atoms and 0 for padding, [B, N].
          step: multiplies every layer's update of the coordinates, [B]; None for 1.
          condition: features of the molecules, [B, condition_features]; None for 0.

        Returns:
          The change of the coordinates over all layers, projected to zero mean over atoms, [B, N, 3], and the output
          features, [B, N, output_features]; both 0 in the padding.
        """
        config, linear = self.config, partial(Linear, precision=self.precision)
        pair_mask = mask[:, :, None] * mask[:, None, :] * (1.0 - jnp.eye(x.shape[1], dtype=x.dtype))
        initial_radial = radial_features(squared_distances(x), kind=config.radial_features)
        start = x
        if self.condition_features:
            condition = jnp.zeros((len(h), self.condition_features), h.dtype) if condition is None else condition
            h = jnp.concatenate([h, condition[:, None, :] * mask[..., None]], axis=-1)
        h = linear(config.hidden, name="embedding")(h)
        kind = VectorLayer if config.shared_edges else Layer
        for index in range(config.layers):
            layer = kind(config, self.edge_mlp, self.precision, name=f"layer_{index}")
            x, h = layer(x, h, initial_radial, pair_mask, step)
        outputs = linear(self.output_features, name="output")(normalised(h, config.node_norm)) * mask[..., None]
        return remove_mean((x - start) * mask[..., None], mask), outputs


def remove_mean(x: Array, mask: Array) -> Array:
    """Project ``x`` [B, N, 3] to zero mean over the atoms of each molecule (``mask`` [B, N]); padding stays 0."""
    mean = jnp.sum(x * mask[..., None], axis=1, keepdims=True) / jnp.sum(mask, axis=1)[:, None, None]
    return (x - mean) * mask[..., None]
