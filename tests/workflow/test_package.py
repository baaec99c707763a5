"""The package by itself, as `pip install .` leaves it: away from the repository, whose files it must not need."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .conftest import ROOT

LOADS = """
import sys
from pathlib import Path
import pipeline
from pipeline.study.config import run_config
from pipeline.study.study import resolve_study

assert Path(pipeline.__file__).is_relative_to(sys.argv[1]), pipeline.__file__
run = {"training": {"steps": 900}, "samplers": {"one": {"kind": "ddim", "steps": 4}}}
print(resolve_study({"runs": {"a": run}})["runs"]["a"]["samplers"]["one"]["num"])
print(run_config({"name": "a", "data": "qm9", "training": {"steps": 900}}).model.hidden)
"""


def test_settings_are_part_of_the_package(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    shutil.copytree(ROOT / "pipeline", source / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--no-compile", "--target", str(target)]
    pip = [sys.executable, "-m", "pip", "install", *options, str(source)]
    done = subprocess.run(pip, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loads = [sys.executable, "-c", LOADS, str(target)]
    environment = os.environ | {"PYTHONPATH": str(target)}
    done = subprocess.run(loads, cwd=target, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1000", "64"]
