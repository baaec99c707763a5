import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.core.errors import InputError
from pipeline.core.files import write_json
from pipeline.study import frameworks
from pipeline.study.config import (
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    SamplerConfig,
    check_sampler_of,
    run_config,
    sampler_config,
    unseeded_name,
)
from pipeline.study.group import read_settings
from pipeline.study.released import released_settings, released_training
from pipeline.study.study import check_installed, read_study, resolve_study, run_settings, sampler_settings

MINIMAL = """
runs:
  edm:
    training: {steps: 1000}
    samplers:
      heun-25: {kind: heun, steps: 25}
"""


def study(base: dict[str, Any] | None = None, **overrides: Any) -> dict[str, Any]:
    """Return a study, or the minimal one, with values set by dotted keys, such as ``runs__edm__seed=1``."""
    value: dict[str, Any] = base or yaml.safe_load(MINIMAL)
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
        ({"runs__edm__training__zzz": 1}, "runs.edm.training.zzz: no such setting; valid settings: steps, batch_size"),
        ({"runs__edm__training": {"stepz": 10}}, "runs.edm.training.stepz: no such setting; did you mean steps?"),
        ({"runs__edm__training": {}}, "runs.edm.training.steps: is missing; it should be a whole number, at least 1"),
        ({"runs__edm__training": None}, "runs.edm.training: null should be a group of settings"),
        (
            {"runs__edm__training__batch_size": 0},
            "runs.edm.training.batch_size: 0 should be a whole number",
        ),
        ({"runs__edm__training__batch_size": True}, "batch_size: true should be a whole number"),
        ({"runs__edm__training__batch_size": 1.5}, "batch_size: 1.5 should be a whole number"),
        ({"runs__edm__training__ema_decay": 1}, "ema_decay: 1 should be a number, at least 0 and below 1"),
        ({"runs__edm__training__ema_decay": float("nan")}, "runs.edm.training.ema_decay: NaN should be a number"),
        ({"runs__edm__training__optimizer": {"learning_rate": "fast"}}, 'learning_rate: "fast" should be a number'),
        ({"runs__edm__model": {"attention": "yes please"}}, "runs.edm.model.attention: "),
        ({"runs__edm__samplers__heun-25__kind": "euler"}, '"euler" should be one of heun, ddim, ancestral'),
        ({"runs__edm__samplers": {}}, "runs.edm.samplers: is empty"),
        (
            {"runs__edm__samplers__A B": {"kind": "heun", "steps": 1}},
            'runs.edm.samplers: the name "A B" should',
        ),
        ({"runs__../x": {}}, 'runs: the name "../x" should be at most 100 lowercase letters'),
        ({f"runs__{'x' * 101}": {}}, f'runs: the name "{"x" * 76}... should be at most 100 lowercase letters'),
        ({"runs": {1: {}}}, "runs: the name 1 should be text; put it in quotes"),
        ({"runs__edm__resources": {"nodes": 2, "tasks": 3}}, "resources.tasks: 3 should be a multiple of nodes, 2"),
        ({"runs__edm__resources": {"tasks": 5}}, "resources.tasks: 5 should divide training.batch_size, 64"),
        ({"runs__edm__resources": {"tasks": 2}, "runs__edm__backend": "torch"}, "resources.tasks: 2 should be 1 for"),
        ({"cluster": {"gpus": -1}}, "cluster.gpus: -1 should be a whole number, at least 0"),
        ({"data__buckets": [9, "x"]}, 'data.buckets: "x" should be a whole number'),
        ({"data__buckets": [9, 9]}, "data.buckets: [9, 9] should have no value twice"),
        ({"data__buckets": [29, 15]}, "data.buckets: [29, 15] should be ascending"),
        ({"data__buckets": []}, "data.buckets: should have at least one value"),
        ({"data__buckets": [9, 20]}, "data.buckets: [9, 20] should end with 29, the largest size in QM9, or more"),
        ({"data__split": {"train": 0.9, "validation": 20000}}, "data.split: 0.9 to train on and 20000 to validate on"),
        ({"data__split": {"train": 1.5}}, "train: 1.5 should be a whole number, at least 1, or a number, above 0 and"),
        (
            {"data__split": {"train": 1.0, "validation": 0.1}},
            "data.split.train: 1.0 should be a whole number, at least 1",
        ),
        ({"data__split": {"train": "1.0"}}, "data.split.train: 1.0 should be a whole number, at least 1"),
        (
            {"data": {"name": "x", "source": "path", "path": "x", "split": {"train": 0.95}}},
            "on should be at most 1 together",
        ),
        (
            {"data": {"name": "x", "source": "path", "path": "~nobody-of-this-name/x.sdf"}},
            'x.sdf" should be written out; the home',
        ),
        (
            {"data": {"source": "path", "path": "x.sdf"}},
            "data.name: is missing; molecules of your own should have a name",
        ),
        ({"data__name": "noise"}, 'data.name: "noise" should be another name than raw and noise'),
        ({"data__name": "a/b"}, 'data.name: "a/b" should be text of at most 100 lowercase letters'),
        ({"data__name": "x" * 101}, "xxx... should be text of at most 100 lowercase letters"),
        ({"data__source": "path"}, "data.path: is missing"),
        ({"data__path": "x.sdf"}, 'data.path: "x.sdf" should be left out, or data.source should be path or smiles'),
        ({"runs__edm__training__accumulate": 3}, "runs.edm.training.accumulate: 3 should divide batch_size, 64"),
        ({"runs__edm__training__steps": 5}, "runs.edm.training.optimizer.warmup_steps: 500 should be at most"),
        ({"runs__edm__samplers__heun-25__sigma_min": 50}, "runs.edm.samplers.heun-25.sigma_min: 50.0 should be below"),
        ({"figures__trajectory": {"run": "emd", "sampler": "x"}}, 'run: "emd" should name a run; the runs are edm'),
        ({"figures__trajectory": {"run": "edm", "sampler": "x"}}, "sampler of the run edm; its samplers are heun-25"),
    ],
)
def test_a_mistake_is_named_on_one_line_with_what_would_be_right(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve_study(study(**overrides))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# --- runs that start from others --------------------------------------------------------------------------------------

STARTING = """
runs:
  tuned:
    objective: consistency
    init: denoiser
    training: {steps: 1000}
    samplers:
      one: {kind: consistency}
      two: {kind: consistency, levels: [20, 2.5]}
  distilled:
    objective: consistency
    consistency: {kind: distillation}
    init: tuned
    teacher: tuned
    training: {steps: 1000}
    samplers:
      one: {kind: consistency}
  denoiser:
    objective: denoiser
    training: {steps: 1000}
    samplers:
      heun-25: {kind: heun, steps: 25}
"""


def starting(**overrides: Any) -> dict[str, Any]:
    return study(yaml.safe_load(STARTING), **overrides)


def test_runs_may_stand_in_any_order() -> None:
    resolved = resolve_study(starting())
    assert resolved["runs"]["tuned"]["model"] == resolved["runs"]["denoiser"]["model"]
    first = starting()
    first["runs"] = dict(reversed(first["runs"].items()))
    assert resolve_study(first) == resolved
    assert resolve_study(resolved) == resolved
    # Each with its own spelling of the same model.
    assert resolve_study(starting(runs__denoiser__model={"edge_hidden": 64})) == resolved


def test_levels_are_as_many_steps() -> None:
    samplers = resolve_study(starting())["runs"]["tuned"]["samplers"]
    assert (samplers["one"]["steps"], samplers["one"]["levels"]) == (1, None)
    assert (samplers["two"]["steps"], samplers["two"]["levels"]) == (2, [20.0, 2.5])
    sampler = sampler_config(sampler_settings(resolve_study(starting()), "tuned", "two"))
    assert (sampler.steps, sampler.levels) == (2, (20.0, 2.5))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"runs__tuned__objective": "guess"}, '"guess" should be one of edm, denoiser, consistency'),
        ({"runs__tuned__consistency__kind": "cm"}, '"cm" should be tuning or distillation'),
        (
            {"runs__tuned__consistency__kind": "distillation"},
            "runs.tuned.teacher: is missing; distillation should name a run of objective consistency here",
        ),
        (
            {"runs__tuned__teacher": "denoiser"},
            'runs.tuned.teacher: "denoiser" should be left out; tuning learns from the data',
        ),
        ({"runs__denoiser__teacher": "tuned"}, 'runs.denoiser.teacher: "tuned" should be left out; denoiser learns'),
        (
            {"runs__tuned__init": "denoise"},
            'runs.tuned.init: "denoise" should name a run; the runs are tuned, distilled',
        ),
        ({"runs__distilled__teacher": "none"}, 'runs.distilled.teacher: "none" should name a run'),
        (
            {"runs__distilled__teacher": "denoiser"},
            "distilled.teacher: denoiser has objective denoiser, not consistency",
        ),
        (
            {"runs__tuned__model": {"layers": 4}},
            "runs.tuned.init: the model of denoiser should be the same as this run's, key by key, except that",
        ),
        (
            {"runs__denoiser__model": {"layers": 4, "hidden": 32}, "runs__tuned__model": {"hidden": 64}},
            "runs.tuned.init: the model of denoiser should be the same as this run's, key by key, except that",
        ),
        (
            {
                "runs__tuned__model": {"layers": 6},
                "runs__distilled__init": "denoiser",
                "runs__distilled__model": {"layers": 5},
            },
            "runs.distilled.teacher: the model of tuned should be the same as this run's, key by key, except that",
        ),
        (
            {"runs__tuned__levels": {"sigma_data": {"types": 0.2}}},
            "runs.tuned.init: levels.sigma_data of denoiser should be the same as this run's",
        ),
        (
            {"runs__tuned__levels": {"preconditioning": "karras"}},
            "runs.tuned.init: levels.preconditioning of denoiser should be the same as this run's",
        ),
        (
            {"runs__denoiser__objective": "edm"},
            "runs.tuned.init: denoiser has objective edm, whose weights do not fit objective consistency",
        ),
        (
            {"runs__denoiser__init": "denoiser"},
            "runs.denoiser: its init and teacher lead back to itself through denoiser",
        ),
        (
            {"runs__denoiser__init": "distilled"},
            "runs.tuned: its init and teacher lead back to itself through tuned and denoiser and distilled",
        ),
        ({"runs__denoiser__levels": {"sigma_min": 30}}, "runs.denoiser.levels.sigma_min: 30.0 should be below sigma_m"),
        (
            {"runs__denoiser__levels": {"mean": 12}},
            "runs.denoiser.levels.mean: 12.0 should be within 5 standard deviations of the logarithms of sigma_min and "
            "sigma_max, -6.21 and 3",
        ),
        ({"runs__denoiser__levels": {"mean": -15, "std": 0.5}}, "runs.denoiser.levels.mean: -15.0 should be within"),
        (
            {"runs__tuned__consistency": {"first_stage": 7}},
            "runs.tuned.consistency.first_stage: 7 should be at most last_stage, 5",
        ),
        ({"runs__tuned__levels": {"alignment": "some"}}, '"some" should be one of none, permutation, full'),
        (
            {"runs__tuned__samplers__one": {"kind": "heun", "steps": 5}},
            "runs.tuned.samplers.one.kind: heun should be consistency for objective consistency",
        ),
        (
            {"runs__denoiser__samplers__heun-25__kind": "ancestral"},
            "runs.denoiser.samplers.heun-25.kind: ancestral should be heun or ddim for objective denoiser",
        ),
        (
            {"runs__denoiser__samplers__heun-25__levels": [3, 2]},
            "runs.denoiser.samplers.heun-25.levels: should be left out, or kind should be consistency",
        ),
        (
            {"runs__denoiser__samplers__heun-25__even_electrons": True},
            "runs.denoiser.samplers.heun-25.even_electrons: should be left out, or kind should be consistency",
        ),
        (
            {"runs__denoiser__samplers__heun-25__alignment": "full"},
            "runs.denoiser.samplers.heun-25.alignment: should be left out, or kind should be consistency",
        ),
        (
            {"runs__tuned__samplers__two__alignment": "most"},
            'runs.tuned.samplers.two.alignment: "most" should be one of none, permutation, full, null',
        ),
        ({"runs__tuned__samplers__two__levels": [2, 2]}, "two.levels: [2.0, 2.0] should be descending"),
        ({"runs__tuned__samplers__two__levels": [1, 2]}, "two.levels: [1.0, 2.0] should be descending"),
        ({"runs__tuned__samplers__two__levels": []}, "two.levels: should have at least one value"),
        ({"runs__tuned__samplers__two__levels": [2, 0]}, "two.levels: 0 should be a number, above 0"),
        ({"runs__tuned__samplers__two__steps": 3}, "two.steps: 3 should be left out beside levels"),
        (
            {"runs__tuned__condition": [], "runs__denoiser__condition": ["alpha"]},
            "runs.tuned.init: the condition of denoiser should be the same as this run's",
        ),
        (
            {"runs__denoiser__samplers__heun-25__guidance": 1.0},
            "runs.denoiser.samplers.heun-25.guidance: should be left out; the run has no condition",
        ),
        (
            {
                "runs__denoiser__condition": ["alpha"],
                "runs__denoiser__samplers__heun-25__properties": {"gap": 0.2},
            },
            "runs.denoiser.samplers.heun-25.properties: gap should be those of the run's condition, alpha",
        ),
        (
            {"runs__denoiser__condition": ["alpha"], "runs__denoiser__regressor": "tuned"},
            'runs.denoiser.regressor: "tuned" should name a run of objective property with the condition',
        ),
        (
            {"runs__denoiser__condition": ["aplha"]},
            'runs.denoiser.condition: "aplha" should be one of alpha, mu, Cv, rotational_constant_a, ',
        ),
        (
            {"runs__judge": {"objective": "property", "training": {"steps": 1000}}},
            "runs.judge.condition: is missing; objective property predicts the properties that it names",
        ),
    ],
)
def test_an_inconsistency_between_runs_is_one_line(overrides: dict[str, Any], message: str) -> None:
    resolve_study(starting())
    with pytest.raises(InputError) as caught:
        resolve_study(starting(**overrides))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_edm_has_no_levels_to_align_at() -> None:
    with pytest.raises(InputError, match="runs.edm.levels.alignment: should be left out; objective edm has no levels"):
        resolve_study(study(runs__edm__levels={"alignment": "full"}))
    # Settings that it does not use are not compared.
    resolve_study(study(runs__edm__levels={"mean": 40}))


