"""Stage figures: all figures of a study, a table of its results and a page that shows them.

    python -m pipeline.cli.figures --weights results/runs/edm/weights.safetensors \
        --curves results/runs/edm/metrics.jsonl --metrics results/runs/edm/metrics.json \
        --samples results/runs/edm/samples/heun-50.parquet --molecules results/data/qm9/molecules.parquet \
        --floor results/reference/noise.json --ceiling results/reference/qm9.json \
        --trajectory results/runs/edm/trajectories/heun-50.parquet --output results/figures
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.chemistry.metrics import read_summary
from pipeline.cli.common import at_least, check_folder, run, stage_parser
from pipeline.core.files import atomic_directory
from pipeline.data.molecule_parquet import read_molecules


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = stage_parser(__doc__)
    one_per_run = "one per run, in the same order"
    parser.add_argument("--weights", required=True, type=Path, nargs="+", help=f"weights.safetensors, {one_per_run}")
    parser.add_argument("--curves", required=True, type=Path, nargs="+", help=f"metrics.jsonl, {one_per_run}")
    parser.add_argument("--metrics", required=True, type=Path, nargs="+", help=f"metrics.json, {one_per_run}")
    parser.add_argument("--samples", required=True, type=Path, nargs="+", help="sample files of all runs, in any order")
    parser.add_argument("--molecules", required=True, type=Path, help="file written by the stage parse")
    parser.add_argument("--dataset", default="qm9", help="name of the data in figures (default: %(default)s)")
    parser.add_argument("--floor", required=True, type=Path, help="evaluation of the noise")
    parser.add_argument("--ceiling", required=True, type=Path, help="evaluation of the data")
    parser.add_argument("--trajectory", type=Path, help="frames of one molecule, written by the stage sample")
    parser.add_argument("--properties", type=Path, nargs="+", default=[], help="files of the stage predict for samples")
    parser.add_argument("--baselines", type=Path, nargs="+", default=[], help="its files for the data")
    parser.add_argument("--benchmarks", type=Path, help="directory written by the stage benchmark")
    parser.add_argument(
        "--gallery-molecules", type=at_least(1), default=12, help="molecules in a run's gallery (default: %(default)s)"
    )
    parser.add_argument("--output", required=True, type=Path, help="directory to write, created when complete")
    return run(_figures, parser, argv)


def _figures(args: argparse.Namespace) -> None:
    # Imported here: matplotlib needs a home folder when it is imported, which ``run`` has provided by now.
    from pipeline.figures.benchmark_results import read_benchmarks
    from pipeline.figures.inputs import read_runs, read_trajectory
    from pipeline.figures.properties import read_property_errors
    from pipeline.figures.study import PAGE, Study, draw_study

    check_folder(args.output, "figures", PAGE)
    study = Study(
        runs=read_runs(weights=args.weights, curves=args.curves, metrics=args.metrics, samples=args.samples),
        floor=read_summary(args.floor),
        ceiling=read_summary(args.ceiling),
        molecules=read_molecules(args.molecules, split="train"),
        dataset="QM9" if args.dataset == "qm9" else args.dataset,
        trajectory=read_trajectory(args.trajectory) if args.trajectory else None,
        gallery_molecules=args.gallery_molecules,
        properties=read_property_errors(args.properties, args.baselines),
        benchmarks=read_benchmarks(args.benchmarks) if args.benchmarks else None,
    )
    with atomic_directory(args.output) as folder:
        draw_study(study, folder, log=args.log)


if __name__ == "__main__":
    sys.exit(main())
