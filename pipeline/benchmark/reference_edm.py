"""EDM in PyTorch as published, for comparison: edge lists, no factored layers, each batch padded to its largest.

Written for the benchmarks after the code of Hoogeboom et al. 2022 (ehoogeboom/e3_diffusion_for_molecules). A training
step and a sampling step take the same number of operations as there, on tensors of the same shapes:

- a batch of B molecules padded to N atoms is one graph of B N nodes with all B N^2 ordered pairs as edges, including
  masked ones of the padding and of each atom with itself;
- the edge networks read the concatenation [h_i, h_j, a_ij] of every edge, and messages are summed by ``scatter_add_``;
- AdamW with AMSGrad, gradients clipped by a queue of their recent norms, an average of the weights parameter by
  parameter.

Left out, in the reference's favour: logging, assertions, collation, and the divergence of the prior, which has no
gradient.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.data.qm9 import ATOMIC_NUMBERS
from pipeline.diffusion.feature_scales import CHARGE_SCALE, TYPE_SCALE
from pipeline.diffusion.schedules import VariancePreserving

QUEUE_LENGTH: Final = 50
QUEUE_START: Final = 3000.0
TYPES: Final = len(ATOMIC_NUMBERS)
FEATURES: Final = TYPES + 1
EPSILON: Final = 1e-8
"""Added under the root of a distance."""


class Graph(NamedTuple):
    """A padded batch as one graph."""

    receiver: Tensor
    """[B N^2] node i of every edge, where messages are summed."""
    sender: Tensor
    """[B N^2] node j of every edge."""
    node_mask: Tensor
    """[B N, 1]: 1 for atoms, 0 for padding."""
    edge_mask: Tensor
    """[B N^2, 1]: 1 for pairs of two different atoms."""


class EdgeNetwork(nn.Sequential):
    """Two linear layers with SiLU on the concatenation of both nodes' features and the edge's."""

    def __init__(self, hidden: int):
        """Create a network of ``hidden`` features."""
        super().__init__(nn.Linear(2 * hidden + 2, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())


class MessageLayer(nn.Module):
    """Messages weighted by attention, summed, and the node update."""

    def __init__(self, hidden: int):
        """Create a layer of ``hidden`` features."""
        super().__init__()
        self.edge = EdgeNetwork(hidden)
        self.attention = nn.Sequential(nn.Linear(hidden, 1), nn.Sigmoid())
        self.node = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden))

    def forward(self, h: Tensor, edges: Tensor, graph: Graph) -> Tensor:
        """Update ``h`` [B N, H]; ``edges`` [B N^2, 2]."""
        messages = self.edge(torch.cat([h[graph.receiver], h[graph.sender], edges], dim=1))
        messages = messages * self.attention(messages) * graph.edge_mask
        received = sum_by_node(messages, graph.receiver, len(h))
        updated: Tensor = (h + self.node(torch.cat([h, received], dim=1))) * graph.node_mask
        return updated


class CoordinateLayer(nn.Module):
    """The coordinate update."""

    def __init__(self, hidden: int, *, coordinate_range: float):
        """Create a layer of ``hidden`` features; each neighbour moves an atom by at most ``coordinate_range``."""
        super().__init__()
        self.edge = EdgeNetwork(hidden)
        self.output = nn.Linear(hidden, 1, bias=False)
        nn.init.xavier_uniform_(self.output.weight, gain=0.001)
        self.coordinate_range = coordinate_range

    def forward(self, x: Tensor, h: Tensor, direction: Tensor, edges: Tensor, graph: Graph) -> Tensor:
        """Update ``x`` [B N, 3] along ``direction`` [B N^2, 3]."""
        weight = self.output(self.edge(torch.cat([h[graph.receiver], h[graph.sender], edges], dim=1)))
        shift = direction * torch.tanh(weight) * self.coordinate_range * graph.edge_mask
        return (x + sum_by_node(shift, graph.receiver, len(x))) * graph.node_mask


class ReferenceEGNN(nn.Module):
    """The network: (x, h) -> (change of x, features)."""

    def __init__(self, *, hidden: int, layers: int, norm_constant: float = 1.0, coordinate_range: float = 15.0):
        """Create it with PyTorch's initial weights; the last output, for the time, is dropped as published."""
        super().__init__()
        self.norm_constant = norm_constant
        self.embedding = nn.Linear(FEATURES + 1, hidden)
        self.messages = nn.ModuleList(MessageLayer(hidden) for _ in range(layers))
        self.coordinates = nn.ModuleList(
            CoordinateLayer(hidden, coordinate_range=coordinate_range) for _ in range(layers)
        )
        self.output = nn.Linear(hidden, FEATURES + 1)
        self._edges: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def forward(self, x: Tensor, h: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the network to ``x`` [B, N, 3], ``h`` [B, N, 7] and ``mask`` [B, N]; return [B, N, 3] and [B, N, 6]."""
        batch, width = mask.shape
        graph = self.graph(mask)
        start = x.reshape(batch * width, 3) * graph.node_mask
        x, nodes = start, self.embedding(h.reshape(batch * width, -1) * graph.node_mask)
        initial, _ = self.distances(x, graph)
        for message, coordinate in zip(self.messages, self.coordinates, strict=True):
            distance, direction = self.distances(x, graph)
            edges = torch.cat([distance, initial], dim=1)
            nodes = message(nodes, edges, graph)
            x = coordinate(x, nodes, direction, edges, graph)
        outputs = (self.output(nodes) * graph.node_mask)[:, :-1]
        change = ((x - start) * graph.node_mask).view(batch, width, 3)
        return remove_mean(change, mask), outputs.view(batch, width, FEATURES)

    def graph(self, mask: Tensor) -> Graph:
        """Return the graph of a batch with ``mask`` [B, N]; its edges are created once per shape."""
        batch, width = mask.shape
        if (batch, width) not in self._edges:
            nodes = torch.arange(batch * width).view(batch, width)
            receiver = nodes[:, :, None].expand(batch, width, width).reshape(-1)
            sender = nodes[:, None, :].expand(batch, width, width).reshape(-1)
            self._edges[batch, width] = receiver.to(mask.device), sender.to(mask.device)
        pairs = mask[:, :, None] * mask[:, None, :] * (1.0 - torch.eye(width, dtype=mask.dtype, device=mask.device))
        return Graph(*self._edges[batch, width], mask.reshape(-1, 1), pairs.reshape(-1, 1))

    def distances(self, x: Tensor, graph: Graph) -> tuple[Tensor, Tensor]:
        """Return squared distances [B N^2, 1] and directions [B N^2, 3] of all edges."""
        difference = x[graph.receiver] - x[graph.sender]
        distance2 = difference.square().sum(dim=1, keepdim=True)
        return distance2, difference / ((distance2 + EPSILON).sqrt() + self.norm_constant)


def sum_by_node(values: Tensor, nodes: Tensor, count: int) -> Tensor:
    """Return the sums [count, K] of ``values`` [E, K] over the edges of each of ``nodes`` [E]."""
    sums = values.new_zeros(count, values.shape[1])
    return sums.scatter_add_(0, nodes[:, None].expand_as(values), values)


def remove_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Project ``x`` [B, N, 3] to zero mean over the atoms of each molecule (``mask`` [B, N]); padding stays 0."""
    mean = x.sum(dim=1, keepdim=True) / mask.sum(dim=1)[:, None, None]
    return x - mean * mask[..., None]


class ReferenceEDM(nn.Module):
    """The diffusion: loss and ancestral sampling."""

    alpha: Tensor
    sigma: Tensor

    def __init__(self, model: ReferenceEGNN, schedule: VariancePreserving):
        """Combine a network with a schedule of alpha_t and sigma_t."""
        super().__init__()
        self.model, self.steps = model, schedule.steps
        self.register_buffer("alpha", torch.tensor(schedule.alpha, dtype=torch.float32))
        self.register_buffer("sigma", torch.tensor(schedule.sigma, dtype=torch.float32))

    def loss(self, positions: Tensor, atomic_numbers: Tensor, mask: Tensor) -> Tensor:
        """Return the mean L2 loss of a batch with random steps and noise.

        Args:
          positions: in angstrom, [B, N, 3].
          atomic_numbers: 0 in the padding, [B, N].
          mask: [B, N].
        """
        t = torch.randint(0, self.steps + 1, (len(mask),), device=mask.device)
        return self.losses(positions, atomic_numbers, mask, t=t, noise=self.draw_noise(mask)).mean()

    def losses(self, positions: Tensor, atomic_numbers: Tensor, mask: Tensor, *, t: Tensor, noise: Tensor) -> Tensor:
        """Return every molecule's L2 loss [B] at steps ``t`` [B] with ``noise`` [B, N, 9].

        As published, it is divided by the padded number of atoms, not by the molecule's own.
        """
        types = (atomic_numbers[..., None] == torch.tensor(ATOMIC_NUMBERS, device=mask.device)).float()
        charges = atomic_numbers[..., None].float()
        clean = torch.cat([remove_mean(positions, mask), types / TYPE_SCALE, charges / CHARGE_SCALE], dim=2)
        alpha, sigma = self.alpha[t][:, None, None], self.sigma[t][:, None, None]
        z = alpha * clean + sigma * noise
        estimate = self.predict_noise(z, mask, t)
        denominator = (3 + FEATURES) * mask.shape[1]
        error = (noise - estimate).square().sum(dim=(1, 2)) / denominator
        error_x = (noise - estimate)[..., :3].square().sum(dim=(1, 2)) / denominator
        zero = 0.5 * error_x + self._reconstruction(types, charges, z, sigma, mask)
        at_zero = (t == 0).float()
        return zero * at_zero + 0.5 * error * (1.0 - at_zero)

    def predict_noise(self, z: Tensor, mask: Tensor, t: Tensor) -> Tensor:
        """Return the estimate of the noise in ``z`` [B, N, 9] at steps ``t`` [B]."""
        time = (t.float() / self.steps)[:, None, None].expand(*mask.shape, 1)
        return torch.cat(self.model(z[..., :3], torch.cat([z[..., 3:], time], dim=2), mask), dim=2)

    def draw_noise(self, mask: Tensor) -> Tensor:
        """Return normal noise for ``mask`` [B, N], coordinates without a centre of mass: [B, N, 9]."""
        noise = torch.randn(*mask.shape, 3 + FEATURES, device=mask.device) * mask[..., None]
        return torch.cat([remove_mean(noise[..., :3], mask), noise[..., 3:]], dim=2)

    def _reconstruction(self, types: Tensor, charges: Tensor, z: Tensor, sigma: Tensor, mask: Tensor) -> Tensor:
        """Return -log p(h | z) [B]: Gaussian masses of the intervals around types and charges."""

        def log_mass(centred: Tensor, width: Tensor) -> Tensor:
            upper, lower = (centred + 0.5) / width, (centred - 0.5) / width
            return torch.log(torch.special.ndtr(upper) - torch.special.ndtr(lower) + 1e-10)

        log_charges = log_mass(charges - z[..., -1:] * CHARGE_SCALE, sigma * CHARGE_SCALE)
        log_types = log_mass(z[..., 3:-1] * TYPE_SCALE - 1.0, sigma * TYPE_SCALE)
        log_types = log_types - torch.logsumexp(log_types, dim=2, keepdim=True)
        return -((log_charges + (log_types * types).sum(dim=2, keepdim=True)) * mask[..., None]).sum(dim=(1, 2))

    @torch.no_grad()
    def sample(self, mask: Tensor, *, calls: int) -> tuple[Tensor, Tensor]:
        """Draw molecules by ancestral sampling with ``calls`` network calls, on evenly strided steps.

        Args:
          mask: 1 for atoms, 0 for padding, [B, N]; the published code pads to the largest molecule of the data.
          calls: network calls; 1,001 take every step of the published diffusion.

        Returns:
          Positions [B, N, 3] and types [B, N], indices into ``ATOMIC_NUMBERS``.
        """
        levels = np.round(np.linspace(self.steps, 0, calls)).astype(int).tolist()
        z = self.draw_noise(mask)
        for upper, lower in zip(levels[:-1], levels[1:], strict=True):
            t = torch.full((len(mask),), upper, device=mask.device)
            ratio = self.alpha[upper] / self.alpha[lower]
            variance = self.sigma[upper] ** 2 - (ratio * self.sigma[lower]) ** 2
            mean = z / ratio - variance / (ratio * self.sigma[upper]) * self.predict_noise(z, mask, t)
            z = mean + variance.sqrt() * self.sigma[lower] / self.sigma[upper] * self.draw_noise(mask)
            z = torch.cat([remove_mean(z[..., :3], mask), z[..., 3:]], dim=2)
        last = torch.full((len(mask),), levels[-1], device=mask.device)
        alpha, sigma = self.alpha[levels[-1]], self.sigma[levels[-1]]
        clean = (z - sigma * self.predict_noise(z, mask, last)) / alpha
        x = (clean + sigma / alpha * self.draw_noise(mask))[..., :3]
        return x, z[..., 3 : 3 + TYPES].argmax(dim=2)


class ReferenceTraining:
    """A training run of the reference: network, optimiser, clipping queue and averaged weights."""

    def __init__(self, objective: ReferenceEDM, *, learning_rate: float = 1e-4, decay: float = 0.9999):
        """Start with the weights that ``objective`` has."""
        self.objective, self._decay = objective, decay
        self._parameters = list(objective.model.parameters())
        self._average = [parameter.detach().clone() for parameter in self._parameters]
        self.recent_norms = [QUEUE_START]
        self._optimizer = torch.optim.AdamW(self._parameters, lr=learning_rate, amsgrad=True, weight_decay=1e-12)

    def step(self, positions: Tensor, atomic_numbers: Tensor, mask: Tensor) -> float:
        """Take a step on a padded batch; return its loss."""
        self._optimizer.zero_grad()
        loss = self.objective.loss(positions, atomic_numbers, mask)
        torch.autograd.backward(loss)
        limit = 1.5 * np.mean(self.recent_norms) + 2.0 * np.std(self.recent_norms)
        norm = float(nn.utils.clip_grad_norm_(self._parameters, max_norm=float(limit)))
        self.recent_norms = [min(norm, float(limit)), *self.recent_norms[: QUEUE_LENGTH - 1]]
        self._optimizer.step()
        with torch.no_grad():
            for average, parameter in zip(self._average, self._parameters, strict=True):
                average.mul_(self._decay).add_(parameter, alpha=1.0 - self._decay)
        return loss.item()


def load_weights(model: ReferenceEGNN, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Load the weights of one of our networks in EDM's form into the reference (names as in a weight file).

    The first layers of our edge networks are split by input; here they are one matrix for [h_i, h_j, a_ij].
    """
    weights: dict[str, npt.NDArray[Any]] = {
        "embedding.weight": arrays["embedding.kernel"].T,
        "embedding.bias": arrays["embedding.bias"],
        # Zeros for the output that is dropped.
        "output.weight": np.pad(arrays["output.kernel"].T, [(0, 1), (0, 0)]),
        "output.bias": np.pad(arrays["output.bias"], (0, 1)),
    }
    for index in range(len(model.messages)):
        layer = f"layer_{index}."
        for ours, theirs in (("message", f"messages.{index}.edge"), ("coordinate", f"coordinates.{index}.edge")):
            parts = [arrays[f"{layer}{ours}.{part}.kernel"] for part in ("receiver", "sender", "distance")]
            weights[f"{theirs}.0.weight"] = np.concatenate(parts).T
            weights[f"{theirs}.0.bias"] = arrays[f"{layer}{ours}.receiver.bias"]
            weights[f"{theirs}.2.weight"] = arrays[f"{layer}{ours}.hidden.kernel"].T
            weights[f"{theirs}.2.bias"] = arrays[f"{layer}{ours}.hidden.bias"]
        for ours, theirs in (("attention", "attention.0"), ("node_hidden", "node.0"), ("node_output", "node.2")):
            weights[f"messages.{index}.{theirs}.weight"] = arrays[f"{layer}{ours}.kernel"].T
            weights[f"messages.{index}.{theirs}.bias"] = arrays[f"{layer}{ours}.bias"]
        weights[f"coordinates.{index}.output.weight"] = arrays[f"{layer}coordinate_output"].T
    model.load_state_dict({name: torch.tensor(np.ascontiguousarray(array)) for name, array in weights.items()})
