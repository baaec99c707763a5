from pathlib import Path

import pytest

from pipeline.cli.convert import main
from pipeline.data.molecule_files import read_molecule_files

SDF = Path(__file__).parents[2] / "data" / "molecules64.sdf"


def test_there_and_back_again(tmp_path: Path) -> None:
    original = read_molecule_files(SDF, invalid="refuse").data
    path = SDF
    for suffix in (".extxyz.gz", ".parquet", ".sdf.gz", ".xyz", ".sdf"):
        output = tmp_path / f"m{suffix}"
        assert main([str(path), "--output", str(output)]) == 0
        data = read_molecule_files(output, invalid="refuse").data
        assert data.molecules.sizes.tolist() == original.molecules.sizes.tolist()
        assert data.molecules.positions == pytest.approx(original.molecules.positions, abs=1e-4)
        if suffix not in (".xyz", ".sdf"):  # what plain XYZ has no place for is gone after it
            assert data.molecules.smiles == original.molecules.smiles
        path = output


def test_what_was_read_is_summed_up(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.xyz").write_text("1\n\nO 0 0 0\n0\n\n")
    assert main([str(tmp_path / "m.xyz"), "--output", str(tmp_path / "m.sdf")]) == 2
    assert "molecule 1: has no atoms" in capfd.readouterr().err
    assert not (tmp_path / "m.sdf").exists()
    assert main([str(tmp_path / "m.xyz"), "--output", str(tmp_path / "m.sdf"), "--skip-invalid"]) == 0
    said = capfd.readouterr().err
    assert "1 molecule from 1 file; 1 empty, left out" in said
    assert "warning: there are no hydrogens" in said


def test_an_unknown_suffix_is_told_before_anything_is_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.xyz"), "--output", str(tmp_path / "m.pdb")]) == 2
    assert capfd.readouterr().err.startswith(
        f"convert: error: {tmp_path}/m.pdb: molecules are written to .parquet, .sdf"
    )
