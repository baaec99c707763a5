import ast
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.chemistry.qm9_properties import PROPERTIES
from pipeline.core.errors import InputError
from pipeline.data.qm9pack import WHEEL, parse_qm9pack
from pipeline.data.source import write_canonical


def test_real_rows_come_out_as_they_are_written(
    qm9pack: Callable[..., Path], sample_parts: list[str], rows: list[dict[str, str]]
) -> None:
    counted: list[int] = []
    data = parse_qm9pack(qm9pack(*sample_parts), advance=counted.append)
    molecules = data.molecules
    assert counted == [3, 3, 1]
    assert data.index.tolist() == [1, 2, 3, 4, 5, 6, 184]
    assert molecules.smiles == ("C", "N", "O", "C#C", "C#N", "C=O", "FC(F)(F)F")
    assert molecules.sizes.tolist() == [5, 4, 3, 4, 3, 4, 5]
    assert molecules.metadata == {"source": "qm9pack"}
    numbers, positions = molecules[-1]
    assert numbers.tolist() == [9, 6, 9, 9, 9]
    np.testing.assert_array_equal(positions[-1], np.array([-0.6354026161, 1.8208575876, 1.0969063093], np.float32))
    for row, molecule in zip(rows, molecules, strict=True):
        np.testing.assert_array_equal(molecule[1], np.array(ast.literal_eval(row["XYZ_Ang"]), np.float32))
    for p in PROPERTIES:
        assert data.columns[p.name].tolist() == [float(row[p.qm9pack]) for row in rows]
        assert data.units[p.name] == p.unit
    assert data.columns["dipole_moment"][0] == 0  # written "0."
    charges = data.columns["mulliken_charges"].to_pylist()
    assert [len(of_molecule) for of_molecule in charges] == molecules.sizes.tolist()
    assert charges[0] == pytest.approx([-0.535689, 0.133921, 0.133922, 0.133923, 0.133923])


def test_the_properties_are_those_of_the_paper_with_units() -> None:
    assert [(p.name, p.unit) for p in PROPERTIES] == [
        *[(f"rotational_constant_{axis}", "GHz") for axis in "abc"],
        ("dipole_moment", "debye"),
        ("polarizability", "bohr^3"),
        *[(name, "hartree") for name in ("homo", "lumo", "gap")],
        ("r2", "bohr^2"),
        *[(name, "hartree") for name in ("zpve", "u0", "u", "h", "g")],
        ("cv", "cal/(mol K)"),
    ]


def test_the_canonical_file_keeps_lists_of_charges(
    tmp_path: Path, qm9pack: Callable[..., Path], sample_parts: list[str]
) -> None:
    data = parse_qm9pack(qm9pack(*sample_parts))
    write_canonical(tmp_path / "m.parquet", data, seed=0, train=5, validation=1)
    field = pq.read_schema(tmp_path / "m.parquet").field("mulliken_charges")
    assert field.type == pa.list_(pa.float32())
    assert field.metadata == {b"unit": b"e"}


