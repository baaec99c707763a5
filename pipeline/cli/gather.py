"""Stage gather: all results of a run in one file.

    python -m pipeline.cli.gather --run edm --evaluations results/runs/edm/evaluation/heun-50.json \
        --likelihood results/runs/edm/likelihood.json --output results/runs/edm/metrics.json
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.cli.common import run, stage_parser
from pipeline.core.files import read_json, write_json


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = stage_parser(__doc__)
    parser.add_argument("--run", required=True, help="name of the run")
    parser.add_argument(
        "--evaluations",
        required=True,
        type=Path,
        nargs="+",
        help="evaluations of its samplers, each named {sampler}.json",
    )
    parser.add_argument("--likelihood", type=Path, help="file written by the stage likelihood")
    parser.add_argument("--output", required=True, type=Path, help="JSON file to write")
    return run(_gather, parser, argv)


def _gather(args: argparse.Namespace) -> None:
    metrics = {
        "run": args.run,
        "samplers": {path.stem: read_json(path) for path in args.evaluations},
        "likelihood": read_json(args.likelihood) if args.likelihood else None,
    }
    write_json(args.output, metrics)


if __name__ == "__main__":
    sys.exit(main())
