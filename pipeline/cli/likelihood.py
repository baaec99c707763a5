"""Stage likelihood: the negative log-likelihood of held-out molecules under an EDM.

    python -m pipeline.cli.likelihood --weights results/runs/edm/weights.safetensors --shards results/data/qm9/shards \
        --split test --output results/runs/edm/likelihood.json
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.backends import load_backend
from pipeline.chemistry.intervals import mean_estimate
from pipeline.cli.common import add_backend, run, stage_parser
from pipeline.core.errors import InputError
from pipeline.core.files import write_json
from pipeline.core.progress import progress
from pipeline.data.shards import read_shards
from pipeline.diffusion.objectives import OBJECTIVES
from pipeline.training.run_folder import read_weights


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = stage_parser(__doc__)
    parser.add_argument("--weights", required=True, type=Path, help="weights.safetensors of a run")
    parser.add_argument("--shards", required=True, type=Path, help="directory written by the stage shard")
    parser.add_argument("--split", default="test", choices=["train", "validation", "test"], help="molecules to score")
    parser.add_argument("--seed", type=int, default=0, help="seed of the steps t and the noise")
    parser.add_argument("--output", required=True, type=Path, help="JSON file to write")
    add_backend(parser, override=True)
    return run(_likelihood, parser, argv)


def _likelihood(args: argparse.Namespace) -> None:
    weights = read_weights(args.weights)
    if not OBJECTIVES[weights.config.objective].schedule:
        raise InputError(
            f"{args.weights}: a run of objective {weights.config.objective} has no likelihood bound; objective edm has"
        )
    shards = read_shards(args.shards, args.split)
    if not shards:
        raise InputError(f"{args.shards}: the split {args.split} has no molecules")
    weights.statistics.check_elements(shards)
    backend = load_backend(args.backend or weights.config.backend, cores=args.devices)
    count = sum(map(len, shards))
    name = f"likelihood {weights.config.name}"
    with progress(total=count, description=name, unit="molecules", log=args.log) as bar:
        bound = backend.bound(weights, shards, seed=args.seed, progress=bar)
    terms = ("prior", "diffusion", "reconstruction", "constant", "size")
    write_json(
        args.output,
        {
            "run": weights.config.name,
            "split": args.split,
            "num_molecules": count,
            "unit": "nats per molecule",
            "nll": mean_estimate(bound.without_size + bound.size).to_json(),
            "nll_without_size": mean_estimate(bound.without_size).to_json(),
            "terms": {name: float(getattr(bound, name).mean()) for name in terms},
        },
    )


if __name__ == "__main__":
    sys.exit(main())
