"""What disks do to a training: each ends in the bits of an undisturbed one."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.shard import main as shard
from pipeline.training.run_folder import read_weights

from .conftest import STEPS, Training

# In a mount namespace of its own: a small disk that fills up while a training writes to it, is then cleared, set to
# read-only, and finally usable again. Results are copied out with `cp`. Arguments: folder, result, a command.
SCRIPT = """
set -u
disk=$1 result=$2
shift 2
mount -t tmpfs -o size=8m tmpfs "$disk" || exit 77
"$@" 2>"$result/full.err" &
until ls -d "$disk"/run/state/*/checkpoints/[0-9]* >/dev/null 2>&1; do sleep 0.01; done
cat /dev/zero >"$disk/filler" 2>/dev/null
wait $!
echo $? >"$result/full.status"
rm "$disk/filler"
mount -o remount,ro "$disk"
"$@" 2>"$result/read-only.err"
echo $? >"$result/read-only.status"
mount -o remount,rw "$disk"
"$@" 2>"$result/usable.err"
echo $? >"$result/usable.status"
cp "$disk/run/weights.safetensors" "$result"
"""


def test_a_full_disk_and_a_read_only_one_are_one_line_and_nothing_is_lost(
    tmp_path: Path, every_step: dict[str, Any], data: Any, undisturbed: Training
) -> None:
    disk, result = tmp_path / "disk", tmp_path / "result"
    for folder in (disk, result):
        folder.mkdir()
    # What the command reads lies outside of the disk; its output is in it.
    train = Training(tmp_path, every_step, data).command
    train[train.index("--output") + 1] = str(disk / "run")
    isolated = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--user", "--map-root-user"])]
    arguments = ["sh", "-c", SCRIPT, "sh", str(disk), str(result), *train]
    done = subprocess.run([*isolated, *arguments], capture_output=True, text=True, timeout=600)
    if done.returncode in (1, 77) and not (result / "full.status").exists():
        pytest.skip(f"this machine does not allow mounting a disk for a test: {done.stderr.strip()}")

    def told(name: str) -> tuple[int, list[str]]:
        lines = (result / f"{name}.err").read_text().splitlines()
        return int((result / f"{name}.status").read_text()), [line for line in lines if "error" in line]

    for name, reason in (("full", "No space left on device"), ("read-only", "Read-only file system")):
        status, errors = told(name)
        assert status == 2, (result / f"{name}.err").read_text()
        assert len(errors) == 1
        assert errors[0].startswith("train: error: ")
        assert reason in errors[0]
    assert told("usable")[0] == 0, (result / "usable.err").read_text()
    assert "resumed at step" in (result / "usable.err").read_text()
    arrays = read_weights(result / "weights.safetensors").arrays
    assert {name: array.tobytes() for name, array in arrays.items()} == undisturbed.weights()


def test_a_truncated_shard_is_refused_by_name_and_made_again(
    tmp_path: Path, every_step: dict[str, Any], data: Any
) -> None:
    mine = replace(data, shards=tmp_path / "shards", statistics=tmp_path / "statistics.json")
    make = ["--molecules", str(mine.molecules), "--buckets", "18", "29"]
    make += ["--shards", str(mine.shards), "--statistics", str(mine.statistics)]
    assert shard(make) == 0
    victim = max(mine.shards.rglob("*.parquet"), key=lambda path: path.stat().st_size)
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    done = subprocess.run(Training(tmp_path, every_step, mine).command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("train: error: ")
    assert str(victim) in done.stderr
    assert shard(make) == 0
    assert victim.read_bytes() == whole


def test_two_trainings_of_one_run_take_turns(
    tmp_path: Path, every_step: dict[str, Any], data: Any, undisturbed: Training
) -> None:
    training = Training(tmp_path, every_step, data)
    both = [training.start() for _ in range(2)]
    said = [process.communicate(timeout=600)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    (waited,) = [text for text in said if "is training this run; waiting for it to end" in text]
    assert f"resumed at step {STEPS} of {STEPS}" in waited
    assert training.weights() == undisturbed.weights()
