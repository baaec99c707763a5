"""Stage convert: molecules of one format to another.

    python -m pipeline.cli.convert results/runs/edm/samples/heun-50.parquet --output samples.sdf

Titles, SMILES and other columns go along where the format has a place for them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.cli.common import run, stage_parser, tell
from pipeline.core.progress import progress
from pipeline.data.molecule_files import read_molecule_files, report
from pipeline.data.molecule_output import SUFFIXES, check_output, write_molecule_file


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = stage_parser(__doc__)
    parser.add_argument("input", type=Path, help="Parquet, XYZ, SDF or MOL file, gzipped or not, or a folder of them")
    parser.add_argument("--output", required=True, type=Path, help=f"file to write: {', '.join(SUFFIXES)}")
    parser.add_argument("--skip-invalid", action="store_true", help="leave out what cannot be used")
    return run(_convert, parser, argv)


def _convert(args: argparse.Namespace) -> None:
    check_output(args.output)
    with progress(total=None, description="convert", unit="molecules", log=args.log) as bar:
        reading = read_molecule_files(args.input, invalid="skip" if args.skip_invalid else "refuse", advance=bar.update)
    tell(*report([reading]), log=args.log)
    data = reading.data
    lost = write_molecule_file(args.output, data.molecules, index=data.index, columns=data.columns, units=data.units)
    if lost:
        tell(f"not written, for the format has no place for it: {', '.join(lost)}", log=args.log)


if __name__ == "__main__":
    sys.exit(main())
