"""What parity with the JAX backend (tests/parity) does not show."""

from collections.abc import Callable

import pytest
import torch

from pipeline.study.config import ClipConfig, RunConfig
from pipeline.torch_backend.optimizer import GradientClip, Optimizer, update


@pytest.mark.parametrize(("kind", "expected"), [("norm", 2.0), ("none", 5.0), ("adaptive", 5.0)])
def test_clipping(kind: str, expected: float) -> None:
    gradient = torch.tensor([3.0, -4.0])
    clip = GradientClip(ClipConfig.model_validate({"kind": kind, "value": 2.0}), like=gradient)
    assert clip(gradient) == 5.0
    torch.testing.assert_close(gradient, torch.tensor([0.6, -0.8]) * expected)


def test_adaptive_clipping_remembers_fifty_norms() -> None:
    clip = GradientClip(ClipConfig(kind="adaptive", value=1.0), like=torch.zeros(1))
    for _ in range(60):
        clip(torch.tensor([2.0]))
    # The norm of 3000 that it starts with is forgotten.
    gradient = torch.tensor([10.0])
    clip(gradient)
    assert gradient.item() == pytest.approx(1.5 * 2.0, rel=1e-3)


def test_an_update_is_in_place(make_config: Callable[..., RunConfig]) -> None:
    vector, average = torch.ones(3), torch.ones(3)
    training = make_config().training
    norm = update(
        Optimizer(training, vector, {"embedding.kernel": (3, 1)}),
        GradientClip(training.optimizer.clip, like=vector),
        torch.tensor([1.0, -2.0, 0.0]),
        average,
        rate=0.1,
        decay=0.5,
    )
    assert norm == pytest.approx(5**0.5)
    # The first step of Adam is as long as the learning rate, whatever the gradient.
    torch.testing.assert_close(vector, torch.tensor([0.9, 1.1, 1.0]))
    torch.testing.assert_close(average, torch.tensor([0.95, 1.05, 1.0]))
