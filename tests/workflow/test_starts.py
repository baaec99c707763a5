"""Runs that start from other runs: order of jobs, and reruns after a change. Stages are replaced by stubs."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import Workflow, changed, pretended

STUDIES = Path(__file__).parents[2] / "workflow" / "studies"
TRAINING = {"training": {"steps": 1000}}
# tuned has a sampler whose levels are searched for beside one with levels, distilled only the latter.
STUDY: dict[str, Any] = {
    "runs": {
        "distilled": {
            "objective": "consistency",
            "consistency": {"kind": "distillation"},
            "init": "denoiser",
            "teacher": "tuned",
            "samplers": {"given": {"kind": "consistency"}},
        }
        | TRAINING,
        "tuned": {
            "objective": "consistency",
            "init": "denoiser",
            "samplers": {
                "given": {"kind": "consistency", "levels": [20.0, 1.0]},
                "searched": {"kind": "consistency", "steps": 4},
            },
        }
        | TRAINING,
        "denoiser": {"objective": "denoiser", "samplers": {"heun": {"kind": "heun", "steps": 9}}} | TRAINING,
        "alone": {
            "objective": "consistency",
            "samplers": {"given": {"kind": "consistency", "levels": [20.0]}},
        }
        | TRAINING,
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Return a workflow in which everything of STUDY is made; tests only plan in it."""
    return pretended(tmp_path_factory.mktemp("finished"), STUDY)


def sampled(run: str, *samplers: str) -> list[str]:
    """Return the jobs that a run's samples take part in."""
    each = [f"{rule} run={run} sampler={sampler}" for rule in ("evaluate", "sample") for sampler in samplers]
    return [*each, f"gather run={run}"]


SAMPLERS: Mapping[str, tuple[str, ...]] = {
    "denoiser": ("heun",),
    "tuned": ("given", "searched"),
    "distilled": ("given",),
    "alone": ("given",),
}


# Of four calls, around those of two, around that of one.
LEVELS = [f"levels run=tuned calls={calls}" for calls in (1, 2, 4)]


def trained(*runs: str) -> list[str]:
    """Return the jobs that the weights of some runs take part in."""
    jobs = [job for run in runs for job in (f"train run={run}", *sampled(run, *SAMPLERS[run]))]
    return jobs + (LEVELS if "tuned" in runs else [])


def commands(workflow: Workflow, stage: str, study: dict[str, Any], *args: str) -> dict[str, str]:
    """Return the commands of a stage by run, as a dry run plans them."""
    done = workflow.run("--dry-run", "--printshellcmds", "--cores", "2", *args, study=study)
    assert done.returncode == 0, done.stderr
    lines = re.findall(rf"python -m pipeline.cli.{stage} .*", done.stdout + done.stderr)
    found = {}
    for line in lines:
        output = re.search(r"--output results/runs/([a-z]+)", line)
        assert output
        found[output[1]] = line
    return found


def test_every_run_is_made_with_what_it_starts_from(workflow: Workflow) -> None:
    planned = workflow.planned("results/figures", study=STUDY)
    assert set(trained(*SAMPLERS)) <= set(planned)
    # Only one run has levels to search for, and none a likelihood.
    assert [job for job in planned if job.startswith(("levels", "likelihood"))] == LEVELS
    weights = "results/runs/{}/weights.safetensors".format
    trainings = commands(workflow, "train", STUDY, "results/figures")
    assert f"--init {weights('denoiser')} --teacher {weights('tuned')} " in trainings["distilled"]
    assert f"--init {weights('denoiser')} " in trainings["tuned"]
    assert "--teacher" not in trainings["tuned"]
    for run in ("denoiser", "alone"):
        assert "--init" not in trainings[run]
        assert "--teacher" not in trainings[run]


def test_levels_are_searched_for_the_samplers_that_want_it(workflow: Workflow) -> None:
    study = changed(STUDY, runs__tuned__samplers__more={"kind": "consistency", "steps": 2}, search={"num": 99})
    done = workflow.run("--dry-run", "--printshellcmds", "--cores", "2", "results/figures", study=study)
    starts = re.findall(r"levels .* --calls (.*) --num 99 --seed 1 (.*) --output", done.stdout + done.stderr)
    folder = "results/runs/tuned/levels"
    assert sorted(starts) == [("1", ""), ("2", f"--start {folder}/1.json"), ("4", f"--start {folder}/2.json")]
    lines = re.findall(r"python -m pipeline.cli.sample .*", done.stdout + done.stderr)
    with_levels = {line.split("--sampler ")[1].split()[0] for line in lines if "--levels " in line}
    assert with_levels == {f"results/runs/tuned/samplers/{sampler}.json" for sampler in ("more", "searched")}


