import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import (
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    SamplerConfig,
    TrainingConfig,
    read_run_config,
    read_sampler_config,
    resolve_study,
    run_config,
    run_settings,
    sampler_settings,
)
from pipeline.errors import InputError
from pipeline.files import write_json

MINIMAL = """
runs:
  edm:
    training: {steps: 1000}
    samplers:
      heun-25: {kind: heun, steps: 25}
"""


def study(**overrides: Any) -> dict[str, Any]:
    """Return the minimal study with values set by dotted keys, such as ``runs__edm__seed=1``."""
    value: dict[str, Any] = yaml.safe_load(MINIMAL)
    for dotted, new in overrides.items():
        *path, last = dotted.split("__")
        node = value
        for key in path:
            node = node.setdefault(key, {})
        node[last] = new
    return value


def test_defaults_are_filled_in_at_every_depth() -> None:
    resolved = resolve_study(study())
    assert resolved["data"]["split"] == {"seed": 0, "train": 100000, "validation": 17748}
    assert resolved["runs"]["edm"]["training"]["optimizer"]["clip"] == {"kind": "norm", "value": 1.0}
    assert resolved["runs"]["edm"]["samplers"]["heun-25"]["num"] == 1000
    assert resolved["figures"]["trajectory"] is None


def test_what_is_given_stays_and_the_input_is_not_changed() -> None:
    raw = study(runs__edm__training__optimizer={"learning_rate": 0.5})
    before = copy.deepcopy(raw)
    optimizer = resolve_study(raw)["runs"]["edm"]["training"]["optimizer"]
    assert (optimizer["learning_rate"], optimizer["beta1"]) == (0.5, 0.9)
    assert raw == before


def test_resolving_twice_changes_nothing() -> None:
    once = resolve_study(study())
    assert resolve_study(once) == once


def test_a_study_means_the_same_however_it_is_spelt() -> None:
    one = study(runs__edm__model={"layers": 3, "norm_constant": 1}, runs__edm__seed=2)
    other = study(runs__edm__seed=2, runs__edm__model={"norm_constant": 1.0, "layers": 3.0})
    assert json.dumps(resolve_study(one)) == json.dumps(resolve_study(other))


def test_numbers_that_arrive_as_text_are_numbers() -> None:
    # YAML reads 1e-4 as text, and `snakemake --config 'runs={edm: {seed: 3}}'` reads everything inside as text.
    raw = study(runs__edm__seed="3", runs__edm__model={"attention": "false", "edge_hidden": "null"})
    raw["runs"]["edm"]["training"]["optimizer"] = {"learning_rate": "1e-4"}
    run = resolve_study(raw)["runs"]["edm"]
    assert (run["seed"], run["model"]["attention"], run["model"]["edge_hidden"]) == (3, False, 64)
    assert run["training"]["optimizer"]["learning_rate"] == 1e-4