def test_a_run_that_starts_from_others_reads_back() -> None:
    # Its configuration is read without the study, where the others stand.
    distilled = run_config(run_settings(resolve_study(starting()), "distilled"))
    assert (distilled.init, distilled.teacher) == ("tuned", "tuned")
    assert run_config(distilled.model_dump()) == distilled
    # A released one is sampled without its teacher, and not trained.
    alone = distilled.model_copy(update={"teacher": None})
    assert run_config(alone.model_dump()) == alone
    with pytest.raises(ValueError, match="^teacher: is missing; distillation should name a run"):
        alone.check_trainable()


def test_a_distilled_run_is_sampled_in_one_call_at_the_first_level_of_its_path() -> None:
    path = {"runs__distilled__consistency__path": [3.0, 0.5]}
    sampler = resolve_study(starting(**path))["runs"]["distilled"]["samplers"]["one"]
    assert (sampler["steps"], sampler["levels"]) == (1, [3.0])
    for settings, key in (({"steps": 4}, "steps"), ({"levels": [3.0, 0.5]}, "levels"), ({"levels": [2.0]}, "levels")):
        few = {"runs__distilled__samplers__few": {"kind": "consistency"} | settings}
        with pytest.raises(InputError, match=f"few.{key}: should be left out; .* at level 3.0"):
            resolve_study(starting(**path, **few))


