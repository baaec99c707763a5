"""Stage download: fetch QM9 from one of its two sources.

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
    parser = argparse.ArgumentParser(prog="download", description="Download QM9 and verify its checksum.")
    parser.add_argument("--source", required=True, choices=list(SOURCES), help="source")
    parser.add_argument("--output", required=True, type=Path, help="directory to write, created when complete")
    add_log(parser)
    return run(lambda args: SOURCES[args.source](args.output, log=args.log), parser, argv)


if __name__ == "__main__":
    sys.exit(main())
