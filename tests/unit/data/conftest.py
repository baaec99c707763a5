import bz2
import csv
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.chemistry.molecules import Molecules
from pipeline.data.figshare import ARCHIVE, UNCHARACTERIZED
from pipeline.data.qm9 import ATOMIC_NUMBERS
from pipeline.data.qm9pack import WHEEL

TEST_DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
def test_data() -> Path:
    return TEST_DATA


@pytest.fixture
def make_molecules() -> Callable[..., Molecules]:
    """Random molecules of given sizes: any positions, all five elements."""

    def make(sizes: list[int], *, seed: int = 0, **keywords: Any) -> Molecules:
        generator = np.random.default_rng(seed)
        total = sum(sizes)
        return Molecules(
            sizes=np.array(sizes, dtype=np.int32),
            atomic_numbers=generator.choice(np.array(ATOMIC_NUMBERS, dtype=np.uint8), total),
            positions=generator.normal(scale=2, size=(total, 3)).astype(np.float32),
            **keywords,
        )

    return make


@pytest.fixture
def rows() -> list[dict[str, str]]:
    """Seven real rows of qm9pack, by column."""
    with (TEST_DATA / "qm9pack_sample.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def qm9pack(tmp_path: Path) -> Callable[..., Path]:
    """Write a wheel with the given tables (text) in a folder of its own and return the folder."""

    def make(*parts: str) -> Path:
        directory = tmp_path / "raw"
        directory.mkdir(exist_ok=True)
        with zipfile.ZipFile(directory / WHEEL, "w", zipfile.ZIP_DEFLATED) as archive:
            for number, part in enumerate(parts, start=1):
                archive.writestr(f"qm9pack/data/qm9_part{number}.csv", part)
        return directory

    return make


@pytest.fixture
def sample_parts() -> list[str]:
    """The sample as the three tables of the wheel: three, three and one molecule."""
    header, *lines = (TEST_DATA / "qm9pack_sample.csv").read_text(encoding="utf-8").splitlines()
    # The tables of the real wheel do not end with a line break either.
    return ["\n".join([header, *part]) for part in (lines[:3], lines[3:6], lines[6:])]


@pytest.fixture
def figshare(tmp_path: Path) -> Callable[..., Path]:
    """Write an official archive and its list of uncharacterised molecules and return their folder."""

    def make(members: Iterable[tuple[str, str]], *, excluded: Iterable[int] = (), tail: bytes = b"") -> Path:
        directory = tmp_path / "official"
        directory.mkdir(exist_ok=True)
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w") as archive:
            for name, text in members:
                member = tarfile.TarInfo(name)
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
        (directory / ARCHIVE).write_bytes(bz2.compress(plain.getvalue() + tail))
        listed = "".join(f"{index:8d}  CC1=CC1  failed  \n" for index in excluded)
        (directory / UNCHARACTERIZED).write_text(
            f"Molecules that failed\n====\n  Index  SMILES\n{listed}\nEnd of list\n"
        )
        return directory

    return make


@pytest.fixture
def official_text() -> Callable[..., str]:
    """Return a row of qm9pack in the format of an official file, small numbers in Mathematica's notation."""

    def make(row: dict[str, str]) -> str:
        names = list(row)
        elements = row["Elements"].strip("[]").replace("'", "").split(",")
        coordinates = [triple.split(",") for triple in row["XYZ_Ang"].strip("[]").split("],[")]
        charges = row["Mulliken_pop"].strip("[]").split(",")
        properties = [row[name] for name in names[names.index("RotA_GHz") :]]
        lines = [row["N_atoms"], f"gdb {row['Index']}\t" + "\t".join(properties) + "\t"]
        for symbol, (x, y, z), charge in zip(elements, coordinates, charges, strict=True):
            lines.append(f"{symbol}\t{mathematica(x)}\t {mathematica(y)}\t {mathematica(z)}\t {charge}")
        lines += ["100.1\t200.2", f"{row['SMILES']}\tC[C@H]relaxed\t", f"{row['InChi']}\tInChI=1S/relaxed"]
        return "\n".join(lines) + "\n"

    return make


def mathematica(number: str) -> str:
    """Write a number below a thousandth as 1.2*^-6 does, without changing its value."""
    if 0 < abs(float(number)) < 1e-3:
        mantissa, exponent = f"{float(number):.17e}".split("e")
        return f"{mantissa}*^{int(exponent)}"
    return number
