"""Studies: what the schema says of itself, and what a user is told."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline.study.config import (
    ClipConfig,
    ConsistencyConfig,
    LevelsConfig,
    MatchingConfig,
    ModelConfig,
    NoiseConfig,
    OptimizerConfig,
    RunConfig,
    SamplerConfig,
    SigmaData,
    TrainingConfig,
    resolve_study,
)
from pipeline.study.schema import study_schema

from .conftest import ROOT, Workflow

STUDIES = [ROOT / "config.yaml", *sorted((ROOT / "workflow" / "studies").glob("*.yaml"))]


def keys(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path and schema of every key, those in ``$defs`` included."""
    for name, value in {**schema.get("properties", {}), **schema.get("$defs", {})}.items():
        yield f"{path}{name}", value
        yield from keys(value, f"{path}{name}.")


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(study_schema())


@pytest.mark.parametrize(("path", "schema"), [pytest.param(path, key, id=path) for path, key in keys(study_schema())])
def test_every_key_is_described_and_closed(path: str, schema: dict[str, Any]) -> None:
    if "$ref" not in schema:
        assert schema["description"].endswith(".")
        assert "type" in schema or "enum" in schema
    if "properties" in schema:
        assert schema["additionalProperties"] is False


@pytest.mark.parametrize(("path", "schema"), [pytest.param(path, key, id=path) for path, key in keys(study_schema())])
def test_every_default_is_allowed(path: str, schema: dict[str, Any]) -> None:
    if "default" in schema:
        jsonschema.Draft202012Validator({**schema, "$defs": study_schema()["$defs"]}).validate(schema["default"])


@pytest.mark.parametrize(
    ("path", "kind", "extra"),
    [
        ("run", RunConfig, {"name", "data"}),
        ("model", ModelConfig, set()),
        ("noise", NoiseConfig, set()),
        ("levels", LevelsConfig, set()),
        ("levels.sigma_data", SigmaData, set()),
        ("consistency", ConsistencyConfig, set()),
        ("matching", MatchingConfig, set()),
        ("training", TrainingConfig, set()),
        ("training.optimizer", OptimizerConfig, set()),
        ("training.optimizer.clip", ClipConfig, set()),
        ("sampler", SamplerConfig, {"name"}),
    ],
)
def test_schema_and_dataclasses_have_the_same_keys(path: str, kind: Any, extra: set[str]) -> None:
    described = set(dict(keys(study_schema()))[path]["properties"])
    assert {field.name for field in fields(kind)} - extra == described - {"resources", "samplers"}


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


def test_a_study_replaces_the_default_one(workflow: Workflow) -> None:
    planned = workflow.planned(study=ROOT / "workflow" / "studies" / "tiny.yaml")
    assert [job for job in planned if job.startswith("train ")] == [
        f"train run={run}" for run in ("tiny", "tiny-denoiser", "tiny-isolated", "tiny-matched", "tiny-tuned")
    ]


def test_a_setting_on_the_command_line_changes_the_default_study(workflow: Workflow) -> None:
    done = workflow.run("--dry-run", "--cores", "1", "--printshellcmds", "--config", "figures={gallery_molecules: 7}")
    assert done.returncode == 0, done.stderr
    assert "--gallery-molecules 7" in done.stdout + done.stderr


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
