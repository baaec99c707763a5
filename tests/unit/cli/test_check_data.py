from pathlib import Path

import pytest
import yaml

from pipeline.cli.main import main
from pipeline.study.study import resolve_study

SDF = Path(__file__).parents[2] / "data" / "molecules64.sdf"
OWN_MOLECULES = Path(__file__).parents[3] / "workflow" / "studies" / "own-molecules.yaml"


def check(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Return the lines of the report, and the study, resolved."""
    assert main(["check-data", str(path)]) == 0
    said, study = capsys.readouterr().out.split("\nA study of it:\n\n")
    return said.splitlines(), resolve_study(yaml.safe_load(study))


def test_it_tells_what_would_be_trained_on(capsys: pytest.CaptureFixture[str]) -> None:
    lines, study = check(SDF, capsys)
    assert lines[0] == "64 molecules from 1 file"
    told = {line[:12].strip(): line[12:] for line in lines[2:]}
    assert list(told) == ["elements", "atoms", "buckets", "split", "hydrogens", "duplicates", "properties", "valid"]
    assert told["atoms"].startswith("3 to 29 a molecule, ")
    assert told["buckets"].split(";")[0].endswith(", 29")
    assert told["split"] == "51 for train, 6 for validation, 7 for test"
    assert told["duplicates"] == "0 have the graph of another one, 0 its coordinates, too"
    assert told["properties"].startswith("QM9_INDEX (3 to 133651)")
    assert [part.split()[0] for part in told["elements"].split(", ")] == list("HCNOF")
    assert study["data"]["path"] == str(SDF)  # type: ignore[call-overload]


def test_it_tells_what_would_be_refused_and_what_is_there_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    water = "3\nwater\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n"
    path = tmp_path / "My data.xyz"
    path.write_text(
        2 * water + water.replace("0.93", "0.9") + "1\nforeign\nSe 0 0 0\n" + 7 * "2\n\nC 0 0 0\nO 1.13 0 0\n"
    )
    lines, study = check(path, capsys)
    assert lines[0] == "10 molecules from 1 file; 1 of other elements, left out"
    assert "molecule 3 (foreign): has Se; its elements are H, C, O, Se, supported are H, B, C" in lines[1]
    assert "duplicates  8 have the graph of another one, 7 its coordinates, too" in lines
    assert "properties  none that every molecule has a number for" in lines
    assert "hydrogens   0.6 a molecule; 7 molecules have none, and none is added" in lines
    assert study["data"] | {"name": "my-data", "source": "path", "skip": True} == study["data"]  # type: ignore[operator]


@pytest.mark.parametrize("name", ["m.xyz", "m.smi.xyz", "m.csv.xyz"])
def test_one_molecule_is_shown_all_the_same(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text("3\nwater\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n")
    lines, study = check(tmp_path / name, capsys)
    assert lines[0] == "1 molecule from 1 file"
    assert "split       none; data.split.train: 0.8 of 1 molecules is none; too few to train on" in lines
    assert "elements    H 66.7%, O 33.3%" in lines
    assert study["data"] | {"source": "path"} == study["data"]  # type: ignore[operator]


def test_the_study_is_the_recipe_for_own_molecules(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = resolve_study(yaml.safe_load(OWN_MOLECULES.read_text()))["runs"]["mine"]
    (run,) = check(SDF, capsys)[1]["runs"].values()  # type: ignore[attr-defined]
    looks = {"validation_interval", "sample_interval"}
    assert run["training"] | dict.fromkeys(looks) == recipe["training"] | dict.fromkeys(looks)
    assert {key: run[key] for key in ("objective", "model", "levels", "consistency")} == {
        key: recipe[key] for key in ("objective", "model", "levels", "consistency")
    }


@pytest.mark.parametrize("stem", ["noise", "raw", "ä", 120 * "x"])
def test_the_study_of_a_file_with_any_name_is_valid(
    stem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"{stem}.xyz").write_text("3\nwater\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n")
    check(tmp_path / f"{stem}.xyz", capsys)


@pytest.mark.parametrize("name", ["mine.smi", "MINE.SMI"])
def test_smiles_get_conformers(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    path.write_text("\n".join(["CCO", "CCCl", "c1ccsc1", "C1CC", *("C" * n for n in range(1, 9))]))
    lines, study = check(path, capsys)
    assert lines[0] == "11 molecules from 1 file; 1 not read by RDKit, left out"
    assert "valid       11 of 11 are connected and have a neutral Lewis structure" in lines
    assert study["data"] | {"source": "smiles"} == study["data"]  # type: ignore[operator]


def test_bad_input_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check-data", str(tmp_path / "none.sdf")]) == 2
    assert capfd.readouterr().err == f"check-data: error: {tmp_path}/none.sdf: no such file or folder\n"
