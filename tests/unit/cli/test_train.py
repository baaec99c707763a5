import json
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.train import main
from pipeline.training.array_files import read_arrays, write_arrays
from pipeline.training.run_folder import read_weights

from .conftest import STEPS, Training


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)


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
    tmp_path: Path, every_step: dict[str, Any], data: Any, undisturbed: Training
) -> None:
    training = Training(tmp_path, every_step, data)
    # While the first checkpoint is written.
    process = training.start()
    wait_for(lambda: training.checkpoints(".*"), process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    # At some moment: between checkpoints, within one, while an old one is deleted.
    process = training.start()
    wait_for(training.reached(6), process)
    time.sleep(random.Random(0).uniform(0, 0.1))
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
    assert training.weights() == undisturbed.weights()
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
    "teacher": "tuned",
}


@pytest.mark.usefixtures("in_process")
def test_other_pretrained_weights_start_from_scratch(
    tmp_path: Path,
    make_settings: Callable[..., dict[str, Any]],
    data: Any,
    denoiser: Path,
    tuned: Path,
    train_two_steps: Any,
) -> None:
    config, output = tmp_path / "config.json", tmp_path / "run"
    config.write_text(json.dumps(make_settings(**DISTILLED, name="distilled", training={"steps": 2})))
    other = train_two_steps("--init", denoiser, name="tuned", objective="consistency", init="denoiser", seed=1)
    found = []
    for teacher in (tuned, other, tuned):
        assert run(config, data, output, "--init", denoiser, "--teacher", teacher) == 0
        arrays = read_weights(output / "weights.safetensors").arrays
        found.append({name: array.tobytes() for name, array in arrays.items()})
    assert found[0] == found[2] != found[1]
    assert len(list((output / "state").iterdir())) == 2
    assert read_weights(output / "weights.safetensors").config.teacher == "tuned"


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
        (DISTILLED, ("--init", denoiser), "run tiny: --teacher should name the weights of the run tuned"),
        (DISTILLED, ("--teacher", tuned), "run tiny: --init should name the weights of the run denoiser"),
        (alone, ("--init", denoiser), "run tiny: it has no init, so there should be no --init"),
        (alone, ("--teacher", denoiser), "run tiny: it has no teacher, so there should be no --teacher"),
        (
            DISTILLED,
            ("--init", tuned, "--teacher", tuned),
            "weights of the run tuned, and those of denoiser",
        ),
        (
            DISTILLED,
            ("--init", weights, "--teacher", tuned),
            "weights of the run tiny, and those of denoiser",
        ),
        (
            DISTILLED | {"model": {"hidden": 9}},
            ("--init", denoiser, "--teacher", tuned),
            "run tiny: its model should be that of its init, the run denoiser, or",
        ),
        (DISTILLED, ("--init", tmp_path / "none", "--teacher", tuned), "none: no such file; train the run first"),
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