def test_the_first_call_is_made_by_a_distilled_run() -> None:
    def sampler(**settings: Any) -> dict[str, Any]:
        return {"runs__tuned__samplers__both": {"kind": "consistency"} | settings}

    both = sampler(steps=2, first="distilled")
    resolved = resolve_study(starting(**both))
    assert resolved["runs"]["tuned"]["samplers"]["both"]["first"] == "distilled"
    for settings, message in (
        ({"steps": 2, "first": "denoiser"}, '.first: "denoiser" should name a run of kind distillation'),
        ({"steps": 2, "first": "none"}, '.first: "none" should name a run of kind distillation'),
        ({"steps": 1, "first": "distilled"}, ".first: should be left out for one call"),
        (
            {"levels": [20.0, 2.5], "first": "distilled"},
            ".levels: 2.5 should be below 2.5, the level of the first call",
        ),
        ({"kind": "heun", "first": "distilled"}, ".first: should be left out, or kind should be consistency"),
    ):
        with pytest.raises(InputError) as caught:
            resolve_study(starting(**sampler(**settings)))
        assert f"runs.tuned.samplers.both{message}" in str(caught.value)
    with pytest.raises(InputError, match="benchmark.sampling.trained.sampler: both should be a sampler that calls one"):
        resolve_study(starting(**both, benchmark__sampling__trained={"run": "tuned", "sampler": "both"}))


