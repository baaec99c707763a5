from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pipeline.chemistry.intervals import Estimate
from pipeline.chemistry.molecules import Molecules
from pipeline.data.molecule_parquet import read_molecules, write_molecules
from pipeline.figures import quality
from pipeline.figures.inputs import Run, estimate, over_seeds, read_runs, read_trajectory

if TYPE_CHECKING:
    from tests.unit.figures.conftest import FakeStudy


def read(study: FakeStudy, **changes: list[Path]) -> list[Run]:
    options: Any = {option: study.options[option] for option in ("weights", "curves", "metrics", "samples")}
    return read_runs(**{**options, **changes})


def test_runs_keep_the_order_of_the_study_and_their_colours(many_runs: FakeStudy) -> None:
    runs = read(many_runs)
    assert [run.name for run in runs] == [path.parent.name for path in many_runs.options["weights"]]
    assert len({run.colour for run in runs}) == len(runs)
    assert [len(run.samples) for run in runs] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert list(runs[0].samples) == list(runs[0].evaluations)


def test_a_run_says_what_it_took_and_what_its_samplers_spend(one_run: FakeStudy) -> None:
    (run,) = read(one_run)
    assert run.budget == "12 min training, 310,000 molecules"
    assert (run.seconds, run.molecules, run.config.backend) == (720, 4844 * 64, "jax")
    assert run.sampler_label("heun-50") == "heun-50 (50 calls)"
    assert len(run.training_loss) == 200
    assert len(run.validation_loss) == 10
    (checkups,) = run.checkups
    assert checkups.atom_stability.shape == (5, 3)
    assert (checkups.sampler, checkups.count) == ("heun-12", 64)
    assert run.kind("heun-50") == "heun"
    assert run.seconds_per_molecule("heun-50") == pytest.approx(50 * 0.0004)
    assert (run.config.training.batch_size, run.provenance["data"], run.provenance["jax"]) == (
        64,
        "molecules64.sdf",
        "0.10.2",
    )
    digest = hashlib.sha256(one_run.options["weights"][0].read_bytes()).hexdigest()
    assert run.provenance["weights SHA-256"] == digest


def test_samples_that_say_neither_calls_nor_time_have_none(one_run: FakeStudy, tmp_path: Path) -> None:
    path = tmp_path / "foreign.parquet"
    for cost in ({}, {"seconds": 0.0, "network_calls": None}, {"seconds": "long"}):
        metadata = {"run": "edm", "sampler": "heun-50", **cost}
        write_molecules(path, read_molecules(one_run.options["samples"][0]), metadata=metadata)
        (run,) = read(one_run, samples=[path])
        assert (run.calls("heun-50"), run.seconds_per_molecule("heun-50"), run.kind("heun-50")) == (None, None, "")
        assert run.sampler_label("heun-50") == "heun-50"


def test_a_gpu_is_named_where_the_time_is(one_run: FakeStudy) -> None:
    (run,) = read(one_run)
    on_gpu = replace(run, provenance={**run.provenance, "gpu": "NVIDIA H200"})
    assert on_gpu.budget == "12 min training on one NVIDIA H200, 310,000 molecules"
    bound = json.loads(one_run.options["floor"][0].read_text())
    caption = quality.draw([on_gpu], floor=bound, ceiling=bound, dataset="QM9").caption
    assert " edm was trained on one NVIDIA H200. " in caption


def test_a_first_call_by_another_model_is_said(one_run: FakeStudy, tmp_path: Path) -> None:
    given = read_molecules(one_run.options["samples"][0])
    for first, sentence in ((None, ""), ("one-step", " The first call of heun-50 of edm is by one-step.")):
        path = tmp_path / f"{first}.parquet"
        write_molecules(path, given, metadata={"run": "edm", "sampler": "heun-50", "first": first})
        (run,) = read(one_run, samples=[path])
        assert run.first_calls == sentence


