import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.train import main
from pipeline.training.array_files import read_arrays, write_arrays
from pipeline.training.run_folder import read_weights

STEPS = 16


class Training:
    """The stage as the workflow runs it: a process that can be killed."""

    def __init__(self, folder: Path, settings: dict[str, Any], data: Any):
        self.output = folder / "run"
        self._config = folder / "config.json"
        self._config.write_text(json.dumps(settings))
        self._arguments = [
            "--config",
            str(self._config),
            *data.arguments(),
            "--output",
            str(self.output),
            "--devices",
            "1",
        ]

    def start(self) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "pipeline.cli.train",
            *self._arguments,
            "--log",
            str(self.output.parent / "log"),
        ]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self) -> str:
        """Run to the end; return what it said."""
        done = self.start()
        _, said = done.communicate()
        assert done.returncode == 0, said
        return said

    def checkpoints(self, pattern: str = "[0-9]*.safetensors") -> list[Path]:
        """Return the checkpoints whose names match, complete ones unless another pattern is given."""
        return sorted(self.output.glob(f"state/*/checkpoints/{pattern}"))

    def reached(self, step: int) -> Callable[[], bool]:
        """Return whether there is a checkpoint of this step or a later one."""
        return lambda: any(int(path.stem) >= step for path in self.checkpoints())

    def steps_logged(self) -> list[tuple[str, int]]:
        lines = (self.output / "metrics.jsonl").read_text().splitlines()
        return [(line["kind"], line["step"]) for line in map(json.loads, lines)]


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)


@pytest.fixture(scope="module")
def settings(make_settings: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """A checkpoint after every step, so that most of the time is spent writing them."""
    return make_settings(training={"steps": STEPS, "checkpoint_seconds": 1e-9, "validation_interval": 10})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, Any], data: Any) -> Training:
    seldom = settings | {"training": settings["training"] | {"checkpoint_seconds": 1000}}
    training = Training(tmp_path_factory.mktemp("undisturbed"), seldom, data)
    training.finish()
    return training


def weights(training: Training) -> dict[str, bytes]:
    arrays = read_weights(training.output / "weights.safetensors").arrays
    return {name: array.tobytes() for name, array in arrays.items()}


def test_a_training_leaves_weights_metrics_and_a_log(undisturbed: Training) -> None:
    found = read_weights(undisturbed.output / "weights.safetensors")
    assert found.config.name == "tiny"
    assert found.provenance["steps"] == STEPS
    assert found.provenance["jax"]
    assert re.fullmatch("[0-9a-f]{64}", found.provenance["data_sha256"])
    assert undisturbed.steps_logged()[-2:] == [("train", STEPS), ("validation", STEPS)]
    log = (undisturbed.output.parent / "log").read_text()
    assert f"{STEPS}/{STEPS}" in log
    assert f"step {STEPS}: validation loss" in log
    assert sorted(path.name for path in undisturbed.output.iterdir()) == [
        "metrics.jsonl",
        "state",
        "weights.safetensors",
    ]
    assert [path.name for path in undisturbed.checkpoints("*")] == [f"{STEPS:08d}.safetensors"]


