import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save_file

from pipeline.core.errors import InputError
from pipeline.data.statistics import Statistics
from pipeline.study.config import RunConfig, run_config
from pipeline.training.run_folder import (
    MetricsLog,
    PretrainedWeights,
    provenance,
    read_pretrained,
    read_weights,
    write_weights,
)

CONFIG = {"name": "run", "data": "qm9", "training": {"steps": 700}, "model": {"hidden": 3}}
ARRAYS = {
    "layer_0.kernel": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32),
    "layer_0.bias": np.zeros(4, np.float32),
    "empty": np.zeros((0, 2), np.float32),
}
STATISTICS = Statistics(
    dataset="test",
    num_molecules={"train": 10, "validation": 1, "test": 1},
    size_histogram={"train": {5: 10}, "validation": {5: 1}, "test": {7: 1}},
    atom_counts={"H": 30, "C": 20, "N": 0, "O": 0, "F": 0},
    coordinate_scale=1.25,
    type_scale=0.1,
    buckets={9: 10},
)


def write(path: Path, arrays: Mapping[str, npt.NDArray[np.float32]] = ARRAYS) -> Path:
    write_weights(path, arrays, config=CONFIG, statistics=STATISTICS, provenance={"steps": 700})
    return path


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    weights = read_weights(write(tmp_path / "new" / "weights.safetensors"))
    assert weights.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert weights.arrays[name].dtype == np.float32
        assert (weights.arrays[name] == array).all()
    assert weights.config == run_config(CONFIG)
    assert weights.config.model.hidden == 3
    assert weights.statistics == STATISTICS
    assert weights.provenance == {"steps": 700}


def test_a_view_is_written_with_its_own_values(tmp_path: Path) -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(3, 4)
    weights = read_weights(write(tmp_path / "w", {"transposed": matrix.T, "column": matrix[:, 1]}))
    assert (weights.arrays["transposed"] == matrix.T).all()
    assert (weights.arrays["column"] == [1, 5, 9]).all()


