import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.core.errors import InputError
from pipeline.data.batches import Batch
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.study.config import RunConfig, run_config
from pipeline.torch_backend.runtime import Machine
from pipeline.torch_backend.train import TorchTrainer, train
from pipeline.torch_backend.weights import to_arrays
from pipeline.training.loop import Interrupted, Trained, TrainingRun, validation_molecules
from pipeline.training.noisy_batches import Noising
from pipeline.training.run_folder import PretrainedWeights, read_weights

MakeConfig = Callable[..., RunConfig]
Molecules = tuple[dict[str, list[Shard]], Statistics]

CPU = Machine(torch.device("cpu"), cores=2, compile=False)


@pytest.fixture(scope="module")
def molecules(data: Any) -> Molecules:
    found: Molecules = data.read()
    return found


def run(
    config: RunConfig,
    molecules: Molecules,
    directory: Path,
    stop: Callable[[], bool] = lambda: False,
    pretrained: PretrainedWeights | None = None,
) -> Trained:
    shards, statistics = molecules
    training = TrainingRun(config, "this", shards, statistics, directory, pretrained or PretrainedWeights(), stop=stop)
    return train(training, CPU)


def after(calls: int) -> Callable[[], bool]:
    """Return a request to stop that comes at the given step of a session."""
    counter = iter(range(1, 1000))
    return lambda: next(counter) == calls