def test_a_sampler_is_for_runs_of_some_objectives() -> None:
    resolved = resolve_study(starting())
    runs = {name: run_config(run_settings(resolved, name)) for name in resolved["runs"]}
    heun, one = (
        sampler_config(sampler_settings(resolved, *names)) for names in (("denoiser", "heun-25"), ("tuned", "one"))
    )
    check_sampler_of(heun, runs["denoiser"])
    for run in ("tuned", "distilled"):
        check_sampler_of(one, runs[run])
        with pytest.raises(InputError, match="^sampler heun-25: kind: heun should be consistency for objective"):
            check_sampler_of(heun, runs[run])
    with pytest.raises(InputError, match="^sampler one: kind: consistency should be heun or ddim for objective denoi"):
        check_sampler_of(one, runs["denoiser"])


def test_what_a_run_leaves_out_is_as_in_the_run_that_it_starts_from() -> None:
    start = {"model": {"hidden": 32, "layers": 2}, "levels": {"preconditioning": "karras", "mean": -0.5}}
    study = starting(runs__tuned__model={"layers": 2, "attention": True})
    study["runs"]["denoiser"] |= start
    runs = resolve_study(study)["runs"]
    # Key by key; what need not agree is each run's own.
    assert runs["tuned"]["model"] == runs["distilled"]["model"] == runs["denoiser"]["model"]
    assert [runs["tuned"]["model"][key] for key in ("hidden", "edge_hidden", "layers")] == [32, 32, 2]
    study["runs"]["tuned"]["model"] = {"layers": 4}
    study["runs"]["distilled"]["init"] = "denoiser"
    model = resolve_study(study)["runs"]["tuned"]["model"]
    assert model == runs["denoiser"]["model"] | {"layers": 4}
    assert runs["tuned"]["levels"]["preconditioning"] == "karras"
    assert runs["tuned"]["levels"]["mean"] == -0.7