def test_every_damage_is_found_and_told_in_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "weights.safetensors")
    whole = path.read_bytes()
    # Every byte of the last 200 (all of the arrays), every eleventh of the header; then cut short.
    places = [*range(0, len(whole), 11), *range(len(whole) - 200, len(whole))]
    damaged = [whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :] for place in places]
    for content in [*damaged, b"", whole[:-1], whole[: len(whole) // 2]]:
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_weights(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_what_are_not_weights_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; train the run first"):
        read_weights(tmp_path / "none.safetensors")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": np.zeros(2, np.float32)}, foreign)
    with pytest.raises(InputError, match="not weights of a run"):
        read_weights(foreign)
    with pytest.raises(InputError, match="layer_0.bias holds values that are not finite"):
        read_weights(write(tmp_path / "w", ARRAYS | {"layer_0.bias": np.full(4, np.nan, np.float32)}))
    # Of another version of this code: with a setting that has gone, intact all the same.
    older = weights_of(tmp_path, "older", consistency={"first_levels": 10})
    with pytest.raises(
        InputError, match=r"older\.safetensors: written by another version \(consistency.first_levels: no"
    ):
        read_weights(older)


def test_weights_that_cannot_be_written_leave_the_earlier_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "weights.safetensors")
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_weights(path, ARRAYS, config={"name": object()}, statistics=STATISTICS, provenance={})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# --- weights of other runs --------------------------------------------------------------------------------------------

DISTILLED: dict[str, Any] = {
    "objective": "consistency",
    "consistency": {"kind": "distillation"},
    "init": "tuned",
    "teacher": "denoiser",
}


def run_of(**run: Any) -> RunConfig:
    return run_config(CONFIG | {"name": "few-step"} | run)


def weights_of(folder: Path, name: str, factor: float = 1.0, **run: Any) -> Path:
    """Write weights of a denoiser."""
    arrays = {key: np.float32(factor) * array for key, array in ARRAYS.items()}
    path = folder / f"{name}.safetensors"
    config = CONFIG | {"name": name, "objective": "denoiser"} | run
    training = {"steps": 5, "training_seconds": 2.5, "started_from": {"edm": {"steps": 3, "training_seconds": 1.5}}}
    write_weights(path, arrays, config=config, statistics=STATISTICS, provenance=training)
    return path


def test_a_run_is_given_the_weights_it_names(tmp_path: Path) -> None:
    tuned, denoiser = weights_of(tmp_path, "tuned", 2.0), weights_of(tmp_path, "denoiser")
    pretrained = read_pretrained(run_of(**DISTILLED), STATISTICS.elements, init=tuned, teacher=denoiser)
    assert pretrained.init is not None and pretrained.teacher is not None
    for name, array in ARRAYS.items():
        assert (pretrained.init[name] == 2 * array).all()
        assert (pretrained.teacher[name] == array).all()
    each = {"steps": 5, "training_seconds": 2.5}
    # What both have behind them counts once.
    before = {"edm": {"steps": 3, "training_seconds": 1.5}}
    assert pretrained.trainings == {**before, "tuned": each, "denoiser": each}
    alone = read_pretrained(run_of(), STATISTICS.elements, init=None, teacher=None)
    assert alone.init is None and alone.teacher is None and not alone.trainings


def test_what_a_deeper_run_starts_and_learns_from_grows(tmp_path: Path) -> None:
    shallow: dict[str, Any] = {"model": {"hidden": 3, "layers": 1}}
    tuned, denoiser = weights_of(tmp_path, "tuned", 2.0, **shallow), weights_of(tmp_path, "denoiser", **shallow)
    deeper = run_of(**DISTILLED, model={"hidden": 3, "layers": 2})
    pretrained = read_pretrained(deeper, STATISTICS.elements, init=tuned, teacher=denoiser)
    for arrays, factor in ((pretrained.init, 2.0), (pretrained.teacher, 1.0)):
        assert arrays is not None and arrays.keys() == {*ARRAYS, "layer_1.kernel", "layer_1.bias"}
        assert (arrays["layer_1.kernel"] == factor * ARRAYS["layer_0.kernel"]).all()


def test_other_weights_to_start_from_have_another_digest(tmp_path: Path) -> None:
    one, other = (weights_of(tmp_path / str(factor), "denoiser", factor) for factor in (1.0, 2.0))
    config = run_of(**DISTILLED | {"init": "denoiser"})
    pretrained = [
        read_pretrained(config, STATISTICS.elements, init=init, teacher=teacher)
        for init, teacher in ((one, one), (one, one), (one, other), (other, one))
    ]
    digests = [start.digests() for start in pretrained]
    assert digests[0] == digests[1]
    assert len({tuple(digest) for digest in digests}) == 3
    assert PretrainedWeights().digests() == []


@pytest.mark.parametrize(
    ("run", "given", "message"),
    [
        (DISTILLED, {"teacher": "denoiser"}, "run few-step: --init should name the weights of the run tuned"),
        (DISTILLED, {"init": "tuned"}, "run few-step: --teacher should name the weights of the run denoiser"),
        ({}, {"init": "tuned"}, "run few-step: it has no init, so there should be no --init "),
        ({}, {"teacher": "tuned"}, "run few-step: it has no teacher, so there should be no --teacher "),
        (
            DISTILLED,
            {"init": "denoiser", "teacher": "denoiser"},
            "denoiser.safetensors: these are weights of the run denoiser, and those of tuned should be there",
        ),
        (
            DISTILLED | {"model": {"hidden": 3, "layers": 2}},
            {"init": "tuned", "teacher": "denoiser"},
            "run few-step: its model should be that of its init, the run tuned, or",
        ),
        (DISTILLED | {"teacher": None}, {"init": "tuned"}, "run few-step: teacher: is missing; distillation should"),
        (DISTILLED, {"init": "none", "teacher": "denoiser"}, "none.safetensors: no such file; train the run first"),
    ],
)
def test_weights_that_are_missing_superfluous_or_of_another_run(
    tmp_path: Path, run: dict[str, Any], given: dict[str, str], message: str
) -> None:
    for name in ("tuned", "denoiser"):
        weights_of(tmp_path, name)
    paths = {key: tmp_path / f"{given[key]}.safetensors" if key in given else None for key in ("init", "teacher")}
    with pytest.raises(InputError) as caught:
        read_pretrained(run_of(**run), STATISTICS.elements, **paths)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_does_not_start_from_one_of_other_elements(tmp_path: Path) -> None:
    # As many, so that the network would be the same.
    elements = (*STATISTICS.elements[:-1], 16)
    with pytest.raises(InputError, match="its data have H, .*, S, and those of the run tuned, its init, H, "):
        read_pretrained(run_of(init="tuned"), elements, init=weights_of(tmp_path, "tuned"), teacher=None)


def test_provenance_names_versions() -> None:
    found = provenance("numpy")
    assert found["numpy"] == np.__version__
    assert found.keys() == {"python", "numpy", "machine", "cores"}
    assert found["cores"] >= 1


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_metrics_grow_line_by_line(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "state" / "metrics.jsonl")
    log.append("train", step=10, loss=0.5)
    log.append("validation", step=10, loss=0.4)
    expected = [{"kind": "train", "step": 10, "loss": 0.5}, {"kind": "validation", "step": 10, "loss": 0.4}]
    assert lines(tmp_path / "state" / "metrics.jsonl") == expected
    log.copy_to(tmp_path / "metrics.jsonl")
    assert lines(tmp_path / "metrics.jsonl") == expected


def test_a_resumed_run_forgets_what_it_does_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    for step in (10, 20, 30):
        log.append("train", step=step)
        log.append("validation", step=step)
    with path.open("a") as file:
        file.write('{"kind": "train", "st')  # a kill in the middle of a line
    log.rewind(20)
    assert [(line["kind"], line["step"]) for line in lines(path)] == [
        ("train", 10), ("validation", 10), ("train", 20), ("validation", 20)
    ]  # fmt: skip
    log.rewind(0)
    assert path.read_text() == ""


def test_a_log_that_is_not_there_yet(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.rewind(0)
    log.copy_to(tmp_path / "copy.jsonl")
    assert (tmp_path / "copy.jsonl").read_text() == ""


def test_metrics_are_finite(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    with pytest.raises(ValueError, match="Out of range float"):
        log.append("train", step=1, loss=float("nan"))
    assert not (tmp_path / "metrics.jsonl").exists() or not (tmp_path / "metrics.jsonl").read_text()
