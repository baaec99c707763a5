from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from rdkit import Chem

from pipeline.chemistry.elements import ATOMIC_NUMBERS
from pipeline.chemistry.formats import read_molecule_text, read_sdf, read_xyz, write_sdf, write_xyz
from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError

Examples = dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]]


WATER = """3
water
O 0.0 0.0 0.0
H 0.96 0.0 0.0
H -0.24 0.93 0.0
"""

METHANOL = """methanol
  program

  6  5  0  0  0  0  0  0  0  0999 V2000
   -0.3600    0.0000    0.0000 C   0  0  0  0  0  0  0  0  0  0  0  0
    1.0600    0.0000    0.0000 O   0  0  0  0  0  0  0  0  0  0  0  0
   -0.7200    1.0300    0.0000 H   0  0  0  0  0  0  0  0  0  0  0  0
   -0.7200   -0.5100    0.8900 H   0  0  0  0  0  0  0  0  0  0  0  0
   -0.7200   -0.5100   -0.8900 H   0  0  0  0  0  0  0  0  0  0  0  0
    1.3800   -0.9000    0.0000 H   0  0  0  0  0  0  0  0  0  0  0  0
  1  2  1  0
  1  3  1  0
  1  4  1  0
  1  5  1  0
  2  6  1  0
M  END
> <SMILES>
CO

$$$$
"""


@st.composite
def any_molecules(draw: st.DrawFn, width: float) -> Molecules:
    sizes = draw(st.lists(st.integers(1, 8), min_size=1, max_size=5))
    numbers = draw(st.lists(st.sampled_from(ATOMIC_NUMBERS), min_size=sum(sizes), max_size=sum(sizes)))
    coordinates = st.floats(-width, width, width=32)
    return Molecules(
        sizes=np.array(sizes),
        atomic_numbers=np.array(numbers),
        positions=draw(arrays.arrays(np.float32, (sum(sizes), 3), elements=coordinates)),
    )


