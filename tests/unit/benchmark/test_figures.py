"""The figures of the benchmarks, drawn from results that nothing was measured for."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.benchmark.tables import three_figures
from pipeline.core.errors import InputError
from pipeline.figures import style
from pipeline.figures.benchmark import figures_of
from pipeline.figures.benchmark_results import read_benchmarks
from tests.unit.figures.test_pictures import drawn_texts


def names(results: Path) -> list[str]:
    with style.project_style():
        benchmarks = read_benchmarks(results)
        return [draw(benchmarks).name for draw in figures_of(benchmarks)]


def test_there_is_a_figure_for_every_part(results: Path) -> None:
    expected = ["benchmark-throughput", "benchmark-ablation", "benchmark-scaling", "benchmark-roofline"]
    assert names(results) == expected


def test_what_was_not_measured_is_not_drawn(results: Path) -> None:
    for part in ("scaling", "peak", "sampling"):
        (results / f"{part}.json").unlink()
    assert names(results) == ["benchmark-throughput", "benchmark-ablation"]


def test_all_type_is_whole_apart_and_large_enough(results: Path) -> None:
    benchmarks = read_benchmarks(results)
    with style.project_style():
        for draw in figures_of(benchmarks):
            picture = draw(benchmarks)
            assert picture.caption.endswith(".")
            picture.figure.draw_without_rendering()
            page, boxes = picture.figure.bbox, []
            for text in drawn_texts(picture.figure):
                assert float(text.get_fontsize()) >= style.FONT_SIZE
                box = text.get_window_extent()
                assert box.x0 >= page.x0 and box.y0 >= page.y0 and box.x1 <= page.x1 and box.y1 <= page.y1, text
                boxes.append(box.shrunk(0.97, 0.8).extents)
            left, bottom, right, top = np.array(boxes).T[:, :, None]
            overlap = (left < right.T) & (right > left.T) & (bottom < top.T) & (top > bottom.T)
            np.fill_diagonal(overlap, False)
            assert not overlap.any(), (picture.name, np.argwhere(overlap)[0])


@pytest.mark.parametrize(
    ("gpus", "machine"),
    [
        ({"torch": "NVIDIA H100", "jax": "NVIDIA H100"}, "NVIDIA H100"),
        ({"torch": "NVIDIA H100", "jax": None}, "A processor, 2 cores"),
        ({"torch": None, "jax": None}, "A processor, 2 cores"),
    ],
)
def test_a_gpu_is_named_where_all_ran_on_it(results: Path, gpus: dict[str, str | None], machine: str) -> None:
    path = results / "peak.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"gpus": gpus}))
    assert read_benchmarks(results).machine == machine


def test_needed_operations_are_a_part_of_those_done(results: Path) -> None:
    small, *_ = read_benchmarks(results).training
    assert small.needed_share["jax"] == pytest.approx(1 / 3)
    assert small.failed == ["PyTorch backend, compiled"]


def test_damaged_results_are_named(results: Path) -> None:
    training = json.loads((results / "training.json").read_text())
    del training["networks"]["small"]["contestants"]["jax"]["memory_mb"]
    (results / "training.json").write_text(json.dumps(training))
    with pytest.raises(InputError, match="not what the stage benchmark writes .*memory_mb"):
        read_benchmarks(results)


@pytest.mark.parametrize(
    ("value", "text"), [(0.01234, "0.012"), (0.5, "0.500"), (5.317, "5.32"), (99.96, "100"), (1234.5, "1,234")]
)
def test_numbers_have_three_figures(value: float, text: str) -> None:
    assert three_figures(value) == text
