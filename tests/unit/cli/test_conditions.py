"""Molecules for a value of a property, from the weights of a conditional run."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import load_run
from pipeline.cli.sample import main
from pipeline.data.molecule_parquet import read_columns, read_molecules
from pipeline.training.run_folder import read_weights

pytestmark = pytest.mark.usefixtures("in_process")

SIZES = ["5", "9", "5"]


def sample(weights: Path, output: Path, *more: str) -> Any:
    """Return positions of three molecules."""
    options = ["--weights", str(weights), "--calls", "3", "--sizes", *SIZES, "--output", str(output), *more]
    assert main(options) == 0
    return read_molecules(output).positions


def test_a_run_that_starts_without_a_condition_takes_one(conditional: Path, denoiser: Path, data: Any) -> None:
    weights, start = read_weights(conditional), read_weights(denoiser)
    kernel, before = (one.arrays["embedding.kernel"] for one in (weights, start))
    # The value, how far it is from that of the size, and a flag, from zero.
    assert len(kernel) == len(before) + 3
    assert 0 < np.abs(kernel[-3:]).max() < 0.05 < np.abs(kernel[:-3]).max()
    properties = weights.properties
    assert start.properties is None and properties is not None
    columns = read_columns(data.molecules, ["QM9_INDEX", "split"])
    train = columns["QM9_INDEX"][columns["split"] == "train"]
    assert properties.ranges == ((train.min(), train.max()),)


def test_molecules_are_sampled_for_drawn_values_and_for_those_of_the_user(
    conditional: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "m.parquet"
    drawn = sample(conditional, output)
    properties = read_weights(conditional).properties
    assert properties is not None
    values = read_columns(output, ["QM9_INDEX"])["QM9_INDEX"]
    assert all((value,) in properties.values_by_size[int(size)] for value, size in zip(values, SIZES, strict=True))
    low, high = properties.ranges[0]
    capsys.readouterr()
    given = sample(conditional, output, "--property", f"QM9_INDEX={low:g}")
    assert "warning" not in capsys.readouterr().err
    assert (read_columns(output, ["QM9_INDEX"])["QM9_INDEX"] == low).all()
    without = sample(conditional, output, "--property", "none")
    far = sample(conditional, output, "--property", f"QM9_INDEX={100 * high:g}")
    assert f"is outside the training data, {low:g} to {high:g}" in capsys.readouterr().err
    guided = sample(conditional, output, "--property", f"QM9_INDEX={low:g}", "--guidance", "2")
    assert read_molecules(output).metadata["network_calls"] == 6
    every = [drawn, given, without, far, guided]
    assert all((one != other).any() for place, one in enumerate(every) for other in every[:place])
    in_torch = sample(conditional, output, "--property", "none", "--backend", "torch")
    assert in_torch.shape == without.shape


def test_the_api_takes_properties(conditional: Path, tmp_path: Path) -> None:
    run, sizes = load_run(conditional), [int(size) for size in SIZES]
    expected = sample(conditional, tmp_path / "m.parquet", "--property", "QM9_INDEX=7")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = run.sample(calls=3, sizes=sizes, property={"QM9_INDEX": 7})
        assert (found.positions == expected).all()
        assert (run.sample(calls=3, sizes=sizes, property={"QM9_INDEX": [7, 7, 7]}).positions == expected).all()
    with pytest.warns(UserWarning, match="1e\\+06 is outside"):
        run.sample(calls=3, sizes=sizes, property={"QM9_INDEX": 1e6})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--property", "alpha=90"], "alpha"),
        (["--property", "QM9_INDEX"], "'QM9_INDEX' should be such as alpha=90"),
        (["--property", "QM9_INDEX=nan"], "should be such as"),
        (["--property", "none", "--guidance", "1"], "guidance: should be left out"),
        (["--guidance", "-1"], "--guidance"),
    ],
)
def test_what_the_run_has_no_sense_for_is_refused(
    conditional: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    output = tmp_path / "m.parquet"
    assert main(["--weights", str(conditional), "--calls", "3", "--output", str(output), *words]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert not output.exists()


def test_a_run_without_a_condition_takes_no_property(
    denoiser: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--calls", "3", "--output", str(tmp_path / "m.parquet"), "--property", "alpha=90"]
    assert main(["--weights", str(denoiser), *words]) == 2
    assert "the run has no condition" in capsys.readouterr().err
