"""Stage judge: the slow part of scoring, for a part of the samples; the stage evaluate uses its results.

    python -m pipeline.cli.judge samples.parquet --part 1-of-4 --train results/data/qm9/molecules.parquet \
        --output records/1-of-4.parquet
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.chemistry.metrics import known_molecules
from pipeline.chemistry.rdkit_molecules import perceive
from pipeline.cli.common import run, stage_parser
from pipeline.core.files import sha256
from pipeline.core.progress import progress
from pipeline.data.molecule_parquet import read_molecules
from pipeline.data.records import Records, write_records
from pipeline.sampling.parts import Part


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = stage_parser(__doc__)
    parser.add_argument("samples", type=Path, metavar="FILE", help="Parquet (molecule schema)")
    parser.add_argument("--part", required=True, metavar="K-of-N", help="part to judge")
    parser.add_argument("--train", type=Path, help="molecules whose training split defines novelty")
    parser.add_argument("--output", required=True, type=Path, help="Parquet file to write")
    return run(_judge, parser, argv)


def _judge(args: argparse.Namespace) -> None:
    part = Part.parse(args.part)
    samples = read_molecules(args.samples)
    train = read_molecules(args.train, split="train") if args.train else None
    places = np.asarray(part.of([1.0] * len(samples)), np.int32)
    own = samples.select(places)
    total = len(own) + (len(train) if train else 0)
    with progress(total=total, description=f"judge {part}", unit="molecules", log=args.log) as bar:
        perceived = perceive(own, advance=bar.update)
        known = known_molecules(train, own, advance=bar.update) if train else None
    write_records(args.output, Records.of(places, perceived, known), of=sha256(args.samples), part=str(part))


if __name__ == "__main__":
    sys.exit(main())
