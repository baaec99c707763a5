import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.train import main as train
from pipeline.training.run_folder import read_weights

STEPS = 16


class Training:
    """The stage as the workflow runs it: a process that can be killed."""

    def __init__(self, folder: Path, settings: dict[str, Any], data: Any):
        self.output = folder / "run"
        config = folder / "config.json"
        config.write_text(json.dumps(settings))
        stage = [sys.executable, "-m", "pipeline.cli.train", "--config", str(config), *data.arguments()]
        self.command = [*stage, "--output", str(self.output), "--devices", "1", "--log", str(folder / "log")]

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

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

    def weights(self) -> dict[str, bytes]:
        arrays = read_weights(self.output / "weights.safetensors").arrays
        return {name: array.tobytes() for name, array in arrays.items()}

    def steps_logged(self) -> list[tuple[str, int]]:
        lines = (self.output / "metrics.jsonl").read_text().splitlines()
        return [(line["kind"], line["step"]) for line in map(json.loads, lines)]


@pytest.fixture(scope="session")
def every_step(make_settings: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """A checkpoint after every step, so that most of the time is spent writing them."""
    return make_settings(training={"steps": STEPS, "checkpoint_seconds": 1e-9, "validation_interval": 10})


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, every_step: dict[str, Any], data: Any) -> Training:
    """A training of the same that nothing happened to."""
    seldom = every_step | {"training": every_step["training"] | {"checkpoint_seconds": 1000}}
    training = Training(tmp_path_factory.mktemp("undisturbed"), seldom, data)
    training.finish()
    return training


@pytest.fixture(scope="session")
def in_process() -> Iterator[None]:
    """Let stages that use JAX run in this process, where it is set up already, and leave signals as they are."""
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.jax_backend.backend.start", lambda cores: None)
        yield
    signal.signal(signal.SIGTERM, handler)


Train = Callable[..., Path]


@pytest.fixture(scope="session")
def train_two_steps(
    in_process: None,
    tmp_path_factory: pytest.TempPathFactory,
    make_settings: Callable[..., dict[str, Any]],
    data: Any,
) -> Train:
    """Train a run for two steps with some options; return its weights."""

    def trained(*options: str | Path, half: str | None = None, **run: Any) -> Path:
        folder = tmp_path_factory.mktemp("trained")
        (folder / "config.json").write_text(json.dumps(make_settings(training={"steps": 2, "half": half}, **run)))
        argv = ["--config", folder / "config.json", *data.arguments(), *options, "--output", folder]
        assert train([str(word) for word in argv]) == 0
        return folder / "weights.safetensors"

    return trained


@pytest.fixture(scope="session")
def weights(train_two_steps: Train) -> Path:
    """Weights of an EDM."""
    return train_two_steps()


@pytest.fixture(scope="session")
def denoiser(train_two_steps: Train) -> Path:
    """Weights of a denoiser, the run of that name."""
    return train_two_steps(name="denoiser", objective="denoiser")


@pytest.fixture(scope="session")
def conditional(train_two_steps: Train, denoiser: Path) -> Path:
    """Weights of a denoiser that takes a property, a number in the file of molecules; it starts from the other."""
    run = {"objective": "denoiser", "init": "denoiser", "condition": ["QM9_INDEX"], "condition_dropout": 0.0}
    return train_two_steps("--init", denoiser, name="conditional", **run)


@pytest.fixture(scope="session")
def tuned(train_two_steps: Train, denoiser: Path) -> Path:
    """Weights of a consistency model that was tuned from the denoiser, on aligned pairs."""
    run = {"objective": "consistency", "init": "denoiser", "levels": {"alignment": "full"}}
    return train_two_steps("--init", denoiser, name="tuned", **run)