def test_small_numbers_in_any_notation(qm9pack: Callable[..., Path], sample_parts: list[str]) -> None:
    changed = sample_parts[0].replace("-0.0126981359", "1.5e-05").replace("0.0080009958", "-2.5E-7")
    positions = parse_qm9pack(qm9pack(changed, *sample_parts[1:])).molecules[0][1]
    np.testing.assert_array_equal(positions[0], np.array([1.5e-05, 1.0858041578, -2.5e-7], np.float32))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",157.7118,", ",many,", "conversion error to double"),
        (",157.7118,", ",inf,", "molecule 1: the property rotational_constant_a is not finite"),
        ("[-0.535689,", "[nan,", "molecule 1: a partial charge is not finite"),
        (",157.7118,", ",,", "conversion error to double"),
        (",157.7118,", ",1,2,", "Expected 25 columns, got 26"),
        ("-0.0126981359", "nan", "qm9pack: molecule 1: a coordinate is not finite"),
        ("-0.0126981359", "1.0f", "conversion error to double"),
        ("-0.0126981359", "", "coordinates do not match"),
        ("[-0.0126981359,", "[", "coordinates do not match"),
        ("],[0.002150416", ",[0.002150416", "molecule 1: its 5 atoms do not match XYZ_Ang"),
        ("[[-0.0126981359", "(-0.0126981359", "molecule 1: its 5 atoms do not match XYZ_Ang"),
        ("[-0.535689,", "[", "molecule 1: its 5 atoms do not match Mulliken_pop"),
        ("['C','H','H','H','H']", "['C','H','H','H']", "molecule 1: its 5 atoms do not match Elements"),
        ("['C','H','H','H','H']", "['Cl','H','H','H','H']", "molecule 1: unknown element in .'Cl'"),
        ("['C','H','H','H','H']", "['C','H','H','H','Si']", "molecule 1: unknown element in .'C'"),
        ("['C','H','H','H','H']", "['CH','H','H','H','']", "molecule 1: its 5 atoms do not match Elements"),
        ('"C","InChI=1S/CH4', '"C,"InChI=1S/CH4', "qm9_part1.csv"),
        (',5,"[4', ',-5,"[4', "molecule 1: its -5 atoms do not match"),
        (',5,"[4', ',5.5,"[4', "conversion error to int32"),
        ('000002.xyz",2,', '000002.xyz",1,', "molecule 1 is out of order or repeated"),
        ("RotA_GHz", "RotA_MHz", "RotA_GHz"),
    ],
)
def test_a_bad_table_is_refused_and_the_culprit_named(
    qm9pack: Callable[..., Path], sample_parts: list[str], old: str, new: str, message: str
) -> None:
    assert old in sample_parts[0]
    directory = qm9pack(sample_parts[0].replace(old, new, 1), *sample_parts[1:])
    with pytest.raises(InputError, match=message) as caught:
        parse_qm9pack(directory)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_missing_wheel_or_table_is_named(
    tmp_path: Path, qm9pack: Callable[..., Path], sample_parts: list[str]
) -> None:
    with pytest.raises(InputError, match=r"qm9pack-1\.0\.3-py3-none-any\.whl: no such file; the stage download"):
        parse_qm9pack(tmp_path)
    with pytest.raises(InputError, match=r"There is no item named 'qm9pack/data/qm9_part3\.csv'"):
        parse_qm9pack(qm9pack(*sample_parts[:2]))
    with pytest.raises(InputError, match=r"qm9_part1\.csv: .*mpty"):
        parse_qm9pack(qm9pack("", *sample_parts[1:]))


def test_a_truncated_wheel_is_refused_wherever_it_ends(qm9pack: Callable[..., Path], sample_parts: list[str]) -> None:
    directory = qm9pack(*sample_parts)
    content = (directory / WHEEL).read_bytes()
    for end in range(0, len(content), 101):
        (directory / WHEEL).write_bytes(content[:end])
        with pytest.raises(InputError, match="truncated or damaged"):
            parse_qm9pack(directory)


def test_a_flipped_byte_never_changes_a_molecule_unnoticed(
    qm9pack: Callable[..., Path], sample_parts: list[str]
) -> None:
    directory = qm9pack(*sample_parts)
    expected = parse_qm9pack(directory).molecules
    content = (directory / WHEEL).read_bytes()
    refused = 0
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        (directory / WHEEL).write_bytes(damaged)
        try:
            # The archive's names and dates are not covered by its checksums; the tables are.
            assert parse_qm9pack(directory).molecules.positions.tobytes() == expected.positions.tobytes()
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > len(content) // 7 // 2


def test_nothing_of_the_package_is_imported(qm9pack: Callable[..., Path], sample_parts: list[str]) -> None:
    directory = qm9pack(*sample_parts)
    with zipfile.ZipFile(directory / WHEEL, "a") as archive:
        archive.writestr("qm9pack/__init__.py", "raise SystemExit('imported')")
    assert len(parse_qm9pack(directory).molecules) == 7
