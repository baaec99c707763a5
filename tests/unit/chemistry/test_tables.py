import csv
from pathlib import Path
from typing import Any

import pytest

from pipeline.chemistry.metrics import LABELS
from pipeline.chemistry.tables import Summary, comparison_table, evaluation_table


def evaluation(
    value: float, spread: float = 0.01, num: int = 1000, calls: int | None = None, **changes: Any
) -> dict[str, Any]:
    metadata = {} if calls is None else {"network_calls": calls}
    estimate = {"value": value, "low": value - spread, "high": value + spread}
    return {"num_molecules": num, "metadata": metadata, **dict.fromkeys(LABELS, estimate), **changes}


def test_plain_table_lines_up() -> None:
    table = evaluation_table({"a.xyz": evaluation(0.5), "long-name.parquet": evaluation(0.99358, 1e-4, novelty=None)})
    lines = table.splitlines()
    assert len(lines) == 2 + len(LABELS)
    assert lines[0].split() == ["a.xyz", "long-name.parquet"]
    assert lines[1].split() == ["molecules", "1000", "1000"]
    assert "50.0 (49.0 to 51.0)" in lines[2]
    assert "99.36 (99.35 to 99.37)" in lines[2], "as many digits as the interval is worth"
    assert lines[2].rstrip().endswith(")")
    assert next(line for line in lines if line.startswith("novel")).rstrip().endswith("-")
    assert len({len(line) for line in lines}) == 1


def test_many_files_are_a_line_each_that_fits_the_terminal() -> None:
    names = [f"some/long/folder/of/samples/seed-{seed}/heun-50.parquet" for seed in range(200)]
    lines = comparison_table({name: evaluation(0.5, novelty=None) for name in names}, width=100).splitlines()
    assert len(lines) == 200 + 3
    assert {len(line) for line in lines} == {max(len(line) for line in lines)}
    assert len(lines[0]) <= 100
    assert lines[3].split() == ["seed-0/heun-50.parquet", "1,000", *["50.0"] * 6]
    assert [line.split()[-1] for line in lines[:3]] == ["connected:", "and", "unique"]
    # The end of a name is what tells it from others.
    narrow = comparison_table({name: evaluation(0.5) for name in names}, width=60).splitlines()
    assert narrow[-1].split()[0] == "...heun-50.parquet"[:3] + "un-50.parquet"
    assert comparison_table({"a.xyz": evaluation(0.5), "b/c.xyz": evaluation(0.5)}, width=100).count("b/c.xyz") == 1
    mixed = comparison_table({"a.xyz": evaluation(0.5), str(Path("b.xyz").resolve()): evaluation(0.5)}, width=100)
    assert [line.split()[0] for line in mixed.splitlines()[-2:]] == ["a.xyz", "b.xyz"]


def test_markdown_has_the_floor_above_and_the_ceiling_below() -> None:
    results = {"edm|50": evaluation(0.7, calls=50), "other": evaluation(0.6)}
    table = Summary(results, floor=evaluation(0.15), ceiling=evaluation(0.99)).markdown()
    lines = table.splitlines()
    columns = lines[0].count(" | ")
    assert all(line.replace("\\|", "").count(" | ") == columns for line in lines[:6])
    assert lines[2].startswith("| *noise (floor)* | 1000 | - | - | - | 15.0 (14.0 to 16.0) |")
    assert lines[3].startswith("| edm\\|50 | 1000 | 50 | - | - | 70.0 (69.0 to 71.0) |")
    assert lines[5].startswith("| *data (ceiling)* | 1000 | - | - | - | 99.0")


@pytest.mark.parametrize(
    ("seconds", "minutes", "cells"),
    [(3.14159, 12.4, "| 0.0031 | 12 |"), (0.05, 0.444, "| 0.00005 | 0.44 |"), (12345.6, 6000, "| 12 | 6,000 |")],
)
def test_what_a_result_cost_stands_beside_it(seconds: float, minutes: float, cells: str) -> None:
    result = evaluation(0.7, calls=8)
    result["metadata"]["seconds"] = seconds
    references: dict[str, Any] = {
        "floor": evaluation(0.1),
        "ceiling": evaluation(0.9),
        "training_minutes": {"tuned": minutes},
    }
    results = {"tuned": result, "other": result}
    assert f"| tuned | 1000 | 8 {cells}" in Summary(results, **references).markdown()
    first, other = list(csv.DictReader(Summary(results, **references).csv().splitlines()))[:: len(LABELS)]
    assert float(first["seconds_a_molecule"]) == pytest.approx(seconds / 1000)
    assert (float(first["training_minutes"]), other["training_minutes"]) == (minutes, "")


def test_csv_has_floor_and_ceiling_beside_every_value() -> None:
    results = {"edm, mine": evaluation(0.7, calls=50, novelty=None)}
    text = Summary(results, floor=evaluation(0.15), ceiling=evaluation(0.99)).csv()
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["metric"] for row in rows] == list(LABELS)
    assert {row["name"] for row in rows} == {"edm, mine"}
    assert rows[0]["network_calls"] == "50"
    for row in rows:
        assert (float(row["floor"]), float(row["ceiling"])) == (0.15, 0.99)
        if row["metric"] == "novelty":
            assert row["value"] == row["low"] == row["high"] == ""
        else:
            assert float(row["low"]) == pytest.approx(0.69)
