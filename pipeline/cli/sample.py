"""Stage sample: molecules from a trained run, in a file of any format.

python -m pipeline.cli.sample --weights few-step --calls 4 --num 1000 --output molecules.parquet
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.api import Run, load_run
from pipeline.backends import load_backend
from pipeline.chemistry.molecules import Molecules
from pipeline.cli.common import add_backend, at_least, run, stage_parser, tell
from pipeline.core.errors import InputError
from pipeline.core.progress import progress
from pipeline.data.molecule_output import SUFFIXES, check_output, write_molecule_file
from pipeline.diffusion.objectives import run_schedule
from pipeline.sampling.conditions import Request
from pipeline.sampling.molecule_batches import found_levels, network_calls
from pipeline.sampling.parts import Part
from pipeline.study.config import SamplerConfig, check_sampler_of
from pipeline.study.group import read_settings
from pipeline.study.released import released_names


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = stage_parser(__doc__)
    parser.add_argument(
        "--weights", required=True, help=f"a run's folder or weights.safetensors, or {' or '.join(released_names())}"
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--calls", type=int, help="network calls a molecule")
    how.add_argument("--sampler", type=Path, help="JSON file with a sampler's settings")
    parser.add_argument("--levels", type=Path, help="file of the stage levels, for a sampler without levels")
    parser.add_argument("--output", required=True, type=Path, help=f"file to write: {', '.join(SUFFIXES)}")
    parser.add_argument("--num", type=at_least(1), help="molecules, instead of the sampler's number (1000)")
    parser.add_argument("--seed", type=at_least(0), help="instead of the sampler's seed (0)")
    parser.add_argument("--sizes", type=int, nargs="+", help="atoms of each molecule, instead of drawn ones")
    parser.add_argument("--formula", help="sum formula of every molecule, such as C7H10O2, for few-step samplers")
    parser.add_argument(
        "--first", help="what makes the first of two calls or more: a model that samples in one call, such as one-step"
    )
    parser.add_argument(
        "--fixed",
        type=Path,
        metavar="FILE",
        help="molecule, such as a scaffold or ends of a linker, whose atoms are the first of every sample, at their "
        "places, for few-step samplers",
    )
    parser.add_argument(
        "--property",
        nargs="+",
        metavar="NAME=VALUE",
        help="value of each property of a conditional run, or none (default: drawn as in the training data)",
    )
    parser.add_argument(
        "--guidance", type=at_least(0.0), help="weight of classifier-free guidance, instead of the sampler's (0)"
    )
    parser.add_argument(
        "--any-electrons", action="store_true", help="do not round types to an even number of electrons"
    )
    parser.add_argument(
        "--trajectory", type=at_least(2), metavar="FRAMES", help="write one molecule's way from noise instead"
    )
    parser.add_argument("--part", metavar="K-of-N", help="only a part of them, for the stage merge")
    add_backend(parser, override=True)
    return run(_sample, parser, argv)


def _sample(args: argparse.Namespace) -> None:
    check_output(args.output)
    if args.sizes and args.num not in (None, len(args.sizes)):
        raise InputError(f"--num {args.num} does not fit the {len(args.sizes)} numbers of --sizes")
    if args.sizes and args.formula:
        raise InputError("--sizes and --formula exclude each other")
    part = Part.parse(args.part) if args.part else None
    if part and args.output.suffix != ".parquet":
        raise InputError(f"--part is for the stage merge, which reads .parquet files, not {args.output}")
    trained = load_run(args.weights)
    weights = trained.weights
    sampler = _sampler(args, trained)
    check_sampler_of(sampler, weights.config)
    fixed = _read_fixed(args.fixed) if args.fixed else None
    request = Request.of(
        weights.statistics, weights.properties, sampler, sizes=args.sizes, formula=args.formula, fixed=fixed
    )
    tell(*request.size_warnings, *(f"warning: {line}" for line in request.property_warnings), log=args.log)
    sizes, values = request.sizes, request.values
    backend = args.backend or weights.config.backend
    framework = load_backend(backend, cores=args.devices)
    program = request.apply(framework.sampler(weights, sampler))
    first = load_run(args.first) if args.first else None
    if sampler.first not in (None, first and first.weights.config.name):
        raise InputError(f"sampler {sampler.name}: --first should name the weights of the run {sampler.first}")
    program = program.after(first.one_call(framework, guidance=sampler.guidance)) if first else program
    schedule = run_schedule(weights.config)
    metadata = {
        "run": weights.config.name,
        "backend": backend,
        "sampler": sampler.name,
        "sampler_kind": sampler.kind,
        "alignment": None if sampler.alignment == weights.config.levels.alignment else sampler.alignment,
        "steps": sampler.steps,
        "network_calls": network_calls(sampler, schedule),
        "seed": sampler.seed,
    }
    if sampler.even_electrons not in (None, weights.statistics.even_electrons):
        metadata["electrons"] = "even" if sampler.even_electrons else "any"
    metadata |= {"formula": args.formula} if args.formula else {}
    metadata |= {"first": first.weights.config.name} if first else {}
    metadata |= {} if fixed is None else {"fixed_atoms": int(fixed.sizes[0])}
    metadata |= {"guidance": sampler.guidance} if weights.properties else {}
    if args.trajectory is not None:
        molecules, sigmas = program.trajectory(int(sizes[0]), frames=args.trajectory)
        columns = {"frame": np.arange(len(molecules), dtype=np.int32), "sigma": sigmas}
        write_molecule_file(args.output, molecules, columns=columns, metadata=metadata | {"shows": "state"})
        return
    name = f"sample {weights.config.name} {sampler.name}"
    total = None if part else len(sizes)
    with progress(total=total, description=name, unit="molecules", log=args.log) as bar:
        samples = program(sizes, progress=bar, part=part)
        if samples.non_finite:
            bar.note(f"{samples.non_finite} of {len(samples.molecules)} samples overflowed and count as unstable")
    metadata |= {"seconds": round(samples.seconds, 3), "non_finite": samples.non_finite}
    metadata |= {"part": str(part)} if part else {}
    columns, units = {}, {}
    if weights.properties and values is not None:
        columns = dict(zip(weights.properties.names, values[samples.numbers].T, strict=True))
        units = {name: unit for name, unit in zip(columns, weights.properties.units, strict=True) if unit}
    write_molecule_file(
        args.output, samples.molecules, index=samples.numbers, columns=columns, units=units, metadata=metadata
    )


def _read_fixed(path: Path) -> Molecules:
    """Return the molecules in the file of ``--fixed``."""
    try:
        from pipeline.data.molecule_files import read_molecule_files  # imports RDKit, which sampling does without
    except ModuleNotFoundError as error:
        raise InputError(f"--fixed {path}: {error.name} is not installed; pip install rdkit") from None
    return read_molecule_files(path, invalid="refuse").data.molecules


def _sampler(args: argparse.Namespace, trained: Run) -> SamplerConfig:
    """Return the sampler that the options name, with its noise levels."""
    sampler = read_settings(SamplerConfig, args.sampler) if args.sampler else trained.sampler(calls=args.calls)
    options = {"num": args.num, "seed": args.seed, "guidance": args.guidance, "properties": _properties(args.property)}
    given = {key: value for key, value in options.items() if value is not None}
    given |= {"even_electrons": False} if args.any_electrons else {}
    sampler = sampler.model_copy(update=given)
    if args.levels and sampler.kind == "consistency" and sampler.levels is None:
        sampler = sampler.model_copy(update={"levels": found_levels(args.levels, sampler.steps)})
    return trained.with_levels(sampler)


def _properties(words: Sequence[str] | None) -> dict[str, float] | None:
    """Return the values that ``NAME=VALUE`` words give, {} for ``none``."""
    if words is None or words == ["none"]:
        return None if words is None else {}
    found = {}
    for word in words:
        name, _, text = word.rpartition("=")
        try:
            found[name] = float(text)
        except ValueError:
            name = ""
        if not name or not math.isfinite(found[name]):
            raise InputError(f"--property {word!r} should be such as alpha=90, or none")
    return found


if __name__ == "__main__":
    sys.exit(main())
