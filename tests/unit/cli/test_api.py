import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline import load_run
from pipeline.cli.release import main as release
from pipeline.cli.sample import main as sample
from pipeline.core.errors import InputError
from pipeline.data.molecule_parquet import read_molecules
from pipeline.study.released import FOLDER, released_names, released_path
from pipeline.study.study import resolve_study

EXPECTED = Path(__file__).parents[2] / "data" / "few_step_molecules.json"


def test_released_weights_make_the_molecules_that_they_made(tmp_path: Path, in_process: None) -> None:
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))
    arguments = ["--weights", "few-step", "--calls", "4", "--sizes", *map(str, expected["sizes"])]
    for name in ("one", "two"):
        assert sample([*arguments, "--output", str(tmp_path / f"{name}.parquet")]) == 0
    one, two = (read_molecules(tmp_path / f"{name}.parquet") for name in ("one", "two"))
    np.testing.assert_array_equal(one.positions, two.positions)
    assert one.atomic_numbers.tolist() == expected["atomic_numbers"]
    # Another processor rounds otherwise, and a few calls carry that on.
    np.testing.assert_allclose(one.positions, expected["positions"], atol=1e-3)


def test_python_and_the_command_line_draw_the_same_molecules(tmp_path: Path, in_process: None) -> None:
    # Of the sizes above, so that nothing more is compiled.
    found = load_run("few-step").sample(sizes=[12, 5], calls=2, seed=5)
    arguments = ["--weights", "few-step", "--calls", "2", "--sizes", "12", "5", "--seed", "5"]
    assert sample([*arguments, "--output", str(tmp_path / "molecules.parquet")]) == 0
    np.testing.assert_array_equal(read_molecules(tmp_path / "molecules.parquet").positions, found.positions)


def test_a_released_model_says_which_calls_it_has_levels_for() -> None:
    with pytest.raises(InputError, match=r"few-step: there are no noise levels for 3 network calls \(only for 1, 2, 4"):
        load_run("few-step").sampler(calls=3)


def test_the_denoiser_takes_odd_numbers_of_calls() -> None:
    assert load_run("denoiser").sampler(calls=49).steps == 25
    with pytest.raises(InputError, match="takes 3, 5, 7, ... network calls, not 16"):
        load_run("denoiser").sampler(calls=16)


def test_what_is_neither_a_file_nor_released_is_one_line() -> None:
    with pytest.raises(InputError, match="no such file, nor a released model; there are denoiser, denoiser-large, "):
        load_run("no-such")


def test_a_run_without_levels_is_not_released(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(released_path("few-step").read_bytes())
    assert release(["--run", str(tmp_path), "--name", "mine", "--output", str(tmp_path / "mine.safetensors")]) == 2
    (tmp_path / "levels").mkdir()
    (tmp_path / "levels" / "2.json").write_text('{"2": [2.0, 0.3]}')
    assert release(["--run", str(tmp_path), "--name", "mine", "--output", str(tmp_path / "mine.safetensors")]) == 0
    mine = load_run(tmp_path / "mine.safetensors")
    assert mine.weights.config.name == "mine" and mine.sampler(calls=2).levels == (2.0, 0.3)


def test_every_released_file_is_in_the_list_of_checksums() -> None:
    lines = (FOLDER / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = {name: digest for digest, name in (line.split() for line in lines)}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in map(released_path, released_names())}
    assert listed == found


def test_a_study_takes_a_released_model_as_it_is() -> None:
    samplers = {"two": {"kind": "consistency", "steps": 2}}
    study = resolve_study({"runs": {"few-step": {"released": True, "samplers": samplers}}})
    run = study["runs"]["few-step"]
    assert run["model"]["layers"] == load_run("few-step").weights.config.model.layers
    with pytest.raises(InputError, match="runs.few-step.seed: should be left out; the released model decides it"):
        resolve_study({"runs": {"few-step": {"released": True, "seed": 1, "samplers": samplers}}})
    with pytest.raises(InputError, match="runs.mine.released: 'mine' is not a released model"):
        resolve_study({"runs": {"mine": {"released": True, "samplers": samplers}}})


def test_a_released_one_call_model_makes_the_first_of_two_calls(tmp_path: Path, in_process: None) -> None:
    found = load_run("few-step").sample(sizes=[9], calls=2, first="one-step", seed=5)
    arguments = ["--weights", "few-step", "--calls", "2", "--sizes", "9", "--seed", "5"]
    for words in ([], ["--first", "one-step"]):
        assert sample([*arguments, *words, "--output", str(tmp_path / f"{len(words)}.parquet")]) == 0
    alone, both = (read_molecules(tmp_path / f"{count}.parquet") for count in (0, 2))
    np.testing.assert_array_equal(both.positions, found.positions)
    assert both.metadata["first"] == "one-step"
    assert (alone.positions != both.positions).any()
    with pytest.raises(InputError, match="one-step: there are no noise levels for 2 network calls"):
        load_run("one-step").sampler(calls=2)


def test_electrons_are_not_rounded_on_demand(
    tmp_path: Path, in_process: None, capfd: pytest.CaptureFixture[str]
) -> None:
    sizes = [9, 9, 9, 9]
    found = load_run("few-step").sample(sizes=sizes, calls=2, even_electrons=False)
    arguments = ["--sizes", *map(str, sizes), "--output", str(tmp_path / "molecules.parquet"), "--any-electrons"]
    assert sample(["--weights", "few-step", "--calls", "2", *arguments]) == 0
    np.testing.assert_array_equal(read_molecules(tmp_path / "molecules.parquet").positions, found.positions)
    rounded = load_run("few-step").sample(sizes=sizes, calls=2)
    assert rounded.atomic_numbers.tolist() != found.atomic_numbers.tolist()
    assert all(numbers.sum() % 2 == 0 for numbers, _ in rounded)
    assert sample(["--weights", "denoiser", "--calls", "3", *arguments]) == 2
    assert "even_electrons: should be left out, or kind should be consistency" in capfd.readouterr().err
