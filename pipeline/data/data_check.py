"""What a study would train on: a look at molecules before hours are spent on them."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from pipeline.chemistry.elements import SYMBOLS
from pipeline.chemistry.fragments import molecule_fingerprints
from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.rdkit_molecules import perceive
from pipeline.core.errors import InputError
from pipeline.data.molecule_files import Reading
from pipeline.data.molecule_parquet import SPLITS
from pipeline.data.properties import are_numbers
from pipeline.data.shards import best_buckets, padding
from pipeline.data.source import split_labels
from pipeline.study.study import DEFAULT_SHARES, RESERVED

_PERCEIVED: Final = 1000
"""Molecules whose validity is determined, evenly spread: enough for a few per cent, and a second of work."""

_STEPS: Final = 3100
"""Of the study's run, as in workflow/studies/own-molecules.yaml."""


def describe(reading: Reading) -> list[str]:
    """Return lines about the molecules of a file or a folder that can be used."""
    molecules = reading.data.molecules
    sizes, types = molecules.sizes, molecules.types()
    counts = Counter({SYMBOLS[kind]: count for kind, count in enumerate(np.bincount(types).tolist()) if count})
    buckets = best_buckets(sizes)
    hydrogens = np.add.reduceat(molecules.atomic_numbers == 1, molecules.offsets[:-1], dtype=np.int64)
    some = molecules.select(np.unique(np.linspace(0, len(molecules) - 1, _PERCEIVED).astype(int)))
    valid = sum(smiles is not None for smiles in perceive(some).connected)
    without = f"{(hydrogens == 0).sum():,} molecules have none, and none is added"
    shown = {
        "elements": ", ".join(f"{symbol} {count / len(types):.1%}" for symbol, count in counts.items()),
        "atoms": f"{sizes.min()} to {sizes.max()} a molecule, {sizes.mean():.1f} on average, {len(types):,} in all",
        "buckets": f"{', '.join(map(str, buckets))}; {padding(sizes, buckets):.0%} of the pairs of atoms are padding",
        "split": _split(len(molecules)),
        "hydrogens": f"{hydrogens.mean():.1f} a molecule; {without}",
        "duplicates": _duplicates(molecules),
        "properties": _properties(reading.data.columns) or "none that every molecule has a number for",
        "valid": f"{valid:,} of {len(some):,} are connected and have a neutral Lewis structure",
    }
    return [f"{name:<12}{text}" for name, text in shown.items()]


def _split(number: int) -> str:
    try:
        counts = Counter(split_labels(number, seed=0, **DEFAULT_SHARES).tolist())
    except InputError as error:
        return f"none; {error}"
    return ", ".join(f"{counts[split]:,} for {split}" for split in SPLITS)


def _duplicates(molecules: Molecules) -> str:
    graphs = molecule_fingerprints(molecules)
    conformers = {(numbers.tobytes(), positions.tobytes()) for numbers, positions in molecules}
    again = len(molecules) - len(np.unique(graphs))
    return f"{again:,} have the graph of another one, {len(molecules) - len(conformers):,} its coordinates, too"


def _properties(columns: Mapping[str, Any]) -> str:
    """Return the columns that a run can be conditioned on, with their ranges."""
    found = {name: np.asarray(column) for name, column in columns.items()}
    return ", ".join(
        f"{name} ({values.min():g} to {values.max():g})"
        for name, values in found.items()
        if are_numbers(values) and np.ptp(values)
    )


def study_for(path: Path, reading: Reading, *, source: str) -> str:
    """Return the text of a study that trains a few-step model on a file or a folder."""
    name = re.sub(r"[^a-z0-9]+", "-", path.name.split(".")[0].lower()).strip("-")[:80] or "mine"
    name = f"my-{name}" if name in RESERVED else name
    skip = {"skip": True} if reading.left_out else {}
    run: dict[str, Any] = {
        "objective": "consistency",
        "model": {"edge_hidden": 32, "layers": 12, "shared_edges": True},
        "training": {"steps": _STEPS, "optimizer": {"warmup_steps": 0.1}},
        "samplers": {f"steps-{calls}": {"kind": "consistency", "steps": calls} for calls in (1, 4, 16)},
    }
    data = {"name": name, "source": source, "path": str(path.resolve())} | skip
    return yaml.safe_dump({"data": data, "runs": {name: run}}, sort_keys=False)
