import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.config import RunConfig
from pipeline.data.batches import Batch
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.errors import InputError
from pipeline.jax_backend.features import node_mask
from pipeline.jax_backend.train import JaxTrainer, train
from pipeline.training import Interrupted, Trained, steps_from, validation_molecules

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
    digest: str = "this",
) -> Trained:
    shards, statistics = molecules
    return train(
        config, config_digest=digest, shards=shards, statistics=statistics, directory=directory, log=None, stop=stop
    )


def after(calls: int) -> Callable[[], bool]:
    """Return a request to stop that comes at the given step of a session."""
    asked = iter(range(1, 1000))
    return lambda: next(asked) == calls


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
    for path in (tmp_path / "checkpoints" / "00000009" / "state").rglob("*"):
        if path.is_file() and path.stat().st_size > 100:
            path.write_bytes(path.read_bytes()[:-1] + b"\0")
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
    trainer = JaxTrainer(
        config, config_digest="this", shards=shards["train"], statistics=statistics, directory=tmp_path
    )
    counts = {shard.bucket: len(shard) for shard in shards["train"]}
    assert len(counts) == 2
    visited: set[int] = set()
    compiled_before, seen_again = 0, 0
    for step, _, batch in steps_from(0, counts, config):
        new = batch.bucket not in visited
        visited.add(batch.bucket)
        trainer.read([trainer.step(batch, step)])
        assert trainer._stepper.compiled == len(visited)
        if new:
            compiled_before = len(compilations)
        else:
            seen_again += 1
            assert len(compilations) == compiled_before
    assert len(visited) == 2
    assert seen_again == 10
    assert compiled_before >= 3


def test_a_step_is_a_mean_over_its_molecules(
    make_config: MakeConfig, molecules: tuple[Shards, Statistics], tmp_path: Path
) -> None:
    """The loss that is reported, and the update, are those of the plain mean, without chunks and devices."""
    shards, statistics = molecules
    sgd = {"learning_rate": 0.01, "warmup_steps": 0, "schedule": "constant", "clip": {"kind": "none"}}
    config = make_config(training={"optimizer": sgd, "ema_decay": 0.5})
    trainer = JaxTrainer(
        config, config_digest="this", shards=shards["train"], statistics=statistics, directory=tmp_path
    )
    shard = shards["train"][0]
    rows = np.array([3, 1, 4, 1, 5, 9, 2, 6], np.int32)
    start = np.asarray(trainer._state.params)

    def mean(flat: jax.Array) -> jax.Array:
        objective = trainer._objective
        mask = node_mask(jnp.asarray(shard.sizes[rows]), shard.bucket)
        root = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.seed), 1), 7)
        keys = jax.vmap(lambda place: jax.random.fold_in(root, place))(jnp.arange(8))
        data = objective.clean(jnp.asarray(shard.positions[rows]), jnp.asarray(shard.atomic_numbers[rows]))
        return objective.losses(trainer._layout.unravel(flat), data, mask, objective.draw(keys, mask)).mean()

    loss, gradient = jax.jit(jax.value_and_grad(mean))(start)
    found = trainer.read([trainer.step(Batch(shard.bucket, rows), 7)])
    assert found[0, 0] == pytest.approx(float(loss), rel=1e-4)
    assert found[0, 1] == pytest.approx(float(np.linalg.norm(gradient)), rel=1e-3)
    # Adam's first step is as long as the learning rate, against the sign of the gradient.
    large = np.abs(gradient) > 1e-4
    moved = np.asarray(trainer._state.params) - start
    np.testing.assert_allclose(moved[large], -0.01 * np.sign(gradient)[large], rtol=1e-2)
    np.testing.assert_allclose(np.asarray(trainer._state.ema), start + moved / 2, atol=1e-6)


def test_validation_uses_the_averaged_weights_and_the_same_noise(
    make_config: MakeConfig, molecules: tuple[Shards, Statistics], tmp_path: Path
) -> None:
    shards, statistics = molecules
    trainer = JaxTrainer(
        make_config(), config_digest="this", shards=shards["train"], statistics=statistics, directory=tmp_path
    )
    chosen = validation_molecules(shards["validation"], 29, seed=0)
    assert chosen is not None
    first, again = (trainer.validation_loss(chosen[0]) for _ in range(2))
    assert (first == again).all()
    assert len(first) == 32
    trainer._state = trainer._state._replace(params=trainer._state.params * 0)
    assert (trainer.validation_loss(chosen[0]) == first).all()
    trainer._state = trainer._state._replace(ema=trainer._state.ema * 0)
    assert (trainer.validation_loss(chosen[0]) != first).any()


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
    shards, statistics = molecules
    trainer = JaxTrainer(
        make_config(training={"sample_count": 4}),
        config_digest="this",
        shards=shards["train"],
        statistics=statistics,
        directory=tmp_path,
    )
    sizes: npt.NDArray[np.int32] = np.array([3, 9, 29, 5], np.int32)
    samples = trainer.sample(sizes)
    assert (samples.sizes == sizes).all()
    assert np.isfinite(samples.positions).all()
