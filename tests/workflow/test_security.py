"""Names and files of those who mean harm: nothing of them is ever run."""

import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline.cli.evaluate import main as evaluate
from pipeline.cli.levels import main as levels
from pipeline.cli.likelihood import main as likelihood
from pipeline.cli.parse import main as parse
from pipeline.cli.shard import main as shard
from pipeline.core.errors import InputError
from pipeline.study.study import resolve_study

from .conftest import Workflow
from .test_end_to_end import changed

MOLECULES = Path(__file__).parents[1] / "data" / "molecules64.sdf"

# Each leaves a file behind wherever a shell or a template takes it for more than a name.
HOSTILE = [
    "$(touch pwned)",
    "`touch pwned`",
    "a; touch pwned",
    "a & touch pwned",
    "a | touch pwned",
    "a\ntouch pwned",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "--output",
    "a b*?[!]~\\",
]


def test_a_file_and_folders_of_any_name_are_only_names(tmp_path: Path) -> None:
    # All of them in one path, of the results and of the data.
    folder = tmp_path.joinpath(*HOSTILE)
    folder.mkdir(parents=True)
    source = folder / f"{HOSTILE[0]}.sdf"
    source.write_bytes(MOLECULES.read_bytes())
    workflow = Workflow(folder)
    study = changed(data__path=str(source))
    target = "results/data/molecules64/shards"
    done = workflow.run("--cores", "1", target, study=study)
    assert done.returncode == 0, done.stderr
    assert any((folder / target).iterdir())
    assert [path for path in tmp_path.rglob("*") if path.name == "pwned"] == []
    assert not Path("pwned").exists()


def test_what_snakemake_would_fill_in_is_refused() -> None:
    # It has no way to say that braces in the name of a file are only braces.
    with pytest.raises(InputError, match=r'data\.path: "\{input\}\.sdf" should have no braces'):
        resolve_study(changed(data__path="{input}.sdf"))


@pytest.mark.parametrize("name", [*HOSTILE, "{input}", "..", "/etc", "a/b", "", "A", "-a"])
def test_names_in_a_study_are_letters_digits_and_hyphens(name: str) -> None:
    study = changed()
    run = study["runs"]["tiny"]
    for hostile in (
        study | {"data": study["data"] | {"name": name}},
        study | {"runs": {name: run}},
        study | {"runs": {"tiny": run | {"samplers": {name: run["samplers"]["heun-9"]}}}},
        study | {"runs": {"tiny": run, "two": study["runs"]["tiny-tuned"] | {"init": name}}},
        study | {"figures": {"trajectory": {"run": name, "sampler": "heun-9", "frames": 4}}},
    ):
        with pytest.raises(InputError) as caught:
            resolve_study(hostile)
        assert "\n" not in str(caught.value)


class Bomb:
    """What runs a command wherever it is unpickled."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize(
    ("stage", "arguments"),
    [
        (parse, ["--source", "path", "--train", "4", "--validation", "2", "--output", "out.parquet", "--input"]),
        (shard, ["--buckets", "29", "--shards", "out", "--statistics", "out.json", "--molecules"]),
        (likelihood, ["--shards", "none", "--split", "test", "--output", "out", "--weights"]),
        (levels, ["--calls", "1", "--output", "out", "--weights"]),
        (evaluate, ["--output", "out.json"]),
    ],
)
@pytest.mark.parametrize("suffix", ["parquet", "sdf", "pkl", "safetensors"])
def test_a_pickle_is_refused_and_not_opened(
    stage: Callable[[Sequence[str]], int],
    arguments: Sequence[str],
    suffix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"file.{suffix}"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "pwned")))
    assert stage([*arguments, str(path)]) == 2
    assert path.name in capfd.readouterr().err
    assert sorted(tmp_path.iterdir()) == [path]
