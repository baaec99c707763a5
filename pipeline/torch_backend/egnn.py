"""The E(n)-equivariant graph network of EDM in PyTorch; equations and forms are those of ``pipeline.jax_backend.egnn``.

Parameters have the names and shapes of a run's weight file: linear maps are [inputs, outputs].
"""

from functools import partial
from typing import Final, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from pipeline.study.config import ModelConfig, Precision
from pipeline.training.constants import DISTANCE_EPSILON, RADIAL_COUNT, RADIAL_START, RADIAL_STOP, RMS_EPSILON

LARGE: Final = 2**20
"""Above so many elements in a layer's edge features of one molecule, 90 atoms at 128 features, a layer is computed
again for its gradient: a third more operations, and the memory of one layer instead of that of all."""


class Linear(nn.Module):
    """A linear layer whose input may be one of several summands (``fan_in`` counts all of them)."""

    def __init__(
        self,
        inputs: int,
        features: int,
        *,
        bias: bool = True,
        fan_in: int | None = None,
        precision: Precision = "float32",
    ):
        """Make it from ``inputs`` to ``features``, both numbers of features; its parameters are not set."""
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(inputs, features))
        self.bias = nn.Parameter(torch.empty(features)) if bias else None
        self._bound = (fan_in or inputs) ** -0.5
        self._rounded = precision == "bfloat16"

    def initialise(self, generator: Generator) -> None:
        """Draw the parameters from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), PyTorch's default."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -self._bound, self._bound, generator=generator)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [..., inputs] to [..., features]."""
        if not self._rounded:
            return functional.linear(inputs, self.kernel.T, self.bias)
        outputs = (inputs.bfloat16() @ self.kernel.bfloat16()).to(inputs.dtype)
        return outputs if self.bias is None else outputs + self.bias


def squared_distances(x: Tensor) -> Tensor:
    """Return |x_i - x_j|^2, [B, N, N], for ``x`` [B, N, 3]."""
    difference = x[:, :, None, :] - x[:, None, :, :]
    return difference.square().sum(dim=-1)


def radial_features(distance2: Tensor, *, kind: str) -> Tensor:
    """Return what an edge knows of squared distances [B, N, N]: [B, N, N, 1] or [B, N, N, 18]."""
    if kind == "squared":
        return distance2[..., None]
    distance = (distance2 + DISTANCE_EPSILON).sqrt()[..., None]
    centres = torch.linspace(RADIAL_START, RADIAL_STOP, RADIAL_COUNT, dtype=distance.dtype, device=distance.device)
    width = (RADIAL_STOP - RADIAL_START) / (RADIAL_COUNT - 1)
    gaussians = torch.exp(-0.5 * ((distance - centres) / width).square())
    bounded = distance2[..., None] / (1.0 + 0.1 * distance2[..., None])
    return torch.cat([distance, bounded, gaussians], dim=-1)


def radial_count(kind: str) -> int:
    """Return the number of features that ``radial_features`` makes of a distance."""
    return 1 if kind == "squared" else RADIAL_COUNT + 2


def normalised(h: Tensor, kind: str) -> Tensor:
    """Return each node's features [..., F], for kind rms scaled to unit root mean square (a linear layer follows)."""
    return h if kind == "none" else h * torch.rsqrt(h.square().mean(dim=-1, keepdim=True) + RMS_EPSILON)


class EdgeMLP(nn.Module):
    """Two linear layers with SiLU on every ordered pair of atoms, the first of them factored."""

    def __init__(self, nodes: int, edges: int, features: int, precision: Precision):
        """Make it for ``nodes`` features a node and ``edges`` features a pair."""
        super().__init__()
        linear, fan_in = partial(Linear, precision=precision), 2 * nodes + edges
        self.receiver = linear(nodes, features, fan_in=fan_in)
        self.sender = linear(nodes, features, fan_in=fan_in, bias=False)
        self.distance = linear(edges, features, fan_in=fan_in, bias=False)
        self.hidden = linear(features, features)

    def forward(self, h: Tensor, edges: Tensor) -> Tensor:
        """Map nodes ``h`` [B, N, H] and ``edges`` [B, N, N, K] to [B, N, N, features]."""
        inner = self.distance(edges)
        # In place: the product keeps its factors for the gradient, not its result.
        inner += self.receiver(h)[:, :, None, :]
        inner += self.sender(h)[:, None, :, :]
        return functional.silu(self.hidden(functional.silu(inner)))


