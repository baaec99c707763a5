import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.chemistry.metrics import LABELS
from pipeline.chemistry.molecules import Molecules
from pipeline.cli import evaluate
from pipeline.data.molecule_output import write_molecule_file
from pipeline.data.molecule_parquet import write_molecules

Molecule = tuple[list[int], list[list[float]]]

METHANE: Molecule = (
    [6, 1, 1, 1, 1],
    [[0, 0, 0], [0.63, 0.63, 0.63], [-0.63, -0.63, 0.63], [-0.63, 0.63, -0.63], [0.63, -0.63, -0.63]],
)
WATER: Molecule = ([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
TORN: Molecule = ([8, 1, 1], [[0, 0, 0], [1.96, 0, 0], [-0.24, 0.93, 0]])


@pytest.fixture
def molecules() -> Molecules:
    return Molecules.from_list([METHANE, WATER, WATER, TORN], metadata={"run": "edm", "network_calls": 50})


def run(*arguments: object) -> int:
    return evaluate.main([str(argument) for argument in arguments])


def result(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def test_every_format_scores_the_same(tmp_path: Path, molecules: Molecules, capsys: pytest.CaptureFixture[str]) -> None:
    write_molecules(tmp_path / "m.parquet", molecules)
    write_molecule_file(tmp_path / "m.sdf", molecules)
    write_molecule_file(tmp_path / "m.xyz", molecules)
    for suffix in ("parquet", "sdf", "xyz"):
        assert run(tmp_path / f"m.{suffix}", "--output", tmp_path / f"{suffix}.json") == 0
    parquet, sdf, xyz = (result(tmp_path / f"{suffix}.json") for suffix in ("parquet", "sdf", "xyz"))
    assert parquet["metadata"] == {"run": "edm", "network_calls": 50}
    assert {**parquet, "metadata": {}} == sdf == xyz
    assert parquet["atom_stability"]["value"] == pytest.approx(12 / 14)
    assert parquet["molecule_stability"]["value"] == pytest.approx(3 / 4)
    assert parquet["connected_validity"]["value"] == pytest.approx(3 / 4)
    assert parquet["novelty"] is None
    table = capsys.readouterr().out
    assert "m.parquet" in table
    assert all(label in table for label in LABELS.values())


def test_novelty_is_against_the_training_split_alone(tmp_path: Path, molecules: Molecules) -> None:
    write_molecules(tmp_path / "m.parquet", molecules)
    data = Molecules.from_list([METHANE, WATER])
    write_molecules(tmp_path / "data.parquet", data, extra_columns={"split": np.array(["test", "train"])})
    assert run(tmp_path / "m.parquet", "--train", tmp_path / "data.parquet", "--output", tmp_path / "m.json") == 0
    # Methane and water; water is known, methane only tested on.
    assert result(tmp_path / "m.json")["connected_novelty"]["value"] == 0.5


def test_distances_are_from_the_training_split_with_the_test_split_as_floor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Molecules.from_list([METHANE, WATER])
    write_molecules(tmp_path / "data.parquet", data, extra_columns={"split": ["train", "test"]})
    options = ["--train", tmp_path / "data.parquet", "--distances", "--relax", 1, "--output", tmp_path / "m.json"]
    found = {}
    for name, molecule in (("water", WATER), ("methane", METHANE)):
        write_molecule_file(tmp_path / f"{name}.xyz", Molecules.from_list([molecule]))
        assert run(tmp_path / f"{name}.xyz", *options) == 0
        found[name] = result(tmp_path / "m.json")
    assert found["water"]["distances"] == found["water"]["distances_floor"]
    assert found["water"]["distances"]["size"]["value"] == 2
    assert found["methane"]["distances"]["size"]["value"] == 0
    assert [found[name]["inchikey_novelty"]["value"] for name in ("water", "methane")] == [1, 0]
    assert found["methane"]["relaxation"]["molecules"] == 1
    assert "distance of size, atoms (test split 2)" in capsys.readouterr().out


def test_several_files_are_scored_each_and_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_molecule_file(tmp_path / "a.xyz", Molecules.from_list([METHANE, TORN]))
    write_molecule_file(tmp_path / "b.xyz", Molecules.from_list([METHANE, WATER]))
    assert run(tmp_path / "a.xyz", tmp_path / "b.xyz", "--output", tmp_path / "m.json") == 0
    both = result(tmp_path / "m.json")
    assert list(both["files"]) == [str(tmp_path / "a.xyz"), str(tmp_path / "b.xyz")]
    a, b = both["files"].values()
    assert [part["molecule_stability"]["value"] for part in (a, b, both)] == [0.5, 1, 0.75]
    # Methane is in both: distinct in each, but not in all.
    assert [part["connected_uniqueness"]["value"] for part in (a, b)] == [1, 1]
    assert both["connected_uniqueness"]["value"] == pytest.approx(2 / 3)
    assert both["num_molecules"] == 4
    assert "files" not in a
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["all"]
    assert lines[-2].split()[:4] == ["a.xyz", "2", "75.0", "50.0"]
    assert run(tmp_path / "a.xyz", tmp_path / "b.xyz", "--together", "--output", tmp_path / "m.json") == 0
    assert result(tmp_path / "m.json") == {key: value for key, value in both.items() if key != "files"}
    # A folder is one set too.
    (tmp_path / "folder").mkdir()
    for name in ("a.xyz", "b.xyz"):
        (tmp_path / name).rename(tmp_path / "folder" / name)
    assert run(tmp_path / "folder", "--output", tmp_path / "folder.json") == 0
    assert result(tmp_path / "folder.json") == result(tmp_path / "m.json")


def test_what_a_generator_failed_on_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_molecule_file(tmp_path / "m.xyz", Molecules.from_list([METHANE, WATER]))
    with (tmp_path / "m.xyz").open("a") as file:
        file.write("0\n\n3\n\nO 0 0 0\nH nan 0 0\nH 0 1 0\n")
    assert run(tmp_path / "m.xyz", "--output", tmp_path / "m.json", "--log", tmp_path / "log") == 0
    scores = result(tmp_path / "m.json")
    assert scores["num_molecules"] == 4
    for key in ("molecule_stability", "validity", "connected_validity"):
        assert scores[key]["value"] == 0.5
    said = "4 molecules from 1 file; 1 empty, 1 not finite, counted as unstable"
    assert said in capsys.readouterr().err.splitlines()
    assert said in (tmp_path / "log").read_text().splitlines()


def test_the_same_command_writes_the_same_bytes(tmp_path: Path, molecules: Molecules) -> None:
    write_molecule_file(tmp_path / "m.xyz", molecules.select([0, 1, 2, 3] * 25))
    for name, more in (("1.json", []), ("2.json", []), ("3.json", ["--processes", 2]), ("4.json", ["--seed", 1])):
        assert run(tmp_path / "m.xyz", "--output", tmp_path / name, *more) == 0
    first, again, shared, other = ((tmp_path / f"{n}.json").read_bytes() for n in (1, 2, 3, 4))
    assert first == again == shared != other


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.xyz", None, "missing.xyz: no such file"),
        ("missing.parquet", None, "missing.parquet: no such file"),
        ("empty.xyz", b"", "empty.xyz: empty"),
        ("empty.sdf", b"", "empty.sdf: empty"),
        ("empty.parquet", b"", "empty.parquet"),
        ("text.parquet", b"1\n\nC 0 0 0\n", "text.parquet"),
        ("binary.xyz", b"\xff\xfe\x00", "binary.xyz, line 1: should be the number of atoms"),
        ("m.pdb", b"ATOM      1  C\n", "m.pdb: not molecules in a format that is read: .xyz, .extxyz, .sdf, .sd, .mol"),
        ("short.xyz", b"5\n\nC 0 0 0\n", "short.xyz: truncated"),
        (
            "foreign.xyz",
            b"1\n\nFe 0 0 0\n",
            "foreign.xyz, line 3: molecule 0: has Fe; its elements are Fe, supported are H, B, C, N, O, F, Al",
        ),
    ],
)
def test_bad_files_are_one_line_and_status_2_and_the_old_result_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    write_molecule_file(tmp_path / "good.xyz", Molecules.from_list([METHANE]))
    output = tmp_path / "m.json"
    output.write_text("old")
    assert run(tmp_path / "good.xyz", tmp_path / name, "--output", output) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("evaluate: error: ")
    assert message in error
    assert output.read_text() == "old"


def test_a_truncated_parquet_file_is_refused(
    tmp_path: Path, molecules: Molecules, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.parquet"
    write_molecules(path, molecules)
    whole = path.read_bytes()
    for length in (4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert run(path, "--output", tmp_path / "m.json") == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "m.parquet" in error


def test_a_parquet_file_without_molecules_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_molecules(tmp_path / "m.parquet", Molecules.from_list([]))
    assert run(tmp_path / "m.parquet", "--output", tmp_path / "m.json") == 2
    assert "m.parquet: has no molecules" in capsys.readouterr().err


def test_bad_training_molecules_are_refused_before_the_work(
    tmp_path: Path, molecules: Molecules, capsys: pytest.CaptureFixture[str]
) -> None:
    write_molecules(tmp_path / "m.parquet", molecules)
    assert run(tmp_path / "m.parquet", "--train", tmp_path / "m.parquet", "--output", tmp_path / "m.json") == 2
    assert "split" in capsys.readouterr().err
    assert not (tmp_path / "m.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bootstrap", "0"], "argument --bootstrap: 0 should be at least 1"),
        (["--processes", "-1"], "argument --processes: -1 should be at least 1"),
        (["--relax", "-1"], "argument --relax: -1 should be at least 0"),
        (["--relax-xtb", "-1"], "argument --relax-xtb: -1 should be at least 0"),
        (["--distances"], "--distances are from the data of --train, which is missing"),
        (["--seed", "-1"], "argument --seed: -1 should be at least 0"),
        (["--output", "m.txt"], "--output should be a .json file, not m.txt"),
    ],
)
def test_bad_options_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_molecule_file("m.xyz", Molecules.from_list([METHANE]))
    before = (tmp_path / "m.xyz").read_bytes()
    assert run("m.xyz", "--output", "m.json", *arguments) == 2
    assert capsys.readouterr().err == f"evaluate: error: {message}\n"
    assert (tmp_path / "m.xyz").read_bytes() == before


def test_a_table_needs_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_molecule_file("m.xyz", Molecules.from_list([METHANE]))
    assert run("m.xyz", "--bootstrap", 10) == 0
    assert "atoms stable" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["m.xyz"]


def test_a_file_given_twice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_molecule_file(tmp_path / "m.xyz", Molecules.from_list([METHANE]))
    assert run(tmp_path / "m.xyz", tmp_path / "m.xyz", "--output", tmp_path / "m.json") == 2
    assert "m.xyz: given twice" in capsys.readouterr().err


def test_the_log_has_the_progress_and_the_error(tmp_path: Path) -> None:
    write_molecule_file(tmp_path / "m.xyz", Molecules.from_list([METHANE] * 3))
    log = tmp_path / "logs" / "evaluate.log"
    assert run(tmp_path / "m.xyz", "--output", tmp_path / "m.json", "--log", log) == 0
    assert "3/3" in log.read_text()
    assert run(tmp_path / "gone.xyz", "--output", tmp_path / "m.json", "--log", log) == 2
    assert "gone.xyz: no such file" in log.read_text()
