"""Evaluations as tables for people: what ``metrics.summarise`` returns, in per cent."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pipeline.chemistry.metrics import LABELS

_MISSING: Final = "-"

_SUMMARY: Final = (
    "atom_stability",
    "molecule_stability",
    "validity",
    "unique_and_valid",
    "novelty",
    "connected_validity",
    "connected_unique_and_valid",
)
"""What a summary has room for, side by side; the rest is in the CSV form and in the evaluations."""

SUMMARY_NOTE: Final = "Per cent, with 95 % intervals. Novelty is of the distinct valid molecules."
"""What has to stand below a summary."""

_NETWORK_CALLS: Final = "network calls"


def evaluation_table(evaluations: Mapping[str, Mapping[str, Any]]) -> str:
    """Return evaluations by name as plain text, a column for each and a line for each metric."""
    rows = [["", *evaluations], ["molecules", *(str(one["num_molecules"]) for one in evaluations.values())]]
    rows += [[label, *(_percent(one[key]) for one in evaluations.values())] for key, label in LABELS.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    )


def summary_markdown(
    results: Mapping[str, Mapping[str, Any]], *, floor: Mapping[str, Any], ceiling: Mapping[str, Any]
) -> str:
    """Return evaluations by name as a Markdown table, between a line for the floor and one for the ceiling."""
    header, first, *between, last = summary_rows(results, floor=floor, ceiling=ceiling)
    emphasised = ([f"*{row[0]}*", *row[1:]] for row in (first, last))
    plain = ([row[0].replace("|", "\\|"), *row[1:]] for row in between)
    rows = [header, ["---", *["---:"] * (len(header) - 1)], next(emphasised), *plain, next(emphasised)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + f"\n\n{SUMMARY_NOTE}\n"


def summary_rows(
    results: Mapping[str, Mapping[str, Any]], *, floor: Mapping[str, Any], ceiling: Mapping[str, Any]
) -> list[list[str]]:
    """Return the cells of a summary: the header, a line for the floor, one for each result, one for the ceiling."""
    rows = [["", "molecules", _NETWORK_CALLS, *(LABELS[key] for key in _SUMMARY)]]
    for name, one in [("noise (floor)", floor), *results.items(), ("data (ceiling)", ceiling)]:
        values = (_percent(one[key]) for key in _SUMMARY)
        rows.append([name, str(one["num_molecules"]), _network_calls(one) or _MISSING, *values])
    return rows


def summary_csv(
    results: Mapping[str, Mapping[str, Any]], *, floor: Mapping[str, Any], ceiling: Mapping[str, Any]
) -> str:
    """Return evaluations by name as CSV, a line for each metric of each, floor and ceiling beside it; fractions."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "molecules", "network_calls", "metric", "value", "low", "high", "floor", "ceiling"])
    for name, one in results.items():
        for key in LABELS:
            interval = [one[key][part] for part in ("value", "low", "high")] if one[key] else [None] * 3
            bounds = [bound[key] and bound[key]["value"] for bound in (floor, ceiling)]
            writer.writerow([name, one["num_molecules"], _network_calls(one), key, *interval, *bounds])
    return text.getvalue()


def _percent(estimate: Mapping[str, float] | None) -> str:
    if estimate is None:
        return _MISSING
    value, low, high = (100 * estimate[part] for part in ("value", "low", "high"))
    digits = 2 if high - low < 0.5 else 1  # no more than the interval is worth
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _network_calls(evaluation: Mapping[str, Any]) -> str:
    calls: Sequence[Any] | int | None = evaluation["metadata"].get("network_calls")
    return "" if calls is None else str(calls)
