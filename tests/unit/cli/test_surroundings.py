"""Where stages run: without a home folder, a user's name or a UTF-8 terminal, and until a signal ends them."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.common import run
from pipeline.cli.convert import main as convert
from pipeline.cli.evaluate import main as evaluate
from pipeline.cli.gather import main as gather
from pipeline.cli.parse import main as parse

ROOT = Path(__file__).parents[3]
# A user under a number that no passwd file lists, as in `docker run -u 12345`.
NOBODY = ("unshare", "--user", "--map-user=12345", "--map-group=12345")
METHANE = """5

C 0 0 0
H 0.63 0.63 0.63
H -0.63 -0.63 0.63
H -0.63 0.63 -0.63
H 0.63 -0.63 -0.63
"""
# The second is not UTF-8 either, as if made on another machine.
NAMES = ["é.xyz".encode(), b"\xe9.xyz"]
# A stage that blocks forever halfway through writing its output.
WAITS = """
import argparse, signal, sys
from pipeline.cli.common import STOP_SIGNALS, run
from pipeline.core.files import atomic_path

def stage(args):
    with atomic_path("out") as temporary:
        temporary.touch()
        print("ready", flush=True)
        sys.stdin.read()

for number in STOP_SIGNALS:  # which a test in the background ignores
    signal.signal(number, signal.SIG_DFL)
sys.exit(run(stage, argparse.ArgumentParser(prog="stage"), []))
"""


def bare(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run this Python as an unknown user in ``folder``, with only these variables and the project's path."""
    if not shutil.which("unshare") or subprocess.run([*NOBODY, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not let its users run unshare --user")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | variables
    return subprocess.run([*NOBODY, sys.executable, *command], cwd=folder, env=environment, capture_output=True)


@pytest.mark.parametrize("home", ["none", "missing", "read-only"])
def test_a_missing_home_and_user_name_are_replaced(tmp_path: Path, home: str) -> None:
    folder = tmp_path / "home"
    if home == "read-only":
        folder.mkdir(mode=0o555)
    program = "; ".join(
        [
            "from pipeline.core.environment import prepare_environment",
            "prepare_environment()",
            "import getpass, matplotlib, os, pathlib",
            "from pipeline.core.files import cache_directory",
            "print(getpass.getuser(), matplotlib.get_cachedir(), cache_directory('jax'))",
        ]
    )
    done = bare(tmp_path, "-c", program, **({} if home == "none" else {"HOME": str(folder)}))
    assert done.stderr == b""
    cache = tmp_path / ".cache" / ".cache"
    assert done.stdout.decode().split() == ["12345", f"{cache}/matplotlib", f"{cache}/consistent-edm/jax"]


def test_figures_start_without_a_home_folder(tmp_path: Path) -> None:
    names = ("weights", "curves", "metrics", "samples", "molecules", "floor", "ceiling", "output")
    done = bare(tmp_path, "-m", "pipeline.cli.figures", *(word for name in names for word in (f"--{name}", name)))
    # Matplotlib may say that it builds the cache of its fonts.
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, b"figures: error: samples: no such file")


@pytest.mark.parametrize(
    ("locale", "names"),
    [
        ({"LC_ALL": "C"}, NAMES),
        ({"LC_ALL": "C", "PYTHONUTF8": "0"}, NAMES),
        ({"LC_ALL": "C", "PYTHONUTF8": "0"}, [b"missing-\xc3\xa9-\xff.xyz"]),
    ],
    ids=str,
)
def test_names_that_the_terminal_cannot_show_are_escaped(
    tmp_path: Path, locale: dict[str, str], names: list[bytes]
) -> None:
    for name in NAMES:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text(METHANE)
    command = [sys.executable, "-m", "pipeline.cli.evaluate", "--output", "scores.json", "--log", "log"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"} | locale
    done = subprocess.run([*command, *names], cwd=tmp_path, env=environment, capture_output=True)
    assert b"Traceback" not in done.stderr
    assert done.returncode == (2 if len(names) == 1 else 0), done.stderr
    (done.stdout + done.stderr).decode("ascii")


@pytest.mark.parametrize("log", ["file/log", "folder"])
def test_a_log_that_cannot_be_made_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str], log: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    arguments = ["--run", "one", "--evaluations", "none.json", "--output", str(tmp_path / "out.json")]
    assert gather([*arguments, "--log", str(tmp_path / log)]) == 2
    error = capfd.readouterr().err
    assert error.startswith("gather: error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "unbuffered"),
    [(["--help"], ""), (["convert", "--help"], ""), (["evaluate", "m.xyz", "--output", "o.json"], "1")],
)
def test_it_ends_quietly_when_nobody_reads_its_output(tmp_path: Path, words: list[str], unbuffered: str) -> None:
    (tmp_path / "m.xyz").write_text(METHANE)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "pipeline.cli.main", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr in (b"", b"1 molecule from 1 file\n")


@pytest.mark.parametrize("words", [[], ["evaluate", "{}/m.xyz"], ["convert", "{}/m.xyz", "--output", "{}/o.sdf"]])
def test_closed_streams_are_like_discarded_ones(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "m.xyz").write_text(METHANE)
    command = [sys.executable, "-m", "pipeline.cli.main", *(word.format(tmp_path) for word in words or ["--help"])]
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        done = subprocess.run(
            ["/bin/sh", "-c", f'"$@" {closed}', "sh", *command], cwd=ROOT, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr.replace("1 molecule from 1 file\n", "")) == (0, "")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "not enough memory"),
        (MemoryError("Unable to allocate 745. GiB"), "not enough memory: Unable to allocate 745. GiB"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nmore"),
            "not enough memory: RESOURCE_EXHAUSTED: Out of memory",
        ),
        (RuntimeError("a bug"), None),
    ],
)
def test_too_little_memory_is_one_line(error: Exception, told: str | None, capfd: pytest.CaptureFixture[str]) -> None:
    def stage(args: argparse.Namespace) -> None:
        raise error

    if told is None:
        with pytest.raises(RuntimeError, match="a bug"):
            run(stage, argparse.ArgumentParser(prog="stage"), [])
    else:
        assert run(stage, argparse.ArgumentParser(prog="stage"), []) == 2
        assert capfd.readouterr().err == f"stage: error: {told}\n"


