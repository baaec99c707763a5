from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import InputError
from pipeline.study import claims
from pipeline.study.study import resolve_study


def claim_results(study: dict[str, Any], **options: Any) -> None:
    claims.claim_results(study, **{"molecules": None} | options)


def study(*, steps: int = 1000, calls: int = 9, train: int = 100, **samplers: Any) -> dict[str, Any]:
    run = {"training": {"steps": steps}, "samplers": {"heun": {"kind": "heun", "steps": calls}} | samplers}
    return resolve_study({"data": {"split": {"train": train}}, "runs": {"edm": run}})


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with a run that mine.yaml trained and drew molecules from."""
    claim_results(study(), owner="mine.yaml", results=tmp_path, record=True)
    (tmp_path / "runs" / "edm" / "samples").mkdir()
    for name in ("weights.safetensors", "samples/heun.parquet"):
        (tmp_path / "runs" / "edm" / name).touch()
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
def test_another_study_does_not_replace_what_was_made(results: Path, other: dict[str, Any], difference: str) -> None:
    with pytest.raises(InputError) as caught:
        claim_results(study(**other), owner="yours.yaml", results=results, record=True)
    assert f"{results}/runs/edm was made by mine.yaml with {difference}" in str(caught.value)
    # It did not make the run its own by asking; its own owner may change it.
    with pytest.raises(InputError):
        claim_results(study(**other), owner="yours.yaml", results=results, record=True)
    claim_results(study(**other), owner="mine.yaml", results=results, record=True)


def test_two_studies_share_a_run_that_they_agree_on(results: Path) -> None:
    more = study(ddim={"kind": "ddim", "steps": 4})
    claim_results(more, owner="yours.yaml", results=results, record=True)
    claim_results(study(), owner="mine.yaml", results=results, record=True)
    # What the second drew stays its own.
    (results / "runs" / "edm" / "samples" / "ddim.parquet").touch()
    other = study(ddim={"kind": "ddim", "steps": 5})
    for owner in ("mine.yaml", "theirs.yaml"):
        with pytest.raises(InputError, match=r"was made by yours.yaml with samplers.ddim.steps 4, not 5; "):
            claim_results(other, owner=owner, results=results, record=True)
    claim_results(other, owner="yours.yaml", results=results, record=True)
    with pytest.raises(InputError, match=r"was made by yours.yaml with samplers.ddim.steps 5, not 4; "):
        claim_results(more, owner="mine.yaml", results=results, record=True)


@pytest.mark.parametrize("lost", ["runs/edm/study.json", "runs/edm/weights.safetensors"])
def test_what_is_not_there_is_free(results: Path, lost: str) -> None:
    (results / lost).unlink()
    claim_results(study(steps=2000), owner="yours.yaml", results=results, record=True)
    (results / "runs" / "edm" / "weights.safetensors").touch()
    with pytest.raises(InputError, match=r"was made by yours\.yaml with training\.steps 2000, not 1000"):
        claim_results(study(), owner="mine.yaml", results=results, record=True)


def test_a_dry_run_only_looks(tmp_path: Path) -> None:
    claim_results(study(), owner="mine.yaml", results=tmp_path, record=False)
    assert list(tmp_path.iterdir()) == []


def own(folder: Path, path: str) -> dict[str, Any]:
    """Return options of a claim of mine.yaml to the molecules of a file or folder."""
    resolved = study()
    data = resolved["data"] | {"name": "mine", "source": "path", "path": path}
    options = {"owner": "mine.yaml", "molecules": str(folder / path), "results": folder / "results", "record": True}
    return {"study": resolved | {"data": data}} | options


def test_another_study_does_not_replace_a_data_set(tmp_path: Path) -> None:
    for name in ("a.xyz", "b.xyz"):
        (tmp_path / name).touch()
    claim_results(**own(tmp_path, "a.xyz"))
    theirs = own(tmp_path, "b.xyz") | {"owner": "yours.yaml"}
    # Nothing is made yet.
    claim_results(**theirs | {"record": False})
    (tmp_path / "results" / "data" / "mine" / "molecules.parquet").touch()
    with pytest.raises(
        InputError, match=r"^data\.name: .*/data/mine was made by mine\.yaml with path a\.xyz, not b\.xyz; "
    ):
        claim_results(**theirs)
    claim_results(**own(tmp_path, "a.xyz") | {"owner": "yours.yaml"})
    claim_results(**own(tmp_path, "b.xyz"))


def test_a_data_set_of_other_molecules_is_not_taken_for_missing_ones(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").touch()
    claim_results(**own(tmp_path, "a.xyz"))
    (tmp_path / "results" / "data" / "mine" / "molecules.parquet").touch()
    with pytest.raises(InputError, match=r"^data\.path: .*/typo\.xyz: no such file or folder$"):
        claim_results(**own(tmp_path, "typo.xyz"))
    # Copied from elsewhere, without the molecules.
    (tmp_path / "a.xyz").unlink()
    claim_results(**own(tmp_path, "a.xyz"))
    (tmp_path / "results" / "data" / "mine" / "molecules.parquet").unlink()
    with pytest.raises(InputError, match=r"^data\.path: .*/a\.xyz: no such file or folder$"):
        claim_results(**own(tmp_path, "a.xyz"))
