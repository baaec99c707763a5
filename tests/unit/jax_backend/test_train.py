import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.core.errors import InputError
from pipeline.data.batches import Batch
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.jax_backend.features import noisy_batch
from pipeline.jax_backend.train import JaxTrainer, train
from pipeline.study.config import RunConfig
from pipeline.training.loop import Interrupted, Trained, TrainingRun, steps_from, validation_molecules
from pipeline.training.noisy_batches import HostBatch, Noising
from pipeline.training.run_folder import PretrainedWeights

MakeConfig = Callable[..., RunConfig]
Shards = dict[str, list[Shard]]


@pytest.fixture(scope="module")
def molecules(data: Any) -> tuple[Shards, Statistics]:
    found: tuple[Shards, Statistics] = data.read()
    return found


def run(
    config: RunConfig,
    molecules: tuple[Shards, Statistics],
    directory: Path,
    *,
    stop: Callable[[], bool] = lambda: False,
    pretrained: PretrainedWeights | None = None,
) -> Trained:
    shards, statistics = molecules
    training = TrainingRun(config, "this", shards, statistics, directory, pretrained or PretrainedWeights(), stop=stop)
    return train(training)


def make_trainer(
    config: RunConfig,
    molecules: tuple[Shards, Statistics],
    directory: Path,
    pretrained: PretrainedWeights | None = None,
) -> JaxTrainer:
    shards, statistics = molecules
    return JaxTrainer(TrainingRun(config, "this", shards, statistics, directory, pretrained or PretrainedWeights()))


def after(calls: int) -> Callable[[], bool]:
    """Return a request to stop that comes at the given step of a session."""
    counter = iter(range(1, 1000))
    return lambda: next(counter) == calls


def logged(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def bits(trained: Trained) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in trained.arrays.items()}


@pytest.fixture(scope="module")
def finished(
    make_config: MakeConfig, molecules: tuple[Shards, Statistics], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Trained]:
    """A training of twelve steps that nothing has disturbed."""
    directory = tmp_path_factory.mktemp("finished")
    return directory, run(make_config(training={"validation_interval": 6}), molecules, directory)


def test_an_interrupted_training_ends_in_the_same_bits(
    make_config: MakeConfig, molecules: tuple[Shards, Statistics], finished: tuple[Path, Trained], tmp_path: Path
) -> None:
    config = make_config(training={"validation_interval": 6})
    with pytest.raises(Interrupted, match="stopped at step 5 of 12"):
        run(config, molecules, tmp_path, stop=after(5))
    with pytest.raises(Interrupted, match="stopped at step 9 of 12"):
        run(config, molecules, tmp_path, stop=after(4))
    # A bit flips in what was saved last: the one before it is as good.
    damaged = tmp_path / "checkpoints" / "00000009.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x55")
    trained = run(config, molecules, tmp_path)
    assert bits(trained) == bits(finished[1])
    lines, expected = logged(tmp_path), logged(finished[0])
    assert [line["step"] for line in lines if line["kind"] == "train"] == [5, 6, 12]
    validations = [(line["step"], line["loss"]) for line in lines if line["kind"] == "validation"]
    assert validations == [(line["step"], line["loss"]) for line in expected if line["kind"] == "validation"]
    assert [step for step, _ in validations] == [6, 12]


def test_training_changes_every_parameter_and_lowers_the_loss(
    make_config: MakeConfig, molecules: tuple[Shards, Statistics], finished: tuple[Path, Trained], tmp_path: Path
) -> None:
    short = run(make_config(training={"steps": 2}), molecules, tmp_path)
    for name, array in short.arrays.items():
        assert np.isfinite(array).all()
        assert (array != finished[1].arrays[name]).any(), name
    losses = [line["loss"] for line in logged(finished[0]) if line["kind"] == "validation"]
    assert losses[1] < losses[0]


@pytest.fixture
def compilations() -> Iterator[list[str]]:
    """The compilations and readings of compiled programs since the test began."""
    events: list[str] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


def test_each_bucket_compiles_once_and_nothing_after_that(
    make_config: MakeConfig, molecules: tuple[Shards, Statistics], tmp_path: Path, compilations: list[str]
) -> None:
    shards, statistics = molecules
    config = make_config()
    trainer, noising = make_trainer(config, molecules, tmp_path), Noising(config, shards["train"], statistics)
    counts = {shard.bucket: len(shard) for shard in shards["train"]}
    assert len(counts) == 2
    visited: set[int] = set()
    compiled_before, seen_again = 0, 0
    for step, _, batch in steps_from(0, counts, config):
        new = batch.bucket not in visited
        visited.add(batch.bucket)
        trainer.read([trainer.step(noising.training(batch, step), step)])
        assert len(trainer._stepper._gradients) == len(visited)
        if new:
            compiled_before = len(compilations)
        else:
            seen_again += 1
            assert len(compilations) == compiled_before
    assert len(visited) == 2
    assert seen_again == 10
    assert compiled_before >= 3


