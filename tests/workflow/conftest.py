"""Snakemake as the user runs it: in a process of its own, results in a folder of the test's."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TINY = ROOT / "workflow" / "studies" / "tiny.yaml"


def run(
    command: Sequence[str | Path], *, cwd: Path = ROOT, path: Path | None = None, umask: int = -1
) -> subprocess.CompletedProcess[str]:
    """Run a command with this Python's folder on PATH, and ``path`` before it; with another ``umask`` if given."""
    folders = [*([str(path)] if path else []), str(Path(sys.executable).parent), os.environ["PATH"]]
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=os.environ | {"PATH": os.pathsep.join(folders)},
        text=True,
        capture_output=True,
        umask=umask,
    )


@dataclass(frozen=True)
class Workflow:
    """Snakemake with results in ``directory``.

    Attributes:
      directory: where results go.
      path: a folder whose programs are found first, such as a stub of Python.
      umask: what its files withhold from others; as the test's own if left out.
      within: a command that runs Snakemake, such as one that takes its network away.
    """

    directory: Path
    path: Path | None = None
    umask: int = -1
    within: tuple[str, ...] = ()

    def run(self, *args: str | Path, study: Path | Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        """Run Snakemake; ``study`` is a file or the content of one, the default study if left out."""
        if isinstance(study, Mapping):
            content, study = study, self.directory / "study.yaml"
            study.write_text(yaml.safe_dump(dict(content), sort_keys=False))
        config: list[str | Path] = ["--configfile", study] if study else []
        snakemake: list[str | Path] = [sys.executable, "-m", "snakemake", *config, "--directory", self.directory, *args]
        return run([*self.within, *snakemake], path=self.path, umask=self.umask)

    def planned(self, *args: str | Path, study: Path | Mapping[str, Any]) -> list[str]:
        """Return what a dry run would do, sorted: the rule of every job with its wildcards, ``sample run=a``."""
        done = self.run("--dry-run", "--cores", "2", *args, study=study)
        assert done.returncode == 0, done.stderr
        jobs = []
        for block in re.split(r"^(?:local)?rule ", done.stderr + done.stdout, flags=re.MULTILINE)[1:]:
            wildcards = re.search(r"^    wildcards: (.*)$", block, flags=re.MULTILINE)
            jobs.append(" ".join([block.split(":")[0], *(wildcards[1].split(", ") if wildcards else [])]))
        return sorted(jobs)


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    """Return a workflow with nothing in its folder."""
    return Workflow(tmp_path)
