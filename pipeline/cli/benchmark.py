"""Stage benchmark: speed of the backends and of the published EDM in training and sampling.

    python -m pipeline.cli.benchmark --shards results/data/qm9/shards --statistics results/data/qm9/statistics.json \
        --output results/benchmarks

Run nothing else at the same time.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.api import load_run
from pipeline.benchmark.contestants import check_frameworks
from pipeline.benchmark.sections import Inputs, trained_contestants
from pipeline.benchmark.study import run_benchmark
from pipeline.benchmark.tables import tables
from pipeline.cli.common import check_folder, run, stage_parser
from pipeline.core.cores import available_cores
from pipeline.core.errors import InputError
from pipeline.core.files import atomic_directory, write_text
from pipeline.core.progress import progress
from pipeline.data.shards import read_shards
from pipeline.data.statistics import read_statistics
from pipeline.study.benchmark import Benchmark
from pipeline.study.config import SamplerConfig
from pipeline.study.group import parse, read_settings

TABLE = "table.md"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = stage_parser(__doc__)
    parser.add_argument("--shards", required=True, type=Path, help="directory written by the stage shard")
    parser.add_argument("--statistics", required=True, type=Path, help="statistics.json written by the stage shard")
    parser.add_argument("--settings", default="{}", metavar="JSON", help="benchmark section of a study, or part of it")
    parser.add_argument("--weights", type=Path, help="weights.safetensors of a run to sample with as well")
    parser.add_argument("--sampler", type=Path, help="JSON file with the settings of the sampler for --weights")
    parser.add_argument("--cores", type=int, help="CPU cores of each contestant; default: all")
    parser.add_argument("--output", required=True, type=Path, help="directory to write, created when complete")
    return run(_benchmark, parser, argv)


def _benchmark(args: argparse.Namespace) -> None:
    if (args.weights is None) != (args.sampler is None):
        raise InputError("--weights and --sampler should be given together")
    settings = parse(Benchmark, _parsed(args.settings))
    check_frameworks(settings)
    cores = available_cores() if args.cores is None else args.cores
    if not 1 <= cores <= available_cores():
        raise InputError(f"--cores {cores} should be from 1 to {available_cores()}, the available cores")
    check_folder(args.output, "benchmarks", TABLE)
    # Report damaged files before minutes of measuring.
    read_statistics(args.statistics)
    if not read_shards(args.shards, "train"):
        raise InputError(f"{args.shards}: has no training molecules")
    sampler = None
    if args.weights:
        trained = load_run(args.weights)
        sampler = trained.with_levels(read_settings(SamplerConfig, args.sampler))
        trained_contestants(settings.sampling, trained.weights.config, sampler)
    with (
        atomic_directory(args.output) as folder,
        progress(total=None, description="benchmark", unit="turns", log=args.log) as bar,
    ):
        inputs = Inputs(
            settings=settings,
            shards=args.shards.absolute(),
            statistics=args.statistics.absolute(),
            cores=cores,
            weights=args.weights.absolute() if args.weights else None,
            sampler=sampler,
            note=bar.note,
            advance=lambda: bar.update(1),
        )
        found = run_benchmark(inputs, folder)
        table = tables(found)
        write_text(folder / TABLE, table)
    print(table, end="")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"--settings is not JSON: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
