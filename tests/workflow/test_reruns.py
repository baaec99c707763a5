"""A change of the study reruns exactly what depends on it. Stages are replaced by stubs."""

import os
from pathlib import Path

from .conftest import STUDY, Workflow, changed, stand_in


def of_run(run: str, *, trained: bool) -> list[str]:
    """Return the jobs that a run's weights, or only its scores, take part in."""
    scores = [f"evaluate run={run} sampler={sampler}" for sampler in ("ddim-4", "heun-9")] + [f"gather run={run}"]
    samples = [f"sample run={run} sampler={sampler}" for sampler in ("ddim-4", "heun-9")]
    weights = [f"configure_run run={run}", f"likelihood run={run}", f"train run={run}", *samples]
    return scores + (weights if trained else [])


def test_nothing_is_made_twice(finished: Workflow) -> None:
    assert finished.planned("results/figures", study=STUDY) == []


def test_the_spelling_of_a_study_is_no_change(finished: Workflow) -> None:
    respelt = changed(runs__one__seed=0, data__split={"validation": 2000.0, "seed": 0, "train": "1000"})
    respelt["runs"]["one"] = dict(reversed(respelt["runs"]["one"].items()))
    assert finished.planned("results/figures", study=respelt) == []


def test_a_figure_setting_draws_again_and_no_more(finished: Workflow) -> None:
    assert finished.planned("results/figures", study=changed(figures__gallery_molecules=3)) == ["figures"]


def test_a_longer_strip_needs_its_trajectory(finished: Workflow) -> None:
    planned = finished.planned("results/figures", study=changed(figures__trajectory__frames=5))
    assert planned == ["figures", "trajectory run=one sampler=heun-9"]


def test_a_learning_rate_trains_its_run_again_and_no_other(finished: Workflow) -> None:
    study = changed(runs__two__training__optimizer={"learning_rate": 1e-4})
    assert finished.planned("results/figures", study=study) == sorted(["figures", *of_run("two", trained=True)])


def test_a_sampler_setting_trains_nothing(finished: Workflow) -> None:
    study = changed(**{"runs__two__samplers__ddim-4__num": 7})
    assert finished.planned("results/figures", study=study) == [
        "configure_sampler run=two sampler=ddim-4",
        "evaluate run=two sampler=ddim-4",
        "figures",
        "gather run=two",
        "sample run=two sampler=ddim-4",
    ]


def test_a_new_run_leaves_the_others_alone(finished: Workflow) -> None:
    study = changed(runs__three=STUDY["runs"]["one"])
    configured = [f"configure_sampler run=three sampler={sampler}" for sampler in ("ddim-4", "heun-9")]
    expected = sorted(["figures", *of_run("three", trained=True), *configured])
    assert finished.planned("results/figures", study=study) == expected


def test_an_evaluation_setting_only_scores_again(finished: Workflow) -> None:
    planned = finished.planned("results/figures", study=changed(evaluation__bootstrap=7))
    scores = of_run("one", trained=False) + of_run("two", trained=False)
    assert planned == sorted([*scores, "figures", "noise_floor", "reference data=qm9"])


def test_buckets_shard_again_but_parse_nothing(finished: Workflow) -> None:
    planned = finished.planned("results/figures", study=changed(data__buckets=[20, 29]))
    assert "shard data=qm9" in planned
    assert {"train run=one", "train run=two"} <= set(planned)
    assert "parse data=qm9" not in planned


def test_whatever_changes_in_a_folder_of_molecules_is_parsed_again(tmp_path: Path) -> None:
    molecules = tmp_path / "mine"
    inner = molecules / "inner"
    inner.mkdir(parents=True)
    (inner / "b {1}.xyz").write_text("")
    workflow = Workflow(tmp_path, path=stand_in(tmp_path / "bin"))
    study = changed(data={"name": "mine", "source": "path", "path": str(molecules)})
    output = "results/data/mine/molecules.parquet"

    done = workflow.run("--cores", "1", output, study=study)
    assert done.returncode == 0, done.stderr
    assert workflow.planned(output, study=study) == []
    (inner / "b {1}.xyz").write_text("changed")
    assert workflow.planned(output, study=study) == ["parse data=mine"]


def test_own_molecules_that_are_replaced_or_gone(tmp_path: Path) -> None:
    molecules = tmp_path / "mine.xyz"
    molecules.write_text("new")
    workflow = Workflow(tmp_path, path=stand_in(tmp_path / "bin"))
    study = changed(data={"name": "mine", "source": "path", "path": str(molecules)})
    output = "results/data/mine/statistics.json"
    done = workflow.run("--cores", "1", output, study=study)
    assert done.returncode == 0, done.stderr
    # The same ones at another time, as in a copy of the project.
    os.utime(molecules, (0, 1000))
    assert workflow.planned(output, study=study) == []
    molecules.write_text("old")
    os.utime(molecules, (0, 1000))
    assert workflow.planned(output, study=study) == ["parse data=mine", "shard data=mine"]
    # Results that were copied without them.
    molecules.unlink()
    assert workflow.planned(output, study=study) == []
    misspelt = changed(data={"name": "mine", "source": "path", "path": str(tmp_path / "nime.xyz")})
    for options in ((), ("--dry-run",)):
        done = workflow.run("--cores", "1", *options, output, study=misspelt)
        assert (done.returncode, done.stderr) == (1, f"study: data.path: {tmp_path}/nime.xyz: no such file or folder\n")


def test_swapped_values_are_a_change(finished: Workflow) -> None:
    # Snakemake compares the params of a job as a set of values, so two that are swapped would go unseen.
    planned = finished.planned("results/figures", study=changed(data__split={"train": 2000, "validation": 1000}))
    assert "parse data=qm9" in planned
    assert "download source=qm9pack" not in planned


def test_another_number_of_parts_draws_and_judges_samples_again_and_trains_nothing(finished: Workflow) -> None:
    # That they come out the same is shown in tests/unit/cli/test_parts.py.
    planned = finished.planned("results/figures", "--set-scatter", "sample=3", "evaluate=2", study=STUDY)
    drawn = [job for job in planned if job.startswith("sample_part run=one sampler=heun-9")]
    assert drawn == [f"sample_part run=one sampler=heun-9 scatteritem={part}-of-3" for part in (1, 2, 3)]
    assert {job.split()[0] for job in planned} == {"sample_part", "merge", "judge", "evaluate", "gather", "figures"}


def test_one_stage_runs_again_by_itself(finished: Workflow) -> None:
    planned = finished.planned("results/runs/one/metrics.json", "--forcerun", "evaluate", study=STUDY)
    assert planned == of_run("one", trained=False)
