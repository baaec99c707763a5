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
    with safe_open(released_path(name), framework="numpy") as file:
        settings: Json = json.loads(file.metadata()["config"])
    return {key: value for key, value in settings.items() if key not in ("name", "data")}