def logged(directory: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def bits(arrays: Any) -> dict[str, bytes]:
    return {name: np.asarray(array).tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize(
    ("objective", "optimizer"), [("edm", {}), ("consistency", {"kind": "amsgrad", "clip": {"kind": "adaptive"}})]
)
def test_an_interrupted_training_ends_in_the_same_bits(
    make_config: MakeConfig, molecules: Molecules, tmp_path: Path, objective: str, optimizer: dict[str, Any]
) -> None:
    training = {"validation_interval": 6, "optimizer": {"warmup_steps": 2} | optimizer}
    config = make_config(training=training).model_copy(update={"objective": objective})
    finished = run(config, molecules, tmp_path / "finished")
    interrupted = tmp_path / "interrupted"
    with pytest.raises(Interrupted, match="stopped at step 5 of 12"):
        run(config, molecules, interrupted, stop=after(5))
    with pytest.raises(Interrupted, match="stopped at step 9 of 12"):
        run(config, molecules, interrupted, stop=after(4))
    # A bit flips in what was saved last: the one before it is as good.
    damaged = interrupted / "checkpoints" / "00000009.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x55")
    trained = run(config, molecules, interrupted)
    assert bits(trained.arrays) == bits(finished.arrays)
    assert [line["step"] for line in logged(interrupted, "train")] == [5, 6, 12]
    losses = [(line["step"], line["loss"]) for line in logged(interrupted, "validation")]
    assert losses == [(line["step"], line["loss"]) for line in logged(tmp_path / "finished", "validation")]


@pytest.mark.parametrize("objective", ["edm", "denoiser"])
def test_training_lowers_the_loss_and_changes_every_parameter(
    make_config: MakeConfig, molecules: Molecules, tmp_path: Path, objective: str
) -> None:
    training = {"steps": 40, "validation_interval": 20, "sample_interval": 40, "sample_count": 4}
    long = run(make_config(objective=objective, training=training), molecules, tmp_path / "long")
    short = run(make_config(objective=objective, training={"steps": 2}), molecules, tmp_path / "short")
    assert all((long.arrays[name] != short.arrays[name]).any() for name in long.arrays)
    losses = [line["loss"] for line in logged(tmp_path / "long", "validation")]
    assert losses[1] < losses[0]
    (samples,) = logged(tmp_path / "long", "samples")
    assert samples["num"] == 4 and 0 <= samples["atom_stability"]["value"] <= 1


def test_a_learning_rate_that_is_absurd_ends_in_a_line_and_keeps_the_last_good_checkpoint(
    make_config: MakeConfig, molecules: Molecules, tmp_path: Path
) -> None:
    # Saved after every step; the rate is absurd when the warm-up is over.
    optimizer = {"learning_rate": 1e38, "warmup_steps": 0, "clip": {"kind": "none"}}
    with pytest.raises(InputError, match="run tiny: the loss is not finite near step"):
        run(make_config(training={"checkpoint_seconds": 1e-9, "optimizer": optimizer}), molecules, tmp_path)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_validation_is_of_the_average_and_has_the_same_noise_every_time(
    make_config: MakeConfig, molecules: Molecules, tmp_path: Path
) -> None:
    shards, statistics = molecules
    trainer = TorchTrainer(TrainingRun(make_config(), "this", shards, statistics, tmp_path), CPU)
    found = validation_molecules(shards["validation"], 29, 0)
    assert found is not None
    batch = Noising(make_config(), shards["train"], statistics).draw.validation(found[0])
    losses = trainer.validation_loss(batch)
    np.testing.assert_array_equal(losses, trainer.validation_loss(batch))
    trainer._weights += 1.0
    np.testing.assert_array_equal(losses, trainer.validation_loss(batch))
    trainer._ema += 1.0
    assert (losses != trainer.validation_loss(batch)).all()


def test_a_run_starts_from_its_starts(make_config: MakeConfig, molecules: Molecules, tmp_path: Path) -> None:
    shards, statistics = molecules
    config = make_config(
        objective="consistency", consistency={"kind": "distillation"}, init="denoiser", teacher="tuned"
    )
    arrays = dict(run(config, molecules, tmp_path / "any").arrays)
    teacher = {name: 1.5 * array for name, array in arrays.items()}
    pretrained = PretrainedWeights(arrays, teacher)
    trainer = TorchTrainer(TrainingRun(config, "this", shards, statistics, tmp_path, pretrained), CPU)
    assert bits(trainer.averaged_weights()) == bits(arrays)
    noising = Noising(config, shards["train"], statistics)
    for step in range(2):
        trainer.step(noising.training(Batch(18, np.arange(8, dtype=np.int32)), step), step)
    averaged = bits(trainer.averaged_weights())
    assert all(averaged[name] != array for name, array in bits(arrays).items())
    assert bits(to_arrays(trainer._teacher)) == bits(teacher)

    del arrays["output.bias"]
    with pytest.raises(InputError, match="output.bias should have shape"):
        run(config, molecules, tmp_path / "other", pretrained=PretrainedWeights(arrays))


def test_nothing_to_train_on(make_config: MakeConfig, molecules: Molecules, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no training molecule"):
        run(make_config(), ({"train": [], "validation": []}, molecules[1]), tmp_path)


# --- the stage, as a process ------------------------------------------------------------------------------------------


def start(config: Path, data: Any, output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipeline.cli.train", "--config", str(config), *data.arguments()]
    return subprocess.Popen(
        [*command, "--output", str(output), "--devices", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "no such platform"},
    )


def test_a_terminated_training_goes_on(
    make_settings: Callable[..., Any], data: Any, molecules: Molecules, tmp_path: Path
) -> None:
    config, output = tmp_path / "config.json", tmp_path / "disturbed"
    settings = make_settings(backend="torch", training={"steps": 60, "checkpoint_seconds": 1e-3})
    config.write_text(json.dumps(settings))

    terminated = start(config, data, output)
    while terminated.poll() is None and not list(output.glob("state/*/checkpoints/[0-9]*")):
        time.sleep(0.005)
    terminated.terminate()
    message = terminated.communicate()[1]
    assert terminated.returncode == 128 + signal.SIGTERM
    assert "which is saved" in message
    assert not (output / "weights.safetensors").exists()

    resumed = start(config, data, output)
    assert "resumed at step" in resumed.communicate()[1]
    assert resumed.returncode == 0
    weights = read_weights(output / "weights.safetensors")
    assert bits(weights.arrays) == bits(run(run_config(settings), molecules, tmp_path / "finished").arrays)
    assert "torch" in weights.provenance and "jax" not in weights.provenance
