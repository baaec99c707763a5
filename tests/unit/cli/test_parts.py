"""Samples and scores made in parts are those made at once."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.cli.evaluate import main as evaluate
from pipeline.cli.judge import main as judge
from pipeline.cli.merge import main as merge
from pipeline.cli.sample import main as sample
from pipeline.core.files import write_json
from pipeline.data.molecule_files import read_molecule_files
from pipeline.data.molecule_parquet import read_molecules, write_molecules

NUM = 520
"""Three batches or more, whatever the backend."""


@dataclass(frozen=True)
class Sampling:
    """The stage sample with a model and a sampler, and what it draws at once."""

    options: tuple[str, ...]
    whole: Path

    def draw(self, output: Path, *more: str) -> int:
        """Draw all or a part; return the exit status."""
        return sample([*self.options, *more, "--output", str(output)])


@pytest.fixture(scope="module", params=["heun", "few-steps", "few-steps-torch"])
def sampling(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sampling:
    """Of a conditional denoiser in many steps; of a consistency model in two at searched levels with either backend."""
    folder = tmp_path_factory.mktemp("sampling")
    few = request.param != "heun"
    weights = request.getfixturevalue("tuned" if few else "conditional")
    sampler = {"name": "two", "kind": "consistency" if few else "heun", "steps": 2, "num": NUM}
    write_json(folder / "sampler.json", sampler)
    write_json(folder / "levels.json", {"2": [20.0, 0.7]})
    options = ["--weights", str(weights), "--sampler", str(folder / "sampler.json")]
    options += ["--levels", str(folder / "levels.json")] if few else []
    options += ["--backend", "torch"] if request.param == "few-steps-torch" else []
    sampling = Sampling(tuple(options), folder / "samples.parquet")
    assert sampling.draw(sampling.whole) == 0
    return sampling


def test_samples_in_parts_are_the_same_to_the_bit(sampling: Sampling, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}-of-3.parquet" for number in (3, 2, 1)]
    for path in paths:
        assert sampling.draw(path, "--part", path.stem) == 0
    assert merge([*map(str, paths), "--output", str(tmp_path / "merged.parquet")]) == 0
    merged, expected = pq.read_table(tmp_path / "merged.parquet"), pq.read_table(sampling.whole)
    assert merged.equals(expected)
    origins = [dict(read_molecules(path).metadata) for path in (tmp_path / "merged.parquet", sampling.whole)]
    assert all(origin.pop("seconds") > 0 for origin in origins)
    assert origins[0] == origins[1]


def test_more_parts_than_batches_are_one_line(
    sampling: Sampling, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert sampling.draw(tmp_path / "part.parquet", "--part", "1-of-100") == 2
    assert "sample: error: part 1-of-100: there are only" in capfd.readouterr().err
    assert sampling.draw(tmp_path / "part.parquet", "--part", "2-of-1") == 2
    assert "part '2-of-1' should be such as 2-of-8" in capfd.readouterr().err


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with real molecules, some twice, and the training split that a part of them is from."""
    folder = tmp_path_factory.mktemp("judged")
    sdf = Path(__file__).parents[2] / "data" / "molecules64.sdf"
    molecules = read_molecule_files(sdf, invalid="refuse").data.molecules
    write_molecules(folder / "samples.parquet", molecules.select([*range(40), *range(10, 20)]))
    splits = np.array(["train"] * 25 + ["test"] * 39)
    write_molecules(folder / "train.parquet", molecules, extra_columns={"split": splits})
    return folder


def records(folder: Path, output: Path, count: int) -> list[str]:
    """Judge the samples in parts; return the files."""
    paths = [str(output / f"{number}-of-{count}.parquet") for number in range(1, count + 1)]
    for path in paths:
        options = ["--part", Path(path).stem, "--train", str(folder / "train.parquet"), "--output", path]
        assert judge([str(folder / "samples.parquet"), *options]) == 0
    return paths


@pytest.mark.parametrize("count", [1, 3])
def test_scores_in_parts_are_the_same_to_the_byte(judged: Path, tmp_path: Path, count: int) -> None:
    samples = str(judged / "samples.parquet")
    files = records(judged, tmp_path, count)
    assert evaluate([samples, "--records", *reversed(files), "--output", str(tmp_path / "parts.json")]) == 0
    options = ["--train", str(judged / "train.parquet"), "--output", str(tmp_path / "whole.json")]
    assert evaluate([samples, *options]) == 0
    assert (tmp_path / "parts.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    found = json.loads((tmp_path / "parts.json").read_text())
    assert 0 < found["connected_novelty"]["value"] < 1
    assert found["connected_uniqueness"]["value"] < 1


def test_records_of_other_molecules_or_not_of_all_are_one_line(
    judged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = str(judged / "samples.parquet")
    first, second = records(judged, tmp_path, 2)
    unasked = str(tmp_path / "unasked.parquet")
    assert judge([samples, "--part", "2-of-2", "--output", unasked]) == 0
    other = str(judged / "train.parquet")
    cases = [
        ([samples, "--records", first], "the records together do not have each of the 50 molecules once"),
        ([samples, "--records", first, first], "the records together do not have each of the 50 molecules once"),
        ([other, "--records", first, second], "the records of other molecules, or of these before they changed"),
        ([samples, "--records", first, unasked], "made with other options"),
        ([samples, "--records", samples], "holds molecules, not records"),
        ([samples, other, "--records", first, second], "--records are of one file"),
        ([samples, "--train", other, "--records", first], "--records are of one file"),
    ]
    for arguments, message in cases:
        capsys.readouterr()
        assert evaluate([*arguments, "--output", str(tmp_path / "none.json")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error
        assert not (tmp_path / "none.json").exists()
