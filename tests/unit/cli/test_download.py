from pathlib import Path

import pytest

from pipeline.cli.download import main


def test_a_download_that_fails_is_one_last_line_and_leaves_the_earlier_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    output = tmp_path / "raw"
    output.mkdir()
    (output / "earlier").touch()
    assert main(["--source", "qm9pack", "--output", str(output), "--log", str(tmp_path / "log")]) == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if "rror" in line]
    assert len(errors) == 1
    assert errors[0].startswith("download: error: pip could not download qm9pack==1.0.3: ")
    assert errors[0] in (tmp_path / "log").read_text()
    assert [file.name for file in output.iterdir()] == ["earlier"]
    assert {file.name for file in tmp_path.iterdir()} == {"raw", "log"}


def test_an_unknown_source_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--source", "elsewhere", "--output", str(tmp_path / "raw")]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("download: error: argument --source: invalid choice: 'elsewhere'")
