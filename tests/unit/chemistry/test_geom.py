from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.data.molecule_files import read_molecule_files

WATER = [[8.0, 0.0, 0.0, 0.0], [1.0, 0.96, 0.0, 0.0], [1.0, -0.24, 0.93, 0.0]]
METHANETHIOL = [[16.0, 0.0, 0.0, 0.0], [6.0, 1.82, 0.0, 0.0], [1.0, 0.0, 1.34, 0.0]]


def conformer(energy: float, xyz: list[list[float]], shift: float) -> dict[str, Any]:
    """Return a conformer as GEOM has it, with more keys than are read."""
    return {"totalenergy": energy, "xyz": [[z, x + shift, y, w] for z, x, y, w in xyz], "boltzmannweight": 0.5}


def write_archive(path: Path) -> None:
    energies = [-3.0, -5.0, -4.0]
    first = {"O": {"conformers": [conformer(e, WATER, shift) for shift, e in enumerate(energies)], "charge": 0}}
    second = {"CS": {"conformers": [conformer(-9.0, METHANETHIOL, 7.0)]}}
    path.write_bytes(msgpack.packb(first) + msgpack.packb(second))


@pytest.mark.parametrize(("conformers", "shifts"), [(1, [1, 7]), (2, [1, 2, 7]), (30, [1, 2, 0, 7])])
def test_the_conformers_of_lowest_energy_are_taken(tmp_path: Path, conformers: int, shifts: list[float]) -> None:
    write_archive(tmp_path / "drugs_crude.msgpack")
    data = read_molecule_files(tmp_path / "drugs_crude.msgpack", invalid="refuse", conformers=conformers).data
    assert [positions[0, 0] for _, positions in data.molecules] == shifts
    assert data.molecules.smiles == (*["O"] * (len(shifts) - 1), "CS")
    assert data.columns["total_energy"].to_pylist() == sorted(data.columns["total_energy"].to_pylist()[:-1]) + [-9.0]
    assert data.molecules[-1][0].tolist() == [16, 6, 1]


def test_an_array_of_edm_is_split_by_its_first_column(tmp_path: Path) -> None:
    rows = [[0, *atom] for atom in WATER] + [[1, *atom] for atom in METHANETHIOL] + [[2, *atom] for atom in WATER]
    np.save(tmp_path / "geom_drugs_30.npy", np.array(rows))
    molecules = read_molecule_files(tmp_path / "geom_drugs_30.npy", invalid="refuse").data.molecules
    assert [numbers.tolist() for numbers, _ in molecules] == [[8, 1, 1], [16, 6, 1], [8, 1, 1]]
    assert molecules.positions[3:6].tolist() == np.float32(np.array(METHANETHIOL)[:, 1:]).tolist()


def test_an_array_in_a_folder_is_not_taken_for_molecules(tmp_path: Path) -> None:
    np.save(tmp_path / "weights.npy", np.zeros((3, 4)))
    (tmp_path / "a.xyz").write_text("1\n\nC 0 0 0\n")
    reading = read_molecule_files(tmp_path, invalid="refuse")
    assert (reading.num_files, reading.not_read) == (1, ["weights.npy"])


def test_what_is_damaged_is_refused(tmp_path: Path) -> None:
    path, array = tmp_path / "drugs_crude.msgpack", tmp_path / "geom.npy"
    write_archive(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(InputError, match=r"drugs_crude\.msgpack: truncated"):
        read_molecule_files(path, invalid="skip")
    path.write_bytes(msgpack.packb({"O": {"positions": []}}))
    with pytest.raises(InputError, match=r"damaged, or not an archive of GEOM \(KeyError: 'conformers'\)"):
        read_molecule_files(path, invalid="skip")
    path.write_bytes(msgpack.packb({"O": {"conformers": [conformer(-1.0, [[1.5, 0, 0, 0]], 0)]}}))
    with pytest.raises(InputError, match=r"molecule 0 \(O\): an atomic number is not one"):
        read_molecule_files(path, invalid="refuse")
    np.save(array, np.zeros((3, 4)))
    with pytest.raises(InputError, match=r"geom\.npy: should be an array of EDM's rows .* not float64 \(3, 4\)"):
        read_molecule_files(array, invalid="refuse")
    np.save(array, np.array([{}]), allow_pickle=True)
    with pytest.raises(InputError, match=r"geom\.npy: truncated, or not an array"):
        read_molecule_files(array, invalid="refuse")
