"""Figures of the benchmarks: throughput, ablation, scaling, and distance from the machine's peak."""

from collections.abc import Callable

from pipeline.figures import style
from pipeline.figures.benchmark_bars import draw_ablation, draw_roofline, draw_throughput, has_ablation
from pipeline.figures.benchmark_results import Benchmarks
from pipeline.figures.benchmark_scaling import draw_scaling


def figures_of(benchmarks: Benchmarks) -> list[Callable[[Benchmarks], style.Picture]]:
    """Return the functions that draw the figures that have results, in the order of the page."""
    trained = any(group.contestants for group in benchmarks.training)
    sampled = any(group.contestants for group in benchmarks.sampling)
    scaled = any(group.contestants for axis in benchmarks.scaling for _, group in axis.points)
    has_results = {
        draw_throughput: trained or sampled,
        draw_ablation: has_ablation(benchmarks),
        draw_scaling: scaled,
        draw_roofline: trained and benchmarks.peak is not None,
    }
    return [draw for draw, present in has_results.items() if present]
