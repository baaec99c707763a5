"""Stage check-data: what a study would train on and what it would refuse, and such a study.

python -m pipeline.cli.check_data molecules.sdf
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.cli.common import run, stage_parser
from pipeline.core.cores import available_cores
from pipeline.core.progress import progress
from pipeline.data.data_check import describe, study_for
from pipeline.data.molecule_files import format_suffix, read_molecule_files, report
from pipeline.data.smiles_files import SUFFIXES, read_smiles_file


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = stage_parser(__doc__)
    parser.add_argument(
        "input", type=Path, help="Parquet, XYZ, SDF or MOL file or a folder of them, or SMILES in a CSV or SMI file"
    )
    return run(_check_data, parser, argv)


def _check_data(args: argparse.Namespace) -> None:
    path, is_smiles = args.input, format_suffix(args.input) in SUFFIXES
    with progress(total=None, description="check-data", unit="molecules", log=args.log) as bar:
        if is_smiles:
            with tempfile.TemporaryDirectory() as folder:
                reading = read_smiles_file(
                    path,
                    seed=0,
                    processes=available_cores(),
                    state=Path(folder) / "conformers",
                    invalid="skip",
                    advance=bar.update,
                )
        else:
            reading = read_molecule_files(path, invalid="skip", advance=bar.update)
    study = study_for(path, reading, source="smiles" if is_smiles else "path")
    print(*report([reading]), "", *describe(reading), "", "A study of it:", "", study, sep="\n", end="")


if __name__ == "__main__":
    sys.exit(main())
