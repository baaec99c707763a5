"""Markdown tables of the benchmark: one for training each network, and one for sampling."""

from collections.abc import Mapping
from typing import Any, Final

from pipeline.core.text_tables import markdown_table

_DASH: Final = "–"


def tables(found: Mapping[str, Any]) -> str:
    """Return Markdown tables of the results of ``run_benchmark``."""
    machine = found["machine"]
    about = machine["machine"]
    loads = machine["load_average"]
    blocks = [
        f"{about['processor']}, {about['cores']} of {about['cores_of_machine']} cores, {about['memory_gb']} GB; "
        f"load average {min(loads):.1f} to {max(loads):.1f}; {about['date']}. "
        "Medians with 95 % intervals; speed-ups are medians of ratios within a repetition."
    ]
    training = found.get("training", {})
    for network in training.get("networks", {}).values():
        header = ["contestant", "molecules/s", "speed-up", "peak MB", "growth MB", "compilations", "first step, s"]
        rows = [_training_row(one) for one in network["contestants"].values()]
        title = f"Training, {network['hidden']} x {network['layers']}, batch {training['batch_size']}"
        blocks.append(f"{title}\n\n{markdown_table(header, rows)}")
    if sampling := found.get("sampling"):
        title = f"Sampling, {sampling['hidden']} x {sampling['layers']}, {sampling['calls']} network calls"
        blocks.append(f"{title}\n\n{_sampling_table(sampling['contestants'])}")
        if trained := sampling.get("trained"):
            title = f"Sampling, weights of {trained['run']}, {trained['sampler']}, {trained['calls']} network calls"
            blocks.append(f"{title}\n\n{_sampling_table(trained['contestants'])}")
    if peak := found.get("peak"):
        rates = peak["operations_per_second"].items()
        rows = [[framework, f"{rate / 1e9:.0f}", peak["gpus"][framework] or "CPU"] for framework, rate in rates]
        blocks.append(f"Float32 matrix products\n\n{markdown_table(['framework', 'GFLOP/s', 'on'], rows)}")
    if startup := found.get("startup"):
        rows = [
            [one["label"], *(f"{one[state]:.1f}" if state in one else _DASH for state in ("cold", "warm"))]
            for one in startup["contestants"].values()
        ]
        header = ["contestant", "empty cache, s", "filled cache, s"]
        blocks.append(f"From start to first step, default settings\n\n{markdown_table(header, rows)}")
    return "\n\n".join(blocks) + "\n"


def _training_row(one: Mapping[str, Any]) -> list[str]:
    if "failed" in one:
        return [one["label"], f"failed: {one['failed']}", *[_DASH] * 5]
    memory = one["memory_mb"]
    return [
        one["label"],
        interval(one["molecules_per_second"]),
        interval(one.get("speed_up")),
        f"{memory['peak']:,.0f}",
        f"{memory['after_last_repetition'] - memory['after_first_repetition']:,.0f}",
        str(one["compilations"]),
        f"{one['start_seconds']:.1f}",
    ]


def _sampling_table(contestants: Mapping[str, Any]) -> str:
    header = ["contestant", "molecules/s", "speed-up", "stable molecules/s"]
    return markdown_table(
        header,
        [
            [one["label"], f"failed: {one['failed']}", _DASH, _DASH]
            if "failed" in one
            else [
                one["label"],
                interval(one["molecules_per_second"]),
                interval(one.get("speed_up")),
                interval(one.get("stable_molecules_per_second")),
            ]
            for one in contestants.values()
        ],
    )


def interval(estimate: Mapping[str, float] | None) -> str:
    """Return an estimate with its interval, "105 (101 to 108)", or a dash for none."""
    if estimate is None:
        return _DASH
    return "{} ({} to {})".format(*(three_figures(estimate[key]) for key in ("value", "low", "high")))


def three_figures(value: float) -> str:
    """Return a number with three significant figures and no exponent: "5.32", "105", "1,240"."""
    decimals = next((place for place, limit in ((3, 0.995), (2, 9.995), (1, 99.95)) if abs(value) < limit), 0)
    return f"{value:,.{decimals}f}"
