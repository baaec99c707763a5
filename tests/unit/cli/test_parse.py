from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.cli.parse import main
from pipeline.data.molecule_parquet import read_columns, read_molecules
from pipeline.data.source import split_labels

SDF = Path(__file__).parents[2] / "data" / "molecules64.sdf"


def parse(source: str, path: Path, output: Path, *, train: int = 48, validation: int = 8, **options: Any) -> int:
    arguments = ["--source", source, "--input", str(path), "--train", str(train), "--validation", str(validation)]
    for name, value in options.items():
        arguments += [f"--{name.replace('_', '-')}", str(value)]
    return main([*arguments, "--output", str(output)])


def test_the_molecules_of_the_tests_become_the_canonical_file(tmp_path: Path) -> None:
    output = tmp_path / "data" / "molecules.parquet"
    assert parse("path", SDF, output, split_seed=3, log=tmp_path / "log") == 0
    molecules = read_molecules(output)
    assert len(molecules) == 64
    assert molecules.metadata == {
        "source": "molecules64.sdf",
        "split": {"seed": 3, "train": 48, "validation": 8},
    }
    columns = read_columns(output, ["index", "split"])
    assert columns["index"].tolist() == list(range(64))
    assert columns["split"].tolist() == split_labels(64, seed=3, train=48, validation=8).tolist()
    log = (tmp_path / "log").read_text()
    assert "parse path" in log
    assert "split: 48 to train on, 8 to validate on, 8 to test on" in log


def test_what_cannot_be_used_is_refused_or_left_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, output = tmp_path / "mine.xyz", tmp_path / "molecules.parquet"
    path.write_text("1\none\nO 0 0 1\n1\ntwo\nSe 0 0 0\n1\n\nH 0 0 2\n")
    assert parse("path", path, output, train=1, validation=1) == 2
    assert f"parse: error: {path}, line 6: molecule 1 (two): has Se; " in capfd.readouterr().err
    arguments = ["--source", "path", "--input", str(path), "--train", "1", "--validation", "1", "--output", str(output)]
    assert main([*arguments, "--skip-invalid", "--log", str(tmp_path / "log")]) == 0
    assert read_columns(output, ["index"])["index"].tolist() == [0, 2]
    assert pq.read_table(output)["title"].to_pylist() == ["one", None]
    for said in (capfd.readouterr().err, (tmp_path / "log").read_text()):
        assert "2 molecules from 1 file; 1 of other elements, left out" in said.splitlines()
        assert f"left out: {path}, line 6: molecule 1 (two): has Se" in said


def test_a_file_of_ours_gets_a_split_of_its_own(tmp_path: Path) -> None:
    assert parse("path", SDF, tmp_path / "a.parquet") == 0
    assert parse("path", tmp_path / "a.parquet", tmp_path / "b.parquet", train=10, split_seed=3) == 0
    assert read_molecules(tmp_path / "b.parquet").metadata["source"] == "a.parquet"
    expected = split_labels(64, seed=3, train=10, validation=8).tolist()
    assert read_columns(tmp_path / "b.parquet", ["split"])["split"].tolist() == expected


@pytest.mark.parametrize(
    ("source", "path", "sizes", "message"),
    [
        ("path", SDF, {"train": 65}, "data.split.train: 65 is more than the 64 molecules of the data"),
        ("path", SDF, {"validation": 17}, "data.split.validation: 17 is more than the 16 molecules"),
        ("path", SDF.parent / "none.sdf", {}, "none.sdf: no such file or folder"),
        ("path", SDF.parent / "README.md", {}, "README.md: not molecules in a format that is read"),
        ("qm9pack", SDF.parent, {}, "qm9pack-1.0.3-py3-none-any.whl: no such file"),
        ("figshare", SDF.parent, {}, "uncharacterized.txt: no such file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_the_earlier_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], source: str, path: Path, sizes: Any, message: str
) -> None:
    output = tmp_path / "molecules.parquet"
    output.write_text("earlier")
    assert parse(source, path, output, **sizes) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("parse: error: ")
    assert message in lines[0]
    assert output.read_text() == "earlier"
    assert [file.name for file in tmp_path.iterdir()] == ["molecules.parquet"]
