"""Tables of evaluations, the results of ``metrics.summarise``, in per cent."""

import csv
import io
import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.chemistry.metrics import LABELS
from pipeline.core.text_tables import aligned, markdown_table

_MISSING: Final = "-"
_LEAST_NAME: Final = 16
_HEAD_WIDTH: Final = 10

_SUMMARY: Final = (
    "atom_stability",
    "molecule_stability",
    "validity",
    "unique_and_valid",
    "novelty",
    "connected_validity",
    "connected_unique_and_valid",
)
"""Metrics in a summary; the rest is in the CSV file and in the evaluations."""

SUMMARY_NOTE: Final = (
    "Per cent, with 95 % intervals. Novelty is that of the distinct valid molecules. Seconds are those of network and "
    "sampler, without compilation; minutes of training include those of the runs that a run started or learned from. "
    "Rows of several seeds have their mean and, instead of the interval, one standard deviation."
)
"""Note below a summary."""

_COSTS: Final = ("network calls", "seconds per molecule")
_TRAINING: Final = "minutes of training"


def evaluation_table(evaluations: Mapping[str, Mapping[str, Any]]) -> str:
    """Return evaluations by name as plain text, a column for each and a row for each metric."""
    rows = [["", *evaluations], ["molecules", *(str(one["num_molecules"]) for one in evaluations.values())]]
    rows += [[label, *(_percent(one[key]) for one in evaluations.values())] for key, label in LABELS.items()]
    return aligned(rows)


def comparison_table(evaluations: Mapping[str, Mapping[str, Any]], *, width: int) -> str:
    """Return evaluations by path as plain text, a row for each, in per cent without intervals.

    Names omit the folder that they share, and are shortened at the start if a row is wider than ``width``.
    """
    paths = list(map(os.path.abspath, evaluations))
    shared = os.path.commonpath(list(map(os.path.dirname, paths)))
    names = [os.path.relpath(path, shared) for path in paths]
    keys = [key for key in _SUMMARY if any(one[key] for one in evaluations.values())]
    heads = [textwrap.wrap(label, _HEAD_WIDTH) for label in ("molecules", *(LABELS[key] for key in keys))]
    height = max(map(len, heads))
    rows = [list(line) for line in zip(*([""] * (height - len(head)) + head for head in heads), strict=True)]
    for one in evaluations.values():
        values = [f"{100 * one[key]['value']:.1f}" if one[key] else _MISSING for key in keys]
        rows.append([f"{one['num_molecules']:,}", *values])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    room = max(_LEAST_NAME, width - sum(widths) - 2 * len(widths))
    shown = [name if len(name) <= room else f"...{name[3 - room :]}" for name in names]
    first = max(map(len, shown))
    return "\n".join(
        "  ".join([name.ljust(first), *map(str.rjust, row, widths)])
        for name, row in zip([""] * height + shown, rows, strict=True)
    )


@dataclass(frozen=True, eq=False)
class Summary:
    """Evaluations of a study, to be written as a table."""

    results: Mapping[str, Mapping[str, Any]]
    """By name."""
    floor: Mapping[str, Any]
    """The evaluation of noise."""
    ceiling: Mapping[str, Any]
    """The evaluation of the data."""
    training_minutes: Mapping[str, float] = field(default_factory=dict)
    """Training time behind each result, by name, where known."""

    def markdown(self) -> str:
        """Return a Markdown table with a row for the floor, each result and the ceiling."""
        every: list[tuple[str, Mapping[str, Any], float | None]] = [("*noise (floor)*", self.floor, None)]
        for name, one in self.results.items():
            every.append((name.replace("|", "\\|"), one, self.training_minutes.get(name)))
        rows = []
        for name, one, minutes in [*every, ("*data (ceiling)*", self.ceiling, None)]:
            costs = [_network_calls(one), _figures(_seconds(one)), _figures(minutes)]
            values = (_percent(one[key]) for key in _SUMMARY)
            rows.append([name, str(one["num_molecules"]), *(cost or _MISSING for cost in costs), *values])
        header = ["", "molecules", *_COSTS, _TRAINING, *(LABELS[key] for key in _SUMMARY)]
        return f"{markdown_table(header, rows)}\n\n{SUMMARY_NOTE}\n"

    def csv(self) -> str:
        """Return CSV, a row for each metric of each result, with floor and ceiling; values are fractions."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        costs = ("network_calls", "seconds_a_molecule", "training_minutes")
        writer.writerow(["name", "molecules", *costs, "metric", "value", "low", "high", "floor", "ceiling"])
        for name, one in self.results.items():
            cost = [_network_calls(one), _seconds(one), self.training_minutes.get(name)]
            for key in LABELS:
                interval = [one[key][part] for part in ("value", "low", "high")] if one[key] else [None] * 3
                bounds = [bound[key] and bound[key]["value"] for bound in (self.floor, self.ceiling)]
                writer.writerow([name, one["num_molecules"], *cost, key, *interval, *bounds])
        return text.getvalue()


def _percent(estimate: Mapping[str, float] | None) -> str:
    if estimate is None:
        return _MISSING
    value, low, high = (100 * estimate[part] for part in ("value", "low", "high"))
    digits = 2 if high - low < 0.5 else 1  # no more than the interval supports
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _network_calls(evaluation: Mapping[str, Any]) -> str:
    calls: Sequence[Any] | int | None = evaluation["metadata"].get("network_calls")
    return "" if calls is None else str(calls)


def _seconds(evaluation: Mapping[str, Any]) -> float | None:
    """Return the seconds per molecule of sampling; None if the sample file does not state them."""
    seconds = evaluation["metadata"].get("seconds")
    return seconds / evaluation["num_molecules"] if isinstance(seconds, int | float) else None


def _figures(value: float | None) -> str:
    """Return a number with two significant figures or, from 10 on, as a whole number; nothing for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 9.95 else f"{float(f'{value:.2g}'):.6f}".rstrip("0").rstrip(".")
