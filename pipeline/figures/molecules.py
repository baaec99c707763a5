"""Every sampled molecule and its errors: as a CSV table, and as data for the viewer of the page."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from pipeline.chemistry.elements import symbols_of
from pipeline.chemistry.metrics import Judgement
from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.stability import stability, unstable_atoms
from pipeline.figures import drawing, style
from pipeline.figures.inputs import Run, Trajectory

SHOWN: Final = 24
"""Molecules per sampler and selection in the viewer; each takes a kilobyte of the page."""

Judged = Mapping[str, Mapping[str, Judgement]]
"""Judgements by run and sampler."""

_DIGITS: Final = 3
"""Decimals of coordinates in angstrom."""


def molecules_csv(judged: Judged) -> str:
    """Return a CSV row for every sampled molecule: its stability, its SMILES by both validities, and its errors."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["run", "sampler", "index", "formula", "atoms", "stable_atoms", "stable", "valid", "edm_smiles",
         "connected_and_valid", "connected_smiles", "unstable_atoms"]
    )  # fmt: skip
    for run, samplers in judged.items():
        for sampler, one in samplers.items():
            for index in range(len(one.molecules)):
                edm, connected = one.perceived.edm[index], one.perceived.connected[index]
                wrong = unstable_atoms(one.molecules, one.stability, index)
                size = int(one.molecules.sizes[index])
                writer.writerow(
                    [run, sampler, index, drawing.formula(one.molecules.select([index])), size, size - len(wrong),
                     int(not wrong), int(edm is not None), edm, int(connected is not None), connected,
                     "; ".join(wrong.values())]
                )  # fmt: skip
    return text.getvalue()


def viewer(runs: Sequence[Run], judged: Judged, trajectory: Trajectory | None) -> dict[str, Any]:
    """Return the data of the page's viewer as a JSON object.

    It has the first ``SHOWN`` molecules of each sampler, and the first ``SHOWN`` of its stable, its unstable, and its
    connected and valid ones, so that no selection is made by eye.
    """
    sampled = [one.molecules for run in runs for one in judged[run.name].values()]
    elements = drawing.elements_of(*sampled, *([trajectory.frames] if trajectory else []))
    return {
        "shown": SHOWN,
        "alert": style.ALERT,
        "elements": {
            symbol: {"colour": drawing.ELEMENT_COLOURS[symbol], "radius": drawing.RADII[symbol]} for symbol in elements
        },
        "runs": [
            {"name": run.name, "samplers": [_sampler(run, name, one) for name, one in judged[run.name].items()]}
            for run in runs
        ],
        "trajectory": _trajectory(trajectory) if trajectory else None,
    }


def _sampler(run: Run, name: str, judged: Judgement) -> dict[str, Any]:
    stable = judged.stability.molecules
    valid = np.array([smiles is not None for smiles in judged.perceived.connected])
    everything = np.ones_like(stable)
    chosen = {place for kind in (everything, stable, ~stable, valid) for place in np.flatnonzero(kind)[:SHOWN].tolist()}
    return {
        "name": name,
        "label": run.sampler_label(name),
        "total": len(stable),
        "stable": int(stable.sum()),
        "valid": int(valid.sum()),
        "molecules": [_molecule(judged, place) for place in sorted(chosen)],
    }


def _molecule(judged: Judgement, place: int) -> dict[str, Any]:
    one = judged.molecules.select([place])
    wrong = unstable_atoms(judged.molecules, judged.stability, place)
    return {
        "number": place + 1,
        "formula": drawing.formula(one),
        **_geometry(drawing.best_view(one).molecule),
        "unstable": list(wrong),
        "problems": list(wrong.values()),
        "smiles": judged.perceived.connected[place],
        "fragment": judged.perceived.edm[place],
    }


def _geometry(one: Molecules) -> dict[str, Any]:
    """Return elements, coordinates and bonds of a single molecule, the last two as flat lists."""
    triples = np.stack([one.bonds.first, one.bonds.second, one.bonds.order], axis=1)
    return {
        "elements": symbols_of(one.atomic_numbers.tolist()),
        # Formatted and parsed: a rounded float32 would print with many more digits.
        "positions": [float(f"{value:.{_DIGITS}f}") for value in one.positions.ravel().tolist()],
        "bonds": triples.ravel().tolist(),
    }


def _trajectory(trajectory: Trajectory) -> dict[str, Any]:
    """Return the frames of a trajectory, oriented by the last one, and the errors of the last one."""
    frames, last = trajectory.frames, len(trajectory.frames) - 1
    turned = drawing.turned(frames, drawing.best_side(frames[last][1]))
    wrong = unstable_atoms(frames, stability(frames), last)
    return {
        "frames": [
            {
                "level": style.noise_level(sigma),
                **_geometry(turned.select([frame])),
                "unstable": list(wrong) if frame == last else [],
            }
            for frame, sigma in enumerate(trajectory.sigma.tolist())
        ],
        "problems": list(wrong.values()),
    }