def test_edge_features_follow_hidden_unless_given() -> None:
    assert resolve_study(study(runs__edm__model={"hidden": 256}))["runs"]["edm"]["model"]["edge_hidden"] == 256
    given = study(runs__edm__model={"hidden": 256, "edge_hidden": 32})
    assert resolve_study(given)["runs"]["edm"]["model"]["edge_hidden"] == 32


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"figure": {}}, "figure: no such setting; did you mean figures?"),
        ({"runs__edm__training__zzz": 1}, "runs.edm.training.zzz: no such setting; known are steps, batch_size"),
        ({"runs__edm__training": {"stepz": 10}}, "runs.edm.training.stepz: no such setting; did you mean steps?"),
        ({"runs__edm__training": {}}, "runs.edm.training.steps: is missing; it should be a whole number, at least 1"),
        ({"runs__edm__training": None}, "runs.edm.training: null should be a group of settings"),
        (
            {"runs__edm__training__batch_size": 0},
            "runs.edm.training.batch_size: 0 should be a whole number",
        ),
        ({"runs__edm__training__batch_size": True}, "batch_size: true should be a whole number"),
        ({"runs__edm__training__batch_size": 1.5}, "batch_size: 1.5 should be a whole number"),
        ({"runs__edm__training__ema_decay": 1}, "ema_decay: 1.0 should be a number, at least 0 and below 1"),
        ({"runs__edm__training__ema_decay": float("nan")}, "runs.edm.training.ema_decay: NaN should be a number"),
        ({"runs__edm__training__optimizer": {"learning_rate": "fast"}}, 'learning_rate: "fast" should be a number'),
        ({"runs__edm__model": {"attention": "yes please"}}, "runs.edm.model.attention: "),
        ({"runs__edm__samplers__heun-25__kind": "euler"}, '"euler" should be one of heun, ddim, ancestral'),
        ({"runs__edm__samplers": {}}, "runs.edm.samplers: is empty"),
        (
            {"runs__edm__samplers__A B": {"kind": "heun", "steps": 1}},
            'runs.edm.samplers: the name "A B" should',
        ),
        ({"runs__../x": {}}, 'runs: the name "../x" should be small letters'),
        ({"runs": {1: {}}}, "runs: the name 1 should be text; put it in quotes"),
        ({"data__buckets": [9, "x"]}, 'data.buckets: "x" should be a whole number'),
        ({"data__buckets": [9, 9]}, "data.buckets: [9, 9] should have no value twice"),
        ({"data__buckets": [29, 15]}, "data.buckets: [29, 15] should be ascending"),
        ({"data__buckets": []}, "data.buckets: should have at least one value"),
        ({"data__name": "noise"}, 'data.name: "noise" should be another name than raw and noise'),
        ({"data__name": "a/b"}, 'data.name: "a/b" should be text of small letters'),
        ({"data__source": "path"}, "data.path: is missing"),
        ({"data__path": "x.sdf"}, 'data.path: "x.sdf" should be left out, or data.source should be path'),
        ({"runs__edm__training__accumulate": 3}, "runs.edm.training.accumulate: 3 should divide batch_size, 64"),
        ({"runs__edm__training__steps": 5}, "runs.edm.training.optimizer.warmup_steps: 500 should be at most"),
        ({"runs__edm__samplers__heun-25__sigma_min": 50}, "runs.edm.samplers.heun-25.sigma_min: 50.0 should be below"),
        ({"figures__trajectory": {"run": "emd", "sampler": "x"}}, 'run: "emd" should name a run; there are edm'),
        ({"figures__trajectory": {"run": "edm", "sampler": "x"}}, "sampler of the run edm; there are heun-25"),
    ],
)
def test_a_mistake_is_named_on_one_line_with_what_would_be_right(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve_study(study(**overrides))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, [], 3, "text"])
def test_a_study_that_is_no_mapping_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="study: .* should be a group of settings"):
        resolve_study(value)


def test_a_run_reads_back_as_dataclasses(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", run_settings(resolve_study(study(runs__edm__seed=7)), "edm"))
    run = read_run_config(tmp_path / "config.json")
    assert isinstance(run, RunConfig)
    assert (run.name, run.data, run.seed, run.training.steps) == ("edm", "qm9", 7, 1000)
    assert isinstance(run.model, ModelConfig)
    assert isinstance(run.training.optimizer, OptimizerConfig)
    assert run_config(dataclasses.asdict(run)) == run


def test_samplers_shape_no_weights() -> None:
    one, other = study(), study(**{"runs__edm__samplers__ddim-9": {"kind": "ddim", "steps": 9}})
    assert run_settings(resolve_study(one), "edm") == run_settings(resolve_study(other), "edm")


def test_a_sampler_reads_back(tmp_path: Path) -> None:
    write_json(tmp_path / "s.json", sampler_settings(resolve_study(study()), "edm", "heun-25"))
    sampler = read_sampler_config(tmp_path / "s.json")
    expected = {"num": 1000, "seed": 0, "sigma_max": 20.0, "sigma_min": 0.005, "rho": 7.0, "levels": None}
    assert sampler == SamplerConfig("heun-25", "heun", 25, alignment=None, **expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "should be a group of settings"),
        ('{"name": "edm", "training": {"steps": 0}}', "training.steps: 0 should be a whole number, at least 1"),
        ('{"training": {"steps": 1}}', "name: is missing"),
    ],
)
def test_a_bad_run_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(InputError, match="config.json: ") as caught:
        read_run_config(path)
    assert message in str(caught.value)


def test_training_config_has_every_key_of_the_schema() -> None:
    resolved = resolve_study(study())["runs"]["edm"]["training"]
    assert [field.name for field in dataclasses.fields(TrainingConfig)] == list(resolved)