class Messages(NamedTuple):
    """What the atoms of a molecule tell each other, see the other backend."""

    difference: Tensor
    distance2: Tensor
    edges: Tensor
    nodes: Tensor
    values: Tensor
    gate: Tensor


class _Layer(nn.Module):
    """What the two kinds of layers share: messages, and the parameter that is drawn in its own way."""

    coordinate_output: nn.Parameter

    def __init__(self, config: ModelConfig, precision: Precision):
        """Make the edge network of the messages, and their attention."""
        super().__init__()
        self.config, features = config, config.edge_hidden
        self.message = EdgeMLP(config.hidden, 2 * radial_count(config.radial_features), features, precision)
        self.attention = Linear(features, 1, precision=precision) if config.attention else None

    def initialise(self, generator: Generator) -> None:
        """Draw the parameter that is the layer's own: Xavier with gain 0.001, as the reference.

        The network starts as the identity on coordinates.
        """
        nn.init.xavier_uniform_(self.coordinate_output, gain=1e-3, generator=generator)

    def _messages(self, x: Tensor, h: Tensor, initial_radial: Tensor, pair_mask: Tensor) -> Messages:
        config = self.config
        difference = x[:, :, None, :] - x[:, None, :, :]  # [B, N, N, 3]
        distance2 = difference.square().sum(dim=-1)  # [B, N, N]
        edges = torch.cat([radial_features(distance2, kind=config.radial_features), initial_radial], dim=-1)
        nodes = normalised(h, config.node_norm)
        values = self.message(nodes, edges)  # [B, N, N, F]
        gate = pair_mask
        if self.attention is not None:
            gate = gate * torch.sigmoid(self.attention(values)[..., 0])
        return Messages(difference, distance2, edges, nodes, values, gate)


