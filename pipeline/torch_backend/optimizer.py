"""The optimiser, the learning rate and the average of the weights, all on one flat vector.

One vector instead of a list of some hundred small arrays: an update is a handful of vector operations. Muon takes the
matrices out of it, those of one shape together.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

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


class GradientClip:
    """Cuts gradients back to a fixed norm, or to what the norms of the last gradients allow, or not at all.

    ``adaptive`` is EDM's: 1.5 times the mean plus twice the standard deviation of the last 50 norms. Like there, the
    history starts with one norm of 3000, and a clipped gradient enters it with its clipped norm.

    Attributes:
      norms: the last norms, a ring of [50]; used for kind ``adaptive``.
      count: how many norms were seen, a scalar.
    """

    def __init__(self, config: ClipConfig, *, like: Tensor):
        """Start afresh, on the device and in the type of ``like``."""
        self._config = config
        self.norms = like.new_zeros(CLIP_WINDOW)
        self.norms[0] = CLIP_START
        self.count = torch.ones((), dtype=torch.int64, device=like.device)
        self._places = torch.arange(CLIP_WINDOW, device=like.device)

    def __call__(self, gradient: Tensor) -> Tensor:
        """Scale ``gradient`` [P] in place; return the norm that it had."""
        norm: Tensor = torch.linalg.vector_norm(gradient)
        if self._config.kind == "norm":
            gradient.mul_(torch.where(norm < self._config.value, torch.ones_like(norm), self._config.value / norm))
        elif self._config.kind == "adaptive":
            seen = (self._places < self.count).to(norm.dtype)
            mean = (self.norms * seen).sum() / seen.sum()
            deviation = (seen * (self.norms - mean).square()).sum().div(seen.sum()).sqrt()
            limit = 1.5 * mean + 2.0 * deviation
            gradient.mul_((limit / (norm + CLIP_EPSILON)).clamp(max=1.0))
            latest = self._places == self.count % CLIP_WINDOW
            self.norms.copy_(torch.where(latest, torch.minimum(norm, limit), self.norms))
            self.count += 1
        return norm


class Optimizer:
    """Muon, Adam or AMSGrad with decoupled weight decay, see the other backend; changes a vector [P] in place.

    Attributes:
      vector: the parameters, [P].
    """

    def __init__(self, config: TrainingConfig, vector: Tensor, shapes: Mapping[str, tuple[int, ...]]):
        """Start afresh.

        Args:
          config: of the training.
          vector: the parameters, [P].
          shapes: of the parameters by name, in their order in the vector.
        """
        self.vector, self._config = vector, config.optimizer
        groups = hidden_matrices(shapes) if self._config.kind == "muon" else {}
        numbers = torch.arange(len(vector), device=vector.device)
        places = dict(zip(shapes, torch.split(numbers, [math.prod(shape) for shape in shapes.values()]), strict=True))
        # By shape, the places [K, rows, columns] of K matrices.
        self._matrices = {
            shape: torch.stack([places.pop(name).view(shape) for name in names]) for shape, names in groups.items()
        }
        self._means = {shape: torch.zeros_like(vector[index]) for shape, index in self._matrices.items()}
        # All that is left; without matrices a view of the whole vector.
        self._rest = torch.cat(list(places.values())) if groups else slice(None)
        self._rest_vector = vector[self._rest]
        self._adam = torch.optim.AdamW(
            [self._rest_vector],
            betas=(self._config.beta1, self._config.beta2),
            eps=ADAM_EPSILON,
            weight_decay=self._config.weight_decay,
            amsgrad=self._config.kind == "amsgrad",
            fused=True,
        )

    @torch.no_grad()
    def step(self, gradient: Tensor, rate: float) -> None:
        """Take a step with a gradient [P] and a learning rate."""
        # The vector may have been set in between.
        self._rest_vector.copy_(self.vector[self._rest])
        self._rest_vector.grad = gradient[self._rest]
        self._adam.param_groups[0]["lr"] = rate
        self._adam.step()
        self.vector[self._rest] = self._rest_vector
        beta, count = self._config.beta1, self._adam.state[self._rest_vector]["step"].to(gradient.dtype)
        for shape, places in self._matrices.items():
            new, mean, old = gradient[places], self._means[shape], self.vector[places]
            mean.lerp_(new, 1.0 - beta)
            ahead = beta * mean / (1.0 - beta ** (count + 1.0)) + (1.0 - beta) * new / (1.0 - beta**count)
            change = muon_rate(shape) * _orthogonalised(ahead) + self._config.weight_decay * old
            self.vector[places] = old - rate * change

    def state(self) -> dict[str, Tensor]:
        """Return what a step changes beside the vector, by name."""
        means = {_mean_name(shape): mean for shape, mean in self._means.items()}
        return {**self._adam.state_dict()["state"].get(0, {}), **means}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take up the ``state`` of another optimiser like this one."""
        adam = dict(state)
        means = {shape: adam.pop(_mean_name(shape)) for shape in self._means}
        self._adam.load_state_dict(self._adam.state_dict() | {"state": {0: adam}})
        for shape, mean in self._means.items():
            mean.copy_(means[shape])


def _mean_name(shape: tuple[int, int]) -> str:
    return f"mean.{shape[0]}x{shape[1]}"


def _orthogonalised(matrices: Tensor) -> Tensor:
    """Return matrices [K, rows, columns] with singular values near 1 (Newton-Schulz)."""
    tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + MUON_EPSILON)
    a, b, c = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


def ema_decay(step: int, limit: float) -> float:
    """Return the decay of the weights' average at ``step``: short at first, so that the average forgets its start."""
    return min(limit, 1.0 - 1.0 / (step / 10.0 + 2.0))


@torch.no_grad()
def update(
    optimizer: Optimizer, clip: GradientClip, gradient: Tensor, average: Tensor, *, rate: float, decay: float
) -> Tensor:
    """Take a step: clip, change the optimiser's vector, and let its average follow; all in place.

    Args:
      optimizer: of the vector.
      clip: changes ``gradient`` too.
      gradient: [P].
      average: moving average of the vector, [P].
      rate: the learning rate.
      decay: of the average.

    Returns:
      The gradient's norm before clipping.
    """
    norm = clip(gradient)
    optimizer.step(gradient, rate)
    average.lerp_(optimizer.vector, 1.0 - decay)
    return norm