def test_seeds_are_a_run_each_and_starts_keep_to_their_seed() -> None:
    seeds = {"runs__denoiser__seeds": [0, 1], "runs__tuned__seeds": [1, 0]}
    resolved = resolve_study(starting(**seeds))
    runs = resolved["runs"]
    names = ["tuned-seed-1", "tuned-seed-0", "distilled", "denoiser-seed-0", "denoiser-seed-1"]
    assert list(runs) == names
    assert [runs[name]["seed"] for name in names] == [1, 0, 0, 0, 1]
    assert runs["tuned-seed-1"]["init"] == "denoiser-seed-1"
    # A run of one seed, 0, takes that of those with several.
    assert (runs["distilled"]["init"], runs["distilled"]["teacher"]) == ("tuned-seed-0", "tuned-seed-0")
    assert resolve_study(resolved) == resolved
    # Those that judge and that make the first call likewise.
    judge = {"objective": "property", "condition": ["alpha"], "seeds": [0, 1], "training": {"steps": 1000}}
    seeds = {f"runs__{run}__seeds": [0, 1] for run in ("denoiser", "tuned", "distilled")}
    first = {"runs__tuned__samplers__both": {"kind": "consistency", "steps": 2, "first": "distilled"}}
    judged = {"runs__judge": judge, "runs__denoiser__condition": ["alpha"], "runs__tuned__regressor": "judge"}
    run = resolve_study(starting(**seeds, **first, **judged))["runs"]["tuned-seed-1"]
    assert (run["samplers"]["both"]["first"], run["regressor"]) == ("distilled-seed-1", "judge-seed-1")
    assert [unseeded_name(name) for name in names] == ["tuned", "tuned", "distilled", "denoiser", "denoiser"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"runs__denoiser__seeds": [1, 1]}, "runs.denoiser.seeds: [1, 1] should have no value twice"),
        ({"runs__denoiser__seeds": [1], "runs__denoiser__seed": 1}, "runs.denoiser.seeds: should be left out"),
        ({"runs__denoiser__seeds": [1]}, 'runs.tuned.init: "denoiser" should name a run; the runs are '),
        ({"runs__tuned__seeds": [0], "runs__tuned-seed-0": {}}, "runs.tuned-seed-0"),
    ],
)
def test_seeds_that_do_not_fit_are_one_line(overrides: dict[str, Any], message: str) -> None:
    value = starting(**overrides)
    if "tuned-seed-0" in value["runs"]:
        value["runs"]["tuned-seed-0"] = copy.deepcopy(value["runs"]["denoiser"])
    with pytest.raises(InputError) as caught:
        resolve_study(value)
    assert str(caught.value).startswith(message)


