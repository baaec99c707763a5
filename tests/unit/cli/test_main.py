import ast
from pathlib import Path

import pytest

from pipeline.cli import main as entry

STAGES = {stage for group in entry.GROUPS.values() for stage in group}


def test_every_stage_is_listed() -> None:
    folder = Path(entry.__file__).parent
    modules = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in folder.glob("*.py")}
    with_main = {
        name
        for name, module in modules.items()
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in module.body)
    }
    # `settings` writes a part of the documentation: a tool for developers.
    assert {name.replace("_", "-") for name in with_main} - {"main", "settings"} == STAGES


def test_a_stage_gets_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["evaluate", "no-such-file.xyz", "--output", "scores.json"]) == 2
    assert "no-such-file.xyz" in capsys.readouterr().err


def test_help_names_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main([]) == 0
    text = capsys.readouterr().out
    assert all(f"  {stage} " in text for stage in STAGES)


def test_an_unknown_stage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["smaple"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
