"""The same command resumes after any end of Snakemake, its job or both. Stages are replaced by stubs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from .conftest import ROOT, STUDY, Workflow

WEIGHTS = "results/runs/one/weights.safetensors"
SAMPLES = "results/runs/one/samples/heun-9.parquet"
OUTPUTS = {
    "parse": "results/data/qm9/molecules.parquet",
    "shard": "results/data/qm9/shards",
    "train": WEIGHTS,
    "sample": SAMPLES,
}
# Makes every output in two halves.
# The stage $HELD writes down its process between them, and waits to be killed or let go on.
STAND_IN = """#!/bin/sh
stage=${2##*.}
while [ $# -gt 0 ]; do
    case $1 in
        --output) output=$2 ;;
        --shards) shards=$2 ;;
        --statistics) statistics=$2 ;;
    esac
    shift
done
case $stage in
    download) mkdir -p "$output"; set -- "$output/done" ;;
    shard) mkdir -p "$shards"; set -- "$shards/done" "$statistics" ;;
    train) set -- "$output/weights.safetensors" "$output/metrics.jsonl" ;;
    *) set -- "$output" ;;
esac
for path in "$@"; do echo half >"$path"; done
if [ "$stage" = "$HELD" ]; then
    echo $$ >job.new && mv job.new job
    while [ -e job ]; do sleep 0.05; done
fi
for path in "$@"; do echo whole >"$path"; done
"""


def outputs(folder: Path) -> list[Path]:
    """Return the files that the stages made, without logs, timings, settings and what Snakemake and the study leave."""
    files = [path for path in (folder / "results").rglob("*") if path.is_file()]
    files = [path for path in files if path.name != "config.json" and path.parent.name != "samplers"]
    return [
        path for path in files if path.suffix not in (".log", ".tsv") and path.name[0] != "." and path.stem != "study"
    ]


def alive(pid: int) -> bool:
    """Return whether a process is running."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("number", "victims", "stage"),
    [
        (signal.SIGINT, "both", "train"),  # Ctrl-C
        (signal.SIGTERM, "both", "sample"),  # a shutdown
        (signal.SIGHUP, "both", "parse"),  # a lost connection
        (signal.SIGKILL, "snakemake", "shard"),
        (signal.SIGKILL, "job", "sample"),  # for its memory
        (signal.SIGKILL, "both", "shard"),  # as good as a power cut
    ],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else value,
)
def test_an_interrupted_run_goes_on(tmp_path: Path, number: signal.Signals, victims: str, stage: str) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(STAND_IN)
    python.chmod(0o755)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    # A test that runs in the background may ignore Ctrl-C, and its children with it.
    command = [
        "env",
        "--default-signal",
        sys.executable,
        "-m",
        "snakemake",
        "--configfile",
        str(tmp_path / "study.yaml"),
    ]
    # The folder of this Python behind that of the stub, or the Snakefile would put it before.
    folders = [str(python.parent), str(Path(sys.executable).parent), os.environ["PATH"]]
    first = subprocess.Popen(
        [*command, "--directory", str(tmp_path), "--cores", "2", OUTPUTS[stage]],
        cwd=ROOT,
        env=os.environ | {"PATH": os.pathsep.join(folders), "HELD": stage},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    job = tmp_path / "job"
    while not job.exists():
        assert first.poll() is None
        time.sleep(0.05)
    pid = int(job.read_text())
    if victims == "both":
        os.killpg(first.pid, number)
    else:
        os.kill(pid if victims == "job" else first.pid, number)
    assert first.wait(timeout=60) != 0
    # No process is left that could write into the next run's results.
    while alive(pid):
        time.sleep(0.05)
    job.unlink()
    again = Workflow(tmp_path, path=python.parent).run("--cores", "2", OUTPUTS[stage], study=tmp_path / "study.yaml")
    assert again.returncode == 0, again.stderr
    for output in outputs(tmp_path):
        assert output.read_text() == "whole\n", output
