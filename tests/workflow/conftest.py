"""Snakemake in a process of its own, results in a folder of the test's."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TINY = ROOT / "workflow" / "studies" / "tiny.yaml"

# Most of a dry run is the import of Snakemake: this imports it once and forks for every request, a line of JSON, which
# it answers with the exit status.
SERVER = """
import json, os, sys
import snakemake.cli
import pipeline.sampling.level_search, pipeline.study.costs, pipeline.study.supervision

for line in sys.stdin:
    request = json.loads(line)
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, path in enumerate((os.devnull, request["stdout"], request["stderr"])):
        os.dup2(os.open(path, os.O_RDWR), number)
    snakemake.cli.main(request["arguments"])
"""


def environment(path: Path | None) -> dict[str, str]:
    """Return the environment with this Python's folder on PATH, and ``path`` before it."""
    folders = [*([str(path)] if path else []), str(Path(sys.executable).parent), os.environ["PATH"]]
    return os.environ | {"PATH": os.pathsep.join(folders)}


def run(
    command: Sequence[str | Path], *, path: Path | None = None, umask: int = -1
) -> subprocess.CompletedProcess[str]:
    """Run a command in the project's folder and ``environment``; with another ``umask`` if given."""
    words = list(map(str, command))
    return subprocess.run(words, cwd=ROOT, env=environment(path), text=True, capture_output=True, umask=umask)


@cache
def server() -> "subprocess.Popen[str]":
    """Return the process that forks for every Snakemake."""
    command = [sys.executable, "-c", SERVER]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="session", autouse=True)
def server_of_the_session() -> Iterator[None]:
    """End the server after the last test."""
    yield
    server().communicate()


def forked(arguments: Sequence[str | Path], path: Path | None) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a fork of the server."""
    words = list(map(str, arguments))
    with NamedTemporaryFile("r") as stdout, NamedTemporaryFile("r") as stderr:
        files = {"stdout": stdout.name, "stderr": stderr.name}
        request = {"arguments": words, "environment": environment(path)} | files
        process = server()
        assert process.stdin and process.stdout
        print(json.dumps(request), file=process.stdin, flush=True)
        status = int(process.stdout.readline())
        return subprocess.CompletedProcess(words, status, stdout.read(), stderr.read())


@dataclass(frozen=True)
class Workflow:
    """Snakemake with results in ``directory``.

    Attributes:
      directory: where results go.
      path: a folder whose programs are found first, such as a stub of Python.
      within: a command that runs Snakemake, such as one that takes its network away; a fork runs it if left out.
      umask: what its files withhold from others, if it is not a fork; as the test's own if left out.
    """

    directory: Path
    path: Path | None = None
    within: tuple[str, ...] | None = None
    umask: int = -1

    def run(self, *args: str | Path, study: Path | Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        """Run Snakemake; ``study`` is a file or the content of one, the default study if left out."""
        if isinstance(study, Mapping):
            content, study = study, self.directory / "study.yaml"
            study.write_text(yaml.safe_dump(dict(content), sort_keys=False))
        config: list[str | Path] = ["--configfile", study] if study else []
        arguments = [*config, "--directory", self.directory, *args]
        if self.within is None:
            return forked(arguments, self.path)
        return run([*self.within, sys.executable, "-m", "snakemake", *arguments], path=self.path, umask=self.umask)

    def planned(self, *args: str | Path, study: Path | Mapping[str, Any]) -> list[str]:
        """Return what a dry run would do, sorted: the rule of every job with its wildcards, ``sample run=a``."""
        done = self.run("--dry-run", "--cores", "2", *args, study=study)
        assert done.returncode == 0, done.stderr
        jobs = []
        for block in re.split(r"^(?:local)?rule ", done.stderr + done.stdout, flags=re.MULTILINE)[1:]:
            wildcards = re.search(r"^    wildcards: (.*)$", block, flags=re.MULTILINE)
            jobs.append(" ".join([block.split(":")[0], *(wildcards[1].split(", ") if wildcards else [])]))
        return sorted(jobs)


STUDY: dict[str, Any] = {
    "data": {"split": {"train": 1000, "validation": 2000}},
    "runs": {
        name: {
            "training": {"steps": 1000},
            "samplers": {
                "heun-9": {"kind": "heun", "steps": 5},
                "ddim-4": {"kind": "ddim", "steps": 4},
            },
        }
        for name in ("one", "two")
    },
    "figures": {"trajectory": {"run": "one", "sampler": "heun-9"}},
}


def changed(base: dict[str, Any] = STUDY, /, **values: Any) -> dict[str, Any]:
    """Return a study, STUDY if none is given, with values set by dotted keys, such as ``runs__one__seed=1``."""
    study = copy.deepcopy(base)
    for dotted, value in values.items():
        *path, last = dotted.split("__")
        node = study
        for key in path:
            node = node.setdefault(key, {})
        node[last] = value
    return study


def stand_in(folder: Path) -> Path:
    """Return a folder with a ``python`` that only pretends."""
    folder.mkdir(exist_ok=True)
    shutil.copy(Path(__file__).parent / "stand_in_python.sh", folder / "python")
    (folder / "python").chmod(0o755)
    return folder


def pretended(folder: Path, study: dict[str, Any], *targets: str) -> Workflow:
    """Return a workflow in which stubs have made everything of a study, or some targets."""
    workflow = Workflow(folder, path=stand_in(folder / "bin"))
    done = workflow.run("--cores", "8", *(targets or ["results/figures"]), study=study)
    assert done.returncode == 0, done.stderr
    return workflow


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Return a workflow in which everything of STUDY is made; tests only plan in it."""
    return pretended(tmp_path_factory.mktemp("finished"), STUDY)


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    """Return a workflow with nothing in its folder."""
    return Workflow(tmp_path)
