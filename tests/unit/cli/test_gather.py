from pathlib import Path

import pytest

from pipeline.cli.gather import main
from pipeline.core.files import read_json, write_json


@pytest.fixture
def evaluations(tmp_path: Path) -> list[str]:
    """Return the files of two samplers, in no alphabetical order."""
    paths = [tmp_path / "heun-50.json", tmp_path / "ddim-4.json"]
    for path in paths:
        write_json(path, {"validity": path.stem})
    return list(map(str, paths))


def test_samplers_keep_their_order_and_the_likelihood_is_optional(tmp_path: Path, evaluations: list[str]) -> None:
    output = tmp_path / "metrics.json"
    assert main(["--run", "edm", "--evaluations", *evaluations, "--output", str(output)]) == 0
    metrics = read_json(output)
    assert list(metrics["samplers"].items()) == [
        ("heun-50", {"validity": "heun-50"}),
        ("ddim-4", {"validity": "ddim-4"}),
    ]
    assert (metrics["run"], metrics["likelihood"]) == ("edm", None)


def test_the_likelihood_is_there_when_given(tmp_path: Path, evaluations: list[str]) -> None:
    write_json(tmp_path / "likelihood.json", {"nll": 1})
    arguments = ["--run", "edm", "--evaluations", *evaluations, "--likelihood", str(tmp_path / "likelihood.json")]
    assert main([*arguments, "--output", str(tmp_path / "metrics.json")]) == 0
    assert read_json(tmp_path / "metrics.json")["likelihood"] == {"nll": 1}


def test_a_truncated_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "heun-50.json").write_text('{"validity"')
    arguments = ["--run", "edm", "--evaluations", str(tmp_path / "heun-50.json")]
    assert main([*arguments, "--output", str(tmp_path / "metrics.json")]) == 2
    assert "heun-50.json: not JSON, truncated or damaged" in capsys.readouterr().err
