from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.chemistry.formats import write_xyz
from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.data.user_files import parse_user_files

WATER = "3\nwater\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n"
METHANE = "5\n\nC 0 0 0\nH 0.63 0.63 0.63\nH -0.63 -0.63 0.63\nH -0.63 0.63 -0.63\nH 0.63 -0.63 -0.63\n"


def test_the_sdf_file_of_the_tests_is_read_with_its_smiles(test_data: Path) -> None:
    data = parse_user_files(test_data / "molecules64.sdf")
    molecules = data.molecules
    assert len(molecules) == 64
    assert data.index.tolist() == list(range(64))
    assert set(molecules.sizes.tolist()) == {*range(3, 28), 29}
    assert set(molecules.atomic_numbers.tolist()) == {1, 6, 7, 8, 9}
    assert molecules.smiles is not None
    assert molecules.smiles[:3] == ("O", "C#C", "C#N")
    assert len(set(molecules.smiles)) == 64
    assert molecules.metadata == {"source": "molecules64.sdf"}


def test_smiles_belong_to_their_own_record(tmp_path: Path, test_data: Path) -> None:
    records = (test_data / "molecules64.sdf").read_text().split("$$$$\n")[:3]
    records[1] = records[1][: records[1].index(">  <SMILES>")]
    path = tmp_path / "three.sdf"
    path.write_text("$$$$\n".join([*records, "\n"]))
    assert parse_user_files(path).molecules.smiles == ("O", None, "C#N")
    path.write_text(records[1] + "$$$$\n")
    assert parse_user_files(path).molecules.smiles is None


def test_a_folder_of_xyz_files_is_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "b.xyz").write_text(WATER)
    (tmp_path / "a.xyz").write_text(METHANE + WATER)
    (tmp_path / "._a.xyz").write_text("not a molecule")
    (tmp_path / "notes.txt").write_text("not a molecule")
    counted: list[int] = []
    data = parse_user_files(tmp_path, advance=counted.append)
    assert data.molecules.sizes.tolist() == [5, 3, 3]
    assert counted == [2, 1]
    assert data.molecules.smiles is None
    assert data.molecules.metadata == {"source": tmp_path.name}


def test_one_xyz_file_of_many_frames_is_read(tmp_path: Path, make_molecules: Callable[..., Molecules]) -> None:
    molecules = make_molecules([3, 9, 1])
    write_xyz(tmp_path / "m.xyz", molecules)
    np.testing.assert_array_equal(parse_user_files(tmp_path / "m.xyz").molecules.positions, molecules.positions)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (METHANE + WATER.replace("O ", "Cl "), "line 10: unknown element 'Cl'; known are H, C, N, O, F"),
        (WATER.replace("0.96", "nan"), "line 4: a coordinate is not finite"),
        (WATER[:-15], "truncated"),
        ("", "empty"),
    ],
)
def test_a_bad_file_of_a_folder_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.xyz").write_text(WATER)
    (tmp_path / "b.xyz").write_text(text)
    with pytest.raises(InputError, match=rf"b\.xyz.*{message}"):
        parse_user_files(tmp_path)


def test_what_is_not_there_or_of_another_kind_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.sdf: no such file or folder; data\.path"):
        parse_user_files(tmp_path / "none.sdf")
    with pytest.raises(InputError, match=r"has no \.xyz files; data\.path"):
        parse_user_files(tmp_path)
    (tmp_path / "m.pdb").write_text("ATOM")
    with pytest.raises(InputError, match=r"m\.pdb: "):
        parse_user_files(tmp_path / "m.pdb")
