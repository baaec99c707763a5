"""The stage as a whole: what it writes, that it writes it again alike, and what it refuses."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest

from pipeline.chemistry.molecules import Molecules
from pipeline.cli.figures import main
from pipeline.data.molecule_parquet import read_molecules, write_molecules

if TYPE_CHECKING:
    from tests.unit.figures.conftest import FakeStudy


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


FIGURES = ["quality", "training", "gallery-edm", "trajectory", "distributions-edm", "structures-edm"]


def test_writes_every_figure_twice_the_tables_and_the_page(drawn: Path) -> None:
    files = {f"{name}.{ending}" for name in FIGURES for ending in ("svg", "png")}
    assert set(content(drawn)) == files | {"table.csv", "table.md", "molecules.csv", "index.html"}
    for name in FIGURES:
        ElementTree.parse(drawn / f"{name}.svg")
    assert list(drawn.parent.iterdir()) == [drawn]


def test_draws_the_same_bytes_again_in_another_process_without_a_backend(
    drawn: Path, one_run: FakeStudy, tmp_path: Path
) -> None:
    code = """
import sys
from pipeline.cli.figures import main
status = main(sys.argv[1:])
assert not {"jax", "torch"} & set(sys.modules)
sys.exit(status)
"""
    command = [sys.executable, "-c", code, *one_run.argv(tmp_path / "again")]
    subprocess.run(command, check=True, capture_output=True)
    assert content(tmp_path / "again") == content(drawn)


def test_floor_and_ceiling_stand_in_the_same_table_as_the_results(drawn: Path, one_run: FakeStudy) -> None:
    with (drawn / "table.csv").open(newline="") as file:
        rows = {row["metric"]: row for row in csv.DictReader(file)}
    ceiling = json.loads(one_run.options["ceiling"][0].read_text())
    assert float(rows["atom_stability"]["ceiling"]) == ceiling["atom_stability"]["value"]
    assert rows["atom_stability"]["name"] == "edm, heun-50"
    costs = [rows["atom_stability"][key] for key in ("network_calls", "seconds_a_molecule", "training_minutes")]
    np.testing.assert_allclose(np.array(costs, np.float64), [50, 0.02, 12])
    lines = (drawn / "table.md").read_text().splitlines()
    assert "noise (floor)" in lines[2]
    assert "| edm, heun-50 | 64 | 50 | 0.02 | 12 |" in lines[3]
    assert "data (ceiling)" in lines[4]


def test_draws_several_runs_and_leaves_out_the_trajectory(many_runs: FakeStudy, tmp_path: Path) -> None:
    options = {option: many_runs.options[option][-2:] for option in ("weights", "curves", "metrics")}
    names = [path.parent.name for path in options["weights"]]
    samples = [path for path in many_runs.options["samples"] if path.parents[1].name in names]
    output = tmp_path / "figures"
    assert main(many_runs.argv(output, **options, samples=samples, gallery_molecules=[3])) == 0
    assert {f"{figure}-{name}.png" for figure in ("gallery", "distributions") for name in names} <= set(content(output))
    assert "trajectory.svg" not in content(output)


def test_a_model_without_losses_has_no_training_curves(one_run: FakeStudy, tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"kind": "train", "step": 100, "seconds": 60.0, "loss": null}\n')
    output = tmp_path / "figures"
    assert main(one_run.argv(output, curves=[log], gallery_molecules=[3])) == 0
    assert "training.svg" not in content(output) and "quality.svg" in content(output)


def refused(study: FakeStudy, drawn: Path, capsys: pytest.CaptureFixture[str], **changes: Sequence[Path | int]) -> str:
    """Run the stage over earlier figures; return its one line of error."""
    before = content(drawn)
    assert main(study.argv(drawn, **changes)) == 2
    assert content(drawn) == before
    assert list(drawn.parent.iterdir()) == [drawn]
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    return error


@pytest.mark.parametrize(
    "option", ["weights", "curves", "metrics", "samples", "molecules", "floor", "ceiling", "trajectory"]
)
def test_refuses_a_missing_file_and_a_foreign_one(
    option: str, one_run: FakeStudy, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path / "absent", tmp_path / "foreign"):
        if path.name == "foreign":
            path.write_bytes(b"\x89PNG\r\n")
        assert str(path) in refused(one_run, drawn, capsys, **{option: [path]})


def edited(path: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    value = json.loads(path.read_text())
    change(value)
    (tmp_path / path.name).write_text(json.dumps(value))
    return tmp_path / path.name


def test_refuses_metrics_of_another_run(
    one_run: FakeStudy, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edited(one_run.options["metrics"][0], tmp_path, lambda value: value.update(run="other"))
    assert "'other'" in refused(one_run, drawn, capsys, metrics=[path])


def test_refuses_an_evaluation_that_is_not_whole(
    one_run: FakeStudy, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edited(one_run.options["metrics"][0], tmp_path, lambda value: value["samplers"]["heun-50"].pop("validity"))
    assert "heun-50: has no validity" in refused(one_run, drawn, capsys, metrics=[path])


def test_refuses_samples_that_are_missing_foreign_or_nobodys(
    one_run: FakeStudy, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edited(
        one_run.options["metrics"][0],
        tmp_path,
        lambda value: value["samplers"].update(more=value["samplers"]["heun-50"]),
    )
    assert "sampler more" in refused(one_run, drawn, capsys, metrics=[path])

    molecules = read_molecules(one_run.options["samples"][0])
    for name, metadata in (("foreign", {"run": "edm", "sampler": "more"}), ("nobodys", {})):
        path = tmp_path / f"{name}.parquet"
        write_molecules(path, molecules, metadata=metadata)
        assert str(path) in refused(one_run, drawn, capsys, samples=[*one_run.options["samples"], path])
    assert "the same as" in refused(one_run, drawn, capsys, samples=one_run.options["samples"] * 2)


def test_refuses_a_run_given_twice_and_lists_of_different_length(
    one_run: FakeStudy, drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = {option: one_run.options[option] * 2 for option in ("weights", "curves", "metrics")}
    assert "given twice" in refused(one_run, drawn, capsys, **twice)
    assert "--curves" in refused(one_run, drawn, capsys, curves=one_run.options["curves"] * 2)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (['{"kind": "train", "step": 1, "epoch": 1, "sec'], "line 1"),
        (['{"kind": "validation", "step": 1, "epoch": 1, "seconds": 1, "loss": 1}'], "no training loss"),
        (['{"kind": "train", "step": 1, "epoch": 1, "loss": 1}'], "seconds"),
        (['{"kind": "train", "step": 1, "seconds": 1, "loss": 1}', '{"kind": "samples", "step": 1}'], "sampler"),
    ],
)
def test_refuses_curves_that_train_did_not_write(
    lines: list[str], reason: str, one_run: FakeStudy, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(lines))
    assert reason in refused(one_run, drawn, capsys, curves=[path])


def test_refuses_a_trajectory_of_one_frame_or_of_two_molecules(
    one_run: FakeStudy, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], real: Molecules
) -> None:
    path = tmp_path / "trajectory.parquet"
    numbers, positions = real[5]
    frames = Molecules.from_list([(numbers, positions)] * 2)
    for some, frame in ((frames.select([0]), [0]), (frames, [0, 0])):
        columns = {"frame": np.array(frame, dtype=np.int32), "sigma": np.ones(len(frame), dtype=np.float32)}
        write_molecules(path, some, extra_columns=columns)
        assert str(path) in refused(one_run, drawn, capsys, trajectory=[path])


def test_refuses_to_replace_what_is_not_a_folder_of_figures(
    one_run: FakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("thesis", "file"):
        assert main(one_run.argv(tmp_path / name)) == 2
        assert str(tmp_path / name) in capsys.readouterr().err
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "x"


def test_refuses_a_gallery_of_nothing(one_run: FakeStudy, drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--gallery-molecules" in refused(one_run, drawn, capsys, gallery_molecules=[0])
