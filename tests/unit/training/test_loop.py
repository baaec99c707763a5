import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics, measure
from pipeline.study.config import RunConfig, run_config
from pipeline.training.loop import (
    Interrupted,
    Trained,
    TrainingRun,
    run_training,
    steps_from,
    validation_molecules,
)
from pipeline.training.noisy_batches import HostBatch, Noising

NEVER = 10_000


def shard(bucket: int, count: int, seed: int = 0) -> Shard:
    """Molecules of 3 to ``bucket`` atoms."""
    generator = np.random.default_rng((bucket, seed))
    sizes = generator.integers(3, bucket + 1, count).astype(np.int32)
    present = np.arange(bucket) < sizes[:, None]
    return Shard(
        bucket=bucket,
        index=np.arange(count, dtype=np.int32),
        sizes=sizes,
        atomic_numbers=np.where(present, generator.choice([1, 6], (count, bucket)), 0).astype(np.uint8),
        positions=(generator.normal(size=(count, bucket, 3)) * present[..., None]).astype(np.float32),
    )


SHARDS = {"train": [shard(5, 21), shard(9, 10)], "validation": [shard(5, 3, seed=1), shard(9, 4, seed=1)]}


def statistics() -> Statistics:
    return measure(SHARDS | {"test": [shard(5, 1)]}, dataset=None)


def config(*, steps: int = 23, checkpoint_seconds: float = NEVER, **training: Any) -> RunConfig:
    defaults = {"steps": steps, "batch_size": 4, "validation_interval": 5, "sample_interval": 0, "sample_count": 6}
    optimizer = {"warmup_steps": 0}
    settings = defaults | training | {"checkpoint_seconds": checkpoint_seconds, "optimizer": optimizer}
    return run_config({"name": "fake", "data": "test", "training": settings})


def bits(batch: HostBatch) -> tuple[bytes, ...]:
    return tuple(part.tobytes() for part in (*batch[:4], batch.levels.t))


class FakeTrainer:
    """A training whose state is the history of all it was given."""

    def __init__(self, checkpoints: list[tuple[int, Any, Any]] | None = None):
        self.history: list[tuple[int, tuple[bytes, ...]]] = []
        self.checkpoints = checkpoints if checkpoints is not None else []
        self.looked_at: list[HostBatch] = []
        self.sampled: list[npt.NDArray[np.int32]] = []
        self.loss: Callable[[int], float] = lambda step: 1.0 / (step + 1)
        self.validation = 0.25
        self.finite = True
        self.compiles = True

    def step(self, batch: HostBatch, step: int) -> Any:
        self.history.append((step, bits(batch)))
        return self.loss(step), 2.0 + step

    def read(self, outcomes: Sequence[Any]) -> npt.NDArray[np.float64]:
        return np.array(outcomes)

    def validation_loss(self, batch: HostBatch) -> npt.NDArray[np.floating[Any]]:
        self.looked_at.append(batch)
        # What only fills the batch up must not count.
        return np.where(np.arange(len(batch.sizes)) < 7, self.validation, 1e9)

    def sample(self, sizes: npt.NDArray[np.int32], context: object) -> Molecules:
        self.sampled.append(sizes)
        width = int(sizes.max())
        atomic_numbers = np.ones((len(sizes), width), np.uint8)
        return Molecules.from_padded(
            positions=np.zeros((len(sizes), width, 3)), atomic_numbers=atomic_numbers, sizes=sizes
        )

    def is_finite(self) -> bool:
        return self.finite

    def save(self, step: int, extra: dict[str, Any]) -> None:
        self.checkpoints.append((step, list(self.history), extra))

    def restore(self, *, note: Callable[[str], None]) -> tuple[int, dict[str, Any]] | None:
        if not self.checkpoints:
            return None
        step, history, extra = self.checkpoints[-1]
        self.history = list(history)
        return step, extra

    def averaged_weights(self) -> dict[str, npt.NDArray[np.float32]]:
        return {"steps": np.array([len(self.history)], np.float32)}


def train(
    trainer: FakeTrainer,
    directory: Path,
    of: RunConfig,
    stop: Callable[[], bool] = lambda: False,
    *,
    processes: int = 0,
) -> Trained:
    run = TrainingRun(of, "", SHARDS, statistics(), directory, stop=stop)
    return run_training(trainer, run, processes=processes)


