import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.chemistry.intervals import Resampling
from pipeline.chemistry.metrics import (
    LABELS,
    Judgement,
    known_molecules,
    read_summary,
    summarise,
)
from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.stability import stability_metrics
from pipeline.core.errors import InputError

Examples = dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]]


@pytest.fixture
def mixture(examples: Examples) -> Molecules:
    """Ten molecules: ethanol thrice, methane, water, cyanogen twice, benzene, a torn methane, two waters in one."""
    torn = examples["methane"][0], examples["methane"][1] * 3
    (z, x) = examples["water"]
    pair = np.concatenate([z, z]), np.concatenate([x, x + 30])
    names = ["ethanol", "methane", "ethanol", "water", "cyanogen", "ethanol", "cyanogen", "benzene"]
    return Molecules.from_list([*(examples[name] for name in names), torn, pair], metadata={"run": "edm"})


def values(summary: dict[str, Any]) -> dict[str, Any]:
    return {key: summary[key] and summary[key]["value"] for key in LABELS}


def test_all_metrics_of_a_mixture_counted_by_hand(mixture: Molecules, examples: Examples) -> None:
    train = Molecules.from_list([examples[name] for name in ("methane", "benzene", "ammonia")])
    judgement = Judgement.of(mixture)
    summary = summarise(judgement, known=known_molecules(train, mixture))
    # Atoms: 3 x 9 of ethanol, 5 + 3 of methane and water, 2 x 2 of 4 cyanogen, 6 of 12 benzene, none of the torn, 6.
    assert summary["num_atoms"] == 27 + 8 + 8 + 12 + 5 + 6
    assert values(summary) == {
        "atom_stability": pytest.approx((27 + 8 + 4 + 6 + 0 + 6) / 66),
        "molecule_stability": pytest.approx(6 / 10),
        # All but the two cyanogens; the torn methane is five methanes and hydrogens to RDKit, the pair is water.
        "validity": pytest.approx(8 / 10),
        # Ethanol, methane, water, benzene, and what the largest of five single atoms is: the first, the carbon.
        "uniqueness": pytest.approx(5 / 8),
        "unique_and_valid": pytest.approx(5 / 10),
        # Methane and benzene are known. The lone carbon is not: "C", while methane is "[H]C([H])([H])[H]".
        "novelty": pytest.approx(3 / 5),
        # Not the torn one, not the pair.
        "connected_validity": pytest.approx(8 / 10),
        # Ethanol, methane, water, cyanogen, benzene.
        "connected_uniqueness": pytest.approx(5 / 8),
        "connected_unique_and_valid": pytest.approx(5 / 10),
        "connected_novelty": pytest.approx(3 / 5),
    }
    for key in LABELS:
        assert 0 <= summary[key]["low"] <= summary[key]["value"] <= summary[key]["high"] <= 1, key


def test_the_rest_of_the_summary(mixture: Molecules) -> None:
    summary = summarise(Judgement.of(mixture))
    assert summary["version"] == 1
    assert summary["num_molecules"] == 10
    assert summary["sizes"] == {"3": 1, "4": 2, "5": 2, "6": 1, "9": 3, "12": 1}
    assert summary["atom_fraction"] == pytest.approx({"H": 38 / 66, "C": 18 / 66, "N": 4 / 66, "O": 6 / 66})
    assert summary["metadata"] == {"run": "edm"}
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_without_training_molecules_nothing_is_known_of_novelty(mixture: Molecules) -> None:
    summary = summarise(Judgement.of(mixture))
    assert summary["novelty"] is None
    assert summary["connected_novelty"] is None


def test_nothing_valid_is_neither_unique_nor_novel(examples: Examples) -> None:
    broken = examples["methane"][0][1:], examples["methane"][1][1:] * 0.3  # four hydrogens on top of each other
    molecules = Molecules.from_list([broken, broken])
    summary = summarise(Judgement.of(molecules), known=known_molecules(molecules, molecules))
    assert summary["validity"]["value"] == 0
    assert summary["uniqueness"] is None
    assert summary["novelty"] is None
    assert summary["unique_and_valid"]["value"] == 0


def test_training_molecules_are_never_novel(mixture: Molecules) -> None:
    """Whatever is wrong with them, and even those in pieces."""
    summary = summarise(Judgement.of(mixture), known=known_molecules(mixture, mixture))
    assert summary["novelty"]["value"] == 0
    assert summary["connected_novelty"]["value"] == 0


def test_only_training_molecules_that_matter_are_worked_out(examples: Examples, mixture: Molecules) -> None:
    train = Molecules.from_list([examples["ammonia"]] * 5 + [examples["methane"], examples["hydrogen cyanide"]])
    done: list[int] = []
    known = known_molecules(train, mixture, advance=done.append)
    assert known.connected == {"C"}
    assert sum(done) == len(train)


def test_copies_widen_the_interval_of_uniqueness_and_do_not_lower_it(examples: Examples) -> None:
    distinct = [examples[name] for name in ("methane", "water", "ethanol", "ammonia", "benzene", "hydrogen cyanide")]
    summary = summarise(Judgement.of(Molecules.from_list(distinct)))
    assert summary["uniqueness"]["value"] == summary["uniqueness"]["high"] == 1
    # Drawing molecules again with replacement would put it at 0.63.
    assert summary["uniqueness"]["low"] == pytest.approx(0.025 ** (1 / 6))


def test_joined_is_judging_all_at_once(mixture: Molecules) -> None:
    parts = [mixture.select(range(4)), mixture.select(range(4, 10))]
    joined = summarise(Judgement.joined([Judgement.of(part) for part in parts]))
    at_once = summarise(Judgement.of(mixture))
    assert {**joined, "metadata": None} == {**at_once, "metadata": None}


def test_the_seed_and_the_number_of_resamples_decide_the_intervals_alone(mixture: Molecules) -> None:
    judgement = Judgement.of(mixture)
    first, again, other = (summarise(judgement, resampling=Resampling(seed=seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert values(first) == values(other) == values(summarise(judgement, resampling=Resampling(3)))


def test_stability_alone_is_the_same_stability(mixture: Molecules) -> None:
    summary = summarise(Judgement.of(mixture))
    alone = stability_metrics(mixture)
    assert list(alone) == ["atom_stability", "molecule_stability"]
    assert {key: value["value"] for key, value in alone.items()} == {key: summary[key]["value"] for key in alone}


def test_a_summary_survives_its_file(mixture: Molecules, tmp_path: Path) -> None:
    summary = summarise(Judgement.of(mixture))
    (tmp_path / "m.json").write_text(json.dumps(summary))
    assert read_summary(tmp_path / "m.json") == summary


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"atom_stabil', "not JSON, truncated or damaged"),
        ("[]", "not what the stage evaluate writes"),
        ('{"a": 1}', "not what the stage evaluate writes"),
        ('{"version": 2, "atom_stability": null}', "of version 2, not 1"),
        ('{"version": 1, "atom_stability": null}', "has no num_molecules"),
    ],
)
def test_a_foreign_summary_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_summary(tmp_path / "m.json")


def test_a_summary_with_a_metric_that_is_no_estimate_is_refused(mixture: Molecules, tmp_path: Path) -> None:
    summary = summarise(Judgement.of(mixture))
    (tmp_path / "m.json").write_text(json.dumps({**summary, "validity": 0.5}))
    with pytest.raises(InputError, match="validity should be null or an object"):
        read_summary(tmp_path / "m.json")
    with pytest.raises(InputError, match="no such file"):
        read_summary(tmp_path / "other.json")
