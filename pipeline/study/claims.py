"""Which study each data set and run belongs to, so that no other study overwrites what was made there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pipeline.core.errors import InputError
from pipeline.core.files import read_json, write_json
from pipeline.study.group import Json
from pipeline.study.own_molecules import own_version
from pipeline.study.study import run_settings, sampler_settings

CLAIM: Final = "study.json"
_MADE: Final = ("molecules.parquet", "weights.safetensors", "state")
"""What is costly to make again, in the folder of a data set or of a run."""


def claim_results(study: Json, *, owner: str, molecules: str | None, results: Path, record: bool) -> None:
    """Record in the folders of a study's data set and of its runs that they belong to this study, and its settings.

    A study may change its own; what changed is rerun. Two studies can share a data set or a run as long as their
    settings for it are equal.

    Args:
      study: resolved, with every default written out.
      owner: the study's file.
      molecules: the user's own, if the study is of such.
      results: folder with a folder ``data`` and a folder ``runs``.
      record: whether to write the records; False only checks.

    Raises:
      InputError: a data set or a run was made, or a sampler's molecules drawn, by another study with other settings;
        or the user's molecules cannot be read.
    """
    data = study["data"]
    data_set = results / "data" / data["name"]
    if molecules:
        _check_molecules(molecules, data_set, data)
    claims = {data_set: {"study": owner, "settings": data, "drawn": {}}} | {
        results / "runs" / run: {
            "study": owner,
            "settings": run_settings(study, run) | {"data": data},
            "drawn": {
                name: {"study": owner, "settings": sampler_settings(study, run, name)}
                for name in study["runs"][run]["samplers"]
            },
        }
        for run in study["runs"]
    }
    for folder, claim in claims.items():
        if earlier := _read(folder):
            _check(folder, earlier, claim)
            # What two studies share belongs to the first.
            claims[folder] = _joined(earlier, claim)
    for folder, claim in claims.items() if record else ():
        write_json(folder / CLAIM, claim)


def _joined(earlier: Json, claim: Json) -> Json:
    """Return the record of a folder that has one: a run, and each sampler, keeps its study unless settings differ."""
    if earlier["settings"] != claim["settings"]:
        return claim
    drawn = earlier.get("drawn", {})
    kept = {name: one for name, one in drawn.items() if one["settings"] == claim["drawn"].get(name, one)["settings"]}
    return {**claim, "study": earlier["study"], "drawn": {**claim["drawn"], **kept}}


def _read(folder: Path) -> Json | None:
    path = folder / CLAIM
    return read_json(path) if path.exists() else None


def _is_made(folder: Path) -> bool:
    return any((folder / name).exists() for name in _MADE)


def _check_molecules(molecules: str, folder: Path, data: Json) -> None:
    """Raise InputError if the user's molecules cannot be read.

    Where they are missing, Snakemake uses whatever data set is there. That is right for results copied from elsewhere
    without the molecules, and wrong for a path that is misspelt.
    """
    earlier = _read(folder)
    known = earlier is not None and earlier["settings"] == data and _is_made(folder)
    if not own_version(molecules) and not known:
        raise InputError(f"data.path: {molecules}: no such file or folder")


def _check(folder: Path, earlier: Json, claim: Json) -> None:
    """Raise InputError if a claim would overwrite what another study made in a folder."""
    made = [("", earlier, claim)] if _is_made(folder) else []
    for name, one in earlier.get("drawn", {}).items():
        if name in claim["drawn"] and (folder / "samples" / f"{name}.parquet").exists():
            made.append((f"samplers.{name}.", one, claim["drawn"][name]))
    differences = [
        (one["study"], *difference)
        for path, one, now in made
        if one["study"] != claim["study"]
        for difference in _differences(one["settings"], now["settings"], path)
    ]
    if differences:
        study, key, was, now = differences[0]
        others = f" ({len(differences) - 1} more differ)" if len(differences) > 1 else ""
        what = "data.name" if folder.parent.name == "data" else f"runs.{folder.name}"
        raise InputError(
            f"{what}: {folder} was made by {study} with {key} {was}, not {now}{others}; give it another name"
            " to keep both, or delete that folder"
        )


def _differences(earlier: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted key and both values of each setting that differs."""
    if isinstance(earlier, dict) and isinstance(now, dict):
        for key in {**earlier, **now}:
            yield from _differences(earlier.get(key), now.get(key), f"{path}{key}.")
    elif earlier != now:
        yield path.rstrip("."), earlier, now
