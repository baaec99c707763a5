from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import InputError
from pipeline.study.claims import claim_runs
from pipeline.study.study import resolve_study


def study(*, steps: int = 1000, calls: int = 9, train: int = 100, **samplers: Any) -> dict[str, Any]:
    run = {"training": {"steps": steps}, "samplers": {"heun": {"kind": "heun", "steps": calls}} | samplers}
    return resolve_study({"data": {"split": {"train": train}}, "runs": {"edm": run}})


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with a run that mine.yaml trained and drew molecules from."""
    claim_runs(study(), owner="mine.yaml", runs=tmp_path, record=True)
    (tmp_path / "edm" / "samples").mkdir()
    for name in ("weights.safetensors", "samples/heun.parquet"):
        (tmp_path / "edm" / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"steps": 2000}, "training.steps 1000, not 2000; "),
        ({"train": 200}, "data.split.train 100, not 200; "),
        ({"calls": 5}, "samplers.heun.steps 9, not 5; "),
        ({"steps": 2000, "calls": 5}, "training.steps 1000, not 2000 (1 more differ"),
    ],
)
def test_another_study_does_not_replace_what_was_made(runs: Path, other: dict[str, Any], difference: str) -> None:
    with pytest.raises(InputError) as caught:
        claim_runs(study(**other), owner="yours.yaml", runs=runs, record=True)
    assert f"{runs}/edm was made by mine.yaml with {difference}" in str(caught.value)
    # It did not make the run its own by asking; its own owner may change it.
    with pytest.raises(InputError):
        claim_runs(study(**other), owner="yours.yaml", runs=runs, record=True)
    claim_runs(study(**other), owner="mine.yaml", runs=runs, record=True)


def test_two_studies_share_a_run_that_they_agree_on(runs: Path) -> None:
    more = study(ddim={"kind": "ddim", "steps": 4})
    claim_runs(more, owner="yours.yaml", runs=runs, record=True)
    claim_runs(study(), owner="mine.yaml", runs=runs, record=True)


@pytest.mark.parametrize("lost", ["edm/study.json", "edm/weights.safetensors"])
def test_what_is_not_there_is_free(runs: Path, lost: str) -> None:
    (runs / lost).unlink()
    claim_runs(study(steps=2000), owner="yours.yaml", runs=runs, record=True)
    (runs / "edm" / "weights.safetensors").touch()
    with pytest.raises(InputError, match=r"was made by yours\.yaml with training\.steps 2000, not 1000"):
        claim_runs(study(), owner="mine.yaml", runs=runs, record=True)


def test_a_dry_run_only_looks(tmp_path: Path) -> None:
    claim_runs(study(), owner="mine.yaml", runs=tmp_path, record=False)
    assert list(tmp_path.iterdir()) == []
