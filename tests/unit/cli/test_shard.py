from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.cli.parse import main as parse
from pipeline.cli.shard import main as shard
from pipeline.data.molecule_parquet import read_molecules
from pipeline.data.shards import read_shards
from pipeline.data.statistics import read_statistics

SDF = Path(__file__).parents[2] / "data" / "molecules64.sdf"


@pytest.fixture(scope="module")
def molecules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The canonical file of the molecules of the tests."""
    path = tmp_path_factory.mktemp("data") / "molecules.parquet"
    split = ["--train", "48", "--validation", "8"]
    assert parse(["--source", "path", "--input", str(SDF), *split, "--output", str(path)]) == 0
    return path


def run(molecules: Path, folder: Path, buckets: Sequence[int] = (9, 17, 29)) -> int:
    outputs = ["--shards", str(folder / "shards"), "--statistics", str(folder / "statistics.json")]
    chosen = ["--buckets", *map(str, buckets)] if buckets else []
    return shard(["--molecules", str(molecules), *chosen, *outputs])


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_shards_and_statistics_agree(molecules: Path, tmp_path: Path) -> None:
    assert run(molecules, tmp_path) == 0
    statistics = read_statistics(tmp_path / "statistics.json")
    assert statistics.dataset == "molecules64.sdf"
    assert statistics.num_molecules == {"train": 48, "validation": 8, "test": 8}
    for split, number in statistics.num_molecules.items():
        assert sum(len(one) for one in read_shards(tmp_path / "shards", split)) == number
    assert {one.bucket: len(one) for one in read_shards(tmp_path / "shards", "train")} == statistics.buckets
    assert len(list((tmp_path / "shards").iterdir())) == 9


def test_buckets_are_found_where_none_are_given(molecules: Path, tmp_path: Path) -> None:
    assert run(molecules, tmp_path, ()) == 0
    found = read_statistics(tmp_path / "statistics.json").buckets
    assert 1 < len(found) <= 7
    assert max(found) == max(read_molecules(molecules).sizes)


def test_the_same_input_gives_the_same_files(molecules: Path, tmp_path: Path) -> None:
    assert run(molecules, tmp_path / "one") == run(molecules, tmp_path / "two") == 0
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_bad_input_is_one_line_and_leaves_the_earlier_files(
    molecules: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(molecules, tmp_path) == 0
    before = content(tmp_path)
    truncated = tmp_path / "truncated.parquet"
    flipped = tmp_path / "flipped.parquet"
    whole = molecules.read_bytes()
    truncated.write_bytes(whole[: len(whole) // 2])
    flipped.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    capfd.readouterr()
    for path, buckets, message in [
        (molecules, [9, 17], "data.buckets: molecule"),
        (molecules, [17, 9, 29], "data.buckets: [17, 9, 29] should be"),
        (tmp_path / "none.parquet", [29], "none.parquet: no such file"),
        (truncated, [29], "truncated.parquet: not a readable Parquet file"),
        (flipped, [29], "flipped.parquet: not a readable Parquet file"),
        (SDF, [29], "molecules64.sdf: not a readable Parquet file"),
    ]:
        assert run(path, tmp_path, buckets) == 2
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("shard: error: ")
        assert message in lines[0]
    truncated.unlink()
    flipped.unlink()
    assert content(tmp_path) == before