def test_the_training_of_a_released_model_includes_those_behind_it() -> None:
    minutes = {name: released_training(name)["seconds"] / 60 for name in ("denoiser", "few-step", "one-step")}
    assert minutes["denoiser"] == pytest.approx(86, abs=1)
    assert minutes["few-step"] == pytest.approx(71, abs=1)
    # One that is no longer released, and those before it.
    assert minutes["one-step"] == pytest.approx(41 + 16 + 109 + 64, abs=1)
    assert released_training("few-step")["step"] == 16_000
    assert released_training("few-step-large")["seconds"] == pytest.approx(139.4 + 60.9)
    assert released_training("few-step-deep")["seconds"] == pytest.approx(1343.2 + 2194.4 + 3229.0)


@pytest.mark.parametrize(("switch", "kind"), [(True, "amsgrad"), (False, "adam")])
def test_the_switch_that_the_kind_of_optimiser_replaced_is_still_read(switch: bool, kind: str) -> None:
    def optimizer_of(**settings: Any) -> Any:
        given = starting(runs__denoiser__training={"steps": 1000, "optimizer": settings})
        return run_settings(resolve_study(given), "denoiser")["training"]["optimizer"]

    assert optimizer_of(amsgrad=switch) == optimizer_of(kind=kind)
    with pytest.raises(InputError, match="amsgrad"):
        optimizer_of(amsgrad=switch, kind=kind)


def test_a_consistency_model_has_the_released_recipe_by_default() -> None:
    run = run_settings(resolve_study(starting()), "tuned")
    released = released_settings("few-step-deep")
    assert run["levels"] == released["levels"]
    # A setting that is younger than the released model does not count.
    assert released["consistency"].items() <= run["consistency"].items()
    optimizer = run["training"]["optimizer"]
    assert optimizer == released["training"]["optimizer"] | {"warmup_steps": optimizer["warmup_steps"]}
    given = starting(
        runs__tuned__levels={"mean": -0.5}, runs__tuned__training={"steps": 9, "optimizer": {"warmup_steps": 3}}
    )
    run = run_settings(resolve_study(given), "tuned")
    assert (run["levels"]["mean"], run["levels"]["std"]) == (-0.5, 1.1)
    assert (run["training"]["optimizer"]["warmup_steps"], run["training"]["optimizer"]["learning_rate"]) == (3, 1e-3)


def test_random_weights_begin_with_the_data_as_their_target() -> None:
    def first_stage(init: str | None, **consistency: int) -> int:
        given = starting(runs__tuned__init=init, runs__tuned__consistency=consistency)
        return int(run_settings(resolve_study(given), "tuned")["consistency"]["first_stage"])

    assert [first_stage(None), first_stage(None, first_stage=1), first_stage("denoiser")] == [0, 1, 2]


def test_a_warm_up_may_be_a_share_of_the_steps() -> None:
    def warmup(share: Any, **other: Any) -> Any:
        run = {"steps": 1000, "optimizer": {"warmup_steps": share}}
        return resolve_study(study(runs__edm__training=run, **other))["runs"]["edm"]["training"]["optimizer"]

    assert warmup(0.05)["warmup_steps"] == 50
    assert warmup("0.05", hours=4)["warmup_steps"] == 200
    assert [warmup(steps, hours=4)["warmup_steps"] for steps in (0, 1, 50.0)] == [0, 1, 50]


def test_own_molecules_need_a_name_and_a_path_and_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    data = resolve_study(study(data={"name": "mine", "source": "path", "path": "~/m.sdf"}))["data"]
    assert (data["path"], data["buckets"]) == ("/home/me/m.sdf", None)
    assert data["split"] == {"seed": 0, "train": 0.8, "validation": 0.1}


