"""Stage levels: search for the noise levels of few-step samplers, on samples that are not reported.

    python -m pipeline.cli.levels --weights results/runs/tuned/weights.safetensors --calls 4 \
        --start results/runs/tuned/levels/2.json --output results/runs/tuned/levels/4.json
"""

import argparse
import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.backends import load_backend
from pipeline.chemistry.stability import stability_metrics
from pipeline.cli.common import add_backend, at_least, run, stage_parser
from pipeline.core.errors import InputError
from pipeline.core.files import read_json, write_json
from pipeline.core.progress import progress
from pipeline.diffusion.objectives import OBJECTIVES
from pipeline.sampling.level_search import Spacing, fewer_calls, search
from pipeline.sampling.molecule_batches import draw_sizes
from pipeline.study.config import sampler_config
from pipeline.training.run_folder import read_weights


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = stage_parser(__doc__)
    parser.add_argument("--weights", required=True, type=Path, help="weights.safetensors of a run")
    parser.add_argument("--calls", required=True, type=at_least(1), help="number of network calls")
    parser.add_argument(
        "--start", type=Path, help="levels found for the next smaller power of two (default: start from pure noise)"
    )
    parser.add_argument("--num", type=at_least(1), default=256, help="molecules per score (default: %(default)s)")
    parser.add_argument(
        "--seed",
        type=at_least(0),
        default=1,
        help="seed of these molecules, different from the samplers' (default: %(default)s)",
    )
    parser.add_argument("--output", required=True, type=Path, help="JSON file to write")
    add_backend(parser, override=True)
    return run(_levels, parser, argv)


def _levels(args: argparse.Namespace) -> None:
    weights = read_weights(args.weights)
    if not OBJECTIVES[weights.config.objective].few_step:
        raise InputError(f"{args.weights}: a run of objective {weights.config.objective} has no levels to search for")
    start = _read_spacing(args.start, fewer_calls(args.calls)) if args.start else None
    sizes = draw_sizes(weights.statistics, args.num, args.seed)
    settings = {"name": "search", "kind": "consistency", "seed": args.seed, "num": args.num}
    sigma_max = weights.config.levels.sigma_max
    backend = load_backend(args.backend or weights.config.backend, cores=args.devices)
    sampler = backend.sampler(weights, sampler_config(settings | {"levels": [sigma_max]}))
    sampler = sampler.given(weights.properties.drawn_context(sizes, args.seed) if weights.properties else None)
    with progress(total=None, description=f"levels {weights.config.name}", unit="tries", log=args.log) as bar:

        def score(levels: tuple[float, ...]) -> float:
            metrics = stability_metrics(sampler.at(levels)(sizes).molecules)
            bar.update(1)
            return float(metrics["atom_stability"]["value"] + metrics["molecule_stability"]["value"])

        spacing, value = search(score, args.calls, sigma_max=sigma_max, start=start)
        levels = spacing.levels(args.calls)
        bar.note(f"{args.calls} calls: {', '.join(f'{level:.3g}' for level in levels)} (score {value:.3f})")
    write_json(args.output, {str(args.calls): list(levels), "spacing": dataclasses.asdict(spacing)})


def _read_spacing(path: Path, calls: int | None) -> Spacing:
    """Read the spacing that this stage found for a number of calls."""
    found = read_json(path)
    spacing = found.get("spacing") if isinstance(found, dict) and str(calls) in found else None
    names = {field.name for field in dataclasses.fields(Spacing)}
    if not isinstance(spacing, dict) or spacing.keys() != names or not all(map(_is_positive, spacing.values())):
        raise InputError(f"--start: {path} should be the output of this stage for {calls} calls")
    return Spacing(**spacing)


def _is_positive(value: object) -> bool:
    return isinstance(value, float) and 0 < value < math.inf


if __name__ == "__main__":
    sys.exit(main())
