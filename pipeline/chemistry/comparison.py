"""Two evaluations side by side: which differences are more than noise.

The interval of a difference follows from those of the two figures (Newcombe 1998, method 10; Zou and Donner 2008), so
that it holds for proportions, medians and distances alike, whatever their own intervals were made with:
low = a - b - sqrt((a - low_a)^2 + (high_b - b)^2), high likewise. The samples have to be independent.

Of twenty figures one leaves its 95 % interval by chance. Uniqueness falls as more molecules are drawn and distances do
too: both are compared only at equal numbers of molecules.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.chemistry.metrics import LABELS
from pipeline.core.text_tables import aligned

_GROUPS = ("distances", "posebusters", "relaxation", "relaxation_gfn2_xtb")
_DEPENDS_ON_THE_NUMBER = ("unique", "distances")


@dataclass(frozen=True)
class Difference:
    """One figure of two evaluations, A and B."""

    name: str
    a: float
    b: float
    low: float
    """Of the 95 % interval of a - b."""
    high: float
    comparable: bool
    """False where the number of molecules matters and differs."""

    @property
    def verdict(self) -> str:
        """The interval in words."""
        if not self.comparable:
            return "unequal numbers"
        return "noise" if self.low <= 0 <= self.high else "A is higher" if self.a > self.b else "B is higher"


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Difference]:
    """Return the difference of every figure that both evaluations have."""
    mine, theirs = dict(_estimates(a)), dict(_estimates(b))
    equal = a["num_molecules"] == b["num_molecules"]
    found = []
    for name in mine.keys() & theirs.keys():
        one, other = mine[name], theirs[name]
        value = one["value"] - other["value"]
        comparable = equal or not any(word in name for word in _DEPENDS_ON_THE_NUMBER)
        found.append(
            Difference(
                name=name,
                a=one["value"],
                b=other["value"],
                low=value - math.hypot(one["value"] - one["low"], other["high"] - other["value"]),
                high=value + math.hypot(one["high"] - one["value"], other["value"] - other["low"]),
                comparable=comparable,
            )
        )
    return sorted(found, key=lambda difference: list(mine).index(difference.name))


def _estimates(evaluation: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, float]]]:
    named = [(key, evaluation[key]) for key in LABELS]
    named += [(key, value) for key, value in evaluation.items() if key not in LABELS and key not in _GROUPS]
    named += [(f"{group}: {key}", value) for group in _GROUPS for key, value in (evaluation.get(group) or {}).items()]
    for name, value in named:
        if isinstance(value, dict) and value.keys() >= {"value", "low", "high"}:
            yield name, value


def comparison_text(found: list[Difference]) -> str:
    """Return the differences as a plain text table."""
    rows = [["", "A", "B", "A - B (95 % interval)", "verdict"]]
    for one in found:
        interval = f"{one.a - one.b:+.3g} ({one.low:+.3g} to {one.high:+.3g})"
        rows.append([one.name, f"{one.a:.4g}", f"{one.b:.4g}", interval, one.verdict])
    return aligned(rows)
