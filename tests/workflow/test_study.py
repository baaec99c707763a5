"""Studies: their schema, and messages to users."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.study.config import RunConfig, SamplerConfig
from pipeline.study.group import Group, json_schema, read_settings
from pipeline.study.settings_table import schema_file
from pipeline.study.study import read_study, resolve_study, run_settings, sampler_settings

from .conftest import ROOT, TINY, Workflow, run

STUDIES = [ROOT / "config.yaml", *sorted((ROOT / "workflow" / "studies").glob("*.yaml"))]


def groups(group: type[Group] = Group) -> Iterator[type[Group]]:
    """Yield every group of settings."""
    for one in group.__subclasses__():
        yield one
        yield from groups(one)


def test_every_setting_has_a_meaning() -> None:
    assert len(list(groups())) > 20
    for group in groups():
        schema = json_schema(group)
        assert schema["additionalProperties"] is False
        for name, key in schema["properties"].items():
            described = key if "$ref" not in key else schema["$defs"][key["$ref"].removeprefix("#/$defs/")]
            assert described["description"].endswith("."), (group, name)


def test_the_schema_for_editors_is_up_to_date() -> None:
    assert (ROOT / "workflow" / "schemas" / "config.schema.yaml").read_text() == schema_file(), "run: make readme"


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_every_study_of_the_project_is_valid(path: Path) -> None:
    resolve_study(yaml.safe_load(path.read_text()))


def test_the_default_study_reads_back_as_it_is_written() -> None:
    # It may leave defaults out, but what it says is what holds.
    def holds(written: Any, resolved: Any) -> bool:
        if isinstance(written, dict):
            return all(holds(value, resolved[key]) for key, value in written.items())
        return bool(written == resolved)

    written = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert holds(written, resolve_study(written))


def test_runs_of_the_studies_do_not_share_files() -> None:
    # In one results folder, a run of one study would be deleted to make the run of the same name of another.
    names = [name for path in STUDIES for name in yaml.safe_load(path.read_text())["runs"]]
    assert len(names) == len(set(names))


def test_a_mistake_in_a_study_is_one_line(workflow: Workflow) -> None:
    study = yaml.safe_load((ROOT / "config.yaml").read_text())
    study["figures"]["galery_molecules"] = 3
    done = workflow.run("--cores", "1", "results/figures", study=study)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "study: figures.galery_molecules: no such setting; did you mean gallery_molecules?\n"


def test_a_target_that_is_taken_for_a_study_gets_a_hint(workflow: Workflow, tmp_path: Path) -> None:
    target = tmp_path / "metrics.json"
    target.write_text('{"run": "edm"}')
    done = workflow.run(target, "--cores", "1", "--configfile", TINY, target)
    assert done.returncode == 1
    assert done.stderr.startswith("study: run: no such setting")
    assert done.stderr.endswith("; put -- between the study and the targets\n")


def test_a_name_given_twice_is_one_line(workflow: Workflow, tmp_path: Path) -> None:
    path = tmp_path / "a study.yaml"
    path.write_text((ROOT / "config.yaml").read_text() + "\nsearch:\n  num: 64\n")
    done = workflow.run("--cores", "1", "results/figures", study=path)
    assert done.returncode == 1
    assert re.fullmatch(r'study: .*/a study.yaml: line \d+: the name "search" is given twice; .*\n', done.stderr)


def test_a_study_may_be_json_and_its_name_have_blanks(workflow: Workflow, tmp_path: Path) -> None:
    path = tmp_path / "a study.json"
    path.write_text(json.dumps(yaml.safe_load(TINY.read_text()), indent="\t"))
    assert "train run=tiny" in workflow.planned("results/runs/tiny/weights.safetensors", study=path)
    done = run(["make", "--dry-run", "figures", f"STUDY={path}"])
    assert done.returncode == 0, done.stderr
    assert f"--configfile '{path}' " in done.stdout


def test_a_run_is_configured_as_its_part_of_the_study(workflow: Workflow) -> None:
    files = ["results/runs/tiny/config.json", "results/runs/tiny/samplers/heun-9.json"]
    done = workflow.run("--cores", "2", *files, study=TINY)
    assert done.returncode == 0, done.stderr
    study = resolve_study(read_study(TINY))
    config = read_settings(RunConfig, workflow.directory / files[0])
    assert config.model_dump(mode="json") == run_settings(study, "tiny")
    sampler = read_settings(SamplerConfig, workflow.directory / files[1])
    assert sampler.model_dump(mode="json") == sampler_settings(study, "tiny", "heun-9")


def test_a_study_replaces_the_default_one(workflow: Workflow) -> None:
    planned = workflow.planned(study=ROOT / "workflow" / "studies" / "tiny.yaml")
    assert [job for job in planned if job.startswith("train ")] == [
        f"train run={run}" for run in ("tiny", "tiny-denoiser", "tiny-isolated", "tiny-tuned")
    ]


def test_each_seed_is_trained_and_sampled(workflow: Workflow) -> None:
    study = yaml.safe_load(TINY.read_text())
    study["runs"]["tiny-denoiser"]["seeds"] = study["runs"]["tiny-tuned"]["seeds"] = [0, 3]
    planned = workflow.planned("results/runs/tiny-tuned-seed-3/samples/steps-2.parquet", study=study)
    assert [job for job in planned if job.startswith(("train ", "sample "))] == [
        "sample run=tiny-tuned-seed-3 sampler=steps-2",
        "train run=tiny-denoiser-seed-3",
        "train run=tiny-tuned-seed-3",
    ]


def test_a_setting_on_the_command_line_changes_the_default_study(workflow: Workflow) -> None:
    done = workflow.run("--dry-run", "--cores", "1", "--printshellcmds", "--config", "figures={gallery_molecules: 7}")
    assert done.returncode == 0, done.stderr
    assert "--gallery-molecules 7" in done.stdout + done.stderr


def test_names_may_be_as_long_as_a_study_allows(workflow: Workflow) -> None:
    study = yaml.safe_load(TINY.read_text())
    run, sampler, data = ((letter + "".join(map(str, range(60))))[:100] for letter in "rsd")
    study |= {"data": study["data"] | {"name": data}, "runs": {run: study["runs"]["tiny"]}}
    study["runs"][run] |= {"seeds": [2**32 - 1], "samplers": {sampler: {"kind": "heun", "steps": 5}}}
    files = [f"results/runs/{run}-seed-{2**32 - 1}/{name}.json" for name in ("config", f"samplers/{sampler}")]
    for options in ((), ("--dry-run", "--forceall", f"results/data/{data}/shards")):
        done = workflow.run("--cores", "1", *options, *files, study={key: study[key] for key in ("data", "runs")})
        assert done.returncode == 0, done.stderr


def test_another_study_does_not_replace_a_run(workflow: Workflow) -> None:
    run = workflow.directory / "results" / "runs" / "edm"
    done = workflow.run("--cores", "1", "results/runs/edm/config.json")
    assert done.returncode == 0, done.stderr
    (run / "weights.safetensors").touch()
    study = yaml.safe_load((ROOT / "config.yaml").read_text())
    study["runs"]["edm"]["training"]["steps"] = 999
    done = workflow.run("--cores", "1", "results/figures", study=study)
    assert done.returncode == 1
    assert done.stderr.startswith("study: runs.edm: results/runs/edm was made by ")
    assert done.stderr.count("\n") == 1