def test_killed_at_any_moment_it_ends_in_the_same_bits(
    tmp_path: Path, settings: dict[str, Any], data: Any, undisturbed: Training
) -> None:
    training = Training(tmp_path, settings, data)
    # While the first checkpoint is written.
    process = training.start()
    wait_for(lambda: training.checkpoints(".*"), process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    # At some moments: between checkpoints, within one, while an old one is deleted.
    generator = random.Random(0)
    for count in (4, 8):
        process = training.start()
        wait_for(training.reached(count), process)
        time.sleep(generator.uniform(0, 0.1))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.communicate()
        assert not (training.output / "weights.safetensors").exists()
    # Asked to stop, it saves and says so.
    process = training.start()
    wait_for(training.reached(12), process)
    process.terminate()
    _, said = process.communicate()
    assert process.returncode == 143, said
    stopped = int(training.checkpoints()[-1].stem)
    assert f"train: run tiny: stopped at step {stopped} of {STEPS}, which is saved" in said
    assert "Traceback" not in said
    assert f"tiny: resumed at step {stopped} of {STEPS}" in training.finish()
    assert weights(training) == weights(undisturbed)
    logged = training.steps_logged()
    assert len(set(logged)) == len(logged)
    assert [step for _, step in logged] == sorted(step for _, step in logged)
    assert [step for kind, step in logged if kind == "validation"] == [10, STEPS]
    assert training.checkpoints(".*") == []


def run(config: Path, data: Any, output: Path, *more: str | Path) -> int:
    return main(["--config", str(config), *data.arguments(), "--output", str(output), *map(str, more)])


@pytest.mark.usefixtures("in_process")
def test_another_configuration_starts_from_scratch(
    tmp_path: Path, make_settings: Callable[..., dict[str, Any]], data: Any
) -> None:
    config, output = tmp_path / "config.json", tmp_path / "run"
    config.write_text(json.dumps(make_settings(training={"steps": 2})))
    assert run(config, data, output) == 0
    first = (output / "weights.safetensors").read_bytes()
    config.write_text(json.dumps(make_settings(training={"steps": 3})))
    assert run(config, data, output) == 0
    assert (output / "weights.safetensors").read_bytes() != first
    assert len(list((output / "state").iterdir())) == 2
    # Changed back, there is nothing left to do.
    config.write_text(json.dumps(make_settings(training={"steps": 2})))
    assert run(config, data, output) == 0
    assert read_weights(output / "weights.safetensors").provenance["steps"] == 2


@pytest.mark.usefixtures("in_process")
def test_bad_input_is_one_line_and_leaves_the_earlier_files(
    tmp_path: Path, make_settings: Callable[..., dict[str, Any]], data: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    config, output = tmp_path / "config.json", tmp_path / "run"
    config.write_text(json.dumps(make_settings(training={"steps": 2})))
    assert run(config, data, output) == 0
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    # A checkpoint that someone has moved to another run's folder.
    (state,) = (output / "state").iterdir()
    checkpoint = next(state.glob("checkpoints/*"))
    arrays, _ = read_arrays(checkpoint)
    absurd = {"learning_rate": 1e38, "warmup_steps": 0, "schedule": "constant"}
    bad: list[tuple[Any, str]] = [
        ({"training": {"steps": 0}}, "config.json: "),
        ("not JSON", "config.json: not JSON"),
        (make_settings(training={"optimizer": absurd}), "run tiny: the loss is not finite near step"),
        (make_settings(training={"steps": 2}), "this checkpoint belongs to another configuration or other data"),
    ]
    for content, message in bad:
        config.write_text(content if isinstance(content, str) else json.dumps(content))
        if "another configuration" in message:
            write_arrays(checkpoint, arrays, {"config": "of another run"})
        capfd.readouterr()
        assert run(config, data, output) == 2
        errors = [line for line in capfd.readouterr().err.splitlines() if "error" in line]
        assert len(errors) == 1
        assert errors[0].startswith("train: error: ")
        assert message in errors[0]
    assert all(path.read_bytes() == content for path, content in before.items() if path != checkpoint)


DISTILLED: dict[str, Any] = {
    "objective": "consistency",
    "consistency": {"kind": "distillation"},
    "init": "denoiser",
    "teacher": "denoiser",
}


@pytest.mark.usefixtures("in_process")
def test_other_pretrained_weights_start_from_scratch(
    tmp_path: Path, make_settings: Callable[..., dict[str, Any]], data: Any, denoiser: Path, train_two_steps: Any
) -> None:
    config, output = tmp_path / "config.json", tmp_path / "run"
    config.write_text(json.dumps(make_settings(**DISTILLED, name="distilled", training={"steps": 2})))
    other = train_two_steps(name="denoiser", objective="denoiser", seed=1)
    found = []
    for teacher in (denoiser, other, denoiser):
        assert run(config, data, output, "--init", denoiser, "--teacher", teacher) == 0
        arrays = read_weights(output / "weights.safetensors").arrays
        found.append({name: array.tobytes() for name, array in arrays.items()})
    assert found[0] == found[2] != found[1]
    assert len(list((output / "state").iterdir())) == 2
    assert read_weights(output / "weights.safetensors").config.teacher == "denoiser"


@pytest.mark.usefixtures("in_process")
def test_weights_that_do_not_fit_are_one_line_and_train_nothing(
    tmp_path: Path,
    make_settings: Callable[..., dict[str, Any]],
    data: Any,
    weights: Path,
    denoiser: Path,
    tuned: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    config, output = tmp_path / "config.json", tmp_path / "run"
    alone: dict[str, Any] = {"objective": "denoiser"}
    cases: list[tuple[dict[str, Any], tuple[str | Path, ...], str]] = [
        (DISTILLED, ("--init", denoiser), "run tiny: --teacher should name the weights of the run denoiser"),
        (DISTILLED, ("--teacher", denoiser), "run tiny: --init should name the weights of the run denoiser"),
        (alone, ("--init", denoiser), "run tiny: it has no init, so there should be no --init"),
        (alone, ("--teacher", denoiser), "run tiny: it has no teacher, so there should be no --teacher"),
        (
            DISTILLED,
            ("--init", tuned, "--teacher", denoiser),
            "weights of the run tuned, and those of denoiser",
        ),
        (
            DISTILLED,
            ("--init", weights, "--teacher", denoiser),
            "weights of the run tiny, and those of denoiser",
        ),
        (
            DISTILLED | {"model": {"hidden": 9}},
            ("--init", denoiser, "--teacher", denoiser),
            "run tiny: its model should be that of the run denoiser, its init",
        ),
        (DISTILLED, ("--init", tmp_path / "none", "--teacher", denoiser), "none: no such file; train the run first"),
    ]
    capfd.readouterr()
    for settings, options, message in cases:
        config.write_text(json.dumps(make_settings(**settings)))
        assert run(config, data, output, *options) == 2
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("train: error: ")
        assert message in lines[0]
    assert not output.exists()


def test_a_missing_file_is_one_line(tmp_path: Path, data: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "none.json", data, tmp_path) == 2
    assert capfd.readouterr().err.splitlines() == [f"train: error: {tmp_path}/none.json: no such file"]
