"""The command ``consistent-edm STAGE ...``: every stage under one name, grouped by what it is for.

``consistent-edm sample --help`` is ``python -m pipeline.cli.sample --help``.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final

from pipeline.cli.common import run, stage_parser

GROUPS: Final[Mapping[str, Mapping[str, str]]] = {
    "Use a trained model": {
        "sample": "draw molecules from weights",
        "evaluate": "score molecules from any source",
        "convert": "write molecules in another file format",
        "predict": "compare predicted properties with those asked for",
        "compare": "tell differences between two scores from noise",
    },
    "Prepare data": {
        "check-data": "tell what a study would train on",
        "download": "fetch QM9",
        "parse": "read molecules into one Parquet file and split them",
        "shard": "pad molecules to a few sizes for training",
    },
    "Train": {
        "train": "train a run, or resume its training",
        "levels": "search for the noise levels of few-step samplers",
        "likelihood": "bound the likelihood of test molecules",
        "release": "write the one file that sampling a run needs",
    },
    "Report": {
        "noise": "draw noise, whose scores are the floor of every metric",
        "gather": "collect the scores of a run's samplers in one file",
        "figures": "draw figures, table and page",
        "benchmark": "time both backends and the published EDM",
    },
    "Split work over jobs": {
        "merge": "join parts of a sampler's molecules",
        "judge": "score a part of them",
    },
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a stage; return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    stages = {stage for group in GROUPS.values() for stage in group}
    if words and words[0] in stages:
        status: int = import_module(f"pipeline.cli.{words[0].replace('-', '_')}").main(words[1:])
        return status
    if not words or words[0] in ("-h", "--help"):
        return run(lambda args: print(_help()), stage_parser(None), [])
    print(f"consistent-edm: error: no such stage: {words[0]}; see consistent-edm --help", file=sys.stderr)
    return 2


def _help() -> str:
    lines = ["usage: consistent-edm STAGE [OPTIONS]", "       consistent-edm STAGE --help"]
    for title, group in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {stage:<12}{purpose}" for stage, purpose in group.items())]
    lines += ["", "The whole study, from data to figures: snakemake --cores 8 results/figures"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
