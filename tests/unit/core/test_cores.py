import os

import pytest

from pipeline.core.cores import available_cores


@pytest.mark.parametrize("value", ["", "0", "100000", "none"])
def test_without_a_smaller_share_all_cores_are_used(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", value)
    assert available_cores() == len(os.sched_getaffinity(0))


def test_a_task_uses_what_it_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert available_cores() == 3
