"""Twenty steps of training from the same weights and the same noisy batches end in the same weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import pipeline.jax_backend.train
import pipeline.torch_backend.train
from pipeline.data.batches import PaddedMolecules
from pipeline.data.shards import Shard
from pipeline.torch_backend.runtime import Machine
from pipeline.training.loop import TrainingRun, steps_from
from pipeline.training.noisy_batches import Noising
from pipeline.training.run_folder import PretrainedWeights

from .conftest import STATISTICS, WIDTH, Problem, assert_close, run_of

STEPS = 20
RUNS: dict[str, dict[str, Any]] = {
    "tuning": {"objective": "consistency", "init": "denoiser"},
    "distillation": {"objective": "consistency", "consistency": {"kind": "distillation"}, "teacher": "tuned"},
}
# Of the weights, relative to the farthest that one has moved: Adam divides the gradients by their size, and with that
# the rounding of the small ones grows.
TOLERANCE = 1e-2
LOSSES = 1e-4


def molecules(count: int) -> Shard:
    generator = np.random.default_rng(5)
    sizes = generator.integers(3, WIDTH + 1, count)
    mask = (np.arange(WIDTH) < sizes[:, None]).astype(np.float64)
    positions = Problem.centred(1.4 * generator.normal(size=(count, WIDTH, 3)), mask)
    atomic_numbers = generator.choice([1, 6, 7, 8, 9], mask.shape) * mask
    return Shard(
        WIDTH,
        np.arange(count, dtype=np.int32),
        sizes.astype(np.int32),
        atomic_numbers.astype(np.uint8),
        positions.astype(np.float32),
    )


def floats(arrays: dict[str, npt.NDArray[np.float64]]) -> dict[str, npt.NDArray[np.float32]]:
    # Small enough for twenty steps to lower the loss and not to run away.
    return {name: 0.5 * array.astype(np.float32) for name, array in arrays.items()}


@pytest.mark.parametrize("name", RUNS)
def test_weights_and_losses(name: str, tmp_path: Path) -> None:
    training = {"steps": STEPS, "batch_size": 8, "ema_decay": 0.8, "optimizer": {"warmup_steps": 4}}
    config = run_of(training=training, model={"layers": 1}, **RUNS[name])
    problem, shard = Problem(config), molecules(24)
    init = floats(problem.weights)
    pretrained = PretrainedWeights(init, floats(problem.teacher) if config.teacher else None)
    run = TrainingRun(config, "", {"train": [shard]}, STATISTICS, tmp_path / "torch", pretrained)
    ours = pipeline.torch_backend.train.TorchTrainer(run, Machine(torch.device("cpu"), cores=2, compile=False))
    theirs = pipeline.jax_backend.train.JaxTrainer(replace(run, directory=tmp_path / "jax"))
    trainers: list[Any] = [ours, theirs]

    noising = Noising(config, [shard], STATISTICS)
    outcomes: list[list[Any]] = [[], []]
    for step, _, batch in steps_from(0, {WIDTH: len(shard)}, config):
        noisy = noising.training(batch, step)
        for trainer, outcome in zip(trainers, outcomes, strict=True):
            outcome.append(trainer.step(noisy, step))
    assert len(outcomes[0]) == STEPS
    found, expected = (trainer.read(outcome) for trainer, outcome in zip(trainers, outcomes, strict=True))
    assert_close(found, expected, LOSSES)

    weights, their_weights = (trainer.averaged_weights() for trainer in trainers)
    moved = max(np.abs(their_weights[one] - init[one]).max() for one in init)
    assert moved > 0.005
    for one in init:
        np.testing.assert_allclose(weights[one], their_weights[one], rtol=0, atol=TOLERANCE * moved)

    validation = noising.draw.validation(PaddedMolecules.of(shard, np.arange(8)))
    assert_close(ours.validation_loss(validation), theirs.validation_loss(validation), LOSSES)
