import json
from pathlib import Path

import pytest

from pipeline.chemistry.metrics import Judgement, summarise
from pipeline.chemistry.molecules import Molecules
from pipeline.cli import summary


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three evaluations: a floor, a result and a ceiling of 0, 1 and 2 stable molecules in 2."""
    monkeypatch.chdir(tmp_path)
    whole, broken = (([1, 1], [[0.0, 0.0, 0.0], [distance, 0.0, 0.0]]) for distance in (0.74, 2.0))
    for name, pair in (("floor", [broken] * 2), ("edm", [whole, broken]), ("ceiling", [whole] * 2)):
        judged = summarise(Judgement.of(Molecules.from_list(pair)))
        (tmp_path / f"{name}.json").write_text(json.dumps(judged))
    return tmp_path


def run(*arguments: str) -> int:
    return summary.main(["--runs", "edm.json", "--floor", "floor.json", "--ceiling", "ceiling.json", *arguments])


def test_markdown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--names", "EDM, 50 calls", "--output", "t.md") == 0
    table = (folder / "t.md").read_text()
    assert capsys.readouterr().out == table
    rows = [line.split(" | ") for line in table.splitlines()]
    assert [row[0] for row in rows[2:5]] == ["| *noise (floor)*", "| EDM, 50 calls", "| *data (ceiling)*"]
    assert [row[6][:4] for row in rows[2:5]] == ["0.0 ", "50.0", "100."]


def test_csv_is_named_after_the_file_by_default(folder: Path) -> None:
    assert run("--output", "t.csv") == 0
    first = (folder / "t.csv").read_text().splitlines()[1]
    assert first.startswith("edm,2,,,,atom_stability,0.5,")
    assert first.endswith(",0.0,1.0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "t.txt"], "--output should be a .md or .csv file, not t.txt"),
        (["--names", "a", "b", "--output", "t.md"], "--names: 2 names for 1 runs"),
        (["--runs", "edm.json", "edm.json", "--output", "t.md"], "--names: two runs are called edm"),
        (["--runs", "gone.json", "--output", "t.md"], "gone.json: no such file"),
        (["--floor", "bad.json", "--output", "t.md"], "bad.json: not what the stage evaluate writes"),
    ],
)
def test_mistakes_are_one_line_and_status_2_and_the_old_table_stays(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (folder / "bad.json").write_text("{}")
    (folder / "t.md").write_text("old")
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert (folder / "t.md").read_text() == "old"
