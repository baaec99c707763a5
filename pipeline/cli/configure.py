"""Stage configure: one run's or one sampler's part of a study, checked and with its defaults written out.

python -m pipeline.cli.configure --run '{"name": "edm", "data": "qm9", "training": {"steps": 9}}' --output config.json
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.cli.common import add_log, run
from pipeline.core.errors import InputError
from pipeline.core.files import write_json
from pipeline.study.config import run_config, sampler_config


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = argparse.ArgumentParser(prog="configure", description="Check settings and write their defaults out.")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--run", metavar="JSON", help="settings of a run, its name and data among them")
    kind.add_argument("--sampler", metavar="JSON", help="settings of a sampler, its name among them")
    parser.add_argument("--output", required=True, type=Path, help="JSON file to write")
    add_log(parser)
    return run(_configure, parser, argv)


def _configure(args: argparse.Namespace) -> None:
    config = run_config(_parsed(args.run)) if args.run is not None else sampler_config(_parsed(args.sampler))
    write_json(args.output, dataclasses.asdict(config))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"the settings are not JSON: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
