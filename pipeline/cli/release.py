"""Stage release: write the weights of a run and their noise levels to one file to share.

python -m pipeline.cli.release --run results/runs/tuned --name few-step --output few-step.safetensors
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.cli.common import run, stage_parser
from pipeline.core.errors import InputError
from pipeline.sampling.molecule_batches import found_levels
from pipeline.training.run_folder import read_weights, write_weights


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = stage_parser(__doc__)
    parser.add_argument("--run", required=True, type=Path, help="folder of the run, with weights.safetensors")
    parser.add_argument("--name", required=True, help="name of the model")
    parser.add_argument("--output", required=True, type=Path, help="safetensors file to write")
    return run(_release, parser, argv)


def _release(args: argparse.Namespace) -> None:
    weights = read_weights(args.run / "weights.safetensors")
    found = {int(path.stem): found_levels(path, int(path.stem)) for path in (args.run / "levels").glob("*.json")}
    levels = weights.config.known_levels | found
    if weights.config.objective == "consistency" and not levels:
        raise InputError(f"{args.run}/levels: has no noise levels for this few-step model; run the stage levels")
    # The file does not contain the runs that it started from.
    config = weights.config.model_copy(update={"name": args.name, "init": None, "teacher": None})
    write_weights(
        args.output,
        weights.arrays,
        config=config.model_dump(mode="json"),
        statistics=weights.statistics,
        provenance=weights.provenance,
        levels=dict(sorted(levels.items())),
        properties=weights.properties,
    )


if __name__ == "__main__":
    sys.exit(main())
