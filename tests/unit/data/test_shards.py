import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.data.molecule_parquet import SPLITS
from pipeline.data.parquet_tables import METADATA_KEY
from pipeline.data.shards import Shard, best_buckets, make_shards, padding, read_shards, write_shards

PER_FUNCTION = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
BUCKETS = [4, 6, 10]


@pytest.fixture
def shards(make_molecules: Callable[..., Molecules]) -> dict[str, list[Shard]]:
    """Six molecules, four of them in the training split, whose middle bucket is empty."""
    return make_shards(
        make_molecules([3, 9, 5, 4, 7, 1]),
        index=np.arange(10, 16, dtype=np.int32),
        split=np.array(["train", "train", "test", "train", "test", "train"], dtype=object),
        buckets=BUCKETS,
    )


def assert_equal(actual: Shard, expected: Shard) -> None:
    assert actual.bucket == expected.bucket
    for name in ("index", "sizes", "atomic_numbers", "positions"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name), strict=True)


@PER_FUNCTION
@given(sizes=st.lists(st.integers(1, 10), min_size=1, max_size=20), data=st.data())
def test_every_molecule_is_once_in_the_smallest_bucket_that_holds_it(
    make_molecules: Callable[..., Molecules], sizes: Any, data: st.DataObject
) -> None:
    molecules = make_molecules(sizes)
    split = np.array(data.draw(st.lists(st.sampled_from(SPLITS), min_size=len(sizes), max_size=len(sizes))), object)
    index = np.array(data.draw(st.permutations(range(len(sizes)))), np.int32)
    shards = make_shards(molecules, index=index, split=split, buckets=BUCKETS)
    assert list(shards) == list(SPLITS)
    seen = []
    for name, of_split in shards.items():
        assert [shard.bucket for shard in of_split] == BUCKETS
        for shard in of_split:
            for row, (number, size) in enumerate(zip(shard.index, shard.sizes, strict=True)):
                source = index.tolist().index(number)
                numbers, positions = molecules[source]
                assert split[source] == name
                assert size == len(numbers)
                assert shard.bucket == min(bucket for bucket in BUCKETS if bucket >= size)
                assert shard.atomic_numbers[row, :size].tolist() == numbers.tolist()
                np.testing.assert_allclose(
                    shard.positions[row, :size], positions - positions.mean(axis=0), rtol=0, atol=1e-6
                )
                assert not shard.atomic_numbers[row, size:].any()
                assert not shard.positions[row, size:].any()
                seen.append(number)
    assert sorted(seen) == sorted(index)


def test_a_molecule_far_from_the_origin_is_centred_too(make_molecules: Callable[..., Molecules]) -> None:
    molecules = make_molecules([29])
    molecules = replace(molecules, positions=molecules.positions + np.array([1000, 2000, 3000], np.float32))
    shards = make_shards(molecules, index=np.array([0]), split=np.array(["train"]), buckets=[29])
    assert np.abs(shards["train"][0].positions.mean(axis=1)).max() < 1e-6


def test_a_round_trip_changes_nothing_and_leaves_empty_buckets_out(
    tmp_path: Path, shards: dict[str, list[Shard]]
) -> None:
    write_shards(tmp_path / "shards", shards)
    names = {f"{split}-{bucket:03d}.parquet" for split in SPLITS for bucket in BUCKETS}
    assert {file.name for file in (tmp_path / "shards").iterdir()} == names
    for split in SPLITS:
        back = read_shards(tmp_path / "shards", split)
        expected = [shard for shard in shards[split] if len(shard)]
        assert len(back) == len(expected)
        for one, other in zip(back, expected, strict=True):
            assert_equal(one, other)
    assert [shard.bucket for shard in read_shards(tmp_path / "shards", "train")] == [4, 10]
    assert read_shards(tmp_path / "shards", "validation") == []


def test_nothing_of_earlier_shards_is_left_between_new_ones(
    tmp_path: Path, shards: dict[str, list[Shard]], make_molecules: Callable[..., Molecules]
) -> None:
    write_shards(tmp_path / "shards", shards)
    molecules = make_molecules([2])
    new = make_shards(molecules, index=np.array([0]), split=np.array(["train"]), buckets=[2, 12])
    write_shards(tmp_path / "shards", new)
    assert [(shard.bucket, len(shard)) for shard in read_shards(tmp_path / "shards", "train")] == [(2, 1)]
    assert {file.name for file in tmp_path.iterdir()} == {"shards"}


def test_failing_halfway_leaves_the_earlier_shards(tmp_path: Path, shards: dict[str, list[Shard]]) -> None:
    write_shards(tmp_path / "shards", shards)
    before = {file.name: file.read_bytes() for file in (tmp_path / "shards").iterdir()}
    no_shard: Any = None
    with pytest.raises(AttributeError):
        write_shards(tmp_path / "shards", {**shards, "test": [shards["test"][0], no_shard]})
    assert {file.name: file.read_bytes() for file in (tmp_path / "shards").iterdir()} == before
    assert {file.name for file in tmp_path.iterdir()} == {"shards"}


