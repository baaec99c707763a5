"""Stage merge: join samples that were drawn in parts; equal to samples drawn in one job.

    python -m pipeline.cli.merge results/runs/edm/samples/heun-50/*.parquet \
        --output results/runs/edm/samples/heun-50.parquet
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.cli.common import add_log, run
from pipeline.data.molecule_parquet import read_columns, read_molecules, write_molecules
from pipeline.sampling.parts import merge_samples


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = argparse.ArgumentParser(prog="merge", description="Join samples that were drawn in parts.")
    parser.add_argument(
        "parts", nargs="+", type=Path, metavar="FILE", help="part written by the stage sample with --part"
    )
    parser.add_argument("--output", required=True, type=Path, help="Parquet file to write")
    add_log(parser)
    return run(_merge, parser, argv)


def _merge(args: argparse.Namespace) -> None:
    parts = [(read_molecules(path), read_columns(path, ["index"])["index"]) for path in args.parts]
    write_molecules(args.output, merge_samples(parts, args.parts))


if __name__ == "__main__":
    sys.exit(main())
