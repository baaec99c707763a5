"""Properties asked for against those that a regressor predicts, and the errors between simple baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline.chemistry.property_errors import error_rows, shown_unit
from pipeline.core.errors import InputError
from pipeline.core.files import read_json
from pipeline.figures import style

_ROW: Final = 0.2
"""Height of a bar in inches."""


@dataclass(frozen=True)
class PropertyErrors:
    """One property of a conditional run."""

    run: str
    name: str
    unit: str | None
    samplers: Mapping[str, Mapping[str, Any]]
    """What the stage predict found for each sampler."""
    baselines: Mapping[str, float]


def read_property_errors(paths: Sequence[Path], baselines: Sequence[Path]) -> list[PropertyErrors]:
    """Return the errors of every property of every run.

    Args:
      paths: files of the stage predict for samples.
      baselines: its files for the data, one for each regressor.

    Raises:
      InputError: a file is missing or is none of these, or has no baselines.
    """
    known = {value.get("regressor"): value.get("properties") for value in map(_read, baselines)}
    found: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    regressors: dict[tuple[str, str], Mapping[str, Any]] = {}
    for path in paths:
        value = _read(path)
        for name, one in value["properties"].items():
            key = str(value.get("run")), name
            found.setdefault(key, {})[str(value.get("sampler"))] = one
            bounds = known.get(value.get("regressor"))
            if not bounds:
                raise InputError(f"{path}: --baselines has none of its regressor {value.get('regressor')}")
            regressors[key] = bounds[name]
    return [
        PropertyErrors(*key, regressors[key]["unit"], samplers, regressors[key]["errors"])
        for key, samplers in found.items()
    ]


def _read(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict) or not isinstance(value.get("properties"), dict):
        raise InputError(f"{path}: should be a file of the stage predict")
    return value


def draw(one: PropertyErrors, *, dataset: str, colour: str) -> style.Picture:
    """Draw a property of a run: points of its best sampler, and bars of all errors.

    Args:
      one: what to draw.
      dataset: name of the data; published results follow for QM9.
      colour: of the run.
    """
    unit, factor = shown_unit(one.unit)
    measured = {sampler: float(found["error"]["value"]) for sampler, found in one.samplers.items()}
    rows = error_rows(one.name, one.unit, measured, one.baselines, dataset=dataset)
    best = min(measured, key=lambda sampler: measured[sampler])
    asked, predicted = (factor * np.array(one.samplers[best][key], np.float64) for key in ("asked", "predicted"))
    figure = style.new_figure(max(2.6, _ROW * len(rows) + 0.7))
    points, bars = figure.subplots(1, 2, width_ratios=[1, 1.1])
    points.scatter(asked, predicted, s=5, color=colour, alpha=0.35, linewidths=0, rasterized=True)
    low, high = float(asked.min()), float(asked.max())
    points.plot([low, high], [low, high], **style.CEILING_LINE)
    # Where a broken molecule is predicted far outside, the others would be a dot.
    room = 0.25 * (high - low) + 1e-9
    points.set_ylim(low - room, high + room)
    suffix = f" ({unit})" if unit else ""
    points.set_xlabel(f"{one.name} asked for{suffix}")
    points.set_ylabel(f"{one.name} predicted{suffix}")
    points.set_title(f"a   {best}")
    places = np.arange(len(rows))
    faces = [colour if label in measured else style.PALE for label, _ in rows]
    bars.barh(places, [value for _, value in rows], color=faces, height=0.7, linewidth=0)
    bars.set_yticks(places, [label for label, _ in rows])
    bars.invert_yaxis()
    bars.set_xlim(0, 1.18 * max(value for _, value in rows))
    for place, (_, value) in zip(places, rows, strict=True):
        bars.annotate(f"{value:.3g}", (value, place), (3, 0), textcoords="offset points", va="center")
    bars.set_xlabel(f"mean absolute error{suffix}")
    bars.set_title("b")
    number = one.samplers[best]["num"]
    caption = (
        f"Molecules of {one.run} asked for a value of {one.name}. a: the value that a regressor predicts for "
        f"{len(asked):,} samples of {best} against the one asked for; on the dotted line they are equal. b: mean "
        f"absolute errors over {number:,} samples of each sampler (coloured), beside those on data that the "
        "regressor was not trained on: against their values (L-bound), of a guess from the number of atoms alone, and "
        "against their values in random order (U-bound)."
    )
    if dataset == "QM9":
        caption += " Published results were judged by a regressor of their own, trained for 1,000 epochs."
    return style.Picture(
        name=style.file_name(f"properties-{one.run}-{one.name}"),
        title=f"{one.name} asked for: {one.run}",
        caption=caption,
        figure=figure,
    )
