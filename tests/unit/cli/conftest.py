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


@pytest.fixture(scope="session")
def weights(
    in_process: None,
    tmp_path_factory: pytest.TempPathFactory,
    make_settings: Callable[..., dict[str, Any]],
    data: Any,
) -> Path:
    """Weights of a training of two steps."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "config.json").write_text(json.dumps(make_settings(training={"steps": 2})))
    assert train(["--config", str(folder / "config.json"), *data.arguments(), "--output", str(folder)]) == 0
    return folder / "weights.safetensors"
