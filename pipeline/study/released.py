"""Released models, by name: weight files in ``pipeline/weights``."""

import json
from pathlib import Path
from typing import Final

from safetensors import safe_open

from pipeline.core.errors import InputError
from pipeline.study.group import Json

FOLDER: Final = Path(__file__).parents[1] / "weights"


def released_names() -> list[str]:
    """Return the names of the released models."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def released_path(name: str) -> Path:
    """Return the weight file of a released model.

    Raises:
      InputError: there is no model of this name.
    """
    if name not in released_names():
        raise InputError(f"{name!r} is not a released model; choose from {', '.join(released_names())}")
    return FOLDER / f"{name}.safetensors"


def released_settings(name: str) -> Json:
    """Return the settings that a released model was trained with, in the form of a study's run.

    Raises:
      InputError: there is no model of this name.
    """
    return {key: value for key, value in _metadata(name)["config"].items() if key not in ("name", "data")}


def released_training(name: str) -> Json:
    """Return the last line of a training log of a released model and those behind it, without losses.

    Raises:
      InputError: there is no model of this name.
    """
    own: Json = _metadata(name)["provenance"]
    trainings = [own, *own["started_from"].values()]
    steps, seconds = (sum(training[key] for training in trainings) for key in ("steps", "training_seconds"))
    return {"kind": "train", "step": steps, "seconds": round(seconds, 1), "loss": None}


def _metadata(name: str) -> Json:
    with safe_open(released_path(name), framework="numpy") as file:
        metadata = file.metadata()
    return {key: json.loads(metadata[key]) for key in ("config", "provenance")}
