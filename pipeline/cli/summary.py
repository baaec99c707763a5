"""Stage summary: the evaluations of a study in one table, between the noise floor and the data ceiling.

    python -m pipeline.cli.summary --runs results/runs/edm/evaluation/*.json --names heun-25 heun-50 \
        --floor results/reference/noise.json --ceiling results/reference/qm9.json --output results/summary.md
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.chemistry.metrics import read_summary
from pipeline.chemistry.tables import summary_csv, summary_markdown
from pipeline.cli.common import add_log, run
from pipeline.core.errors import InputError
from pipeline.core.files import write_text


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = argparse.ArgumentParser(prog="summary", description="Put evaluations in one table.")
    parser.add_argument("--runs", required=True, type=Path, nargs="+", help="files written by the stage evaluate")
    parser.add_argument("--names", nargs="+", help="what to call them, in the same order (default: the files' names)")
    parser.add_argument("--floor", required=True, type=Path, help="evaluation of the noise")
    parser.add_argument("--ceiling", required=True, type=Path, help="evaluation of the data")
    parser.add_argument("--output", required=True, type=Path, help="file to write: .md for people, .csv for programs")
    add_log(parser)
    return run(_summary, parser, argv)


def _summary(args: argparse.Namespace) -> None:
    tables = {".md": summary_markdown, ".csv": summary_csv}
    if args.output.suffix not in tables:
        raise InputError(f"--output should be a {' or '.join(tables)} file, not {args.output}")
    names = args.names or [path.stem for path in args.runs]
    if len(names) != len(args.runs):
        raise InputError(f"--names: {len(names)} names for {len(args.runs)} runs")
    if len(set(names)) != len(names):
        raise InputError(f"--names: two runs are called {max(names, key=names.count)}; give each its own name")
    table = tables[args.output.suffix](
        {name: read_summary(path) for name, path in zip(names, args.runs, strict=True)},
        floor=read_summary(args.floor),
        ceiling=read_summary(args.ceiling),
    )
    write_text(args.output, table)
    print(table, end="")


if __name__ == "__main__":
    sys.exit(main())
