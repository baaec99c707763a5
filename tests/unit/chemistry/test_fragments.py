import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.chemistry.fragments import sharing_a_fragment
from pipeline.chemistry.molecules import Molecules

Molecule = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]
Examples = dict[str, Molecule]


def shared(some: list[Molecule], more: list[Molecule]) -> list[bool]:
    molecules, others = Molecules.from_list(some), Molecules.from_list(more)
    answer = sharing_a_fragment(molecules, others)
    return [bool(shares) for shares in answer]


def test_finds_the_same_molecules_and_no_other(examples: Examples) -> None:
    here = [examples[name] for name in ("methane", "water", "ethanol", "benzene")]
    there = [examples[name] for name in ("cyanogen", "ethanol", "methane")]
    assert shared(here, there) == [True, False, True, False]


def test_one_fragment_of_several_is_enough(examples: Examples) -> None:
    (a, x), (b, y) = examples["methane"], examples["water"]
    pair = np.concatenate([a, b]), np.concatenate([x, y + 50])
    assert shared([pair, examples["ethanol"]], [examples["water"]]) == [True, False]
    assert shared([examples["water"]], [pair]) == [True]


def test_elements_count(examples: Examples) -> None:
    numbers, positions = examples["ethanol"]
    assert shared([(numbers, positions)], [(np.where(numbers == 8, 7, numbers), positions)]) == [False]


def test_isomers_are_told_apart(examples: Examples) -> None:
    assert shared([examples["ethanol"]], [examples["dimethyl ether"]]) == [False]


def test_nothing_shares_nothing(examples: Examples) -> None:
    assert shared([], [examples["water"]]) == []
    assert shared([examples["water"]], []) == [False]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_same_graph_in_another_order_is_always_found(seed: int) -> None:
    """A molecule that is missed would count as novel: this must never happen."""
    generator = np.random.default_rng(seed)
    numbers = generator.choice([1, 6, 7, 8, 9], 15).astype(np.uint8)
    positions = generator.normal(scale=1.3, size=(15, 3)).astype(np.float32)
    order = generator.permutation(15)
    assert shared([(numbers, positions)], [(numbers[order], positions[order])]) == [True]
