from typing import Any, get_args

import pytest

from pipeline.benchmark.contestants import (
    CONTESTANTS,
    REFERENCE,
    check_frameworks,
    is_reference_form,
    reference_settings,
)
from pipeline.core.errors import InputError
from pipeline.figures import benchmark_results
from pipeline.study import frameworks
from pipeline.study.benchmark import BackendContestant, Benchmark, Contest, Contestant, FullContestant
from pipeline.study.config import run_config
from pipeline.study.group import parse


def benchmark_settings(raw: dict[str, Any]) -> Benchmark:
    return parse(Benchmark, raw)


def test_the_settings_know_all_contestants_and_who_can_sample() -> None:
    assert Contest.model_fields["contestants"].default == get_args(Contestant) == tuple(CONTESTANTS)
    able = [name for name, one in CONTESTANTS.items() if one.is_backend or name == REFERENCE]
    assert list(get_args(FullContestant)) == able
    assert list(get_args(BackendContestant)) == [name for name in able if name != REFERENCE]


def test_the_figures_know_the_rungs() -> None:
    assert set(benchmark_results.COLOURS) == set(CONTESTANTS)


def test_defaults_measure_all_three_networks() -> None:
    defaults = benchmark_settings({})
    assert [(one.hidden, one.layers) for one in defaults.training.values()] == [(64, 5), (128, 6), (256, 9)]
    assert defaults.batch_size == 64
    assert all(REFERENCE in one.contestants and "jax" in one.contestants for one in defaults.training.values())


def test_a_contestant_that_does_not_exist_is_named() -> None:
    with pytest.raises(InputError, match='"tensorflow" should be one of edm, torch'):
        benchmark_settings({"training": {"small": {"hidden": 8, "layers": 1, "contestants": ["tensorflow"]}}})


def test_a_framework_that_is_missing_is_named_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    check_frameworks(benchmark_settings({}))
    monkeypatch.setattr(frameworks, "find_spec", lambda name: None if name == "torch" else object())
    with pytest.raises(InputError, match="the contestant edm needs PyTorch, which is not installed: make torch, or"):
        check_frameworks(benchmark_settings({}))
    without: dict[str, Any] = {
        "training": {"small": {"hidden": 8, "layers": 1, "contestants": ["jax"]}},
        "sampling": {"contestants": ["jax"]},
        "scaling": {"contestants": []},
    }
    check_frameworks(benchmark_settings(without))


def test_the_form_of_the_reference_is_told_from_others() -> None:
    form = reference_settings(hidden=8, layers=2, batch_size=4)
    assert is_reference_form(run_config(form))
    form["model"]["node_norm"] = "rms"
    assert not is_reference_form(run_config(form))
