"""Randomly damaged files: the right molecules or one clear error, never a silent loss."""

import gzip
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.data.molecule_files import read_molecule_files
from pipeline.data.molecule_output import write_molecule_file

_MOLECULES = Molecules.from_list(
    [
        ([8, 1, 1], [[0.01, 0.02, 0.03], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]]),
        ([7, 8, 8, 9], [[0.0, 0.0, 0.0], [1.1, 0.5, 0.0], [-1.1, 0.5, 0.0], [0.2, -1.48, -0.3]]),
        ([6, 1], [[0.0, 0.0, 1.0625], [0.0, 0.0, 0.0]]),
    ],
    smiles=("O", None, "C"),
)
_ROUNDS = settings(max_examples=150)
_ATOM = re.compile(r"^[HCNOF]\s+[-\d].*|^.{30} [HCNOF] .*", re.MULTILINE)

Content = list[str]


def _written(suffix: str, folder: Path, **columns: list[str]) -> Content:
    write_molecule_file(folder / f"m{suffix}", _MOLECULES, columns={"title": ["a", "b", "c"], **columns})
    return (folder / f"m{suffix}").read_text().splitlines(keepends=True)


@pytest.fixture(scope="module")
def dialects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Content]:
    """The same molecules in every dialect, as lines; the suffix is the first word of the name."""
    folder = tmp_path_factory.mktemp("dialects")
    plain, extended, sdf = (_written(suffix, folder) for suffix in (".xyz", ".extxyz", ".sdf"))
    bare = [line for line in sdf if not line.startswith((">", "$$$$", "O\n", "C\n"))]
    qm9 = []
    for number, frame in enumerate(_frames(plain)):
        atoms = [f"{line.rstrip()}\t0.1\n".replace(" ", "\t") for line in frame[2:]]
        tail = ["1.5\t2.5\n", "CO\tCO\n", "InChI=1S/x\tInChI=1S/x\n"]
        qm9 += [frame[0], f"gdb {number}\t1.5\t\n", *atoms, *tail]
    return {
        ".xyz plain": plain,
        ".xyz qm9": qm9,
        ".extxyz": extended,
        ".sdf with items": sdf,
        ".sdf without ends": bare,
        ".sdf windows": [line.replace("\n", "\r\n") for line in sdf],
    }


def _frames(lines: Content) -> list[Content]:
    frames, rest = [], lines
    while rest:
        size = int(rest[0]) + 2
        frames.append(rest[:size])
        rest = rest[size:]
    return frames


DIALECTS = (".xyz plain", ".xyz qm9", ".extxyz", ".sdf with items", ".sdf without ends", ".sdf windows")


def _read(folder: Path, dialect: str, content: bytes) -> Molecules | None:
    """Return the molecules, or None where they were refused in one line that names the file."""
    path = folder / f"m{dialect.split()[0]}"
    path.write_bytes(content)
    try:
        return read_molecule_files(path, invalid="refuse").data.molecules
    except InputError as error:
        assert "\n" not in str(error)
        assert str(error).startswith(str(path))
        return None


def _atoms(molecules: Molecules) -> list[tuple[int, ...]]:
    """Return all atoms, to four digits, in order of themselves."""
    rounded = np.round(molecules.positions.astype(float), 4) + 0.0
    return sorted((int(n), *p) for n, p in zip(molecules.atomic_numbers, rounded.tolist(), strict=True))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_is_read(dialects: dict[str, Content], dialect: str, tmp_path: Path) -> None:
    found = _read(tmp_path, dialect, "".join(dialects[dialect]).encode())
    assert found is not None
    assert found.sizes.tolist() == [3, 4, 2]
    assert found.atomic_numbers.tolist() == _MOLECULES.atomic_numbers.tolist()
    np.testing.assert_allclose(found.positions, _MOLECULES.positions, atol=6e-5)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_dropped_line_loses_no_molecule(dialects: dict[str, Content], dialect: str, tmp_path: Path) -> None:
    lines = dialects[dialect]
    for gone in range(len(lines)):
        found = _read(tmp_path, dialect, "".join(lines[:gone] + lines[gone + 1 :]).encode())
        assert found is None or _atoms(found) == _atoms(_MOLECULES), lines[gone]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_two_swapped_lines_lose_no_atom(dialects: dict[str, Content], dialect: str, tmp_path: Path) -> None:
    for one, other in itertools.combinations(range(len(dialects[dialect])), 2):
        lines = list(dialects[dialect])
        lines[one], lines[other] = lines[other], lines[one]
        found = _read(tmp_path, dialect, "".join(lines).encode())
        # Atoms may have changed places: then the file says so.
        assert found is None or (len(found) == 3 and _atoms(found) == _atoms(_MOLECULES)), (one, other)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_truncated_file_is_refused_unless_whole_molecules_are_left(
    dialects: dict[str, Content], dialect: str, tmp_path: Path
) -> None:
    whole = "".join(dialects[dialect]).encode()
    for end in range(1, len(whole), 3):
        if (found := _read(tmp_path, dialect, whole[:end])) is not None:
            # No atom is lost that has a line of its own; the last number may have lost digits.
            number = len(_ATOM.findall(whole[:end].decode().rpartition("\n")[0]))
            assert number <= len(found.positions) <= number + 1, end
            assert found.sizes.tolist() == [3, 4, 2][: len(found)]
            atoms = len(found.positions) - 1
            np.testing.assert_allclose(found.positions[:atoms], _MOLECULES.positions[:atoms], atol=6e-5)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_flipped_bit_changes_one_atom_at_most(dialects: dict[str, Content], dialect: str, tmp_path: Path) -> None:
    """Changing a digit or an element to another cannot be detected; everything else must be."""
    content = "".join(dialects[dialect]).encode()
    for place, byte in enumerate(content):
        # A digit becomes another, a blank or a letter in turn.
        spoiled = content[:place] + bytes([byte ^ (1 << (place + byte) % 8)]) + content[place + 1 :]
        if (found := _read(tmp_path, dialect, spoiled)) is not None:
            assert found.sizes.tolist() == [3, 4, 2], place
            same = np.isclose(found.positions, _MOLECULES.positions, atol=6e-5).all(axis=1)
            assert (~same | (found.atomic_numbers != _MOLECULES.atomic_numbers)).sum() <= 1, place


@_ROUNDS
@given(data=st.data())
def test_a_damaged_gzip_is_refused(
    dialects: dict[str, Content], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(gzip.compress("".join(dialects[".xyz plain"]).encode(), mtime=0))
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    found = _read(tmp_path_factory.getbasetemp(), ".xyz", bytes(content))
    # Some bits of the header mean nothing.
    assert found is None or _atoms(found) == _atoms(_MOLECULES)


@_ROUNDS
@given(content=st.text("0123456789.-+ \n\tCHOMENDV$>=<:", max_size=200) | st.binary(max_size=60))
@pytest.mark.parametrize("suffix", [".xyz", ".sdf", ".parquet", ".txt"])
def test_anything_at_all_is_read_or_refused(
    suffix: str, content: str | bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _read(tmp_path_factory.getbasetemp(), suffix, content.encode() if isinstance(content, str) else content)
