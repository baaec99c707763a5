from collections.abc import Sequence

import numpy as np
import pytest
from rdkit import Chem

from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.xyz import read_xyz, xyz_frames
from pipeline.core.errors import InputError

WATER = "3\nwater\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n"
QM9 = "gdb 1\t1.\t2.\t\nO\t0.\t 0.\t 0.\t-0.1\nH\t0.96\t 0.\t 0.\t-0.1\nH\t-2.4*^-1\t 0.93\t 0.\t-0.1"
POSITIONS = [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]


@pytest.mark.parametrize(
    "text",
    [
        WATER,
        "\n\n" + WATER.replace("\n", " \t\n") + "\n\n",
        WATER.replace("O ", "8 ").replace("H ", "1 "),
        WATER.replace("H ", "D ").replace("O ", "o "),
        WATER.replace("0.96", "9.6*^-1").replace("-0.24", "-24.D-02").replace("0.93", "+.93E0"),
        WATER.replace("0.96", "96.0-002").replace("-0.24", "-.0024+002"),
        WATER.replace(" 0\n", " 0 -0.4 7 text\n"),
        f"3\n{QM9}\n1600.1\t3600.2\t3700.3\nO\tO\t\nInChI=1S/H2O/h1H2\tInChI=1S/H2O/h1H2\n",
        "3\nProperties=species:S:1:forces:R:3:pos:R:3\nO 9 9 9 0 0 0\nH 9 9 9 .96 0 0\nH 9 9 9 -.24 .93 0\n",
        "3\nProperties = species:S:1:forces:R:3:pos:R:3 a= b=c\nO 9 9 9 0 0 0\nH 9 9 9 .96 0 0\nH 9 9 9 -.24 .93 0\n",
        WATER.replace("water", "Properties='species:S:1:pos:R:3' pbc=F"),
        WATER.replace("water", "Properties={species:S:1:pos:R:3} pbc=F"),
        WATER.replace(" 0\n", " 0.0 -0.4\n").replace("O 0 0 0.0", "O 0. 0. 0."),
        WATER.rstrip("\n"),
        '3\nenergy=-1.5 Properties="id:I:1:pos:R:3:Z:I:1" pbc="F F F"\n1 0 0 0 8\n6 .96 0 0 1\n7 -.24 .93 0 1\n',
    ],
)
def test_every_dialect_is_the_same_molecule(text: str) -> None:
    for copies in (1, 3) if text.endswith("\n") else (1,):
        records = list(read_xyz((text * copies).splitlines(keepends=True)))
        assert [record.error for record in records] == [None] * copies
        for record in records:
            assert record.atomic_numbers == [8, 1, 1]
            assert record.positions == POSITIONS


def test_what_stands_beside_the_atoms_is_kept() -> None:
    water, qm9 = read_xyz((WATER + f"3\n{QM9}\n1.\t2.\t3.\nO\tO\t\nInChI=1S/H2O\tInChI=1S/H2O\n").splitlines())
    assert (water.title, water.line, water.properties) == ("water", 3, {})
    assert (qm9.title, qm9.properties) == ("gdb 1\t1.\t2.", {"SMILES": "O"})
    # Somebody else's file with QM9's titles alone.
    assert len(list(read_xyz(f"3\n{QM9}\n\n3\n{QM9}".splitlines()))) == 2
    title = r'title="a \"b\" c" "an energy"=-1.5 Properties=species:S:1:pos:R:3 Lattice="1 0 0 0 1 0 0 0 1"'
    (extended,) = read_xyz(f"1\n{title}\nC 0 0 0".splitlines())
    assert (extended.title, extended.properties) == ('a "b" c', {"an energy": "-1.5"})
    title = r"""Properties=species:S:1:pos:R:3 dip=[1, 2, 3] m=[[1, 0], [0, 1]] sq='a "b" c' br={x y z} cut="a flag"""
    (extended,) = read_xyz(f"1\n{title}\nC 0 0 0".splitlines())
    assert extended.properties == {
        **{"dip": "[1, 2, 3]", "m": "[[1, 0], [0, 1]]", "sq": 'a "b" c', "br": "x y z", "cut": '"a'}
    }
    assert extended.title == "flag"


