"""Stage download: fetch QM9 from one of its two sources.

python -m pipeline.cli.download --source qm9pack --output results/data/raw/qm9pack
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.cli.common import run, stage_parser
from pipeline.data.download import SOURCES


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = stage_parser(__doc__)
    parser.add_argument("--source", required=True, choices=list(SOURCES), help="source")
    parser.add_argument("--output", required=True, type=Path, help="directory to write, created when complete")
    return run(lambda args: SOURCES[args.source](args.output, log=args.log), parser, argv)


if __name__ == "__main__":
    sys.exit(main())