class Layer(_Layer):
    """One equivariant layer: messages, node update, coordinate update."""

    def __init__(self, config: ModelConfig, precision: Precision):
        """Make the layer of a network."""
        super().__init__(config, precision)
        linear, features = partial(Linear, precision=precision), config.edge_hidden
        self.node_hidden = linear(config.hidden + features, config.hidden)
        self.node_output = linear(config.hidden, config.hidden)
        self.coordinate = EdgeMLP(config.hidden, 2 * radial_count(config.radial_features), features, precision)
        self.coordinate_output = nn.Parameter(torch.empty(features, 1))

    def forward(
        self, x: Tensor, h: Tensor, initial_radial: Tensor, pair_mask: Tensor, step: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Update ``x`` [B, N, 3], by ``step`` [B] times its change, and ``h`` [B, N, H]; see the other backend."""
        config, told = self.config, self._messages(x, h, initial_radial, pair_mask)
        # [1, N] gates times [N, F] messages for each receiver, summed over the senders j.
        received = torch.matmul(told.gate[:, :, None, :], told.values)[:, :, 0, :] / config.aggregation_divisor
        h = h + self.node_output(functional.silu(self.node_hidden(torch.cat([told.nodes, received], dim=-1))))

        values = self.coordinate(normalised(h, config.node_norm), told.edges)
        weight = torch.tanh(values @ self.coordinate_output)[..., 0] * config.coordinate_range  # [B, N, N]
        scale = weight * pair_mask / ((told.distance2 + DISTANCE_EPSILON).sqrt() + config.norm_constant)
        change = (scale[..., None] * told.difference).sum(dim=2)
        return x + (change if step is None else step[:, None, None] * change), h


class VectorLayer(_Layer):
    """One equivariant layer with one edge network, see the other backend."""

    def __init__(self, config: ModelConfig, precision: Precision):
        """Make the layer of a network."""
        super().__init__(config, precision)
        linear, features = partial(Linear, precision=precision), config.edge_hidden
        self.angle_left = linear(features, features, bias=False)
        self.angle_right = linear(features, features, bias=False)
        self.node_hidden = linear(config.hidden + 2 * features, config.hidden)
        self.node_output = linear(config.hidden, config.hidden)
        self.coordinate_hidden = linear(config.hidden + 2 * features, features)
        self.coordinate_output = nn.Parameter(torch.empty(features, features))

    def forward(
        self, x: Tensor, h: Tensor, initial_radial: Tensor, pair_mask: Tensor, step: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Update ``x`` [B, N, 3], by ``step`` [B] times its change, and ``h`` [B, N, H]."""
        config, told = self.config, self._messages(x, h, initial_radial, pair_mask)
        towards = told.difference / ((told.distance2 + DISTANCE_EPSILON).sqrt() + config.norm_constant)[..., None]
        # One product for all sums over the senders j: of the messages, and of the messages times x, y and z.
        factors = told.gate[..., None] * torch.cat([torch.ones_like(told.gate)[..., None], towards], dim=-1)
        sums = torch.matmul(factors.transpose(2, 3), told.values) / config.aggregation_divisor
        received, vectors = sums[:, :, 0], sums[:, :, 1:]  # [B, N, F], [B, N, 3, F]
        length2 = vectors.square().sum(dim=2).mean(dim=-1)
        bounded = vectors * torch.rsqrt(1.0 + length2)[..., None, None]
        angles = (self.angle_left(bounded) * self.angle_right(bounded)).sum(dim=2)
        known = torch.cat([received, angles], dim=-1)
        h = h + self.node_output(functional.silu(self.node_hidden(torch.cat([told.nodes, known], dim=-1))))

        inner = functional.silu(self.coordinate_hidden(torch.cat([normalised(h, config.node_norm), known], dim=-1)))
        weight = torch.tanh(inner @ self.coordinate_output) * config.coordinate_range  # [B, N, F]
        change = (weight[:, :, None, :] * vectors).sum(dim=-1)
        return x + (change if step is None else step[:, None, None] * change), h


class EGNN(nn.Module):
    """The network: (x, h) -> (change of x, features), equivariant in x, invariant in h, equivariant to permutations."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        input_features: int,
        output_features: int,
        condition_features: int = 0,
        precision: Precision = "float32",
    ):
        """Make the network; its parameters are not set, see ``initialise`` and ``pipeline.torch_backend.weights``.

        Beside the features of its nodes, ``condition_features`` of the whole molecule come in.
        """
        super().__init__()
        self.config, self.condition_features = config, condition_features
        self.embedding = Linear(input_features + condition_features, config.hidden, precision=precision)
        for index in range(config.layers):
            self.add_module(f"layer_{index}", (VectorLayer if config.shared_edges else Layer)(config, precision))
        self.output = Linear(config.hidden, output_features, precision=precision)

    def initialise(self, generator: Generator) -> None:
        """Draw all parameters, on the CPU."""
        for module in self.modules():
            if isinstance(module, Linear | _Layer):
                module.initialise(generator)

    def compile_layers(self, *, backend: str = "inductor") -> None:
        """Let ``torch.compile`` make a program of a layer for each shape; they are all alike, so one does for all."""
        for index in range(self.config.layers):
            self.get_submodule(f"layer_{index}").compile(dynamic=False, fullgraph=True, backend=backend)

    def forward(
        self, x: Tensor, h: Tensor, mask: Tensor, step: Tensor | None = None, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Apply the network; arguments and results are those of the other backend's."""
        config = self.config
        pairs = 1.0 - torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        pair_mask = mask[:, :, None] * mask[:, None, :] * pairs
        initial_radial = radial_features(squared_distances(x), kind=config.radial_features)
        start = x
        if self.condition_features:
            condition = h.new_zeros(len(h), self.condition_features) if condition is None else condition
            h = torch.cat([h, condition[:, None, :] * mask[..., None]], dim=-1)
        h = self.embedding(h)
        again = torch.is_grad_enabled() and x.shape[1] ** 2 * config.edge_hidden > LARGE
        for index in range(config.layers):
            arguments = (self.get_submodule(f"layer_{index}"), x, h, initial_radial, pair_mask, step)
            if again:
                x, h = checkpoint(*arguments, use_reentrant=False, preserve_rng_state=False)
            else:
                x, h = arguments[0](*arguments[1:])
        outputs = self.output(normalised(h, config.node_norm)) * mask[..., None]
        return remove_mean((x - start) * mask[..., None], mask), outputs


def remove_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Project ``x`` [B, N, 3] to zero mean over the atoms of each molecule (``mask`` [B, N]); padding stays 0."""
    mean = (x * mask[..., None]).sum(dim=1, keepdim=True) / mask.sum(dim=1)[:, None, None]
    return (x - mean) * mask[..., None]
