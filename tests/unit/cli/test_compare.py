from pathlib import Path

import numpy as np
import pytest

from pipeline.chemistry.comparison import differences
from pipeline.chemistry.metrics import LABELS
from pipeline.cli.compare import main
from pipeline.core.files import write_json


def evaluation(hits: int, number: int) -> dict[str, object]:
    value = hits / number
    width = 1.96 * np.sqrt(value * (1 - value) / number)
    estimate = {"value": value, "low": value - width, "high": value + width}
    return {"version": 1, "num_molecules": number, "metadata": {}, **dict.fromkeys(LABELS, estimate)}


def test_the_interval_is_that_of_two_proportions() -> None:
    first = differences(evaluation(820, 1000), evaluation(780, 1000))[0]
    error = 1.96 * np.sqrt(0.82 * 0.18 / 1000 + 0.78 * 0.22 / 1000)
    assert (first.low, first.high) == pytest.approx((0.04 - error, 0.04 + error))
    assert first.verdict == "A is higher"
    assert differences(evaluation(80, 100), evaluation(82, 100))[0].verdict == "noise"
    assert differences(evaluation(60, 100), evaluation(82, 100))[0].verdict == "B is higher"


def test_uniqueness_is_not_compared_at_unequal_numbers() -> None:
    found = {one.name: one.verdict for one in differences(evaluation(820, 1000), evaluation(60, 100))}
    assert found["uniqueness"] == "unequal numbers"
    assert found["validity"] == "A is higher"


def test_the_table_and_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, hits in (("a", 820), ("b", 780)):
        write_json(tmp_path / f"{name}.json", evaluation(hits, 1000))
    assert main([str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(LABELS)
    assert lines[1].startswith("atom_stability")
    assert main([str(tmp_path / "a.json"), str(tmp_path / "gone.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