def test_a_molecule_too_large_names_the_key_and_the_bucket_it_needs(make_molecules: Callable[..., Molecules]) -> None:
    with pytest.raises(InputError, match=r"data\.buckets: molecule 7 has 11 atoms, .* largest bucket, 10; .* of 12"):
        make_shards(
            make_molecules([3, 11, 12]),
            index=np.array([5, 7, 8]),
            split=np.array(["train"] * 3, dtype=object),
            buckets=BUCKETS,
        )


@given(st.lists(st.integers(1, 12), min_size=1, max_size=30), st.integers(1, 4))
def test_default_buckets_leave_the_least_padding(sizes: list[int], most: int) -> None:
    found = best_buckets(np.array(sizes), most)
    every = sorted(set(sizes))
    others = [
        [*some, every[-1]]
        for number in range(min(most, len(every)))
        for some in itertools.combinations(every[:-1], number)
    ]
    assert found in others
    assert padding(np.array(sizes), found) == min(padding(np.array(sizes), one) for one in others)


def test_default_buckets_fit_a_histogram_with_a_long_tail() -> None:
    """As that of GEOM-Drugs: a mean of 44 atoms and up to 181."""
    sizes = np.clip(np.random.default_rng(0).gamma(16, 44 / 16, 20_000).astype(int), 3, 181)
    sizes[0] = 181
    buckets = best_buckets(sizes)
    assert len(buckets) == 7
    assert buckets[-1] == 181
    assert padding(sizes, buckets) < 0.18


@pytest.mark.parametrize("buckets", [[], [0, 9], [9, 4], [4, 4, 9], [70000]])
def test_buckets_have_to_be_ascending_sizes(make_molecules: Callable[..., Molecules], buckets: list[int]) -> None:
    with pytest.raises(InputError, match=r"data\.buckets: .* ascending"):
        make_shards(make_molecules([3]), index=np.array([0]), split=np.array(["train"]), buckets=buckets)


def test_an_unknown_split_is_refused(make_molecules: Callable[..., Molecules]) -> None:
    with pytest.raises(InputError, match="'valid' is not a split; there are train, validation, test"):
        make_shards(make_molecules([3]), index=np.array([4]), split=np.array(["valid"]), buckets=[9])


def test_missing_shards_are_missed(tmp_path: Path, shards: dict[str, list[Shard]]) -> None:
    with pytest.raises(InputError, match="has no shards of the split train"):
        read_shards(tmp_path / "shards", "train")
    write_shards(tmp_path / "shards", shards)
    (tmp_path / "shards" / "train-006.parquet").unlink()
    with pytest.raises(InputError, match=r"have buckets \[4, 10\], but should have \[4, 6, 10\]"):
        read_shards(tmp_path / "shards", "train")
    assert len(read_shards(tmp_path / "shards", "test")) == 2


def test_a_renamed_shard_is_refused(tmp_path: Path, shards: dict[str, list[Shard]]) -> None:
    write_shards(tmp_path / "shards", shards)
    (tmp_path / "shards" / "test-010.parquet").rename(tmp_path / "shards" / "train-010.parquet")
    with pytest.raises(InputError, match=r"train-010\.parquet: not a shard of the split train"):
        read_shards(tmp_path / "shards", "train")


def test_a_truncated_or_flipped_shard_is_refused(tmp_path: Path, shards: dict[str, list[Shard]]) -> None:
    write_shards(tmp_path / "shards", shards)
    path = tmp_path / "shards" / "train-010.parquet"
    content = path.read_bytes()
    for end in range(0, len(content), 211):
        path.write_bytes(content[:end])
        with pytest.raises(InputError, match=r"train-010\.parquet: .*(truncated|damaged)"):
            read_shards(tmp_path / "shards", "train")
    refused = 0
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            back = read_shards(tmp_path / "shards", "train")
        except InputError:
            refused += 1
        else:
            assert_equal(back[-1], shards["train"][-1])
    assert refused > len(content) // 7 // 3


def test_content_that_is_sound_parquet_but_not_what_was_written_is_refused(
    tmp_path: Path, shards: dict[str, list[Shard]]
) -> None:
    write_shards(tmp_path / "shards", shards)
    path = tmp_path / "shards" / "train-004.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take([1, 0, 2]), path)
    with pytest.raises(InputError, match="does not match its checksum"):
        read_shards(tmp_path / "shards", "train")
    pq.write_table(table.slice(1), path)
    with pytest.raises(InputError, match="holds 2 shard, its metadata says 3"):
        read_shards(tmp_path / "shards", "train")
    metadata = json.loads(table.schema.metadata[METADATA_KEY]) | {"bucket": 5}
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(metadata)}), path)
    with pytest.raises(InputError, match="its columns are not those of a shard of bucket 5"):
        read_shards(tmp_path / "shards", "train")