@pytest.mark.parametrize("objective", ["edm", "denoiser"])
def test_a_step_is_a_mean_over_its_molecules(
    make_config: MakeConfig, molecules: tuple[Shards, Statistics], tmp_path: Path, objective: str
) -> None:
    """The loss that is reported, and the update, are those of the plain mean, without chunks and devices."""
    adam = {"kind": "adam", "learning_rate": 0.01, "warmup_steps": 0, "schedule": "constant", "clip": {"kind": "none"}}
    config = make_config(objective=objective, training={"optimizer": adam, "ema_decay": 0.5})
    trainer = make_trainer(config, molecules, tmp_path)
    batch = Noising(config, molecules[0]["train"], molecules[1]).training(
        Batch(18, np.array([3, 1, 4, 1, 5, 9, 2, 6], np.int32)), 7
    )
    start = np.asarray(trainer._state.params)

    def mean(flat: jax.Array) -> jax.Array:
        params = trainer._layout.unravel(flat)
        noisy = noisy_batch(batch, trainer._objective.elements, trainer._objective.features)
        return trainer._objective.losses(params, noisy, params).mean()

    loss, gradient = jax.jit(jax.value_and_grad(mean))(start)
    found = trainer.read([trainer.step(batch, 7)])
    assert found[0, 0] == pytest.approx(float(loss), rel=1e-4)
    assert found[0, 1] == pytest.approx(float(np.linalg.norm(gradient)), rel=1e-3)
    # Adam's first step is as long as the learning rate, against the sign of the gradient.
    large = np.abs(gradient) > 1e-4
    moved = np.asarray(trainer._state.params) - start
    np.testing.assert_allclose(moved[large], -0.01 * np.sign(gradient)[large], rtol=1e-2)
    np.testing.assert_allclose(np.asarray(trainer._state.ema), start + moved / 2, atol=1e-6)


def validation_batch(config: RunConfig, molecules: tuple[Shards, Statistics]) -> HostBatch:
    shards, statistics = molecules
    chosen = validation_molecules(shards["validation"], 29, seed=0)
    assert chosen is not None
    return Noising(config, shards["train"], statistics).draw.validation(chosen[0])


def test_validation_uses_the_averaged_weights(
    make_config: MakeConfig, molecules: tuple[Shards, Statistics], tmp_path: Path
) -> None:
    config = make_config()
    trainer, batch = make_trainer(config, molecules, tmp_path), validation_batch(config, molecules)
    first, again = (trainer.validation_loss(batch) for _ in range(2))
    assert (first == again).all()
    assert len(first) == 32
    trainer._state = trainer._state._replace(params=trainer._state.params * 0)
    assert (trainer.validation_loss(batch) == first).all()
    trainer._state = trainer._state._replace(ema=trainer._state.ema * 0)
    assert (trainer.validation_loss(batch) != first).any()


def test_a_learning_rate_that_is_absurd_ends_in_a_line_and_keeps_the_last_good_checkpoint(
    make_config: MakeConfig, molecules: tuple[Shards, Statistics], tmp_path: Path
) -> None:
    optimizer = {"learning_rate": 1e38, "warmup_steps": 0, "schedule": "constant"}
    config = make_config(training={"optimizer": optimizer, "validation_interval": 1, "checkpoint_seconds": 1e-9})
    with pytest.raises(InputError, match="run tiny: the loss is not finite near step") as caught:
        run(config, molecules, tmp_path)
    assert "\n" not in str(caught.value)
    assert all(np.isfinite(line["loss"]) for line in logged(tmp_path))


def test_nothing_to_train_on(make_config: MakeConfig, molecules: tuple[Shards, Statistics], tmp_path: Path) -> None:
    shards, statistics = molecules
    with pytest.raises(InputError, match="there is no training molecule"):
        run(make_config(), ({"train": [], "validation": shards["validation"]}, statistics), tmp_path)


def test_samples_of_a_running_training(
    make_config: MakeConfig, molecules: tuple[Shards, Statistics], tmp_path: Path
) -> None:
    trainer = make_trainer(make_config(training={"sample_count": 4}), molecules, tmp_path)
    sizes: npt.NDArray[np.int32] = np.array([3, 9, 29, 5], np.int32)
    samples = trainer.sample(sizes, None)
    assert (samples.sizes == sizes).all()
    assert np.isfinite(samples.positions).all()


