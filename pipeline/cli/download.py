"""Stage download: fetch QM9 from one of the places it is published at.

python -m pipeline.cli.download --source qm9pack --output results/data/raw/qm9pack
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.cli.common import add_log, run
from pipeline.data.download import SOURCES


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = argparse.ArgumentParser(prog="download", description="Fetch QM9, verified by checksum.")
    parser.add_argument("--source", required=True, choices=list(SOURCES), help="where from")
    parser.add_argument("--output", required=True, type=Path, help="directory that appears when all of it is there")
    add_log(parser)
    return run(lambda args: SOURCES[args.source](args.output, log=args.log), parser, argv)


if __name__ == "__main__":
    sys.exit(main())
