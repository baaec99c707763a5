"""The optimiser, the learning rate and the average of the weights, all on one flat vector.

One vector instead of a list of some hundred small arrays: an update is a handful of vector operations.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.study.config import ClipConfig, TrainingConfig
from pipeline.training.constants import ADAM_EPSILON, CLIP_EPSILON, CLIP_START, CLIP_WINDOW


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


def learning_rate(config: TrainingConfig) -> Callable[[int], float]:
    """Return the learning rate by step: a linear warm-up, then constant or a linear or cosine fall to 0 at the end."""
    highest, warmup = config.optimizer.learning_rate, config.optimizer.warmup_steps
    rest = max(1, config.steps - warmup)
    shape: Callable[[float], float] = {
        "constant": lambda done: 1.0,
        "linear": lambda done: 1.0 - done,
        "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    }[config.optimizer.schedule]

    def rate(step: int) -> float:
        if step < warmup:
            # Starts above 0, so that the first step is not lost.
            start = highest / (warmup + 1)
            return start + (highest - start) * step / warmup
        return highest * shape(min(1.0, (step - warmup) / rest))

    return rate


def make_optimizer(config: TrainingConfig, vector: Tensor) -> torch.optim.AdamW:
    """Return Adam or AMSGrad with decoupled weight decay, for ``vector`` [P]; the learning rate is set at each step."""
    optimizer = config.optimizer
    return torch.optim.AdamW(
        [vector],
        lr=optimizer.learning_rate,
        betas=(optimizer.beta1, optimizer.beta2),
        eps=ADAM_EPSILON,
        weight_decay=optimizer.weight_decay,
        amsgrad=optimizer.amsgrad,
        fused=True,
    )


def ema_decay(step: int, limit: float) -> float:
    """Return the decay of the weights' average at ``step``: short at first, so that the average forgets its start."""
    return min(limit, 1.0 - 1.0 / (step / 10.0 + 2.0))


@torch.no_grad()
def update(
    optimizer: torch.optim.AdamW, clip: GradientClip, gradient: Tensor, average: Tensor, *, rate: float, decay: float
) -> Tensor:
    """Take a step: clip, change the optimiser's vector, and let its average follow; all in place.

    Args:
      optimizer: of ``make_optimizer``.
      clip: changes ``gradient`` too.
      gradient: [P].
      average: moving average of the vector, [P].
      rate: the learning rate.
      decay: of the average.

    Returns:
      The gradient's norm before clipping.
    """
    norm = clip(gradient)
    (group,) = optimizer.param_groups
    (vector,) = group["params"]
    group["lr"], vector.grad = rate, gradient
    optimizer.step()
    average.lerp_(vector, 1.0 - decay)
    return norm