@pytest.mark.parametrize(
    ("stage", "words", "told"),
    [
        (evaluate, "{}/m.xyz --output {}/o.json --log {}/link", "--log: {}/link is another file of this command"),
        (evaluate, "{}/m.xyz --output {}/o.json --log {}/o.json", "--log: {}/o.json is another file of this command"),
        (evaluate, "{} --log {}/m.xyz", "--log: {}/m.xyz is in {}, which this command reads; put it elsewhere"),
        (convert, "{}/m.xyz --output {}/link", "--output: {}/link is another file of this command"),
        (parse, "--source path --input {}/m.xyz --train 1 --validation 0 --output {}/m.xyz", "--output: {}/m.xyz is "),
        (parse, "--source path --input {}/m.xyz --train 1 --validation 0 --output {}/o.xyz", "--output should be a "),
        (parse, "--source path --input {}/m.xyz --train 1 --validation 0 --output {}", "--output should be a "),
    ],
)
def test_what_is_written_replaces_no_other_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], stage: Any, words: str, told: str
) -> None:
    (tmp_path / "m.xyz").write_text(METHANE)
    (tmp_path / "link").symlink_to("m.xyz")
    assert stage(words.replace("{}", str(tmp_path)).split()) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert f"error: {told.replace('{}', str(tmp_path))}" in lines[0]
    assert (tmp_path / "m.xyz").read_text() == METHANE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "m.xyz"]


def test_an_output_without_a_place_is_told_before_anything_is_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert evaluate([str(tmp_path / "none.xyz"), "--output", str(tmp_path / "file" / "o.json")]) == 2
    error = capfd.readouterr().err
    assert "Not a directory" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_one_line_and_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.communicate()[1] == f"stage: stopped by {number.name}\n"
    assert process.returncode == 128 + number
    assert list(tmp_path.iterdir()) == []
