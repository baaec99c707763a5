import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.data import smiles_files
from pipeline.data.molecule_files import Reading, report
from pipeline.data.smiles_files import read_smiles_file

SMILES = ["CCO", "c1ccsc1", "CCCl", "CC(=O)N", "CBr", "C#N", "OCCO"]


def read(path: Path, **options: Any) -> Reading:
    settings: dict[str, Any] = {"seed": 0, "processes": 1, "state": path.parent / "state", "invalid": "refuse"}
    return read_smiles_file(path, **settings | options)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smiles_files, "_AT_ONCE", 2)


@pytest.mark.parametrize("suffix", [".smi", ".smi.gz", ".csv"])
def test_either_format_gives_titles_numbers_and_conformers(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    if suffix == ".csv":
        rows = ["Title,SMILES,activity", *(f"m {i},{one},{i / 2}" for i, one in enumerate(SMILES))]
    else:
        rows = ["SMILES name", *(f"{one}\tm {i}" for i, one in enumerate(SMILES)), ""]
    text = "\n".join(rows) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    reading = read(path)
    assert reading.data.molecules.smiles == tuple(SMILES)
    assert list(reading.data.columns["title"].to_pylist()) == [f"m {i}" for i in range(7)]
    assert reading.data.molecules.sizes.tolist() == [9, 9, 8, 9, 5, 3, 10]
    if suffix == ".csv":
        assert reading.data.columns["activity"].to_pylist() == [i / 2 for i in range(7)]
    assert not (tmp_path / "state").exists()


def test_what_was_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.smi"
    path.write_text("\n".join(SMILES))
    whole = read(path, processes=2).data.molecules
    embed_part, done = smiles_files._embed_part, list[int]()

    def embed_two_parts(seed: int, part: tuple[Path, int, list[str]]) -> int:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(part[1])
        return embed_part(seed, part)

    def embed_the_others(seed: int, part: tuple[Path, int, list[str]]) -> int:
        assert part[1] not in done
        return embed_part(seed, part)

    monkeypatch.setattr(smiles_files, "_embed_part", embed_two_parts)
    with pytest.raises(KeyboardInterrupt):
        read(path)
    monkeypatch.setattr(smiles_files, "_embed_part", embed_the_others)
    assert np.array_equal(read(path).data.molecules.positions, whole.positions)
    monkeypatch.setattr(smiles_files, "_embed_part", embed_part)
    assert not np.array_equal(read(path, seed=1).data.molecules.positions, whole.positions)


def test_files_of_others_beside_the_parts_stay(tmp_path: Path) -> None:
    path = tmp_path / "mine.smi"
    path.write_text("CCO\n")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "precious.sdf").touch()
    read(path)
    assert [file.name for file in (tmp_path / "state").iterdir()] == ["precious.sdf"]


def test_what_has_no_conformer_is_refused_or_left_out_counted_and_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.smi"
    path.write_text("CCO ethanol\nC1CC broken\nC[Se]C\n[NH4+].[Cl-] salt\nCBr\n")
    with pytest.raises(InputError, match=r"mine\.smi, line 2: molecule 1 \(broken\): RDKit cannot read"):
        read(path)
    reading = read(path, invalid="skip")
    assert reading.data.index.tolist() == [0, 4]
    first, *left_out = report([reading])
    assert first == (
        "2 molecules from 1 file; 1 not read by RDKit, 1 of other elements, 1 of several fragments, left out"
    )
    assert left_out[2] == f"left out: {path}, line 4: molecule 3 (salt): has several fragments, as a salt has"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "a,b\n1,2\n", "a.csv: its first line should name the columns, each once and smiles among them"),
        ("a.csv", "smiles,SMILES\nC,N\n", "each once"),
        ("a.csv", "smiles;gap\nC;1\n", "with commas between them, not 'smiles;gap'"),
        ("A.CSV", "sep=,\nsmiles,gap\nC,1\n", "with commas between them, not 'sep=,'"),
        ("a.csv", "smiles,b,b\nC,1,2\n", "each once"),
        ("a.csv", f"smiles,b\nC,{'b' * 200_000}\n", "a.csv, line 2: field larger than field limit"),
        ("a.csv", "smiles,b\nC,1\nC\n", "a.csv, line 3: should have 2 fields"),
        ("a.csv", "smiles,b\nC,1,2\n", "a.csv, line 2: should have 2 fields"),
        ("a.smi", "\n", "a.smi: has no molecules"),
        ("a.smi", "smiles\n", "a.smi: has no molecules"),
    ],
)
def test_what_is_no_file_of_smiles_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read(tmp_path / name)
    with pytest.raises(InputError, match="not a folder"):
        read(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "none.smi")


def test_workers_end_with_a_killed_process(tmp_path: Path) -> None:
    program = (
        "import os, time\n"
        "from pipeline.chemistry.parallel import worker_pool\n"
        "if __name__ == '__main__':\n"
        "    with worker_pool(1) as pool:\n"
        "        print(pool.submit(os.getpid).result(), flush=True)\n"
        "        time.sleep(600)\n"
    )
    (tmp_path / "program.py").write_text(program)
    with subprocess.Popen([sys.executable, tmp_path / "program.py"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        worker = int(process.stdout.readline())
        process.kill()
    for _ in range(600):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker is still there")
