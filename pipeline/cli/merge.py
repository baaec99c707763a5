"""Stage merge: join samples that were drawn in parts; equal to samples drawn in one job.

    python -m pipeline.cli.merge results/runs/edm/samples/heun-50/*.parquet \
        --output results/runs/edm/samples/heun-50.parquet
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.cli.common import run, stage_parser
from pipeline.data.molecule_parquet import INDEX, read_columns, read_molecule_table, read_molecules, write_molecules
from pipeline.data.parquet_tables import UNIT
from pipeline.sampling.parts import merge_samples


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = stage_parser(__doc__)
    parser.add_argument(
        "parts", nargs="+", type=Path, metavar="FILE", help="part written by the stage sample with --part"
    )
    parser.add_argument("--output", required=True, type=Path, help="Parquet file to write")
    return run(_merge, parser, argv)


def _merge(args: argparse.Namespace) -> None:
    parts = [(read_molecules(path), read_columns(path, ["index"])["index"]) for path in args.parts]
    merged = merge_samples(parts, args.parts)
    # What the molecules were asked for.
    columns = pa.concat_tables([read_molecule_table(path).columns for path in args.parts])
    columns = columns.take(np.argsort(np.concatenate([numbers for _, numbers in parts]))).drop_columns([INDEX])
    write_molecules(
        args.output,
        merged,
        extra_columns=dict(zip(columns.column_names, columns.columns, strict=True)),
        units={field.name: field.metadata[UNIT].decode() for field in columns.schema if field.metadata},
    )


if __name__ == "__main__":
    sys.exit(main())
