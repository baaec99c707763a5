import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import wasserstein_distance

from pipeline.chemistry.distances import QUANTITIES, Histograms, distances
from pipeline.chemistry.geometry import bond_angles
from pipeline.chemistry.intervals import Resampling
from pipeline.chemistry.molecules import Molecules

Molecule = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]
Examples = dict[str, Molecule]


def between(samples: list[Molecule], reference: list[Molecule]) -> dict[str, float | None]:
    measured, expected = (Histograms.of(Molecules.from_list(molecules)) for molecules in (samples, reference))
    found = distances(measured, expected, Resampling(10))
    return {name: one["value"] if one else None for name, one in found.items()}


def test_the_same_molecules_are_no_distance_apart(examples: Examples) -> None:
    found = between(list(examples.values()), [*examples.values(), *examples.values()])
    assert set(found) == set(QUANTITIES)
    assert all(value is None or value == pytest.approx(0, abs=1e-9) for value in found.values())


def test_a_stretched_bond_is_as_far_as_it_was_stretched(examples: Examples) -> None:
    numbers, positions = examples["methane"]
    stretched = positions + np.float32(0.04) * (positions - positions[0]) / 1.09
    found = between([(numbers, stretched)], [examples["methane"]])
    assert found["bond_length_CH"] == pytest.approx(0.04, abs=0.002)
    assert found["element"] == found["size"] == 0
    assert found["bond_length_CC"] is None


def test_sizes_elements_and_rings_are_told_apart(examples: Examples) -> None:
    found = between([examples["benzene"]], [examples["methane"], examples["tetrafluoromethane"]])
    assert found["size"] == 7
    assert found["heavy_atoms"] == 3
    assert found["ring_size"] is None  # the reference has none
    # Half carbon and half hydrogen against a fifth carbon, two fifths hydrogen and two fifths fluorine.
    p, q = np.array([0.5, 0.5, 0]), np.array([0.4, 0.2, 0.4])
    middle = (p + q) / 2
    expected = (p[:2] * np.log2(p[:2] / middle[:2])).sum() / 2 + (q * np.log2(q / middle)).sum() / 2
    assert found["element"] == pytest.approx(expected)
    rings = between([examples["benzene"]], [examples["nitro-oxatriazole"]])
    assert rings["ring_size"] == pytest.approx(1)  # six against five


def test_angles_agree_with_scipy(examples: Examples) -> None:
    one, other = (Molecules.from_list([examples[name]]) for name in ("ethanol", "benzene"))
    angles = [bond_angles(molecules).value for molecules in (one, other)]
    found = distances(Histograms.of(one), Histograms.of(other), Resampling(2))["bond_angle"]
    assert found is not None
    assert found["value"] == pytest.approx(wasserstein_distance(*angles), abs=0.25)
    assert found["low"] <= found["value"] <= found["high"]


def test_the_interval_narrows_with_more_molecules(examples: Examples) -> None:
    reference = Histograms.of(Molecules.from_list([examples["benzene"]]))
    widths = []
    for copies in (5, 500):
        samples = Molecules.from_list([examples["methane"], examples["ethanol"]] * copies)
        found = distances(Histograms.of(samples), reference, Resampling(200))["size"]
        assert found is not None
        widths.append(found["high"] - found["low"])
    assert widths[0] / widths[1] == pytest.approx(10, rel=0.3)
