import json
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.cli.levels import main
from pipeline.cli.sample import main as sample
from pipeline.data.molecule_parquet import read_molecules

pytestmark = pytest.mark.usefixtures("in_process")


def run(weights: Path, output: Path, *more: str) -> int:
    return main(["--weights", str(weights), "--num", "6", "--output", str(output), *more])


def test_levels_are_found_that_a_sampler_takes(tuned: Path, tmp_path: Path) -> None:
    one, path, log = tmp_path / "1.json", tmp_path / "2.json", tmp_path / "log"
    assert run(tuned, one, "--calls", "1") == 0
    assert run(tuned, path, "--calls", "2", "--start", str(one), "--log", str(log)) == 0
    for calls, file in ((1, one), (2, path)):
        levels = json.loads(file.read_text())[str(calls)]
        assert len(levels) == calls
        assert levels[0] <= 20.0
        assert all(before > after > 0 for before, after in pairwise(levels))
    assert "2 calls: " in log.read_text()
    assert "(score 0." in log.read_text()
    # The same molecules, so the same levels.
    assert run(tuned, tmp_path / "again.json", "--calls", "2", "--start", str(one)) == 0
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    (tmp_path / "two.json").write_text(json.dumps({"name": "two", "kind": "consistency", "steps": 2, "num": 4}))
    options = ["--weights", tuned, "--sampler", tmp_path / "two.json", "--levels", path]
    assert sample([*map(str, options), "--output", str(tmp_path / "samples.parquet")]) == 0
    assert read_molecules(tmp_path / "samples.parquet").metadata["network_calls"] == 2


def test_bad_input_is_one_line_and_writes_nothing(
    weights: Path, denoiser: Path, tuned: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    start = tmp_path / "start.json"
    start.write_text('{"1": [20.0], "spacing": {"first": 20.0, "second": NaN, "last": 2.0, "rho": 3.5}}')
    capfd.readouterr()
    for of, options, message in [
        (tuned, ("--calls", "0"), "--calls: 0 should be at least 1"),
        (tuned, ("--calls", "2", "--num", "0"), "--num: 0 should be at least 1"),
        (tuned, ("--calls", "2", "--seed", "-1"), "--seed: -1 should be at least 0"),
        (weights, ("--calls", "2"), "a run of objective edm has no levels to search for"),
        (denoiser, ("--calls", "2"), "a run of objective denoiser has no levels to search for"),
        (tuned, ("--calls", "2", "--start", str(start)), "start.json should be the output of this stage for 1 calls"),
        (tuned, ("--calls", "4", "--start", str(start)), "start.json should be the output of this stage for 2 calls"),
        (tmp_path / "none", ("--calls", "2"), "none: no such file; train the run first"),
    ]:
        assert run(of, tmp_path / "levels.json", *options) == 2
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("levels: error: ")
        assert message in lines[0]
    assert not (tmp_path / "levels.json").exists()
