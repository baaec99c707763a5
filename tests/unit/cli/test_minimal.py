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

# PyYAML is imported by another name, and by Flax.
STAGE = """
import sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.partition(".")[0] in {absent} else find(name, *rest)
from pipeline.cli.{stage} import main
sys.exit(main(sys.argv[1:]))
"""


def run(stage: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a stage where all imports of the extra ``workflow`` fail."""
    code = STAGE.format(absent=[*ABSENT, "orbax"], stage=stage)
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_run_is_trained_and_sampled(tmp_path: Path, make_settings: Callable[..., dict[str, Any]], data: Any) -> None:
    assert {"rdkit", "snakemake", "pandas", "matplotlib"} <= set(ABSENT)
    config, sampler, weights = tmp_path / "config.json", tmp_path / "sampler.json", tmp_path / "weights.safetensors"
    config.write_text(json.dumps(make_settings(objective="consistency", consistency={"kind": "ict"})))
    sampler.write_text(json.dumps({"name": "two", "kind": "consistency", "steps": 2, "num": 4}))
    levels, samples = tmp_path / "levels.json", tmp_path / "samples.parquet"
    stages: list[list[object]] = [
        ["train", "--config", config, *data.arguments(), "--output", tmp_path],
        ["levels", "--weights", weights, "--calls", 2, "--num", 8, "--output", levels],
        ["sample", "--weights", weights, "--sampler", sampler, "--levels", levels, "--output", samples],
    ]
    for stage in stages:
        done = run(*map(str, stage))
        assert done.returncode == 0, done.stderr
    assert len(read_molecules(samples)) == 4
    # Text is refused before anything is drawn.
    done = run("sample", "--weights", weights, "--calls", 2, "--num", 4, "--output", tmp_path / "samples.sdf")
    assert done.returncode == 2
    assert "RDKit, which is not installed, writes all formats but Parquet: pip install rdkit" in done.stderr
    assert "Traceback" not in done.stderr
