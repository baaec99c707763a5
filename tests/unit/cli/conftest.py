import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.train import main as train


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
