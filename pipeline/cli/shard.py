"""Stage shard: molecules padded in size buckets, and their statistics.

    python -m pipeline.cli.shard --molecules results/data/qm9/molecules.parquet --buckets 15 17 18 19 20 21 29 \
        --shards results/data/qm9/shards --statistics results/data/qm9/statistics.json
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.cli.common import run, stage_parser
from pipeline.data.molecule_parquet import read_columns, read_molecules
from pipeline.data.shards import make_shards, write_shards
from pipeline.data.statistics import measure, write_statistics


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = stage_parser(__doc__)
    parser.add_argument("--molecules", required=True, type=Path, help="file written by the stage parse")
    parser.add_argument(
        "--buckets", type=int, nargs="+", help="sizes in atoms, ascending (default: seven that leave the least padding)"
    )
    parser.add_argument("--shards", required=True, type=Path, help="directory to write, replaced as a whole")
    parser.add_argument("--statistics", required=True, type=Path, help="JSON file to write")
    return run(_shard, parser, argv)


def _shard(args: argparse.Namespace) -> None:
    molecules = read_molecules(args.molecules)
    columns = read_columns(args.molecules, ["index", "split"])
    shards = make_shards(molecules, index=columns["index"], split=columns["split"], buckets=args.buckets)
    statistics = measure(shards, dataset=molecules.metadata.get("source"))
    write_shards(args.shards, shards)
    write_statistics(args.statistics, statistics)


if __name__ == "__main__":
    sys.exit(main())
