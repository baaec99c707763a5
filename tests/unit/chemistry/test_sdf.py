import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rdkit import Chem

from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.sdf import read_sdf, sdf_records
from pipeline.core.errors import InputError

COUNTS = "  3  2  0  0  0  0  0  0  0  0999 V2000"
WATER = f"""water
  own       3D

{COUNTS}
    0.0000    0.0000    0.0000 O   0  0
    0.9600    0.0000    0.0000 H   0  0
   -0.2400    0.9300    0.0000 H   0  0
  1  2  1  0
  1  3  1  0
M  END
"""
V3000 = """water
  own       3D

  0  0  0     0  0            999 V3000
M  V30 BEGIN CTAB
M  V30 COUNTS 3 2 0 0 0
M  V30 BEGIN ATOM
M  V30 1 O 0 0 0 0
M  V30 2 H 0.96 0 -
M  V30 0 0 CHG=0
M  V30 3 D -0.24 0.93 0 0
M  V30 END ATOM
M  V30 BEGIN BOND
M  V30 1 1 1 2
M  V30 2 1 1 3
M  V30 END BOND
M  V30 END CTAB
M  END
"""
ITEMS = ">  <SMILES>\nO\n\n> 7 <gap> (7)\n0.25\nmore\n\n"
POSITIONS = [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]


@pytest.mark.parametrize(
    "block",
    [
        WATER,
        V3000,
        WATER.replace(" H   0  0", " D"),
        WATER.replace("999 V2000", "  0"),
        WATER.replace(COUNTS, "  3  2  0  0  0  0              1"),
        WATER.replace(COUNTS, "  3  2"),
        WATER.replace("M  END", "A    1\nany text\nM  CHG  1   1   0\nM  END"),
        WATER.replace("    0.9600", " 9.6000E-1"),
        WATER.replace("\n", " \n"),
    ],
)
@pytest.mark.parametrize("end", ["$$$$\n", "", "\n", ITEMS + "$$$$\n", "\n$$$$\n"])
def test_every_way_to_write_it_is_the_same_molecule(block: str, end: str) -> None:
    for copies in (1, 3):
        records = list(read_sdf(((block + end) * copies).splitlines(keepends=True)))
        assert len(records) == copies
        for record in records:
            assert record.error is None
            assert record.title == "water"
            assert record.atomic_numbers == [8, 1, 1]
            assert record.positions == POSITIONS
            assert record.properties == ({"SMILES": "O", "gap": "0.25\nmore"} if end.startswith(">") else {})


def test_an_item_may_begin_like_another() -> None:
    (record,) = read_sdf(f"{WATER}> <purity>\n>95%\n\n> DT12\n\n> <purity>\nin V2000\n\n$$$$\n".splitlines())
    # Of an item that is there twice nothing is lost.
    assert record.properties == {"purity": ">95%\n\nin V2000", "DT12": ""}
    items = ">  <g>\n>1 and <2>\n> 1 and <2>\n> <h>\n> 7 <i> (7)\n3\n>(MD-08974) <j> DT12\n4\n"
    (record,) = read_sdf(f"{WATER}{items}\n$$$$\n".splitlines())
    assert record.properties == {"g": ">1 and <2>\n> 1 and <2>", "h": "", "i": "3", "j": "4"}


def test_an_item_may_be_the_block_of_a_molecule() -> None:
    for block in (WATER, V3000, WATER.removeprefix("water")):
        first, second = read_sdf(f"{WATER}>  <block>\n{block}\n> <gap>\n1\n\n$$$$\n{WATER}".splitlines())
        assert (first.positions, second.positions) == (POSITIONS, POSITIONS)
        assert first.properties == {"block": block.strip(), "gap": "1"}


