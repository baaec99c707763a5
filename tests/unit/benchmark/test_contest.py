"""Order of turns and averages of their times, with fake processes."""

from collections import Counter
from typing import Any

import pytest

from pipeline.benchmark import contest
from pipeline.benchmark.contest import Arena, Outcome, Turn, turns
from pipeline.benchmark.processes import ContestantFailed
from pipeline.benchmark.sections import summarise
from pipeline.benchmark.tasks import Task

from .conftest import outcome


def test_everyone_has_a_turn_in_each_repetition_and_the_first_one_changes() -> None:
    order = list(turns(["a", "b", "c"], 4))
    assert order == ["a", "b", "c", "b", "c", "a", "c", "a", "b", "a", "b", "c"]
    assert Counter(order) == {"a": 4, "b": 4, "c": 4}


def test_kinds_of_units_count_by_their_share_and_not_by_how_often_they_ran() -> None:
    found = outcome("jax", [])
    found.shares = {"15": 0.75, "29": 0.25}
    found.turns = [
        Turn({"15": [1.0, 3.0], "29": [10.0]}, {"15": [15, 15], "29": [29]}, 0, 1.0, 1.0, 0.0),
        Turn({"15": [4.0], "29": [8.0]}, {"15": [15], "29": [29]}, 0, 1.0, 1.0, 0.0),
    ]
    assert found.seconds() == [0.75 * 2.0 + 0.25 * 10.0, 0.75 * 4.0 + 0.25 * 8.0]
    assert found.mean(lambda width: width) == 0.75 * 15 + 0.25 * 29


def test_speed_ups_are_of_molecules_not_of_units() -> None:
    # The reference does fewer molecules in a unit.
    found = summarise(
        {"edm": outcome("edm", [1.0, 2.0], molecules=10), "jax": outcome("jax", [1.0, 2.0], molecules=40)}
    )
    assert found["jax"]["speed_up"] == {"value": 4.0, "low": 4.0, "high": 4.0}
    assert found["jax"]["molecules_per_second"]["value"] == 30.0
    assert "speed_up" not in found["edm"]


def test_without_the_reference_there_are_rates_alone() -> None:
    assert "speed_up" not in summarise({"jax": outcome("jax", [1.0])})["jax"]
    failed = summarise({"edm": outcome("edm", [1.0], failed="no memory"), "jax": outcome("jax", [1.0])})
    assert failed["edm"] == {"label": "PyTorch EDM, as published", "failed": "no memory"}
    assert "speed_up" not in failed["jax"]


class FakeProcess:
    """Answers immediately; fails on request."""

    log: list[str]
    fails: dict[str, str]

    def __init__(self) -> None:
        self.task: Task | None = None

    def start(self, task: Task) -> dict[str, Any]:
        self.task = task
        self._do("start")
        return {"seconds": 1.0, "gpu": None, "base_mb": 1.0, "shares": {"all": 1.0}, "molecules": 1}

    def request(self, action: str, **details: Any) -> dict[str, Any]:
        self._do(action)
        if action == "warm":
            return {"first_seconds": 0.0, "seconds": 0.4}
        passes = details["passes"]
        return {
            "seconds": {"all": [0.4] * passes}, "widths": {"all": [9] * passes}, "compilations": 0,
            "resident_mb": 1.0, "peak_mb": 1.0,
        }  # fmt: skip

    def close(self) -> None:
        self._do("close")

    def _do(self, what: str) -> None:
        assert self.task is not None
        self.log.append(f"{what} {self.task.contestant}")
        if self.fails.get(self.task.contestant) == what:
            raise ContestantFailed("no memory")


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> type[FakeProcess]:
    """Let processes be fake ones; return their class."""
    monkeypatch.setattr(FakeProcess, "log", [], raising=False)
    monkeypatch.setattr(FakeProcess, "fails", {}, raising=False)
    monkeypatch.setattr(contest, "Process", FakeProcess)
    monkeypatch.setattr(contest, "PAUSE", 0.0)
    return FakeProcess


def measure(*names: str, repetitions: int = 2) -> dict[str, Outcome]:
    tasks = {name: outcome(name, []).task for name in names}
    with Arena(parallel_starts=1) as arena:
        return arena.measure(tasks, repetitions=repetitions, seconds=1.0)


def test_a_turn_lasts_at_least_as_long_as_asked(process: type[FakeProcess]) -> None:
    found = measure("edm", "jax")
    assert [len(turn.seconds["all"]) for turn in found["jax"].turns] == [3, 3]
    order = [line for line in process.log if line.startswith("measure")]
    assert order == ["measure edm", "measure jax", "measure jax", "measure edm"]


@pytest.mark.parametrize("where", ["start", "warm", "measure"])
def test_who_fails_drops_out_and_the_others_go_on(process: type[FakeProcess], where: str) -> None:
    process.fails = {"edm": where}
    found = measure("edm", "jax", repetitions=3)
    assert found["edm"].failed == "no memory"
    assert len(found["jax"].turns) == 3
    assert process.log.count("close edm") == 1
    assert process.log.count("measure edm") <= 1


def test_a_failed_contestant_gets_a_new_process_in_the_next_measurement(process: type[FakeProcess]) -> None:
    process.fails = {"edm": "measure"}
    tasks = {name: outcome(name, []).task for name in ("edm", "jax")}
    with Arena(parallel_starts=1) as arena:
        assert arena.measure(tasks, repetitions=1, seconds=0.1)["edm"].failed
        process.fails = {}
        assert arena.measure(tasks, repetitions=1, seconds=0.1)["edm"].failed is None
    assert process.log.count("close edm") == 2
    assert process.log.count("close jax") == 1
