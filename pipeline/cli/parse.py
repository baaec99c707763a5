"""Stage parse: a source, whichever it is, becomes the one canonical file of molecules, split and with properties.

    python -m pipeline.cli.parse --source qm9pack --input results/data/raw/qm9pack \
        --split-seed 0 --train 100000 --validation 17748 --output results/data/qm9/molecules.parquet
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.cli.common import at_least, run, stage_parser, tell
from pipeline.core.cores import available_cores
from pipeline.core.errors import InputError
from pipeline.core.progress import progress
from pipeline.data.figshare import parse_figshare
from pipeline.data.molecule_files import Invalid, read_molecule_files, report
from pipeline.data.qm9pack import parse_qm9pack
from pipeline.data.smiles_files import read_smiles_file
from pipeline.data.source import write_canonical
from pipeline.study.study import QM9_MOLECULES

_PARSERS = {"qm9pack": parse_qm9pack, "figshare": parse_figshare}
_PURPOSES = ("to train on", "to validate on", "to test on")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = stage_parser(__doc__)
    parser.add_argument("--source", required=True, choices=[*_PARSERS, "path", "smiles"], help="what the input is")
    parser.add_argument("--input", required=True, type=Path, help="directory of the stage download, or a user's path")
    parser.add_argument("--seed", type=at_least(0), default=0, help="of the conformers of smiles (default: 0)")
    parser.add_argument(
        "--conformers",
        type=at_least(1),
        default=1,
        help="of each molecule of a GEOM archive, lowest first (default: 1)",
    )
    parser.add_argument("--processes", type=at_least(1), help="for smiles; default: all cores")
    parser.add_argument(
        "--split-seed", type=int, default=0, help="seed of the permutation that the splits are cut from"
    )
    parser.add_argument("--train", required=True, type=_size, help="molecules to train on, or a share below 1")
    parser.add_argument("--validation", required=True, type=_size, help="likewise to validate on; the rest is the test")
    parser.add_argument(
        "--skip-invalid", action="store_true", help="of path and smiles, leave out what cannot be used, and name it"
    )
    parser.add_argument("--output", required=True, type=Path, help="Parquet file to write")
    return run(_parse, parser, argv)


def _size(text: str) -> float:
    """Return a number of molecules, or a share of them below 1."""
    return float(text) if 0 < float(text) < 1 else int(text)


def _parse(args: argparse.Namespace) -> None:
    if args.output.suffix != ".parquet" or args.output.is_dir():
        raise InputError(f"--output should be a .parquet file, not {args.output}")
    total = QM9_MOLECULES if args.source in _PARSERS else None
    with progress(total=total, description=f"parse {args.source}", unit="molecules", log=args.log) as bar:
        if args.source not in _PARSERS:
            invalid: Invalid = "skip" if args.skip_invalid else "refuse"
            if args.source == "smiles":
                reading = read_smiles_file(
                    args.input,
                    seed=args.seed,
                    processes=args.processes or available_cores(),
                    state=args.output.parent / "conformers",
                    invalid=invalid,
                    advance=bar.update,
                )
            else:
                reading = read_molecule_files(
                    args.input, invalid=invalid, conformers=args.conformers, advance=bar.update
                )
            molecules = replace(reading.data.molecules, metadata={"source": args.input.resolve().name})
            data, said = replace(reading.data, molecules=molecules), report([reading])
        else:
            data, said = _PARSERS[args.source](args.input, advance=bar.update), []
        sizes = write_canonical(args.output, data, seed=args.split_seed, train=args.train, validation=args.validation)
    split = ", ".join(f"{size:,} {purpose}" for size, purpose in zip(sizes.values(), _PURPOSES, strict=True))
    tell(*said, f"split: {split}", log=args.log)


if __name__ == "__main__":
    sys.exit(main())
