from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pipeline.chemistry.molecules import Molecules
from pipeline.figures.inputs import Run, read_runs, read_trajectory

if TYPE_CHECKING:
    from tests.unit.figures.conftest import FakeStudy


def read(study: FakeStudy, **changes: list[Path]) -> list[Run]:
    options: Any = {option: study.options[option] for option in ("configs", "curves", "metrics", "samples")}
    return read_runs(**{**options, **changes})


def test_runs_keep_the_order_of_the_study_and_their_colours(many_runs: FakeStudy) -> None:
    runs = read(many_runs)
    assert [run.name for run in runs] == [path.parent.name for path in many_runs.options["configs"]]
    assert len({run.colour for run in runs}) == len(runs)
    assert [len(run.samples) for run in runs] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert list(runs[0].samples) == list(runs[0].evaluations)


def test_a_run_says_what_it_took_and_what_its_samplers_spend(one_run: FakeStudy) -> None:
    (run,) = read(one_run)
    assert run.budget == "12 min training, 3.1 epochs"
    assert run.sampler_label("heun-50") == "heun-50 (50 calls)"
    assert len(run.training_loss) == 200
    assert len(run.validation_loss) == 10
    assert run.checkups.atom_stability.shape == (5, 3)
    assert (run.checkups.sampler, run.checkups.molecules) == ("heun-25", 64)


def test_a_step_written_again_after_a_resume_counts_as_last_written(one_run: FakeStudy, tmp_path: Path) -> None:
    lines = [
        {"kind": "train", "step": s, "epoch": s / 10, "seconds": s, "loss": loss}
        for s, loss in ((1, 5), (2, 6), (3, 7))
    ]
    again = [{**lines[1], "loss": 60}, {**lines[2], "loss": None}]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines + again))
    (run,) = read(one_run, curves=[path])
    np.testing.assert_array_equal(run.training_loss.step, [1, 2, 3])
    np.testing.assert_array_equal(run.training_loss.values, [5, 60, np.nan])
    assert len(run.validation_loss) == len(run.checkups) == 0


def test_a_trajectory_runs_from_noise_to_the_molecule(one_run: FakeStudy, real: Molecules) -> None:
    trajectory = read_trajectory(one_run.options["trajectory"][0])
    np.testing.assert_allclose(trajectory.sigma, [80, 10, 1, 0.1, 0])
    np.testing.assert_array_equal(trajectory.frames[4][1], real[40][1])
    assert trajectory.frames[0][1].std() == pytest.approx(80, rel=0.5)
    assert (trajectory.run, trajectory.sampler) == ("edm", "heun-50")