def test_the_time_to_read_grows_with_the_file() -> None:
    def seconds(copies: int) -> float:
        lines = "\n\n\n  0  0  0     0  0              1 V2000\nM  END\n".splitlines() * copies
        start = time.process_time()
        assert sum(1 for _ in read_sdf(lines)) == copies
        return time.process_time() - start

    assert seconds(40_000) < 40 * seconds(4_000)


def test_long_coordinates_may_touch() -> None:
    touching = WATER.replace("    0.9600    0.0000", " -123.3600-1234.0000")
    (record,) = read_sdf(touching.splitlines())
    assert record.positions[1] == [-123.36, -1234, 0]


def test_what_a_generator_failed_on_is_a_record() -> None:
    empty = WATER.splitlines()[:3] + ["  0  0  0  0  0  0  0  0  0  0999 V2000", "M  END", "$$$$"]
    broken = WATER.replace("    0.9600", "       nan") + "$$$$"
    first, second = read_sdf([*empty, *broken.splitlines()])
    assert (first.atomic_numbers, first.error) == ([], None)
    assert np.isnan(second.positions[1][0])


@pytest.mark.parametrize(
    ("block", "error"),
    [
        (WATER.replace("0 H ", "0 L ", 1), "line 6: unknown element 'L'"),
        (WATER.replace("0.9600", "0,9600"), "line 6: should be three coordinates, not '0,9600"),
        (WATER.replace("    0.9600", "          "), "line 6: should be three coordinates"),
        (V3000.replace("D -0.24", "R# -0.24"), "line 10: unknown element 'R#'"),
        (WATER.replace("M  END\n", "  2 F    2   7   8\nM  END\n"), "line 10: should be M  END after 3 atoms"),
        (V3000.replace("M  V30 END CTAB\n", "M  V30 END CTAB\nM  V30 COUNTS 1 0 0 0 0\n"), "line 18: a second COUNTS"),
        (WATER.replace("M  END\n", ""), "truncated; the record that starts on line 1 has no M  END"),
        (WATER.replace("  3  2", "abc  2"), "line 4: should be the counts line of a molecule"),
    ],
)
def test_an_unreadable_atom_invalidates_only_its_molecule(block: str, error: str) -> None:
    record, after = read_sdf(f"{block}$$$$\n{WATER}$$$$\n".splitlines())
    assert after.error is None
    assert record.error is not None
    assert record.error.startswith(error)
    assert record.title == "water"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one\ntwo", "the record that starts on line 1 has no M  END"),
        (WATER + "$$$$\n" + WATER[:200], "the record that starts on line 12 has no M  END"),
        (WATER + ITEMS, "the record that starts on line 1 has data items and no"),
        (WATER + ITEMS + WATER + "$$$$", "line 21: should be a data item"),
        (WATER + ITEMS + WATER.replace("999 V2000", "  0") + "$$$$", "line 27: should be a data item"),
        (WATER + ITEMS + WATER[:70] + "\n$$$$", "line 21: should be a data item"),
        (WATER + "methane\n$$$$", r"line 11: should be a data item or \$\$\$\$, not 'methane'"),
        (WATER.replace("water\n", ""), "line 4: should be the counts line"),
        (WATER.replace("  3  2", "abc  2"), "line 4: should be the counts line of a molecule, not 'abc"),
        (WATER.replace("  3  2", "  2  2"), "line 7: should be a bond"),
        (WATER.replace("  3  2", "  2  3"), "line 7: should be a bond"),
        (WATER.replace("  3  2", "  4  2"), "line 4: announces 4 atoms and 2 bonds"),
        (WATER.replace("  3  2", "  3  1"), "line 9: should be M  END after 3 atoms, 1 bonds"),
        (WATER.replace("  3  2", "  4  1"), "line 8: should be an atom"),
        (WATER.replace("  3  2", "  3  3"), "line 4: announces 3 atoms and 3 bonds, more than there are"),
        (WATER.replace("M  END\n", "") + WATER, "line 10: should be M  END"),
        (WATER.replace("M  END\n", "") + WATER + "$$$$", "line 10: should be M  END"),
        (WATER.replace("    0.9600", "   0.9600"), "line 6: should be an atom"),
        (V3000.replace("COUNTS 3", "COUNTS 4"), "line 4: the V3000 record announces 4 atoms and has 3"),
        (V3000.replace("M  END\n", "") + V3000, "line 18: should begin with M  V30"),
    ],
)
def test_where_molecules_begin_and_end_is_never_guessed(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(read_sdf(text.splitlines()))


@pytest.mark.parametrize("version", ["V2000", "V3000"])
def test_we_read_what_rdkit_writes(version: str) -> None:
    molecule = Chem.AddHs(Chem.MolFromSmiles("[O-]C(=O)C[NH3+]"))
    conformer = Chem.Conformer(molecule.GetNumAtoms())
    conformer.SetPositions(np.random.default_rng(0).normal(scale=30, size=(molecule.GetNumAtoms(), 3)))
    molecule.AddConformer(conformer)
    block = Chem.MolToMolBlock(molecule, forceV3000=version == "V3000")
    assert version in block
    (record,) = read_sdf(block.splitlines())
    assert record.atomic_numbers == [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    np.testing.assert_allclose(record.positions, conformer.GetPositions(), atol=1e-4)


def test_rdkit_reads_what_we_write(examples: dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]) -> None:
    names = ["methane", "ethanol", "hydrogen cyanide", "oxamate zwitterion"]
    molecules = Molecules.from_list([examples[name] for name in names])
    texts = list(sdf_records(molecules, names, [{"gap": 0.5}, {"note": "a\n\nb"}, {}, {}]))
    supplier = Chem.SDMolSupplier()
    supplier.SetData("".join(texts), removeHs=False)
    found = list(supplier)
    smiles = ["C", "CCO", "C#N", "NC(=[NH2+])C(=O)[O-]"]
    assert [Chem.MolToSmiles(Chem.RemoveHs(one)) for one in found] == [
        Chem.MolToSmiles(Chem.MolFromSmiles(one)) for one in smiles
    ]
    assert [one.GetProp("_Name") for one in found] == names
    assert (found[0].GetProp("gap"), found[1].GetProp("note")) == ("0.5", "a\nb")


@pytest.mark.parametrize("title", ["$$$$ x", "M  END", "> <gap>"])
def test_no_title_spoils_what_we_write(title: str) -> None:
    (text,) = sdf_records(Molecules.from_list([([6], [[1, 2, 3]])]), [title], [{}])
    (record,) = read_sdf(text.splitlines())
    assert (record.title, record.positions) == (title, [[1, 2, 3]])


def test_nobody_adds_hydrogens_to_what_we_write() -> None:
    """A carbon with two hydrogens and the place of two more."""
    torn = Molecules.from_list([([6, 1, 1], np.array([[0, 0, 0], [1.09, 0, 0], [0, 1.09, 0]]))])
    (text,) = sdf_records(torn, ["torn"], [{}])
    found = Chem.MolFromMolBlock(text, removeHs=False, sanitize=False)
    found.UpdatePropertyCache(strict=False)
    assert Chem.AddHs(found).GetNumAtoms() == 3


def test_what_v2000_has_no_room_for_is_v3000() -> None:
    far = Molecules.from_list([([6, 1], [[123456.5, 0, 0], [-12345.25, 1, 2]]), ([6] * 1000, np.full((1000, 3), 9.5))])
    far = Molecules(far.sizes, far.atomic_numbers, far.positions + 2 * np.arange(1002)[:, None])
    texts = list(sdf_records(far, ["far", "large"], [{}, {}]))
    for text, (numbers, positions) in zip(texts, far, strict=True):
        assert "V3000" in text
        (record,) = read_sdf(text.splitlines())
        assert record.atomic_numbers == numbers.tolist()
        np.testing.assert_allclose(record.positions, positions, rtol=1e-6)
