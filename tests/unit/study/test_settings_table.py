from pathlib import Path

import pytest
import yaml

from pipeline.cli.settings import main
from pipeline.core.errors import InputError
from pipeline.study.settings_table import BEGIN, END, settings_table, with_settings_table


def test_a_line_has_path_values_default_and_meaning() -> None:
    lines = settings_table().splitlines()
    line = next(line for line in lines if "runs.NAME.samplers.NAME.rho" in line)
    assert line.startswith("| `runs.NAME.samplers.NAME.rho` | a number, above 0 | `7.0` | Exponent of the level")
    assert any("| `runs.NAME.training.steps` | a whole number, at least 1 | required |" in line for line in lines)


def test_no_cell_breaks_the_table() -> None:
    assert {line.count("|") for line in settings_table().splitlines()} == {5}


def test_only_what_is_between_the_marks_changes() -> None:
    document = with_settings_table(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert document.startswith(f"before\n{BEGIN}\n| setting |")
    assert document.endswith(f"|\n{END}\nafter\n")
    assert with_settings_table(document) == document


def test_a_document_without_marks_is_refused() -> None:
    with pytest.raises(InputError, match="should have the lines"):
        with_settings_table("nothing here")


def test_the_command_prints_the_table_or_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out == settings_table() + "\n"
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\n{END}\n")
    schema = tmp_path / "schema.yaml"
    assert main(["--readme", str(readme), "--schema", str(schema)]) == 0
    assert settings_table() in readme.read_text()
    assert yaml.safe_load(schema.read_text())["properties"]["runs"]["minProperties"] == 1


@pytest.mark.parametrize(
    ("backend", "backends"),
    [("backend: torch", "jax torch"), ('backend:   "torch"', "jax torch"), ("init: null  # backend: torch", "jax")],
)
def test_the_command_says_what_a_study_needs_however_it_is_spelt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], backend: str, backends: str
) -> None:
    rest = "{training: {steps: 900}, samplers: {a: {kind: heun}}}"
    study = tmp_path / "a study.yaml"
    study.write_text(f"runs:\n  one: &one {rest}\n  two:\n    <<: *one\n    {backend}\n")
    assert main(["--backends", str(study)]) == 0
    assert capsys.readouterr().out == f"{backends}\n"
    study.write_text(f"figures: {{benchmarks: true}}\nruns: {{one: {rest}}}\n")
    assert main(["--backends", str(study)]) == 0
    assert capsys.readouterr().out == "jax torch\n"
    study.write_text("runs: {}\n")
    assert main(["--backends", str(study)]) == 2
    assert capsys.readouterr().err == "settings: error: runs: is empty; it should have at least one entry\n"
