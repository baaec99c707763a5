"""Stage noise: molecules of pure noise, whose scores are the floor of every metric.

They are clouds of atoms: of the training molecules' sizes, each element equally likely, coordinates from a centred
Gaussian with the training molecules' standard deviation.

    python -m pipeline.cli.noise --statistics results/data/qm9/statistics.json --num 2000 --seed 0 \
        --output results/reference/noise.parquet
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.chemistry.noise_floor import noise_molecules
from pipeline.cli.common import run, stage_parser
from pipeline.data.molecule_parquet import write_molecules
from pipeline.data.statistics import read_statistics


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = stage_parser(__doc__)
    parser.add_argument("--statistics", required=True, type=Path, help="file written by the stage shard")
    parser.add_argument("--num", type=int, default=2000, help="number of clouds (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed (default: %(default)s)")
    parser.add_argument("--output", required=True, type=Path, help="Parquet file to write")
    return run(_noise, parser, argv)


def _noise(args: argparse.Namespace) -> None:
    statistics = read_statistics(args.statistics)
    molecules = noise_molecules(
        size_counts=statistics.size_histogram["train"],
        elements=statistics.elements,
        coordinate_scale=statistics.coordinate_scale,
        num=args.num,
        seed=args.seed,
    )
    write_molecules(
        args.output,
        molecules,
        metadata={"source": "noise", "seed": args.seed, "coordinate_scale": statistics.coordinate_scale},
    )


if __name__ == "__main__":
    sys.exit(main())