def logged(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def stop_after(trainer: FakeTrainer, step: int) -> Callable[[], bool]:
    return lambda: len(trainer.history) == step


def test_steps_go_on_where_they_were() -> None:
    counts = {5: 21, 9: 10}
    whole = [
        (step, epoch, batch.bucket, batch.indices.tolist()) for step, epoch, batch in steps_from(0, counts, config())
    ]
    assert [step for step, *_ in whole] == list(range(23))
    epochs = [epoch for _, epoch, *_ in whole]
    assert epochs == sorted(epochs)
    # 31 molecules in batches of 4: 23 steps are about three epochs.
    assert 2.4 < epochs[-1] < 3.6
    for first in (1, 7, 8, 22):
        rest = [
            (step, epoch, batch.bucket, batch.indices.tolist())
            for step, epoch, batch in steps_from(first, counts, config())
        ]
        assert rest == whole[first:]
    assert list(steps_from(23, counts, config())) == []


def test_a_step_is_given_the_noise_of_that_step(tmp_path: Path) -> None:
    trainer = FakeTrainer()
    train(trainer, tmp_path, config())
    noising = Noising(config(), SHARDS["train"], statistics())
    steps = steps_from(0, {5: 21, 9: 10}, config())
    assert trainer.history == [(step, bits(noising.training(batch, step))) for step, _, batch in steps]
    assert len(set(trainer.history)) == 23


def test_seed_orders_the_molecules() -> None:
    counts = {5: 21}
    other = run_config({"name": "fake", "data": "test", "seed": 1, "training": {"steps": 500}})
    same = run_config({"name": "fake", "data": "test", "seed": 0, "training": {"steps": 500}})
    first = [next(steps_from(0, counts, of))[2].indices.tolist() for of in (other, same)]
    assert first[0] != first[1]


@settings(max_examples=25)
@given(st.lists(st.integers(1, 22), max_size=4, unique=True))
def test_interruptions_change_nothing(steps: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = FakeTrainer()
        train(undisturbed, Path(folder) / "a", config())
        trainer = FakeTrainer()
        for step in sorted(steps):
            with pytest.raises(Interrupted, match=f"stopped at step {step} of 23, which is saved"):
                train(trainer, Path(folder) / "b", config(), stop_after(trainer, step))
            trainer = FakeTrainer(trainer.checkpoints)
        trained = train(trainer, Path(folder) / "b", config())
        assert trainer.history == undisturbed.history
        assert trained.arrays["steps"] == 23
        lines = [(line["kind"], line["step"]) for line in logged(Path(folder) / "b")]
        assert len(set(lines)) == len(lines)
        assert [step for _, step in lines] == sorted(step for _, step in lines)
        assert {line for line in lines if line[0] == "validation"} == {
            ("validation", step) for step in (5, 10, 15, 20, 23)
        }


def test_processes_that_prepare_batches_change_nothing_resumed_or_not(tmp_path: Path) -> None:
    undisturbed, trainer = FakeTrainer(), FakeTrainer()
    train(undisturbed, tmp_path / "a", config())
    with pytest.raises(Interrupted):
        train(trainer, tmp_path / "b", config(), stop_after(trainer, 9), processes=1)
    resumed = FakeTrainer(trainer.checkpoints)
    train(resumed, tmp_path / "b", config(), processes=2)
    assert resumed.history == undisturbed.history


def test_a_killed_training_logs_every_step_once(tmp_path: Path) -> None:
    trainer = FakeTrainer()
    with pytest.raises(Interrupted):
        train(trainer, tmp_path, config(), stop_after(trainer, 7))
    killed = FakeTrainer(trainer.checkpoints)
    killed.loss = lambda step: 1 / 0 if step == 16 else 1.0  # dies without saving anything, after lines for step 15
    with pytest.raises(ZeroDivisionError):
        train(killed, tmp_path, config())
    assert max(line["step"] for line in logged(tmp_path)) == 15
    train(FakeTrainer(trainer.checkpoints), tmp_path, config())
    steps = [line["step"] for line in logged(tmp_path) if line["kind"] == "train"]
    assert steps == [5, 7, 10, 15, 20, 23]


def test_lines_of_training(tmp_path: Path) -> None:
    train(FakeTrainer(), tmp_path, config(steps=120, validation_interval=70))
    lines = [line for line in logged(tmp_path) if line["kind"] == "train"]
    assert [line["step"] for line in lines] == [50, 70, 120]
    assert lines[1].keys() == {
        "kind", "step", "epoch", "seconds", "loss", "gradient_norm", "learning_rate", "molecules_per_second"
    }  # fmt: skip
    # Of the steps since the line before: 50 to 69.
    assert lines[1]["loss"] == pytest.approx(np.mean(1 / np.arange(51, 71)))
    assert lines[1]["gradient_norm"] == pytest.approx(2 + np.median(np.arange(50, 70)))
    # Falling to 0 after 120 steps, at that of index 69.
    assert lines[1]["learning_rate"] == pytest.approx(2e-3 * (120 - 69) / 120)


def test_the_rate_is_that_of_training_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def passes(seconds: float, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **keywords: Any) -> Any:
            now[0] += seconds
            return method(*args, **keywords)

        return timed

    trainer = FakeTrainer()
    monkeypatch.setattr("pipeline.training.loop.time.monotonic", lambda: now[0])
    monkeypatch.setattr(trainer, "step", passes(2.0, trainer.step))
    for slow in ("validation_loss", "save", "sample"):
        monkeypatch.setattr(trainer, slow, passes(100.0, getattr(trainer, slow)))
    train(trainer, tmp_path, config(sample_interval=10, checkpoint_seconds=1e-9))
    # Four molecules in two seconds.
    assert {line["molecules_per_second"] for line in logged(tmp_path) if line["kind"] == "train"} == {2.0}


def test_validation_is_the_mean_over_all_molecules_once_and_always_the_same_ones(tmp_path: Path) -> None:
    trainer = FakeTrainer()
    train(trainer, tmp_path, config())
    losses = [line["loss"] for line in logged(tmp_path) if line["kind"] == "validation"]
    assert losses == [0.25] * 5
    first, *others = trainer.looked_at
    assert all(bits(other) == bits(first) for other in others)


def test_samples_are_judged_at_their_own_interval(tmp_path: Path) -> None:
    trainer = FakeTrainer()
    train(trainer, tmp_path, config(validation_interval=10, sample_interval=4))
    lines = [line for line in logged(tmp_path) if line["kind"] == "samples"]
    assert [line["step"] for line in lines] == [4, 8, 12, 16, 20, 23]
    assert lines[0]["num"] == 6
    assert lines[0]["sampler"] == "heun-12"
    assert lines[0]["atom_stability"]["value"] == 0.0
    assert {tuple(sizes) for sizes in trainer.sampled} == {tuple(trainer.sampled[0])}
    assert [line["step"] for line in logged(tmp_path) if line["kind"] == "validation"] == [10, 20, 23]


def test_checkpoints_are_due_by_the_clock_and_at_the_end(tmp_path: Path) -> None:
    often = FakeTrainer()
    train(often, tmp_path / "often", config(checkpoint_seconds=1e-9))
    assert [step for step, *_ in often.checkpoints] == list(range(1, 24))
    seconds = [extra["seconds"] for *_, extra in often.checkpoints]
    assert seconds == sorted(seconds)
    once = FakeTrainer()
    train(once, tmp_path / "once", config())
    assert [step for step, *_ in once.checkpoints] == [23]


def test_seconds_are_those_of_all_sessions(tmp_path: Path) -> None:
    trainer = FakeTrainer([(7, [], {"seconds": 1000.0})])
    trained = train(trainer, tmp_path, config())
    assert 1000.0 < trained.seconds < 1060.0
    assert all(1000.0 <= line["seconds"] < 1060.0 for line in logged(tmp_path))


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    trainer = FakeTrainer()
    train(trainer, tmp_path, config())
    before = logged(tmp_path)
    again = FakeTrainer(trainer.checkpoints)
    trained = train(again, tmp_path, config())
    assert trained.arrays["steps"] == 23
    assert len(again.checkpoints) == 1
    assert logged(tmp_path) == before


def test_a_stop_at_the_last_step_is_no_interruption(tmp_path: Path) -> None:
    trainer = FakeTrainer()
    assert train(trainer, tmp_path, config(), stop_after(trainer, 23)).arrays["steps"] == 23


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path, value: float) -> None:
    trainer = FakeTrainer()
    trainer.loss = lambda step: value if step >= 12 else 1.0
    with pytest.raises(
        InputError, match="the loss is not finite near step 13; the last good checkpoint is kept"
    ) as caught:
        train(trainer, tmp_path, config(checkpoint_seconds=1e-9))
    assert "\n" not in str(caught.value)
    assert [step for step, *_ in trainer.checkpoints] == list(range(1, 13))
    assert max(line["step"] for line in logged(tmp_path)) == 12


def test_a_validation_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    # The weights broke at the step that is validated, so that no training loss shows it yet.
    trainer = FakeTrainer()
    trainer.validation = np.nan
    with pytest.raises(InputError, match="not finite near step 5"):
        train(trainer, tmp_path, config())
    assert trainer.checkpoints == []


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    trainer = FakeTrainer()
    trainer.finite = False
    with pytest.raises(InputError, match="not finite near step 23"):
        train(trainer, tmp_path, config())
    assert trainer.checkpoints == []


def test_validation_molecules_are_a_fixed_choice_padded_to_one_width() -> None:
    found = validation_molecules(SHARDS["validation"], 12, seed=0)
    assert found is not None
    molecules, count = found
    assert count == 7
    assert molecules.positions.shape == (32, 12, 3)
    assert molecules.atomic_numbers.shape == (32, 12)
    # All seven, each once, before the batch is filled up with them again.
    originals = {
        (int(size), of.positions[row, 0, 0].item()) for of in SHARDS["validation"] for row, size in enumerate(of.sizes)
    }
    chosen = [
        (int(size), positions[0, 0].item())
        for size, positions in zip(molecules.sizes, molecules.positions, strict=True)
    ]
    assert set(chosen[:7]) == originals
    assert len(set(chosen[:7])) == 7
    assert set(chosen) == originals
    padding = np.arange(12) >= molecules.sizes[:, None]
    assert (molecules.atomic_numbers[padding] == 0).all()
    assert (molecules.positions[padding] == 0).all()
    assert validation_molecules([], 12, seed=0) is None
    large = validation_molecules([shard(5, 3000)], 5, seed=0)
    assert large is not None
    assert large[1] == len(large[0].sizes) == 1024
