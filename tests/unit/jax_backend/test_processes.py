"""Training in two processes, set up as srun does it, against training in one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.jax_backend.train import train
from pipeline.study.config import run_config
from pipeline.training.loop import TrainingRun
from pipeline.training.run_folder import PretrainedWeights, read_weights

STEPS = 12
# jax.distributed derives the port from the job's number: 61440 and the number modulo 4096.
FIRST_PORT = 61440

Arrays = dict[str, npt.NDArray[np.float32]]


class Training:
    """A run of the stage train in one process or several."""

    def __init__(self, folder: Path, settings: dict[str, Any], data: Any):
        self.output = folder / "run"
        (folder / "config.json").write_text(json.dumps(settings))
        stage = [sys.executable, "-m", "pipeline.cli.train", "--config", str(folder / "config.json")]
        self._command = [*stage, *data.arguments(), "--output", str(self.output)]

    def start(self, tasks: int) -> list["subprocess.Popen[str]"]:
        job = str(free_port() - FIRST_PORT)
        step = {"SLURM_JOB_ID": job, "SLURM_STEP_NODELIST": "localhost", "SLURM_CPUS_PER_TASK": "1"}
        step |= dict.fromkeys(("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"), str(tasks))
        return [
            subprocess.Popen(
                self._command,
                env=os.environ | step | dict.fromkeys(("SLURM_PROCID", "SLURM_LOCALID"), str(task)),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for task in range(tasks)
        ]

    def weights(self) -> Arrays:
        return dict(read_weights(self.output / "weights.safetensors").arrays)

    def checkpoints(self) -> list[Path]:
        return sorted(self.output.glob("state/*/checkpoints/[0-9]*.safetensors"))


def free_port() -> int:
    """Return a port among those that a job's number can name."""
    for port in range(FIRST_PORT + os.getpid() % 3000, 65536):
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


def ended(processes: list["subprocess.Popen[str]"], status: int) -> str:
    """Wait for all processes to end with a status; return what they said."""
    try:
        said = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [status] * len(processes), "\n".join(said)
    return "".join(said)


@pytest.fixture(scope="module")
def settings(make_settings: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return make_settings(training={"steps": STEPS, "validation_interval": 5, "sample_interval": 10})


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, Any], data: Any) -> Training:
    """A training in two processes that nothing happened to."""
    training = Training(tmp_path_factory.mktemp("together"), settings, data)
    ended(training.start(2), 0)
    return training


def test_two_processes_train_the_weights_of_one(
    together: Training, tmp_path: Path, settings: dict[str, Any], data: Any
) -> None:
    shards, statistics = data.read()
    config = run_config(settings)
    alone = train(TrainingRun(config, "this", shards, statistics, tmp_path, PretrainedWeights())).arrays
    both = together.weights()
    assert alone.keys() == both.keys()
    for name, array in alone.items():
        np.testing.assert_allclose(both[name], array, atol=1e-5, rtol=1e-5, err_msg=name)


def test_one_of_them_writes_the_files(together: Training) -> None:
    lines = [json.loads(line) for line in (together.output / "metrics.jsonl").read_text().splitlines()]
    logged = [(line["kind"], line["step"]) for line in lines]
    assert len(set(logged)) == len(logged)
    assert [step for kind, step in logged if kind == "validation"] == [5, 10, STEPS]
    assert [path.stem for path in together.checkpoints()] == [f"{STEPS:08d}"]


def test_a_signal_to_one_stops_both_and_they_go_on_to_the_same_bits(
    together: Training, tmp_path: Path, settings: dict[str, Any], data: Any
) -> None:
    often = settings | {"training": settings["training"] | {"checkpoint_seconds": 1e-9, "sample_interval": 0}}
    training = Training(tmp_path, often, data)
    processes = training.start(2)
    while not training.checkpoints() and all(process.poll() is None for process in processes):
        time.sleep(0.01)
    # Not the one that writes.
    processes[1].send_signal(signal.SIGTERM)
    assert "which is saved" in ended(processes, 143)
    stopped = int(training.checkpoints()[-1].stem)
    assert stopped < STEPS
    assert f"resumed at step {stopped} of {STEPS}" in ended(training.start(2), 0)
    for name, array in training.weights().items():
        assert array.tobytes() == together.weights()[name].tobytes()


def test_without_an_equal_share_for_each_nothing_is_trained(
    tmp_path: Path, make_settings: Callable[..., dict[str, Any]], data: Any
) -> None:
    odd = make_settings(training={"steps": 2, "batch_size": 7, "accumulate": 1})
    said = ended(Training(tmp_path, odd, data).start(2), 2)
    assert said.count("train: error: 2 processes: they should divide batch_size, 7") == 2
    assert "Traceback" not in said
