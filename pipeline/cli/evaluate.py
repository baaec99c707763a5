"""Stage evaluate: score any file of molecules: the data, the noise, samples of ours or of anyone.

    python -m pipeline.cli.evaluate samples.parquet --train results/data/qm9/molecules.parquet --output metrics.json

The metrics are those of ``pipeline.chemistry.metrics`` and ``pipeline.chemistry.further_metrics``. Several files,
such as three seeds of a model, are scored each for itself, under "files", and all together, at the top; a folder counts
as one file. Of one file, what takes long may have been done in parts, by the stage judge: the result is the same.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.chemistry.further_metrics import Details, Reference, further_metrics, further_table
from pipeline.chemistry.intervals import Resampling
from pipeline.chemistry.metrics import Judgement, known_molecules, summarise
from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.tables import comparison_table, evaluation_table
from pipeline.cli.common import at_least, run, stage_parser, tell
from pipeline.core.errors import InputError
from pipeline.core.files import sha256, write_json
from pipeline.core.progress import progress
from pipeline.data.molecule_files import read_molecule_files, report
from pipeline.data.molecule_parquet import has_split, read_molecules
from pipeline.data.records import read_records


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = stage_parser(__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="Parquet, XYZ, SDF, or a folder")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--train", type=Path, help="molecules whose training split decides what is novel")
    parser.add_argument("--together", action="store_true", help="score all files as one set, and not each for itself")
    parser.add_argument(
        "--distances", action="store_true", help="also distances from the data of --train, and novelty by InChIKey"
    )
    parser.add_argument("--records", nargs="+", type=Path, help="of all parts of the one FILE, by the stage judge")
    for option, what in (
        ("--posebusters", "check the first N molecules of each file with PoseBusters, a second each"),
        ("--relax", "relax the first N valid molecules of each file with MMFF94"),
        ("--relax-xtb", "likewise with GFN2-xTB, half a second each"),
    ):
        parser.add_argument(option, type=at_least(0), default=0, metavar="N", help=what)
    parser.add_argument(
        "--bootstrap", type=at_least(1), default=1000, help="resamples for the intervals (default: %(default)s)"
    )
    parser.add_argument("--seed", type=at_least(0), default=0, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--processes", type=at_least(1), default=1, help="to share the work (default: %(default)s)")
    return run(_evaluate, parser, argv)


def _evaluate(args: argparse.Namespace) -> None:
    if args.distances and not args.train:
        raise InputError("--distances are from the data of --train, which is missing")
    for number, package, name in (
        (args.posebusters, "posebusters", "PoseBusters"),
        (args.relax_xtb, "tblite", "tblite"),
    ):
        if number and find_spec(package) is None:
            raise InputError(f"{name} is not installed; pip install {package}")
    if args.output and (args.output.suffix != ".json" or args.output.is_dir()):
        raise InputError(f"--output should be a .json file, not {args.output}")
    names = [str(path) for path in args.files]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{repeated[0]}: given twice")

    if args.records and (len(args.files) > 1 or args.train):
        raise InputError("--records are of one file, and --train is for the stage judge then")

    # Everything is read before anything is computed: a bad file is told in seconds.
    with progress(total=None, description="read", unit="molecules", log=args.log) as bar:
        readings = [read_molecule_files(path, invalid="unstable", advance=bar.update) for path in args.files]
    parts = [reading.data.molecules for reading in readings]
    if args.together and len(parts) > 1:
        parts, names = [Molecules.concatenate(parts)], ["all"]
    train = read_molecules(args.train, split="train") if args.train else None
    records = read_records(args.records, of=sha256(args.files[0]), number=len(parts[0])) if args.records else None
    tell(*report(readings), log=args.log)
    total = sum(map(len, parts)) + (len(train) if train else 0)
    with progress(total=total, description="evaluate", unit="molecules", log=args.log) as bar:
        known = records.known if records else None
        if records:
            judged = [Judgement.of(parts[0], perceived=records.perceived)]
            bar.update(total)
        else:
            judged = [Judgement.of(molecules, processes=args.processes, advance=bar.update) for molecules in parts]
        if train:
            generated = Molecules.concatenate(parts)
            known = known_molecules(train, generated, processes=args.processes, advance=bar.update)

    resampling = Resampling(args.bootstrap, args.seed)
    reference = None
    if train and args.distances:
        test = read_molecules(args.train, split="test") if has_split(args.train, "test") else None
        reference = Reference.of(train, test, generated, resampling=resampling, processes=args.processes)
    relaxed = {"mmff94": args.relax, "gfn2_xtb": args.relax_xtb}
    total = 0
    for one in judged:
        valid = sum(smiles is not None for smiles in one.perceived.connected)
        total += len(one.molecules) + min(args.posebusters, len(one.molecules))
        total += sum(min(number, valid) for number in relaxed.values())
    with progress(total=total, description="examine", unit="molecules", log=args.log) as bar:
        details = [
            Details.of(one, posebusters=args.posebusters, relaxed=relaxed, processes=args.processes, advance=bar.update)
            for one in judged
        ]

    def summary(found: Details) -> dict[str, Any]:
        further = further_metrics(found, reference=reference, resampling=resampling)
        return summarise(found.judgement, known=known, resampling=resampling) | further

    files = {name: summary(found) for name, found in zip(names, details, strict=True)}
    if len(files) == 1:
        (result,) = files.values()
    else:
        result = {**summary(Details.joined(details)), "files": files}
    if args.output:
        write_json(args.output, result)
    overall = files if len(files) == 1 else {"all": result}
    print(evaluation_table(overall))
    print(further_table(overall))
    if len(files) > 1:
        print(f"\n{comparison_table(files, width=shutil.get_terminal_size((120, 24)).columns)}")


if __name__ == "__main__":
    sys.exit(main())
