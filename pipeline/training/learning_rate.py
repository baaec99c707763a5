"""The learning rate by step."""

import math
from collections.abc import Callable

from pipeline.study.config import TrainingConfig


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
