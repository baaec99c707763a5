"""Every setting of a study with its values, default and meaning, as a Markdown table.

python -m pipeline.cli.settings
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.cli.common import run
from pipeline.core.files import write_text
from pipeline.study.settings_table import settings_table, with_settings_table


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, or put it into a document; return the exit status."""
    parser = argparse.ArgumentParser(prog="settings", description="List every setting of a study.")
    parser.add_argument("--readme", type=Path, help="document to bring up to date, instead of printing the table")
    return run(_settings, parser, argv)


def _settings(args: argparse.Namespace) -> None:
    if args.readme is None:
        print(settings_table())
    else:
        write_text(args.readme, with_settings_table(args.readme.read_text(encoding="utf-8")))


if __name__ == "__main__":
    sys.exit(main())
