import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.cli.sample import main
from pipeline.data.molecule_files import read_molecule_files
from pipeline.data.molecule_parquet import read_columns, read_molecules
from pipeline.training.run_folder import read_weights

pytestmark = pytest.mark.usefixtures("in_process")

HEUN = {"name": "heun-5", "kind": "heun", "steps": 3, "num": 6, "seed": 0}


@pytest.fixture
def sampler(tmp_path: Path) -> Path:
    path = tmp_path / "heun-5.json"
    path.write_text(json.dumps(HEUN))
    return path


def run(weights: Path, sampler: Path, output: Path, *more: str) -> int:
    return main(["--weights", str(weights), "--sampler", str(sampler), "--output", str(output), *more])


def test_samples_are_molecules_with_their_origin(weights: Path, sampler: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run(weights, sampler, tmp_path / "samples.parquet", "--log", str(log)) == 0
    samples = read_molecules(tmp_path / "samples.parquet")
    assert len(samples) == 6
    origin = dict(samples.metadata)
    assert origin.pop("seconds") > 0
    for key in ("kind", "version"):
        origin.pop(key, None)
    assert origin == {
        "run": "tiny", "backend": "jax", "sampler": "heun-5", "sampler_kind": "heun", "alignment": None, "steps": 3,
        "network_calls": 5, "seed": 0, "non_finite": 0
    }  # fmt: skip
    assert "sample tiny heun-5: 100%" in log.read_text()
    # The same again with the same seed, other sizes and places with another.
    assert run(weights, sampler, tmp_path / "again.parquet") == 0
    assert (read_molecules(tmp_path / "again.parquet").positions == samples.positions).all()
    assert run(weights, sampler, tmp_path / "other.parquet", "--seed", "1") == 0
    other = read_molecules(tmp_path / "other.parquet")
    assert other.metadata["seed"] == 1
    assert other.sizes.tolist() != samples.sizes.tolist()


def test_sizes_and_number_of_the_user(
    weights: Path, sampler: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # 31 is more than any bucket holds.
    assert run(weights, sampler, tmp_path / "sizes.parquet", "--sizes", "19", "2", "31") == 0
    assert read_molecules(tmp_path / "sizes.parquet").sizes.tolist() == [19, 2, 31]
    known = read_weights(weights).statistics.size_histogram["train"]
    warning = f"sizes outside those of the training molecules, {min(known)} to {max(known)} atoms: 2, 31; "
    assert warning in capfd.readouterr().err
    assert run(weights, sampler, tmp_path / "fewer.parquet", "--num", "2") == 0
    fewer = read_molecules(tmp_path / "fewer.parquet")
    assert len(fewer) == 2
    assert "sizes outside" not in capfd.readouterr().err


def test_samples_are_of_the_format_that_the_suffix_names(weights: Path, sampler: Path, tmp_path: Path) -> None:
    assert run(weights, sampler, tmp_path / "samples.parquet") == 0
    samples = read_molecules(tmp_path / "samples.parquet")
    for name in ("samples.xyz", "samples.extxyz.gz"):
        assert run(weights, sampler, tmp_path / name) == 0
        found = read_molecule_files(tmp_path / name, invalid="refuse").data.molecules
        assert (found.positions == samples.positions).all()
    assert run(weights, sampler, tmp_path / "way.xyz", "--trajectory", "3", "--sizes", "5") == 0
    assert len(read_molecule_files(tmp_path / "way.xyz", invalid="refuse").data.molecules) == 3


def test_a_trajectory_is_one_molecule_frame_by_frame(weights: Path, sampler: Path, tmp_path: Path) -> None:
    assert run(weights, sampler, tmp_path / "way.parquet", "--trajectory", "3", "--sizes", "5") == 0
    frames = read_molecules(tmp_path / "way.parquet")
    assert frames.sizes.tolist() == [5, 5, 5]
    columns = read_columns(tmp_path / "way.parquet", ["frame", "sigma"])
    assert columns["frame"].tolist() == [0, 1, 2]
    assert columns["sigma"][[0, -1]].tolist() == [20.0, 0.0]
    assert (np.diff(columns["sigma"]) < 0).all()


ONE = {"name": "one", "kind": "consistency", "num": 5}


def written(folder: Path, settings: dict[str, Any]) -> Path:
    path = folder / f"{settings['name']}.json"
    path.write_text(json.dumps(settings))
    return path


def test_a_denoiser_is_sampled_like_a_diffusion_model(denoiser: Path, sampler: Path, tmp_path: Path) -> None:
    assert run(denoiser, sampler, tmp_path / "samples.parquet") == 0
    samples = read_molecules(tmp_path / "samples.parquet")
    assert (samples.metadata["run"], samples.metadata["network_calls"], len(samples)) == ("denoiser", 5, 6)


def test_a_few_step_model_is_sampled_at_given_or_found_levels(tuned: Path, tmp_path: Path) -> None:
    given = written(tmp_path, ONE | {"name": "given", "levels": [20.0, 1.5]})
    assert run(tuned, given, tmp_path / "given.parquet") == 0
    samples = read_molecules(tmp_path / "given.parquet")
    origin = samples.metadata
    assert (origin["run"], origin["sampler"], origin["steps"], origin["network_calls"]) == ("tuned", "given", 2, 2)
    assert len(samples) == 5
    assert np.isfinite(samples.positions).all()
    # The same levels, from the file of those that were found.
    found = written(tmp_path, ONE | {"name": "found", "steps": 2})
    (tmp_path / "levels.json").write_text(json.dumps({"1": [20.0], "2": [20.0, 1.5]}))
    assert run(tuned, found, tmp_path / "found.parquet", "--levels", str(tmp_path / "levels.json")) == 0
    assert (read_molecules(tmp_path / "found.parquet").positions == samples.positions).all()
    # The run was trained on aligned pairs, and a sampler may do without.
    alone = written(tmp_path, ONE | {"name": "alone", "levels": [20.0, 1.5], "alignment": "none"})
    assert run(tuned, alone, tmp_path / "alone.parquet") == 0
    assert np.abs(read_molecules(tmp_path / "alone.parquet").positions - samples.positions).max() > 0.01


@pytest.mark.parametrize(("setting", "noted"), [(None, None), (True, None), (False, "any")])
def test_samples_say_if_they_are_not_rounded_as_their_data_are(
    tuned: Path, tmp_path: Path, setting: bool | None, noted: str | None
) -> None:
    assert read_weights(tuned).statistics.even_electrons
    one = written(tmp_path, ONE | {"name": "one", "levels": [20.0], "even_electrons": setting})
    assert run(tuned, one, tmp_path / "one.parquet") == 0
    assert read_molecules(tmp_path / "one.parquet").metadata.get("electrons") == noted
    assert run(tuned, one, tmp_path / "any.parquet", "--any-electrons") == 0
    assert read_molecules(tmp_path / "any.parquet").metadata["electrons"] == "any"


def test_a_formula_is_kept(tuned: Path, tmp_path: Path) -> None:
    given = written(tmp_path, {"name": "given", "kind": "consistency", "levels": [20.0, 1.0], "num": 3})
    assert run(tuned, given, tmp_path / "samples.parquet", "--formula", "C2NH2F") == 0
    samples = read_molecules(tmp_path / "samples.parquet")
    assert [sorted(numbers.tolist()) for numbers, _ in samples] == [[1, 1, 6, 6, 7, 9]] * 3
    assert samples.metadata["formula"] == "C2NH2F"
    # Which atom is which was not decided before.
    assert len({tuple(numbers.tolist()) for numbers, _ in samples}) > 1


def test_a_trajectory_of_few_steps(tuned: Path, tmp_path: Path) -> None:
    given = written(tmp_path, ONE | {"levels": [20.0, 1.5, 0.3]})
    assert run(tuned, given, tmp_path / "way.parquet", "--trajectory", "9", "--sizes", "5") == 0
    assert read_molecules(tmp_path / "way.parquet").sizes.tolist() == [5] * 4
    sigma = read_columns(tmp_path / "way.parquet", ["sigma"])["sigma"]
    np.testing.assert_allclose(sigma, [20.0, 1.5, 0.3, 0.0], rtol=1e-6)


def test_bad_input_is_one_line_and_writes_nothing(
    weights: Path, denoiser: Path, tuned: Path, sampler: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one, two = written(tmp_path, ONE | {"levels": [20.0]}), written(tmp_path, ONE | {"name": "two", "steps": 2})
    levels = tmp_path / "levels.json"
    levels.write_text(json.dumps({"1": [20.0]}))
    capfd.readouterr()
    whole = weights.read_bytes()
    damaged, cut, foreign = (tmp_path / name for name in ("damaged", "cut", "foreign"))
    damaged.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    cut.write_bytes(whole[: len(whole) // 2])
    foreign.write_bytes(b"no weights at all")
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(HEUN | {"kind": "guess"}))
    cases: list[tuple[Path, Path, tuple[str, ...], str]] = [
        (damaged, sampler, (), "damaged: its content does not match its checksum"),
        (cut, sampler, (), "cut: not a complete safetensors file"),
        (foreign, sampler, (), "foreign: not a complete safetensors file"),
        (tmp_path / "none", sampler, (), "none: no such file, nor a released model"),
        (weights, wrong, (), "wrong.json: kind: "),
        (weights, sampler, ("--num", "0"), "--num: 0 should be at least 1"),
        (weights, sampler, ("--sizes", "5", "1"), "sizes: there should be at least one, and each at least 2"),
        (weights, sampler, ("--formula", "C6H6"), "only few-step samplers take a formula, not heun"),
        (weights, sampler, ("--formula", "c6"), "formula 'c6': should be a sum formula such as C2H6O"),
        (weights, sampler, ("--formula", "C6", "--sizes", "6"), "--sizes and --formula exclude each other"),
        (weights, sampler, ("--sizes", "5", "6", "--num", "3"), "--num 3 does not fit the 2 numbers of --sizes"),
        (weights, sampler, ("--trajectory", "1"), "--trajectory: 1 should be at least 2"),
        (weights, sampler, ("--seed", "-1"), "--seed: -1 should be at least 0"),
        (weights, one, (), "sampler one: kind: consistency should be heun or ddim or ancestral for objective edm"),
        (denoiser, one, (), "sampler one: kind: consistency should be heun or ddim for objective denoiser"),
        (tuned, sampler, (), "sampler heun-5: kind: heun should be consistency for objective consistency"),
        (tuned, two, (), "tuned: there are no noise levels for 2 network calls; search for them"),
        (tuned, two, ("--levels", str(levels)), "levels.json: it should have a list of 2 levels under the key 2"),
        (tuned, two, ("--levels", str(tmp_path / "none")), "none: no such file"),
    ]
    for name, more, message in (
        ("output.pdb", [], "output.pdb: molecules are written to .parquet, .sdf"),
        ("output.sdf", ["--part", "1-of-1"], "--part is for the stage merge, which reads .parquet files"),
    ):
        assert run(weights, sampler, tmp_path / name, *more) == 2
        assert message in capfd.readouterr().err
    for of, by, options, message in cases:
        assert run(of, by, tmp_path / "output.parquet", *options) == 2
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("sample: error: ")
        assert message in lines[0]
        assert not (tmp_path / "output.parquet").exists()
