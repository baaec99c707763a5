from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.sampling.parts import Part, merge_samples

COSTS = st.lists(st.integers(1, 50), min_size=1, max_size=40)


@given(COSTS, st.data())
def test_parts_have_every_piece_once_and_none_is_empty(costs: list[float], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(costs)))
    parts = [Part(number, count).of(costs) for number in range(1, count + 1)]
    assert [place for part in parts for place in part] == list(range(len(costs)))
    assert all(parts)


@given(st.integers(1, 8), st.integers(1, 30))
def test_parts_of_equal_pieces_are_equal(count: int, each: int) -> None:
    assert {len(Part(number, count).of([3.0] * count * each)) for number in range(1, count + 1)} == {each}


def test_more_parts_than_pieces_are_refused() -> None:
    with pytest.raises(InputError, match="part 1-of-3: there are only 2 pieces of work"):
        Part(1, 3).of([1, 1])


def test_a_part_is_read_as_it_is_written() -> None:
    assert Part.parse("2-of-8") == Part(2, 8)
    assert str(Part(2, 8)) == "2-of-8"


@pytest.mark.parametrize("text", ["", "2", "0-of-2", "3-of-2", "-1-of-2", "1-of-2-of-3", "a-of-b", "1 of 2"])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="should be such as 2-of-8"):
        Part.parse(text)


def sampled(numbers: list[int], part: str, **metadata: object) -> tuple[Molecules, np.ndarray]:
    """Return molecules of one atom each, at its number."""
    of = {"run": "edm", "seconds": 1.5, "non_finite": 1, "part": part} | metadata
    positions = np.array(numbers, np.float32)[:, None, None] * np.ones((1, 1, 3), np.float32)
    ones = np.ones(len(numbers), int)
    molecules = Molecules.from_padded(positions=positions, atomic_numbers=ones[:, None], sizes=ones)
    return replace(molecules, metadata=of), np.array(numbers)


def test_merged_samples_are_in_order_and_their_seconds_added_up() -> None:
    merged = merge_samples([sampled([1, 4], "2-of-2"), sampled([0, 2, 3], "1-of-2")], ["b", "a"])
    assert merged.positions[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert merged.metadata == {"run": "edm", "seconds": 3.0, "non_finite": 2}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([([0], "1-of-2", {})], "one: a part of 2; the parts given are 1-of-2"),
        ([([0], "1-of-2", {}), ([1], "1-of-2", {})], "the parts given are 1-of-2, 1-of-2"),
        ([([0], "1-of-2", {}), ([1], "2-of-3", {})], "two: a part of other samples than one"),
        ([([0], "1-of-2", {}), ([1], "2-of-2", {"run": "other"})], "two: a part of other samples than one"),
        ([([0], "1-of-2", {}), ([2], "2-of-2", {})], "do not have every sample once"),
        ([([0, 1], "1-of-2", {}), ([1], "2-of-2", {})], "do not have every sample once"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    parts: list[tuple[list[int], str, dict[str, object]]], message: str
) -> None:
    given = [sampled(numbers, part, **metadata) for numbers, part, metadata in parts]
    with pytest.raises(InputError, match=message):
        merge_samples(given, ["one", "two"][: len(given)])


def test_what_is_no_part_is_refused() -> None:
    molecules, numbers = sampled([0], "1-of-1")
    whole = Molecules.concatenate([molecules])
    with pytest.raises(InputError, match="one: not a part of a run's samples"):
        merge_samples([(Molecules.from_list(list(whole)), numbers)], ["one"])
