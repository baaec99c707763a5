"""Training and sampling with only what a GPU machine's image has: no RDKit, Snakemake, pandas, matplotlib or Orbax."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from pipeline.data.molecule_parquet import read_molecules

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
ABSENT = [Requirement(line).name.replace("-", "_") for line in PROJECT["optional-dependencies"]["workflow"]]

RUN = {"objective": "consistency", "condition": ["QM9_INDEX"]}

# PyYAML is imported by another name, and by Flax. JAX is set up once in a process.
STAGES = """
import json, sys
from importlib import import_module
from importlib.machinery import PathFinder

absent, stages = json.loads(sys.argv[1])
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.partition(".")[0] in absent else find(name, *rest)
for stage, *arguments in stages:
    if status := import_module(f"pipeline.cli.{stage}").main(arguments):
        sys.exit(status)
    import_module("pipeline.jax_backend.backend").start = lambda cores: None
"""


def test_a_run_is_trained_and_sampled(tmp_path: Path, make_settings: Callable[..., dict[str, Any]], data: Any) -> None:
    assert {"rdkit", "snakemake", "pandas", "matplotlib"} <= set(ABSENT)
    config, sampler, weights = tmp_path / "config.json", tmp_path / "sampler.json", tmp_path / "weights.safetensors"
    config.write_text(json.dumps(make_settings(**RUN)))
    sampler.write_text(json.dumps({"name": "two", "kind": "consistency", "steps": 2, "num": 4}))
    levels, samples = tmp_path / "levels.json", tmp_path / "samples.parquet"
    stages = [
        ["train", "--config", config, *data.arguments(), "--output", tmp_path],
        ["levels", "--weights", weights, "--calls", 2, "--num", 8, "--output", levels],
        ["sample", "--weights", weights, "--sampler", sampler, "--levels", levels, "--output", samples],
        # Text is refused before anything is drawn.
        ["sample", "--weights", weights, "--calls", 2, "--num", 4, "--output", tmp_path / "samples.sdf"],
    ]
    words = json.dumps([[*ABSENT, "orbax"], [list(map(str, stage)) for stage in stages]])
    done = subprocess.run([sys.executable, "-c", STAGES, words], capture_output=True, text=True)
    assert len(read_molecules(samples)) == 4, done.stderr
    assert done.returncode == 2
    assert "RDKit, which is not installed, writes all formats but Parquet: pip install rdkit" in done.stderr
    assert "Traceback" not in done.stderr
