"""Which study a run's folder belongs to, so that no other study replaces what it trained."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pipeline.core.errors import InputError
from pipeline.core.files import read_json, write_json
from pipeline.study.group import Json
from pipeline.study.study import run_settings, sampler_settings

CLAIM: Final = "study.json"


def claim_runs(study: Json, *, owner: str, runs: Path, record: bool) -> None:
    """Note in the folder of every run of a study that it is this study's, and with which settings.

    A study may change its own runs: what changed is made again. Two studies share a run as long as their settings of it
    are the same.

    Args:
      study: resolved, with every default written out.
      owner: the study's file.
      runs: folder with a folder for each run.
      record: False only checks.

    Raises:
      InputError: a run was trained, or a sampler's molecules drawn, by another study with other settings.
    """
    claims = {
        run: {
            "study": owner,
            "settings": run_settings(study, run) | {"data": study["data"]},
            "samplers": {name: sampler_settings(study, run, name) for name in study["runs"][run]["samplers"]},
        }
        for run in study["runs"]
    }
    for run, claim in claims.items():
        earlier = _read(runs / run)
        if earlier and earlier["study"] != owner:
            _check(runs / run, earlier, claim)
    for run, claim in claims.items() if record else ():
        earlier = _read(runs / run)
        # A run that two studies agree on stays the first one's.
        if not earlier or earlier["study"] == owner or earlier["settings"] != claim["settings"]:
            write_json(runs / run / CLAIM, claim)


def _read(folder: Path) -> Json | None:
    path = folder / CLAIM
    return read_json(path) if path.exists() else None


def _check(folder: Path, earlier: Json, claim: Json) -> None:
    """Raise if what is in a run's folder would be lost to a claim of another study."""
    trained = (folder / "weights.safetensors").exists() or (folder / "state").exists()
    differences = list(_differences(earlier["settings"], claim["settings"])) if trained else []
    for name in earlier["samplers"].keys() & claim["samplers"].keys():
        if (folder / "samples" / f"{name}.parquet").exists():
            differences += _differences(earlier["samplers"][name], claim["samplers"][name], f"samplers.{name}.")
    if differences:
        key, was, now = differences[0]
        more = f" ({len(differences) - 1} more differ)" if len(differences) > 1 else ""
        raise InputError(
            f"runs.{folder.name}: {folder} was made by {earlier['study']} with {key} {was}, not {now}{more}; give"
            " the run another name to keep both, or delete that folder"
        )


def _differences(earlier: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted key and both values of each setting that differs."""
    if isinstance(earlier, dict) and isinstance(now, dict):
        for key in {**earlier, **now}:
            yield from _differences(earlier.get(key), now.get(key), f"{path}{key}.")
    elif earlier != now:
        yield path.rstrip("."), earlier, now