# --- runs that start from others, and learn from them -----------------------------------------------------------------

RUNS: dict[str, dict[str, Any]] = {
    "denoiser": {"objective": "denoiser", "levels": {"alignment": "permutation"}},
    "tuned": {"objective": "consistency", "init": "denoiser", "levels": {"alignment": "full"}},
    "isolated": {"objective": "consistency"},
    "distilled": {"objective": "consistency", "consistency": {"kind": "distillation"}, "teacher": "tuned"},
}


@pytest.fixture(scope="module")
def denoiser(
    make_config: MakeConfig, molecules: tuple[Shards, Statistics], tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """A denoiser for other runs to start and to learn from."""
    config = make_config(objective="denoiser", training={"steps": 4})
    return run(config, molecules, tmp_path_factory.mktemp("denoiser"))


def pretrained_of(config: RunConfig, denoiser: Trained) -> PretrainedWeights:
    return PretrainedWeights(denoiser.arrays if config.init else None, denoiser.arrays if config.teacher else None)


@pytest.mark.parametrize("name", RUNS)
def test_every_objective_trains(
    make_config: MakeConfig, molecules: tuple[Shards, Statistics], denoiser: Trained, tmp_path: Path, name: str
) -> None:
    config = make_config(**RUNS[name], training={"steps": 6, "sample_interval": 6})
    pretrained = pretrained_of(config, denoiser)
    whole = run(config, molecules, tmp_path / "whole", pretrained=pretrained)
    if name == "distilled":
        with pytest.raises(Interrupted, match="stopped at step 3 of 6"):
            run(config, molecules, tmp_path / "parts", pretrained=pretrained, stop=after(3))
        assert bits(run(config, molecules, tmp_path / "parts", pretrained=pretrained)) == bits(whole)
    assert whole.arrays.keys() == denoiser.arrays.keys()
    moved = [name for name, array in whole.arrays.items() if (array != denoiser.arrays[name]).any()]
    assert moved == list(whole.arrays)
    lines = logged(tmp_path / "whole")
    assert all(np.isfinite(line["loss"]) for line in lines if line["kind"] != "samples")
    sampler = "one-step" if config.objective == "consistency" else "heun-12"
    assert [line["sampler"] for line in lines if line["kind"] == "samples"] == [sampler]


@pytest.mark.parametrize("name", ["tuned", "isolated"])
def test_a_training_begins_with_the_weights_it_is_given(
    make_config: MakeConfig, molecules: tuple[Shards, Statistics], denoiser: Trained, tmp_path: Path, name: str
) -> None:
    config = make_config(**RUNS[name])
    pretrained = pretrained_of(config, denoiser)
    trainer = make_trainer(config, molecules, tmp_path, pretrained)
    given = np.concatenate([array.reshape(-1) for array in denoiser.arrays.values()])
    if config.init:
        for vector in (trainer._state.params, trainer._state.ema):
            assert (np.asarray(vector) == given).all()
        averaged = trainer.averaged_weights()
        assert all((averaged[name] == array).all() for name, array in denoiser.arrays.items())
    else:
        # Drawn from the seed.
        again = make_trainer(config, molecules, tmp_path, pretrained)
        other = make_trainer(make_config(**RUNS[name], seed=1), molecules, tmp_path, pretrained)
        params = [np.asarray(one._state.params) for one in (trainer, again, other)]
        assert (params[0] == params[1]).all()
        assert (params[0] != params[2]).any()
        assert (params[0] != given).any()


def test_what_is_learned_from_changes_the_training(
    make_config: MakeConfig, molecules: tuple[Shards, Statistics], denoiser: Trained, tmp_path: Path
) -> None:
    config = make_config(**RUNS["distilled"], training={"steps": 2})
    other = {name: array * np.float32(1.5) for name, array in denoiser.arrays.items()}
    trained = [
        run(config, molecules, tmp_path / str(number), pretrained=PretrainedWeights(teacher=teacher))
        for number, teacher in enumerate((denoiser.arrays, other))
    ]
    assert bits(trained[0]) != bits(trained[1])


def test_weights_of_another_network_are_one_line(
    make_config: MakeConfig, molecules: tuple[Shards, Statistics], denoiser: Trained, tmp_path: Path
) -> None:
    config = make_config(**RUNS["tuned"], model={"hidden": 9})
    with pytest.raises(InputError, match="weights: .* should have shape") as caught:
        make_trainer(config, molecules, tmp_path, PretrainedWeights(init=denoiser.arrays))
    assert "\n" not in str(caught.value)