def test_a_framework_that_is_not_installed_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frameworks, "find_spec", lambda name: None if name == "torch" else object())
    check_installed(resolve_study(study()))
    with pytest.raises(InputError, match="^runs.edm.backend: torch needs PyTorch, which is not installed: make torch"):
        check_installed(resolve_study(study(runs__edm__backend="torch")))


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runs:\n  a: 1\n  b: 2\n  a: 3\n", 'line 4: the name "a" is given twice'),
        ("runs: {a: {x: 1, x: 1}}\n", 'line 1: the name "x" is given twice'),
        ('{\n\t"runs": {"a": 1, "a": 2}}', 'the name "a" is given twice'),
        ("runs: [", "neither YAML nor JSON"),
        ("[" * 5000, "neither YAML nor JSON"),
        ("hours: " + "9" * 5000, "neither YAML nor JSON"),
    ],
    ids=range(6),
)
def test_a_file_that_loses_a_name_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a study.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_study(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "base: &base {x: 1, y: 2}\na: &a\n  <<: *base\n  y: 3\nb:\n  <<: *a\n  x: 4\n",
        '{\n\t"base": {"x": 1, "y": 2},\n\t"a": {"x": 1, "y": 3},\n\t"b": {"x": 4, "y": 3}\n}',
    ],
    ids=["yaml", "json"],
)
def test_a_file_is_yaml_with_its_merges_or_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "study").write_text(text)
    assert read_study(tmp_path / "study") == {"base": {"x": 1, "y": 2}, "a": {"x": 1, "y": 3}, "b": {"x": 4, "y": 3}}


@pytest.mark.parametrize("value", [None, [], 3, "text"])
def test_a_study_that_is_no_mapping_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="study: .* should be a group of settings"):
        resolve_study(value)


def test_a_run_reads_back_as_models(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", run_settings(resolve_study(study(runs__edm__seed=7)), "edm"))
    run = read_settings(RunConfig, tmp_path / "config.json")
    assert isinstance(run, RunConfig)
    assert (run.name, run.data, run.seed, run.training.steps) == ("edm", "qm9", 7, 1000)
    assert isinstance(run.model, ModelConfig)
    assert isinstance(run.training.optimizer, OptimizerConfig)
    assert run_config(run.model_dump()) == run


def test_a_run_takes_the_condition_of_the_run_that_it_starts_from() -> None:
    runs = resolve_study(starting(runs__denoiser__condition=["alpha"]))["runs"]
    assert runs["tuned"]["condition"] == ["alpha"]
    # A condition may also be new.
    new = starting(runs__tuned__condition=["alpha"])
    del new["runs"]["distilled"]
    assert resolve_study(new)["runs"]["denoiser"]["condition"] == []


def test_samplers_shape_no_weights() -> None:
    one, other = study(), study(**{"runs__edm__samplers__ddim-9": {"kind": "ddim", "steps": 9}})
    assert run_settings(resolve_study(one), "edm") == run_settings(resolve_study(other), "edm")


def test_where_a_run_trains_shapes_no_weights() -> None:
    other = resolve_study(study(runs__edm__resources={"nodes": 2, "tasks": 4, "gpus": 1}, cluster={"gpus": 8}))
    assert other["runs"]["edm"]["resources"] == {"nodes": 2, "tasks": 4, "cpus": None, "gpus": 1}
    assert run_settings(resolve_study(study()), "edm") == run_settings(other, "edm")


def test_a_sampler_reads_back(tmp_path: Path) -> None:
    write_json(tmp_path / "s.json", sampler_settings(resolve_study(study()), "edm", "heun-25"))
    sampler = read_settings(SamplerConfig, tmp_path / "s.json")
    numbers = {"num": 1000, "seed": 0, "sigma_max": 20.0, "sigma_min": 0.005, "rho": 7.0, "churn": 0.0}
    rest = {
        "properties": None,
        "guidance": 0.0,
        "levels": None,
        "alignment": None,
        "even_electrons": None,
        "first": None,
    }
    assert sampler.model_dump() == {"name": "heun-25", "kind": "heun", "steps": 25} | numbers | rest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "should be a group of settings"),
        (
            '{"name": "edm", "data": "qm9", "training": {"steps": 0}}',
            "training.steps: 0 should be a whole number, at least 1",
        ),
        ('{"training": {"steps": 1}}', "name: is missing"),
    ],
)
def test_a_bad_run_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(InputError, match="config.json: ") as caught:
        read_settings(RunConfig, path)
    assert message in str(caught.value)
