"""A property regressor from its training to the errors of samples."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.chemistry.property_errors import baselines, error_rows, mean_error
from pipeline.cli.predict import main
from pipeline.cli.sample import main as sample
from pipeline.data.molecule_parquet import read_columns
from tests.unit.cli.conftest import Train

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture(scope="module", params=["jax", "torch"])
def regressor(train_two_steps: Train, request: pytest.FixtureRequest) -> Path:
    run = {"objective": "property", "condition": ["QM9_INDEX"], "samplers": {}, "backend": request.param}
    return train_two_steps(name="judge", half="first", **run)


def test_samples_and_data_are_judged(regressor: Path, conditional: Path, data: Any, tmp_path: Path) -> None:
    samples, output = tmp_path / "m.parquet", tmp_path / "errors.json"
    assert sample(["--weights", str(conditional), "--calls", "3", "--num", "5", "--output", str(samples)]) == 0
    assert main(["--weights", str(regressor), "--samples", str(samples), "--output", str(output)]) == 0
    found = json.loads(output.read_text())
    assert (found["run"], found["sampler"], found["regressor"]) == ("conditional", "heun-2", "judge")
    one = found["properties"]["QM9_INDEX"]
    assert one["asked"] == read_columns(samples, ["QM9_INDEX"])["QM9_INDEX"].tolist()
    errors = np.abs(np.array(one["asked"]) - one["predicted"])
    assert one["error"]["value"] == pytest.approx(errors.mean())
    assert main(["--weights", str(regressor), "--molecules", str(data.molecules), "--output", str(output)]) == 0
    one = json.loads(output.read_text())["properties"]["QM9_INDEX"]
    # Of 48 training molecules the half that the regressor has not seen.
    assert one["num"] == 24
    assert one["errors"].keys() == {"U-bound", "number of atoms", "L-bound"}


def test_what_cannot_be_judged_is_refused(
    regressor: Path, denoiser: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples, output = tmp_path / "m.parquet", tmp_path / "errors.json"
    assert sample(["--weights", str(denoiser), "--calls", "3", "--num", "2", "--output", str(samples)]) == 0
    capsys.readouterr()
    for weights, message in ((regressor, "was not sampled for QM9_INDEX"), (denoiser, "objective denoiser, not prop")):
        assert main(["--weights", str(weights), "--samples", str(samples), "--output", str(output)]) == 2
        error = capsys.readouterr().err
        assert message in error and len(error.splitlines()) == 1
    assert main(["--weights", str(regressor), "--molecules", str(samples), "--output", str(output)]) == 2
    assert "has no property QM9_INDEX" in capsys.readouterr().err
    assert sample(["--weights", str(regressor), "--calls", "3", "--output", str(samples)]) == 2
    assert "predicts properties and generates no molecules" in capsys.readouterr().err


def test_baselines_are_those_of_their_definitions() -> None:
    generator = np.random.default_rng(0)
    sizes = generator.integers(3, 6, 4000)
    values = 10.0 * sizes + generator.normal(size=4000)
    found = baselines(values + 0.1, values, sizes, values, sizes)
    assert found["L-bound"] == pytest.approx(0.1)
    # Of a standard normal about its median; of two different sizes chosen at random.
    assert found["number of atoms"] == pytest.approx((2 / np.pi) ** 0.5, rel=0.05)
    assert found["U-bound"] > 8
    error = mean_error(values + 0.1, values)
    assert error.low <= error.value <= error.high and error.value == pytest.approx(0.1)


def test_rows_are_in_the_unit_of_the_literature() -> None:
    rows = dict(error_rows("gap", "hartree", {"steps-8": 0.01}, {"U-bound": 0.05}, dataset="QM9"))
    assert rows["steps-8"] == pytest.approx(272.11386)
    assert rows["EDM (published)"] == 655
    assert not any("published" in label for label in dict(error_rows("gap", None, {}, {}, dataset="mine")))
