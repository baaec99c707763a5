"""Stage predict: properties of molecules by a regressor, against the values that they were asked for.

    python -m pipeline.cli.predict --weights results/runs/regressor/weights.safetensors \
        --samples results/runs/alpha/samples/steps-8.parquet --output results/runs/alpha/properties/steps-8.json
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.backends import load_backend
from pipeline.chemistry.property_errors import baselines, error_table, mean_error, shown_unit
from pipeline.cli.common import add_backend, at_least, run, stage_parser
from pipeline.core.errors import InputError
from pipeline.core.files import write_json
from pipeline.core.progress import progress
from pipeline.data.molecule_parquet import read_columns, read_molecules
from pipeline.data.properties import PropertyStatistics, property_columns
from pipeline.data.shards import half_of
from pipeline.training.run_folder import read_weights

KEPT = 2000
"""Molecules whose values are kept for a figure."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; return its exit status."""
    parser = stage_parser(__doc__)
    parser.add_argument(
        "--weights", required=True, type=Path, help="weights.safetensors of a run of objective property"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--samples", type=Path, help="samples of a conditional run")
    what.add_argument(
        "--molecules", type=Path, help="file of the stage parse: the errors of baselines, on molecules not trained on"
    )
    parser.add_argument(
        "--num", type=at_least(1), default=10000, help="most molecules of --molecules to judge (default: %(default)s)"
    )
    parser.add_argument("--output", required=True, type=Path, help="JSON file to write")
    add_backend(parser, override=False)
    return run(_predict, parser, argv)


def _predict(args: argparse.Namespace) -> None:
    weights = read_weights(args.weights)
    if weights.config.objective != "property" or weights.properties is None:
        raise InputError(f"{args.weights}: a run of objective {weights.config.objective}, not property")
    properties, name = weights.properties, weights.config.name
    molecules = read_molecules(args.samples or args.molecules)
    asked = _values(args.samples or args.molecules, properties, every=args.molecules is not None)
    chosen, trained = np.arange(len(molecules)), np.zeros(0, np.int64)
    if args.molecules:
        chosen, trained = _split(args.molecules, weights.config.training.half)
        chosen = chosen[: args.num]
    backend = load_backend(weights.config.backend, cores=args.devices)
    with progress(total=len(chosen), description=f"predict {name}", unit="molecules", log=args.log) as bar:
        predicted = backend.predict(weights, molecules.select(chosen), progress=bar)
    result: dict[str, Any] = {}
    for place, (key, unit) in enumerate(zip(properties.names, properties.units, strict=True)):
        if key not in asked:
            continue
        own, values = predicted[:, place], asked[key][chosen]
        if args.molecules:
            found = baselines(own, values, molecules.sizes[chosen], asked[key][trained], molecules.sizes[trained])
            result[key] = {"unit": unit, "num": len(chosen), "errors": found}
        else:
            error = mean_error(own, values)
            kept = {"asked": values[:KEPT].tolist(), "predicted": own[:KEPT].tolist()}
            found = {"mean absolute error": error.value}
            result[key] = {"unit": unit, "num": len(chosen), "error": error.to_json(), **kept}
        shown, factor = shown_unit(unit)
        print(error_table(f"{key} ({shown})", [(label, factor * value) for label, value in found.items()]))
    of = {key: molecules.metadata.get(key) for key in ("run", "sampler")} if args.samples else {}
    write_json(args.output, {**of, "regressor": name, "properties": result})


def _values(path: Path, properties: PropertyStatistics, *, every: bool) -> dict[str, Any]:
    """Return the values that molecules have, or were asked for, of ``every`` property that the regressor predicts."""
    columns = property_columns(path)
    known = {name: columns[name] for name in properties.names if name in columns}
    if every and (missing := [name for name in properties.names if name not in known]):
        raise InputError(f"{path}: has no property {missing[0]}")
    if not known:
        raise InputError(f"{path}: was not sampled for {' or '.join(properties.names)}, which the regressor predicts")
    found = read_columns(path, list(known.values()))
    return {name: found[column] for name, column in known.items()}


def _split(path: Path, half: str | None) -> tuple[Any, Any]:
    """Return the rows of the molecules to judge, and of those that the regressor was trained on."""
    columns = read_columns(path, ["index", "split"])
    index, train = columns["index"], columns["split"] == "train"
    if half is None:
        rows = np.flatnonzero(columns["split"] == "test")
        return (rows if len(rows) else np.flatnonzero(train)), np.flatnonzero(train)
    order = np.argsort(index)
    other, own = (
        order[np.searchsorted(index, half_of(index[train], one), sorter=order)] for one in ("second", "first")
    )
    return (other, own) if half == "first" else (own, other)


if __name__ == "__main__":
    sys.exit(main())
