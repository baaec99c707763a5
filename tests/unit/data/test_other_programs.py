"""What other programs read of our files, and we of theirs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.chemistry.molecules import Molecules
from pipeline.data.molecule_files import read_molecule_files
from pipeline.data.molecule_output import write_molecule_file

MOLECULES = Molecules.from_list(
    [
        ([8, 1, 1], [[0.01, 0.02, 0.03], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]]),
        ([6, 7, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 1.15], [0.0, 0.0, -1.07]]),
    ],
    smiles=("O", "C#N"),
)
GAP = np.array([0.25, -2e-30])


def written(path: Path) -> Path:
    write_molecule_file(path, MOLECULES, columns={"title": ['"water"', "two"], "gap": GAP})
    return path


@pytest.mark.parametrize("suffix", [".extxyz", ".xyz", ".extxyz.gz", ".sdf"])
def test_ase_reads_ours(suffix: str, tmp_path: Path) -> None:
    ase_io = pytest.importorskip("ase.io", reason="needs pip install ase")
    frames = ase_io.read(written(tmp_path / f"m{suffix}"), index=":" if suffix != ".sdf" else 0)
    for frame, (numbers, positions) in zip(frames if suffix != ".sdf" else [frames], MOLECULES, strict=False):
        assert frame.numbers.tolist() == numbers.tolist()
        np.testing.assert_allclose(frame.positions, positions, atol=6e-5)
        assert not frame.pbc.any()
    if suffix.startswith(".extxyz"):
        assert [frame.info["gap"] for frame in frames] == GAP.tolist()
        assert [frame.info["title"] for frame in frames] == ['"water"', "two"]
        assert [frame.info["SMILES"] for frame in frames] == ["O", "C#N"]


def test_we_read_what_ase_writes(tmp_path: Path) -> None:
    ase = pytest.importorskip("ase", reason="needs pip install ase")
    ase_io = pytest.importorskip("ase.io")
    atoms = ase.Atoms(
        "OH2", positions=MOLECULES[0][1], cell=[5, 6, 7], pbc=True, tags=[1, 2, 3], velocities=np.ones((3, 3))
    )
    atoms.info = {"an energy": -1.5, "note": 'a "b"', "matrix": np.eye(3)}
    for name in ("m.extxyz", "m.xyz", "m.sdf"):
        ase_io.write(tmp_path / name, atoms)
        data = read_molecule_files(tmp_path / name, invalid="refuse").data
        assert data.molecules.atomic_numbers.tolist() == [8, 1, 1]
        np.testing.assert_allclose(data.molecules.positions, MOLECULES[0][1], atol=6e-5)
    ase_io.write(tmp_path / "m.extxyz", atoms)
    columns = read_molecule_files(tmp_path / "m.extxyz", invalid="refuse").data.columns
    assert columns["an energy"].to_pylist() == [-1.5]
    assert columns["note"].to_pylist() == ['a "b"']


def test_pandas_reads_ours(tmp_path: Path) -> None:
    frame = pd.read_parquet(written(tmp_path / "m.parquet"))
    assert np.stack(frame["positions"][0]).tolist() == MOLECULES[0][1].tolist()
    assert frame["gap"].tolist() == GAP.tolist()
    frame.to_parquet(tmp_path / "again.parquet")
    again = read_molecule_files(tmp_path / "again.parquet", invalid="refuse").data
    assert again.molecules.positions.tobytes() == MOLECULES.positions.tobytes()


def test_polars_reads_ours(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars", reason="needs pip install polars")
    frame = polars.read_parquet(written(tmp_path / "m.parquet"))
    assert np.array(frame["positions"][0].to_list(), np.float32).tolist() == MOLECULES[0][1].tolist()
    assert frame["smiles"].to_list() == ["O", "C#N"]
    frame.write_parquet(tmp_path / "again.parquet")
    again = read_molecule_files(tmp_path / "again.parquet", invalid="refuse").data
    assert again.molecules.positions.tobytes() == MOLECULES.positions.tobytes()


def test_datasets_reads_ours(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs pip install datasets")
    found = datasets.Dataset.from_parquet(str(written(tmp_path / "m.parquet")), cache_dir=str(tmp_path / "cache"))
    assert found[1]["atomic_numbers"] == [6, 7, 1]
    np.testing.assert_array_equal(np.array(found[1]["positions"], np.float32), MOLECULES[1][1])
    assert found["gap"][:] == GAP.tolist()