@pytest.mark.parametrize("numbers", ["123", "000", ("0", "-1", "0"), ("8.0", "1.0", "1.0"), "811"])
def test_a_column_between_element_and_coordinates_is_never_x(numbers: Sequence[str]) -> None:
    atoms = [f"{symbol} {number}" for symbol, number in zip("OHH", numbers, strict=True)]
    text = f"3\nwater\n{atoms[0]} 0.0 0.0 0.0\n{atoms[1]} 0.96 0.0 0.0\n{atoms[2]} -0.24 0.93 0.0\n"
    shifted, after = read_xyz((text + WATER).splitlines(keepends=True))
    assert shifted.error is not None
    assert shifted.error.startswith(f"line 3: should be x, y, z after the element, not '{numbers[0]}', on every line")
    assert after.error is None
    # Which is x where there are but four columns, or the fifth is no number, or x and y are zero.
    for other in (text.replace(" 0.0\n", "\n"), text.replace(" 0.0\n", " CA\n"), "1\n\nC 0 0 1.5 -0.1\n"):
        (record,) = read_xyz(other.splitlines())
        assert record.error is None


@pytest.mark.parametrize("charge", ["", " -0.25"])
def test_what_is_cut_in_the_last_coordinate_is_refused(charge: str) -> None:
    text = "3\nwater\n" + f"H -0.2400 0.9300 1.2345{charge}\n" * 3
    (whole,) = read_xyz(text.removesuffix("\n").splitlines(keepends=True))
    assert whole.error is None
    for end in ("5", "45", "345", ".2345"):
        cut = text.removesuffix(f"{end}{charge}\n")
        with pytest.raises(InputError, match="truncated; line 5 has no end"):
            list(read_xyz(cut.splitlines(keepends=True)))
        (record,) = read_xyz(f"{cut}\n".splitlines(keepends=True))  # as somebody may have written it
        assert record.error is None


def test_what_a_generator_failed_on_is_a_record() -> None:
    text = "0\nnothing\n1\n\nC nan -inf 0\n1\n\nC 1e400 0 0\n3\n\nC 0 0 ****\nC -nan(ind) 0 0\nC 0 -1.#QNAN 0\n"
    empty, broken, far, spelled = read_xyz(text.splitlines())
    assert (empty.title, empty.atomic_numbers, empty.error) == ("nothing", [], None)
    assert not np.isfinite(broken.positions[0][:2]).any()
    assert far.positions[0][0] == np.inf
    assert np.isnan(spelled.positions).any(axis=1).all()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (WATER.replace("H 0.96", "Xx 0.96"), "line 4: unknown element 'Xx'"),
        (WATER.replace("0.96", "0,96"), "line 4: should be three coordinates, not '0,96 0 0'"),
        (WATER.replace("0.96", "0_96"), "line 4: should be three coordinates, not '0_96 0 0'"),
        (WATER.replace("0.96", "\uff10.96"), "line 4: should be three coordinates"),
        (WATER.replace("water", "Properties=species:S:1:charge:R:1"), "line 2: Properties= should name"),
        (WATER.replace("water", "Properties=pos:R:3:mass:R:1"), "line 2: Properties= should name"),
        (WATER.replace("water", "Properties=species:S:1:pos:R:3:pos:R:3"), "line 2: Properties= should name"),
        (WATER.replace("water", "Properties=species:S:1:pos:R:3").replace(" 0\n", " 0 1\n"), "line 3: has more than"),
    ],
)
def test_an_unreadable_atom_invalidates_only_its_molecule(text: str, error: str) -> None:
    before, record, after = read_xyz((WATER + text + WATER).splitlines())
    assert before.error is after.error is None
    number = int(error.split(":")[0].removeprefix("line ")) + 5
    assert record.error is not None
    assert record.error.startswith(f"line {number}:{error.partition(':')[2]}")
    assert record.atomic_numbers == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\nworld\n", "line 1: should be the number of atoms of the next molecule, not 'hello'"),
        ("-1\n\n", "line 1: should be the number of atoms"),
        (WATER.replace("3\n", "4\n"), "truncated; line 1 announces 4 atoms, the file ends after 3 of them"),
        ("3", "truncated; line 1 announces 3 atoms, the file ends after 0"),
        (WATER + WATER[:-15], "truncated; line 6 announces 3 atoms"),
        (WATER.replace("3\n", "2\n"), "line 5: should be the number of atoms"),
        (WATER.replace("O 0 0 0\n", "") + WATER, "line 5: should be an element and x, y, z, not '3'; 3 atoms are"),
        (f"3\n{QM9}\n1.\t2.\t3.\nO\tO\n", "line 6: a file of QM9 should have"),
    ],
)
def test_where_molecules_begin_and_end_is_never_guessed(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(read_xyz(text.splitlines()))


def test_rdkit_reads_our_xyz() -> None:
    positions = np.array(POSITIONS, np.float32)
    (frame,) = xyz_frames(Molecules.from_list([([8, 1, 1], positions)]), ["a title"], [None])
    found = Chem.MolFromXYZBlock(frame)
    np.testing.assert_allclose(found.GetConformer().GetPositions(), positions, atol=1e-6)
    assert frame.splitlines()[1] == "a title"
