import json
from pathlib import Path

import pytest

from pipeline.cli.configure import main
from pipeline.study.config import read_run_config, read_sampler_config


def test_a_run_is_written_with_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "edm" / "config.json"
    assert main(["--run", '{"name": "edm", "data": "qm9", "training": {"steps": 900}}', "--output", str(path)]) == 0
    run = read_run_config(path)
    assert (run.name, run.training.steps, run.model.layers) == ("edm", 900, 5)
    assert path.read_text().startswith('{\n  "name": "edm",\n  "data": "qm9",')


def test_a_sampler_is_written_with_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    assert main(["--sampler", '{"name": "s", "kind": "ddim", "steps": 4}', "--output", str(path)]) == 0
    assert read_sampler_config(path).num == 1000
    assert json.loads(path.read_text())["kind"] == "ddim"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('{"name": "edm", "training": {"steps": "many"}}', 'training.steps: "many" should be a whole number'),
        ('{"name"', "the settings are not JSON"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: str, message: str
) -> None:
    path = tmp_path / "config.json"
    assert main(["--run", settings, "--output", str(path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not path.exists()
