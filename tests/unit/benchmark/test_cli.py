"""The whole stage on 64 molecules and networks of almost nothing; no speed is asserted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.benchmark import sections
from pipeline.cli.benchmark import main
from pipeline.figures.benchmark_results import read_benchmarks
from pipeline.study.released import released_path

if TYPE_CHECKING:
    from tests.unit.conftest import Data

SETTINGS: dict[str, Any] = {
    "batch_size": 2,
    "seconds": 0.001,
    "training": {"tiny": {"hidden": 4, "layers": 1, "contestants": ["edm", "jax"], "repetitions": 2}},
    "sampling": {"contestants": []},
    "scaling": {
        "hidden": 4, "layers": 1, "contestants": ["edm"], "repetitions": 1,
        "atoms": [3, 2], "atoms_batch": 2, "batch_sizes": [], "batch_atoms": 3, "cores": [4096],
    },
    "startup": [],
}  # fmt: skip


def benchmark(data: Data, output: Path, **options: Any) -> int:
    everything = {
        "shards": data.shards, "statistics": data.statistics, "settings": json.dumps(SETTINGS), "output": output,
    }  # fmt: skip
    return main([word for name, value in (everything | options).items() for word in (f"--{name}", str(value))])


def test_it_measures_what_it_is_asked_for(data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, log = tmp_path / "benchmarks", tmp_path / "log"
    assert benchmark(data, output, cores=1, log=log) == 0
    found = {path.stem: json.loads(path.read_text()) for path in output.glob("*.json")}
    assert set(found) == {"machine", "peak", "training", "scaling"}

    contestants = found["training"]["networks"]["tiny"]["contestants"]
    assert not [one for one in contestants.values() if "failed" in one]
    for one in contestants.values():
        assert len(one["seconds"]) == 2
        assert one["compilations"] == 0
        assert one["molecules_per_second"]["low"] <= one["molecules_per_second"]["value"]
        assert one["memory_mb"]["peak"] >= one["memory_mb"]["after_last_repetition"] > 0
    assert list(contestants["jax"]["kinds"]) == ["18", "29"]
    assert list(contestants["edm"]["kinds"]) == ["all"]
    # Padding against the least that there is to do.
    needed = found["training"]["networks"]["tiny"]["needed_operations"]
    assert needed < min(one["operations"] for one in contestants.values())

    axes = found["scaling"]["axes"]
    assert [point["atoms"] for point in axes["atoms"]["points"]] == [2, 3]
    assert axes["cores"]["points"] == []  # no machine has so many

    assert found["machine"]["machine"]["cores"] == 1
    assert found["machine"]["settings"]["batch_size"] == 2
    table = (output / "table.md").read_text()
    assert capsys.readouterr().out == table
    assert "Training, 4 x 1, batch 2" in table
    assert "PyTorch EDM" in table
    assert "training, 4 x 1" in log.read_text()
    read_benchmarks(output)

    # Earlier benchmarks are replaced; anything else is not.
    (output / "table.md").unlink()
    assert benchmark(data, output) == 2
    assert "contains other files than benchmarks" in capsys.readouterr().err


def test_trained_weights_are_compared_with_the_published_model(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sections, "PUBLISHED_SIZE", (4, 1))
    sampler = tmp_path / "sampler.json"
    sampler.write_text('{"name": "steps-1", "kind": "consistency", "steps": 1}')
    settings: dict[str, Any] = {"training": {}, "scaling": {"contestants": []}, "startup": []}
    settings["sampling"] = {
        "hidden": 4, "layers": 1, "contestants": ["edm", "jax"], "repetitions": 1, "calls": 2, "molecules": 4,
    }  # fmt: skip
    options = {"settings": json.dumps(settings), "weights": released_path("few-step"), "sampler": sampler}
    assert benchmark(data, tmp_path / "benchmarks", **options) == 0
    found = json.loads((tmp_path / "benchmarks/sampling.json").read_text())
    published, ours = found["trained"]["contestants"].values()
    theirs = found["contestants"]["edm"]
    assert theirs["molecules"] == 4
    factor = theirs["seconds_per_molecule_at_all_steps"]["value"] / theirs["seconds_per_molecule"]["value"]
    assert factor == pytest.approx(500)
    assert published["seconds_per_molecule"]["value"] == 500 * theirs["seconds_per_molecule"]["value"]
    assert published["stable_molecules_per_second"]["value"] == pytest.approx(
        0.82 * theirs["molecules_per_second"]["value"] / 500
    )
    ratio, rate = ours["speed_up"], ours["stable_molecules_per_second"]
    assert ratio["value"] == pytest.approx(rate["value"] / published["stable_molecules_per_second"]["value"])
    assert ratio["low"] <= ratio["value"] <= ratio["high"]
    assert "PyTorch EDM, as published, 1,000 calls" in capsys.readouterr().out
    read_benchmarks(tmp_path / "benchmarks")


def test_trained_weights_need_a_contestant_that_samples_them(
    data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sampler = tmp_path / "sampler.json"
    sampler.write_text('{"name": "steps-1", "kind": "consistency", "steps": 1}')
    options = {"settings": '{"sampling": {"contestants": ["edm"]}}', "weights": released_path("few-step")}
    assert benchmark(data, tmp_path / "benchmarks", **options, sampler=sampler) == 2
    message = "benchmark.sampling.contestants: edm cannot sample steps-1 of few-step; add torch or jax\n"
    assert capsys.readouterr().err.endswith(message)
    assert not (tmp_path / "benchmarks").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settings": "{"}, "--settings is not JSON"),
        ({"settings": '{"batch": 1}'}, "batch: no such setting; did you mean batch_size?"),
        ({"weights": "x"}, "--weights and --sampler should be given together"),
        ({"cores": 0}, "--cores 0 should be from 1 to"),
        ({"shards": "nowhere"}, "nowhere: has no shards of the split train"),
    ],
)
def test_a_mistake_is_one_line(
    data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any], message: str
) -> None:
    assert benchmark(data, tmp_path / "benchmarks", **options) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "benchmarks").exists()