def test_a_run_counts_the_training_of_all_that_it_goes_back_to(many_runs: FakeStudy) -> None:
    runs = {run.name: run for run in read(many_runs)}
    assert dict(runs["run-2"].predecessors) == {"run-long-name-1": 600}
    assert runs["run-2"].all_seconds == 6000 + 600
    assert runs["run-2"].budget == "100 min training after 10 min of run-long-name-1, 6,910 molecules"
    assert runs["run-0"].all_seconds == 60


def test_each_ancestor_counts_once_and_an_unknown_one_is_named(one_run: FakeStudy, tmp_path: Path) -> None:
    files: dict[str, list[Path]] = {"weights": [], "metrics": [], "samples": []}
    distilled = {"objective": "consistency", "consistency": {"kind": "distillation"}}
    starts: dict[str, dict[str, Any]] = {
        "a": {"objective": "edm"},
        "b": {"objective": "edm", "init": "a"},
        "c": {**distilled, "init": "b", "teacher": "a"},
        "d": {**distilled, "init": None, "teacher": "gone"},
    }
    for name, start in starts.items():
        (tmp_path / name).mkdir()
        weights, metric, sample = (tmp_path / name / file for file in ("w.safetensors", "metrics.json", "s.parquet"))
        one_run.write_weights(weights, name=name, **start)
        metric.write_text(json.dumps({**json.loads(one_run.options["metrics"][0].read_text()), "run": name}))
        molecules = read_molecules(one_run.options["samples"][0])
        write_molecules(sample, molecules, metadata={**molecules.metadata, "run": name})
        for paths, path in zip(files.values(), (weights, metric, sample), strict=True):
            paths.append(path)
    runs = read(one_run, curves=one_run.options["curves"] * len(starts), **files)
    assert [list(run.predecessors) for run in runs] == [[], ["a"], ["b", "a"], ["gone"]]
    assert [run.all_seconds for run in runs] == [720, 1440, 2160, None]
    assert runs[3].budget == "12 min training after gone, 310,000 molecules"
    assert runs[2].budget == "12 min training after 12 min of b and 12 min of a, 310,000 molecules"


def test_runs_that_differ_in_their_seed_alone_are_averaged(many_runs: FakeStudy) -> None:
    runs = read(many_runs)[:3]
    names = ["edm-seed-0", "other", "edm-seed-4"]
    scores = [Estimate(0.5, 0.4, 0.6), Estimate(0.9, 0.9, 0.9), Estimate(0.7, 0.6, 0.8)]
    named = [
        replace(run, name=name, evaluations={"calls-1": {**run.evaluations["calls-1"], "validity": score.to_json()}})
        for run, name, score in zip(runs, names, scores, strict=True)
    ]
    mean, other = over_seeds(named)
    assert mean.name == "edm (2 seeds)"
    found = estimate(mean.evaluations["calls-1"], "validity")
    deviation = 0.1 * 2**0.5
    assert (found.value, found.low, found.high) == pytest.approx((0.6, 0.6 - deviation, 0.6 + deviation))
    assert other is named[1]
    assert over_seeds(runs) == runs


def test_samplers_of_a_training_are_told_apart(many_runs: FakeStudy) -> None:
    checkups = {one.sampler: one for one in read(many_runs)[5].checkups}
    assert list(checkups) == ["heun-12", "one-step"]
    assert checkups["one-step"].atom_stability.shape == (5, 3)
    assert (checkups["one-step"].atom_stability[:, 0] > checkups["heun-12"].atom_stability[:, 0]).all()


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
    np.testing.assert_array_equal(run.training_loss.molecules, [64, 128, 192])
    assert len(run.validation_loss) == len(run.checkups) == 0


def test_a_trajectory_runs_from_noise_to_the_molecule(one_run: FakeStudy, real: Molecules) -> None:
    trajectory = read_trajectory(one_run.options["trajectory"][0])
    np.testing.assert_allclose(trajectory.sigma, [80, 10, 1, 0.1, 0])
    np.testing.assert_array_equal(trajectory.frames[4][1], real[40][1])
    assert trajectory.frames[0][1].std() == pytest.approx(80, rel=0.5)
    assert (trajectory.run, trajectory.sampler) == ("edm", "heun-50")
