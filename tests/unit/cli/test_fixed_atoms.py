"""Samples that contain given atoms."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.chemistry.molecules import Molecules
from pipeline.cli.sample import main
from pipeline.core.files import write_json
from pipeline.data.molecule_files import read_molecule_files
from pipeline.data.molecule_output import write_molecule_file

pytestmark = pytest.mark.usefixtures("in_process")

ENDS = Molecules.from_list([([6, 8, 6], np.array([[9.0, 0.0, 0.0], [9.0, 1.25, 0.5], [14.0, 2.0, 0.0]]))])


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """Options of the stage sample that ask for the atoms."""
    ends = tmp_path / "ends.sdf"
    write_molecule_file(ends, ENDS)
    return ["--fixed", str(ends), "--output", str(tmp_path / "m.extxyz")]


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_every_sample_has_the_atoms_at_their_places(
    tuned: Path, options: list[str], tmp_path: Path, backend: str
) -> None:
    sampler = tmp_path / "s.json"
    write_json(sampler, {"name": "two", "kind": "consistency", "levels": [20.0, 0.7], "num": 4})
    formula = ["--formula", "C3H4O2"] if backend == "jax" else []
    assert main(["--weights", str(tuned), "--sampler", str(sampler), "--backend", backend, *formula, *options]) == 0
    molecules = read_molecule_files(tmp_path / "m.extxyz", invalid="refuse").data.molecules
    assert len(molecules) == 4 and molecules.sizes.min() > 3
    for numbers, positions in molecules:
        assert numbers[:3].tolist() == [6, 8, 6]
        np.testing.assert_allclose(positions[:3], ENDS.positions, atol=1e-3)
        assert np.isfinite(positions).all()
        assert not formula or sorted(numbers.tolist()) == [1, 1, 1, 1, 6, 6, 6, 8, 8]


def test_what_cannot_hold_atoms_is_refused(
    denoiser: Path, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, message in (
        (["--weights", str(denoiser), "--calls", "3"], "should be of a few-step model"),
        (["--weights", "few-step", "--calls", "4", "--sizes", "9", "3"], "a molecule of 3 atoms has no others"),
        (["--weights", "few-step", "--calls", "4", "--sizes", "3", "--trajectory", "4"], "3 atoms has no others"),
        (["--weights", "few-step", "--calls", "4", "--formula", "CH4O"], "they have more C than the formula"),
        (["--weights", "few-step", "--calls", "4", "--formula", "C2O"], "a molecule of 3 atoms has no others"),
    ):
        assert main([*words, *options]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "m.extxyz").exists()
