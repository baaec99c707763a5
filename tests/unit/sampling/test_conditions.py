from typing import Any

import numpy as np
import pytest

from pipeline.chemistry.molecules import Molecules
from pipeline.data.properties import PropertyStatistics
from pipeline.data.statistics import Statistics
from pipeline.sampling.conditions import Request
from pipeline.study.config import sampler_config

STATISTICS = Statistics(
    dataset="test",
    num_molecules={"train": 30},
    size_histogram={"train": {3: 10, 5: 10, 7: 10}},
    atom_counts={"H": 90, "C": 60},
    coordinate_scale=1.4,
    type_scale=0.1,
    buckets={9: 30},
)
PROPERTIES = PropertyStatistics(
    names=("alpha",),
    units=("bohr^3",),
    mean=(80.0,),
    mad=(10.0,),
    ranges=((50.0, 100.0),),
    values_by_size={3: ((50.0,),), 5: ((70.0,),), 7: ((100.0,),)},
)
FIXED = Molecules.from_list([([6, 6, 6], np.eye(3))])


class Recorder:
    """A sampler that keeps what it is asked for."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def holding(self, molecules: Molecules, atoms: Any) -> "Recorder":
        self.asked |= {"held": molecules, "atoms": atoms}
        return self

    def of_composition(self, atoms: Any) -> "Recorder":
        self.asked["atoms"] = atoms
        return self

    def given(self, context: Any) -> "Recorder":
        self.asked["context"] = context
        return self


@pytest.mark.parametrize("value", [None, {"alpha": 90.0}])
@pytest.mark.parametrize("formula", [None, "C4H3"])
@pytest.mark.parametrize("fixed", [None, FIXED])
def test_atoms_a_formula_and_a_property_can_be_asked_for_together(value: Any, formula: Any, fixed: Any) -> None:
    sampler = sampler_config({"name": "any", "kind": "consistency", "levels": [2.0], "num": 20, "properties": value})
    request = Request.of(STATISTICS, PROPERTIES, sampler, sizes=None, formula=formula, fixed=fixed)
    recorder: Any = Recorder()
    request.apply(recorder)
    asked = recorder.asked
    sizes = {7} if formula else {5, 7} if fixed else {3, 5, 7}
    assert set(request.sizes.tolist()) == sizes
    assert asked.get("held") is fixed
    assert asked.get("atoms", ()) == ((6, 6, 6, 6, 1, 1, 1) if formula else ())
    known = [{3: 50.0, 5: 70.0, 7: 100.0}[size] for size in request.sizes.tolist()]
    expected = [90.0] * 20 if value else known
    rows = [[(one - 80) / 10, (one - mean) / 10, 1.0] for one, mean in zip(expected, known, strict=True)]
    np.testing.assert_allclose(asked["context"], rows)
