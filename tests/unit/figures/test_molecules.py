from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pipeline.chemistry.elements import ELEMENTS
from pipeline.chemistry.metrics import Judgement
from pipeline.chemistry.molecules import Molecules
from pipeline.figures.inputs import Run, read_runs, read_trajectory
from pipeline.figures.molecules import SHOWN, molecules_csv, viewer

if TYPE_CHECKING:
    from tests.unit.figures.conftest import FakeStudy


@pytest.fixture(scope="module")
def runs(many_runs: FakeStudy) -> list[Run]:
    options = {option: many_runs.options[option] for option in ("weights", "curves", "metrics", "samples")}
    return read_runs(**options)[:2]


@pytest.fixture(scope="module")
def judged(runs: list[Run]) -> Mapping[str, Mapping[str, Judgement]]:
    return {run.name: {name: Judgement.of(one) for name, one in run.samples.items()} for run in runs}


def test_every_molecule_has_a_line_that_adds_up_to_the_scores(
    runs: list[Run], judged: Mapping[str, Mapping[str, Judgement]]
) -> None:
    lines = list(csv.DictReader(io.StringIO(molecules_csv(judged))))
    for run in runs:
        for name, evaluation in run.evaluations.items():
            own = [line for line in lines if (line["run"], line["sampler"]) == (run.name, name)]
            assert [int(line["index"]) for line in own] == list(range(64))
            atoms = sum(int(line["stable_atoms"]) for line in own) / sum(int(line["atoms"]) for line in own)
            assert atoms == pytest.approx(evaluation["atom_stability"]["value"])
            for column, score in (
                ("stable", "molecule_stability"), ("valid", "validity"), ("connected_and_valid", "connected_validity"),
            ):  # fmt: skip
                assert np.mean([int(line[column]) for line in own]) == pytest.approx(evaluation[score]["value"])
            for line in own:
                assert bool(int(line["connected_and_valid"])) == bool(line["connected_smiles"])
                wrong = line["unstable_atoms"].split("; ") if line["unstable_atoms"] else []
                assert len(wrong) == int(line["atoms"]) - int(line["stable_atoms"])


def test_the_viewer_has_the_first_molecules_of_each_kind(
    runs: list[Run], judged: Mapping[str, Mapping[str, Judgement]], one_run: FakeStudy
) -> None:
    data = viewer(runs, judged, read_trajectory(one_run.options["trajectory"][0]))
    assert [run["name"] for run in data["runs"]] == [run.name for run in runs]
    for run in data["runs"]:
        for sampler in run["samplers"]:
            one = judged[run["name"]][sampler["name"]]
            shown = {molecule["number"] - 1: molecule for molecule in sampler["molecules"]}
            assert list(shown) == sorted(shown)
            for stable in (True, False):
                first = np.flatnonzero(one.stability.molecules == stable)[:SHOWN].tolist()
                assert [place for place, m in shown.items() if (not m["unstable"]) == stable][: len(first)] == first
            assert list(shown)[:SHOWN] == list(range(SHOWN))
            assert (sampler["total"], sampler["stable"]) == (64, int(one.stability.molecules.sum()))
            for place, molecule in shown.items():
                check_molecule(one.molecules.select([place]), molecule)
                assert molecule["smiles"] == one.perceived.connected[place]
    levels = [frame["level"] for frame in data["trajectory"]["frames"]]
    assert (levels[0], levels[-1]) == ("80 Å", "0 Å")


def check_molecule(expected: Molecules, molecule: Mapping[str, Any]) -> None:
    """Check that the viewer has the same molecule, only rotated, with its errors."""
    symbols = {element.atomic_number: element for element in ELEMENTS}
    assert molecule["elements"] == [symbols[number].symbol for number in expected.atomic_numbers.tolist()]
    shown = np.reshape(molecule["positions"], (-1, 3))
    here, there = (np.linalg.norm(points[:, None] - points, axis=-1) for points in (shown, expected.positions))
    np.testing.assert_allclose(here, there, atol=3e-3)
    orders = np.zeros(len(shown), int)
    for first, second, order in np.reshape(molecule["bonds"], (-1, 3)).astype(int).tolist():
        orders[[first, second]] += order
    wrong = {}
    for atom, number in enumerate(expected.atomic_numbers.tolist()):
        element = symbols[number]
        (valence,) = element.valences
        if orders[atom] != valence:
            of = "of" if orders[atom] < valence else "instead of"
            bonds = "bond" if valence == 1 else "bonds"
            wrong[atom] = f"{element.symbol}{atom + 1} has {orders[atom]} {of} {valence} {bonds}"
    assert molecule["unstable"] == list(wrong)
    assert molecule["problems"] == list(wrong.values())
