from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.chemistry.formats import write_sdf, write_xyz
from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.data.molecule_files import read_molecule_file
from pipeline.data.molecule_parquet import write_molecules

WATER = ([8, 1, 1], [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])


@pytest.mark.parametrize(
    ("suffix", "write"), [(".parquet", write_molecules), (".sdf", write_sdf), (".xyz", write_xyz), (".XYZ", write_xyz)]
)
def test_reads_what_its_suffix_says(tmp_path: Path, suffix: str, write: Callable[[Path, Molecules], None]) -> None:
    write(tmp_path / f"m{suffix}", Molecules.from_list([WATER, WATER]))
    molecules = read_molecule_file(tmp_path / f"m{suffix}")
    assert molecules.sizes.tolist() == [3, 3]
    assert molecules.atomic_numbers.tolist() == [8, 1, 1] * 2


def test_other_suffixes_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"m\.pdb: molecules are read from \.parquet, \.sdf and \.xyz files"):
        read_molecule_file(tmp_path / "m.pdb")


def test_no_molecules_are_too_few(tmp_path: Path) -> None:
    write_molecules(tmp_path / "m.parquet", Molecules.from_list([]))
    with pytest.raises(InputError, match="m.parquet: has no molecules"):
        read_molecule_file(tmp_path / "m.parquet")
