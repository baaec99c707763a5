from dataclasses import replace

import numpy as np
import pytest

from pipeline.data.statistics import Statistics
from pipeline.diffusion.feature_scales import given_scales, measured_scales
from pipeline.study.config import SigmaData

STATISTICS = Statistics(
    dataset="test",
    num_molecules={"train": 10, "validation": 1, "test": 1},
    size_histogram={"train": {5: 10}},
    atom_counts={"H": 30, "C": 20, "N": 0, "O": 0, "F": 0},
    coordinate_scale=1.25,
    type_scale=0.1,
    buckets={9: 10},
)


def test_scales_are_root_mean_squares() -> None:
    scales = measured_scales(STATISTICS)
    assert scales.coordinates == 1.25
    atoms = np.array([1] * 30 + [6] * 20)
    one_hot = np.eye(5)[(atoms == 6).astype(int)] / 4
    assert scales.types == pytest.approx(np.sqrt(np.square(one_hot).mean()))
    assert scales.charges == pytest.approx(np.sqrt(np.square(atoms / 10).mean()))


def test_what_a_run_gives_takes_the_place_of_what_is_measured() -> None:
    measured = measured_scales(STATISTICS)
    assert given_scales(SigmaData(), STATISTICS) == measured
    assert given_scales(SigmaData(coordinates=0.5), STATISTICS) == replace(measured, coordinates=0.5)
    assert given_scales(SigmaData(types=0.25), STATISTICS) == replace(measured, types=0.25)