def test_a_run_by_itself_needs_no_run_but_those_it_starts_from(workflow: Workflow) -> None:
    planned = workflow.planned("results/runs/tuned/weights.safetensors", study=STUDY)
    assert [job for job in planned if job.startswith("train ")] == ["train run=denoiser", "train run=tuned"]


def test_nothing_is_made_twice(finished: Workflow) -> None:
    assert finished.planned("results/figures", study=STUDY) == []


def test_a_change_trains_all_that_goes_on_from_it(finished: Workflow) -> None:
    rate = {"steps": 1000, "optimizer": {"learning_rate": 1e-4}}
    for run, after in [
        ("denoiser", ("tuned", "distilled")),
        ("tuned", ("distilled",)),
        ("distilled", ()),
        ("alone", ()),
    ]:
        planned = finished.planned("results/figures", study=changed(STUDY, **{f"runs__{run}__training": rate}))
        assert planned == sorted([f"configure_run run={run}", "figures", *trained(run, *after)])


def test_another_run_to_start_from_trains_again(finished: Workflow) -> None:
    planned = finished.planned("results/figures", study=changed(STUDY, runs__distilled__init="tuned"))
    assert planned == sorted(["configure_run run=distilled", "figures", *trained("distilled")])


def test_a_new_sampler_trains_nothing(finished: Workflow) -> None:
    new: dict[str, Any] = {"kind": "consistency", "levels": [20.0, 3.0, 0.5]}
    planned = finished.planned("results/figures", study=changed(STUDY, runs__tuned__samplers__new=new))
    assert planned == sorted(["configure_sampler run=tuned sampler=new", "figures", *sampled("tuned", "new")])
    # One without levels: they are searched for, and the others' stay as they are.
    for steps, searched in ((8, [8]), (2, [])):
        new = {"kind": "consistency", "steps": steps}
        planned = finished.planned("results/figures", study=changed(STUDY, runs__tuned__samplers__new=new))
        jobs = ["configure_sampler run=tuned sampler=new", "figures"]
        jobs += [f"levels run=tuned calls={calls}" for calls in searched]
        assert planned == sorted([*jobs, *sampled("tuned", "new")])


def test_another_search_trains_nothing(finished: Workflow) -> None:
    planned = finished.planned("results/figures", study=changed(STUDY, search={"num": 99}))
    assert planned == sorted(["figures", *LEVELS, *sampled("tuned", "searched")])


def test_a_run_that_leads_back_to_itself_is_one_line(workflow: Workflow) -> None:
    done = workflow.run("--cores", "1", "results/figures", study=changed(STUDY, runs__denoiser__init="distilled"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("study: runs.distilled: its init and teacher lead back to itself through ")


def test_a_run_trained_elsewhere_is_gone_on_from(tmp_path: Path) -> None:
    # What docs/installation.md says to copy there, and what to copy back.
    workflow = pretended(tmp_path, STUDY, "results/data/qm9/shards", "results/runs/denoiser/config.json")
    for name in ("weights.safetensors", "metrics.jsonl"):
        (tmp_path / "results/runs/denoiser" / name).touch()
    trainings = [job for job in workflow.planned("results/figures", study=STUDY) if job.startswith("train ")]
    assert trainings == ["train run=alone", "train run=distilled", "train run=tuned"]


def test_conditional_runs_are_judged_by_their_regressor(workflow: Workflow) -> None:
    study: dict[str, Any] = yaml.safe_load((STUDIES / "conditional.yaml").read_text())
    done = workflow.run("--dry-run", "--printshellcmds", "--cores", "2", "results/figures", study=study)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    judge = "results/runs/regressor/weights.safetensors"
    judged = re.findall(rf"cli.predict --weights {judge} --samples results/runs/(.*) --output", text)
    samplers = {run: list(settings["samplers"]) for run, settings in study["runs"].items() if "samplers" in settings}
    assert sorted(judged) == sorted(f"{run}/samples/{name}.parquet" for run in samplers for name in samplers[run])
    assert len(re.findall(rf"cli.predict --weights {judge} --molecules ", text)) == 1
    for run in study["runs"]:
        assert re.search(rf"cli.train --config results/runs/{run}/config.json .* --molecules ", text)
    drawn = re.search(r"cli.figures .*", text)
    assert drawn is not None and drawn[0].count("/properties/") == len(judged)
    assert "--baselines results/runs/regressor/baselines.json" in drawn[0]
