"""The settings of a study, as a table and as a schema for editors; and the backends that a study needs.

python -m pipeline.cli.settings
python -m pipeline.cli.settings --backends config.yaml
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.benchmark.contestants import frameworks
from pipeline.cli.common import run
from pipeline.core.files import write_text
from pipeline.study.benchmark import Benchmark
from pipeline.study.group import parse
from pipeline.study.settings_table import schema_file, settings_table, with_settings_table
from pipeline.study.study import read_study, resolve_study


def main(argv: Sequence[str] | None = None) -> int:
    """Print or write the requested output; return the exit status."""
    parser = argparse.ArgumentParser(prog="settings", description="List every setting of a study as a Markdown table.")
    parser.add_argument("--readme", type=Path, help="update the table in this document instead")
    parser.add_argument("--schema", type=Path, help="write the JSON schema of a study to this YAML file instead")
    parser.add_argument("--backends", type=Path, metavar="STUDY", help="list the backends of this study's runs instead")
    return run(_settings, parser, argv)


def _settings(args: argparse.Namespace) -> None:
    if args.readme:
        write_text(args.readme, with_settings_table(args.readme.read_text(encoding="utf-8")))
    if args.schema:
        write_text(args.schema, schema_file())
    if args.backends:
        study = resolve_study(read_study(args.backends))
        backends = {run["backend"] for run in study["runs"].values()}
        if study["figures"]["benchmarks"]:
            backends |= frameworks(parse(Benchmark, study["benchmark"])).keys()
        print(*sorted(backends))
    if not (args.readme or args.schema or args.backends):
        print(settings_table())


if __name__ == "__main__":
    sys.exit(main())