@settings(max_examples=60, deadline=None)
@given(molecules=any_molecules(width=float(np.float32(3e38))))
def test_xyz_round_trip_is_exact(molecules: Molecules, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("xyz") / "m.xyz"
    write_xyz(path, molecules)
    again = read_xyz(path)
    assert again.sizes.tolist() == molecules.sizes.tolist()
    assert np.array_equal(again.atomic_numbers, molecules.atomic_numbers)
    assert np.array_equal(again.positions, molecules.positions)


@settings(max_examples=60, deadline=None)
@given(molecules=any_molecules(width=999.0))
def test_sdf_round_trip_keeps_four_digits(molecules: Molecules, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("sdf") / "m.sdf"
    write_sdf(path, molecules)
    again = read_sdf(path)
    assert again.sizes.tolist() == molecules.sizes.tolist()
    assert np.array_equal(again.atomic_numbers, molecules.atomic_numbers)
    np.testing.assert_allclose(again.positions, molecules.positions, atol=9e-5)


def test_rdkit_reads_our_sdf(examples: Examples, tmp_path: Path) -> None:
    names = ["methane", "ethanol", "hydrogen cyanide"]
    write_sdf(tmp_path / "m.sdf", Molecules.from_list([examples[name] for name in names], smiles=names))
    found = list(Chem.SDMolSupplier(str(tmp_path / "m.sdf"), removeHs=False))
    assert [Chem.MolToSmiles(Chem.RemoveHs(molecule)) for molecule in found] == ["C", "CCO", "C#N"]
    assert [molecule.GetProp("_Name") for molecule in found] == names


def test_rdkit_reads_our_xyz(examples: Examples, tmp_path: Path) -> None:
    write_xyz(tmp_path / "m.xyz", Molecules.from_list([examples["ethanol"]]))
    found = Chem.MolFromXYZFile(str(tmp_path / "m.xyz"))
    np.testing.assert_allclose(found.GetConformer().GetPositions(), examples["ethanol"][1], atol=1e-6)


def test_we_read_rdkits_sdf(tmp_path: Path) -> None:
    molecule = Chem.AddHs(Chem.MolFromSmiles("OCC#N"))
    conformer = Chem.Conformer(molecule.GetNumAtoms())
    conformer.SetPositions(np.random.default_rng(0).normal(size=(molecule.GetNumAtoms(), 3)))
    molecule.AddConformer(conformer)
    with Chem.SDWriter(str(tmp_path / "m.sdf")) as writer:
        writer.write(molecule)
        writer.write(molecule)
    found = read_sdf(tmp_path / "m.sdf")
    assert found.sizes.tolist() == [7, 7]
    assert found[1][0].tolist() == [8, 6, 6, 7, 1, 1, 1]
    np.testing.assert_allclose(found[1][1], conformer.GetPositions(), atol=1e-4)


def text(tmp_path: Path, content: bytes | str, suffix: str = ".xyz") -> Path:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_xyz_as_others_write_it(tmp_path: Path) -> None:
    found = read_xyz(
        text(tmp_path, WATER + "\n" + "1\n\n8 1e0 -2.5E-1 .5 extra 7\n\n  2  \r\nc\r\nh\t0 0 0\r\nC 1 1 1\r\n")
    )
    assert found.sizes.tolist() == [3, 1, 2]
    assert found.atomic_numbers.tolist() == [8, 1, 1, 8, 1, 6]
    assert found[1][1].tolist() == [[1, -0.25, 0.5]]


def test_titles_may_hold_anything_but_a_line_break(tmp_path: Path) -> None:
    found = read_xyz(text(tmp_path, "1\n\x0c page \u2028 break\nC 0 0 0\n"))
    assert len(found) == 1


def test_sdf_as_others_write_it(tmp_path: Path) -> None:
    found = read_sdf(text(tmp_path, METHANOL * 2, ".sdf"))
    assert found.sizes.tolist() == [6, 6]
    assert found.atomic_numbers[:6].tolist() == [6, 8, 1, 1, 1, 1]
    assert found.positions[5].tolist() == [np.float32(1.38), np.float32(-0.9), 0]
    # A single MOL file has no end of record; long coordinates leave no blank between them.
    touching = METHANOL.replace("   -0.3600    0.0000", " -123.3600-1234.0000").partition("> <SMILES>")[0]
    assert read_sdf(text(tmp_path, touching, ".sdf")).positions[0].tolist() == [np.float32(-123.36), -1234, 0]


def test_the_suffix_tells_the_format(tmp_path: Path) -> None:
    assert len(read_molecule_text(text(tmp_path, WATER, ".XYZ"))) == 1
    assert len(read_molecule_text(text(tmp_path, METHANOL, ".sdf"))) == 1
    with pytest.raises(InputError, match=r"file\.pdb: molecules are read from \.sdf and \.xyz files"):
        read_molecule_text(text(tmp_path, WATER, ".pdb"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        (" \n\n", "empty"),
        (b"\xff\xfe\x00\x01", "not a text file"),
        ("hello\nworld\n", "line 1: should be the number of atoms of the next molecule, not 'hello'"),
        ("0\n\n", "line 1: should be the number of atoms"),
        ("-1\n\n", "line 1: should be the number of atoms"),
        (WATER.replace("3\n", "4\n"), "truncated; line 1 announces 4 atoms, the file ends after 3"),
        ("3", "truncated; line 1 announces 3 atoms, the file ends after 0"),
        (WATER + WATER[:-40], "truncated; line 6 announces 3 atoms"),
        (WATER.replace("3\n", "2\n"), "line 5: should be the number of atoms"),
        (WATER.replace("H 0.96 0.0 0.0", "H 0.96 0.0"), "line 4: should be an element and x, y, z, not 'H 0.96 0.0'"),
        (WATER.replace("H 0.96", "S 0.96"), "line 4: unknown element 'S'; known are H, C, N, O, F"),
        (WATER.replace("H 0.96", "Cl 0.96"), "line 4: unknown element 'Cl'"),
        (WATER.replace("H 0.96", "16 0.96"), "line 4: unknown element '16'"),
        (WATER.replace("0.96", "0,96"), "line 4: should be three coordinates, not '0,96 0.0 0.0'"),
        (WATER.replace("0.96", "nan"), "line 4: a coordinate is not finite"),
        (WATER.replace("0.96", "-inf"), "line 4: a coordinate is not finite"),
        (WATER.replace("0.96", "1e39"), "molecule 0: a coordinate is not finite"),
    ],
)
def test_bad_xyz_is_refused_by_line(tmp_path: Path, content: bytes | str, message: str) -> None:
    path = text(tmp_path, content)
    with pytest.raises(InputError, match=message) as caught:
        read_xyz(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        (b"PAR1\x00\x93", "not a text file"),
        ("one\ntwo", "line 4: should be the counts line of a V2000 record, but the record ends before it"),
        (WATER, "line 4: should be the counts line of a V2000 record, not 'H 0.96 0.0 0.0'"),
        (METHANOL.replace("V2000", "V3000"), "line 4: the V3000 format is not read"),
        (METHANOL.replace("  6  5", "  0  0"), "line 4: should be the counts line"),
        (METHANOL.replace("  6  5", "abc  5"), "line 4: should be the counts line"),
        (METHANOL[:300], "truncated; the record that starts on line 1 has no M  END"),
        (METHANOL + METHANOL[:300], "truncated; the record that starts on line 21 has no"),
        (METHANOL + METHANOL[:-6], r"truncated; the record that starts on line 21 has no \$\$\$\$"),
        (METHANOL.replace(" O   0", " Na  0"), "line 6: unknown element 'Na'"),
        (METHANOL.replace("    1.0600", "      nan "), "line 6: a coordinate is not finite"),
        (METHANOL.replace("    1.0600", "    1.O600"), "line 6: should be three coordinates"),
        (METHANOL.replace("  6  5", "  8  5"), "line 11: "),
    ],
)
def test_bad_sdf_is_refused_by_line(tmp_path: Path, content: bytes | str, message: str) -> None:
    path = text(tmp_path, content, ".sdf")
    with pytest.raises(InputError, match=message) as caught:
        read_sdf(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for read in (read_sdf, read_xyz):
        with pytest.raises(InputError, match=r"nowhere\.sdf: no such file"):
            read(tmp_path / "nowhere.sdf")


def test_what_sdf_cannot_hold_is_refused_and_the_old_file_kept(tmp_path: Path) -> None:
    path = tmp_path / "m.sdf"
    path.write_text("old")
    far = Molecules.from_list([([6], [[123456.0, 0.0, 0.0]])])
    with pytest.raises(InputError, match="molecule 0 has a coordinate too large"):
        write_sdf(path, far)
    large = Molecules.from_list([([6], np.zeros((1, 3))), ([6] * 1000, np.arange(3000).reshape(-1, 3))])
    with pytest.raises(InputError, match="molecule 1 has more than 999 atoms"):
        write_sdf(path, large)
    assert path.read_text() == "old"
