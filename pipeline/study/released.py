"""The models that come with the project: files of weights in ``pipeline/weights``, by name."""

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
    """Return the file with the weights of a released model.

    Raises:
      InputError: there is no model of this name.
    """
    if name not in released_names():
        raise InputError(f"{name!r} is not a released model; there are {', '.join(released_names())}")
    return FOLDER / f"{name}.safetensors"


def released_settings(name: str) -> Json:
    """Return the settings that shaped the weights of a released model, as a run of a study has them.

    Raises:
      InputError: there is no model of this name.
    """
    return {key: value for key, value in _metadata(name)["config"].items() if key not in ("name", "data")}


def released_training(name: str) -> Json:
    """Return the last line of the training log of a released model, without losses.

    Raises:
      InputError: there is no model of this name.
    """
    metadata = _metadata(name)
    provenance: Json = metadata["provenance"]
    return {"kind": "train", "step": provenance["steps"], "seconds": provenance["training_seconds"], "loss": None}


def _metadata(name: str) -> Json:
    with safe_open(released_path(name), framework="numpy") as file:
        metadata = file.metadata()
    return {key: json.loads(metadata[key]) for key in ("config", "provenance")}
