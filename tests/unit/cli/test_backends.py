import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import backends
from pipeline.cli.likelihood import main as likelihood
from pipeline.cli.sample import main as sample
from pipeline.core.errors import InputError
from pipeline.data.molecule_parquet import read_molecules
from pipeline.study import frameworks
from pipeline.training.run_folder import read_weights

SAMPLER = {"name": "heun", "kind": "heun", "steps": 3, "num": 4}


@pytest.fixture
def here(in_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stages that use PyTorch run in this process too, and leave its threads as they are."""
    monkeypatch.setattr("torch.set_num_threads", lambda number: None)


@pytest.fixture(scope="session")
def torch_weights(
    tmp_path_factory: pytest.TempPathFactory, make_settings: Callable[..., dict[str, Any]], data: Any
) -> Path:
    """Weights of a training of two steps in PyTorch, made in a process that cannot import JAX."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "config.json").write_text(json.dumps(make_settings(backend="torch", training={"steps": 2})))
    without("jax", "train", "--config", folder / "config.json", *data.arguments(), "--output", folder)
    return folder / "weights.safetensors"


def without(package: str, stage: str, *arguments: str | Path) -> None:
    """Run a stage in a process where a package cannot be imported."""
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"from pipeline.cli.{stage} import main\nsys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_stage_imports_the_framework_it_runs_on_and_no_other(weights: Path, torch_weights: Path, data: Any) -> None:
    # PyTorch without JAX was the training behind torch_weights.
    assert "torch" in read_weights(torch_weights).provenance
    shards = ["--shards", data.shards, "--output", weights.parent / "likelihood.json"]
    without("torch", "likelihood", "--weights", weights, *shards)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_run_of_either_backend_works_on_the_other(
    here: None, weights: Path, torch_weights: Path, backend: str, data: Any, tmp_path: Path
) -> None:
    (tmp_path / "heun.json").write_text(json.dumps(SAMPLER))
    for number, run in enumerate((weights, torch_weights)):
        common = ["--weights", str(run), "--backend", backend, "--output"]
        molecules = tmp_path / f"{number}.parquet"
        assert sample([*common, str(molecules), "--sampler", str(tmp_path / "heun.json")]) == 0
        found = read_molecules(molecules)
        assert len(found) == 4 and found.metadata["backend"] == backend
        bound = tmp_path / f"{number}.json"
        assert likelihood([*common, str(bound), "--shards", str(data.shards), "--split", "validation"]) == 0
        assert np.isfinite(json.loads(bound.read_text())["nll"]["value"])


def test_the_weights_of_both_backends_have_the_same_names_and_shapes(weights: Path, torch_weights: Path) -> None:
    one, other = (
        {name: array.shape for name, array in read_weights(path).arrays.items()} for path in (weights, torch_weights)
    )
    assert one == other


def test_what_does_not_fit_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="--devices 0 should be at least 1"):
        backends.load_backend("torch", cores=0)
    monkeypatch.setattr(frameworks, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="PyTorch, which is not installed: make torch"):
        backends.load_backend("torch")


def test_a_notebook_may_have_used_jax_before() -> None:
    words = "import jax; jax.numpy.ones(3); from pipeline.jax_backend.runtime import start; start(cores=3)"
    done = subprocess.run([sys.executable, "-c", f"{words}; print(jax.device_count())"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
