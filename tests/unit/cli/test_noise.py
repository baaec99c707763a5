import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli import noise
from pipeline.data.molecule_parquet import read_molecules

STATISTICS = {
    "dataset": "qm9",
    "num_molecules": {"train": 4, "validation": 1, "test": 1},
    "size_histogram": {"train": {"5": 3, "9": 1}, "validation": {"3": 1}, "test": {"3": 1}},
    "atom_counts": {"H": 16, "C": 8, "N": 0, "O": 0, "F": 0},
    "coordinate_scale": 1.4,
    "type_scale": 0.1,
    "buckets": {"9": 4},
    "length_unit": "angstrom",
}


def test_writes_clouds_of_training_sizes_with_their_origin(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps(STATISTICS))
    for name in ("a.parquet", "b.parquet"):
        arguments = ["--statistics", tmp_path / "s.json", "--num", 50, "--seed", 3, "--output", tmp_path / name]
        assert noise.main([str(argument) for argument in arguments]) == 0
    molecules = read_molecules(tmp_path / "a.parquet")
    assert len(molecules) == 50
    assert set(molecules.sizes.tolist()) == {5, 9}
    assert molecules.metadata == {"source": "noise", "seed": 3, "coordinate_scale": 1.4}
    assert np.array_equal(molecules.positions, read_molecules(tmp_path / "b.parquet").positions)


@pytest.mark.parametrize("content", [None, "", "[]", json.dumps({**STATISTICS, "coordinate_scale": "wide"})])
def test_bad_statistics_are_one_line_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    if content is not None:
        (tmp_path / "s.json").write_text(content)
    assert noise.main(["--statistics", str(tmp_path / "s.json"), "--output", str(tmp_path / "n.parquet")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "s.json" in error
    assert not (tmp_path / "n.parquet").exists()
