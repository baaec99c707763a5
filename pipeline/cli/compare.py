"""Stage compare: whether two evaluations differ by more than noise.

python -m pipeline.cli.compare ours.json theirs.json
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.chemistry.comparison import comparison_text, differences
from pipeline.chemistry.metrics import read_summary
from pipeline.cli.common import run, stage_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = stage_parser(__doc__)
    parser.add_argument("a", type=Path, metavar="A", help="JSON file by the stage evaluate")
    parser.add_argument("b", type=Path, metavar="B", help="another")
    return run(_compare, parser, argv)


def _compare(args: argparse.Namespace) -> None:
    print(comparison_text(differences(read_summary(args.a), read_summary(args.b))))


if __name__ == "__main__":
    sys.exit(main())
