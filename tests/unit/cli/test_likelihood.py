import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.likelihood import main

pytestmark = pytest.mark.usefixtures("in_process")


def run(weights: Path, shards: Path, output: Path, *more: str) -> int:
    return main(["--weights", str(weights), "--shards", str(shards), "--output", str(output), *more])


def test_the_bound_is_the_sum_of_its_terms(weights: Path, data: Any, tmp_path: Path) -> None:
    assert run(weights, data.shards, tmp_path / "likelihood.json") == 0
    found = json.loads((tmp_path / "likelihood.json").read_text())
    assert (found["run"], found["split"], found["num_molecules"]) == ("tiny", "test", 8)
    assert found["unit"] == "nats per molecule"
    terms = found["terms"]
    assert terms.keys() == {"prior", "diffusion", "reconstruction", "constant", "size"}
    assert found["nll"]["value"] == pytest.approx(sum(terms.values()), rel=1e-6)
    assert found["nll"]["value"] - found["nll_without_size"]["value"] == pytest.approx(terms["size"], rel=1e-4)
    for interval in (found["nll"], found["nll_without_size"]):
        assert interval["low"] < interval["value"] < interval["high"]
    # Almost none of the data is left at t = T, and almost no uncertainty at t = 0.
    assert 0 < terms["prior"] < 0.01
    assert terms["constant"] < 0
    assert 3.5 < terms["size"] < 4.5


def test_bad_input_is_one_line(
    weights: Path, denoiser: Path, data: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    for of, shards, message in [
        (denoiser, data.shards, "a run of objective denoiser has no likelihood bound; objective edm has"),
        (tmp_path / "none", data.shards, "none: no such file"),
        (weights, tmp_path, "has no shards of the split test"),
    ]:
        assert run(of, shards, tmp_path / "output.json") == 2
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("likelihood: error: ")
        assert message in lines[0]
    assert not (tmp_path / "output.json").exists()
