"""Stage sample: weights to molecules.

    python -m pipeline.cli.sample --weights results/runs/edm/weights.safetensors \
        --sampler results/runs/edm/samplers/heun-50.json --output results/runs/edm/samples/heun-50.parquet
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.cli.backends import add_backend, load_backend
from pipeline.cli.common import add_log, run
from pipeline.core.errors import InputError
from pipeline.core.progress import progress
from pipeline.data.molecule_parquet import write_molecules
from pipeline.diffusion.objectives import run_schedule
from pipeline.sampling.molecule_batches import draw_sizes, found_levels, network_calls
from pipeline.sampling.parts import Part
from pipeline.study.config import check_sampler_of, read_sampler_config
from pipeline.training.run_folder import read_weights


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = argparse.ArgumentParser(prog="sample", description="Sample molecules from a trained run.")
    parser.add_argument("--weights", required=True, type=Path, help="weights.safetensors of a run")
    parser.add_argument("--sampler", required=True, type=Path, help="JSON file with the sampler's settings")
    parser.add_argument(
        "--levels", default=None, type=Path, help="levels.json of the run, for a sampler without levels"
    )
    parser.add_argument("--output", required=True, type=Path, help="Parquet file to write")
    parser.add_argument("--num", type=int, default=None, help="molecules, instead of the sampler's number")
    parser.add_argument("--seed", type=int, default=None, help="instead of the sampler's seed")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=None, help="atoms of each molecule, instead of drawn ones"
    )
    parser.add_argument(
        "--trajectory", type=int, default=None, metavar="FRAMES", help="write one molecule's way from noise instead"
    )
    parser.add_argument("--part", default=None, metavar="K-of-N", help="only a part of them, for the stage merge")
    add_backend(parser, override=True)
    add_log(parser)
    return run(_sample, parser, argv)


def _sample(args: argparse.Namespace) -> None:
    sampler = read_sampler_config(args.sampler)
    given = {key: value for key, value in (("num", args.num), ("seed", args.seed)) if value is not None}
    if args.sizes and args.num not in (None, len(args.sizes)):
        raise InputError(f"--num {args.num} does not fit the {len(args.sizes)} numbers of --sizes")
    if (args.num is not None and args.num < 1) or (args.sizes and min(args.sizes) < 2):
        raise InputError("--num should be at least 1, and each of --sizes at least 2")
    if args.seed is not None and args.seed < 0:
        raise InputError(f"--seed {args.seed} should be at least 0")
    if args.trajectory is not None and args.trajectory < 2:
        raise InputError(f"--trajectory {args.trajectory} should be at least 2 frames")
    part = Part.parse(args.part) if args.part else None
    sampler = dataclasses.replace(sampler, **given)
    if sampler.kind == "consistency" and sampler.levels is None:
        if args.levels is None:
            raise InputError(
                f"sampler {sampler.name}: it has no levels, so --levels should name the file of found ones"
            )
        sampler = dataclasses.replace(sampler, levels=found_levels(args.levels, sampler.steps))
    weights = read_weights(args.weights)
    check_sampler_of(sampler, weights.config)
    sizes = np.array(args.sizes, np.int32) if args.sizes else draw_sizes(weights.statistics, sampler.num, sampler.seed)
    backend = args.backend or weights.config.backend
    program = load_backend(backend, args).sampler(weights, sampler)
    schedule = run_schedule(weights.config)
    metadata = {
        "run": weights.config.name,
        "backend": backend,
        "sampler": sampler.name,
        "sampler_kind": sampler.kind,
        "alignment": sampler.alignment,
        "steps": sampler.steps,
        "network_calls": network_calls(sampler, schedule),
        "seed": sampler.seed,
    }
    if args.trajectory is not None:
        molecules, sigmas = program.trajectory(int(sizes[0]), frames=args.trajectory)
        columns = {"frame": np.arange(len(molecules), dtype=np.int32), "sigma": sigmas}
        write_molecules(args.output, molecules, extra_columns=columns, metadata=metadata | {"shows": "state"})
        return
    name = f"sample {weights.config.name} {sampler.name}"
    total = None if part else len(sizes)
    with progress(total=total, description=name, unit="molecules", log=args.log) as bar:
        samples = program(sizes, progress=bar, part=part)
        if samples.non_finite:
            bar.note(f"{samples.non_finite} of {len(samples.molecules)} samples overflowed and count as unstable")
    metadata |= {"seconds": round(samples.seconds, 3), "non_finite": samples.non_finite}
    metadata |= {"part": str(part)} if part else {}
    write_molecules(args.output, samples.molecules, index=samples.numbers, metadata=metadata)


if __name__ == "__main__":
    sys.exit(main())
