"""How fast the backends are: throughput, what it is made of, how it scales, how near it is to the machine's limit."""

from collections.abc import Callable

from pipeline.figures import style
from pipeline.figures.benchmark_bars import draw_ablation, draw_roofline, draw_throughput, has_ablation
from pipeline.figures.benchmark_results import Benchmarks
from pipeline.figures.benchmark_scaling import draw_scaling


def figures_of(benchmarks: Benchmarks) -> list[Callable[[Benchmarks], style.Picture]]:
    """Return what draws the figures that there are results for, in the order of the page."""
    trained = any(group.contestants for group in benchmarks.training)
    sampled = any(group.contestants for group in benchmarks.sampling)
    scaled = any(group.contestants for axis in benchmarks.scaling for _, group in axis.points)
    there = {
        draw_throughput: trained or sampled,
        draw_ablation: has_ablation(benchmarks),
        draw_scaling: scaled,
        draw_roofline: trained and benchmarks.peak is not None,
    }
    return [draw for draw, wanted in there.items() if wanted]
