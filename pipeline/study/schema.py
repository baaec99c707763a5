"""Values checked against a JSON schema, with the defaults filled in and the first mistake put into one plain line.

The schema is that of a study, ``workflow/schemas/config.schema.yaml``, or a part of it. It keeps to the keywords that
this module has words for.
"""

import contextlib
import difflib
import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import jsonschema
import yaml

from pipeline.core.errors import InputError

SCHEMA_PATH: Final = Path(__file__).parents[2] / "workflow" / "schemas" / "config.schema.yaml"

Json = dict[str, Any]


@functools.cache
def study_schema() -> Json:
    """Return the schema of a study; the same object every time, not to be changed."""
    schema: Json = yaml.safe_load(SCHEMA_PATH.read_text(encoding="utf-8"))
    return schema


def definition(schema: Json) -> Json:
    """Return a schema with its ``$ref`` looked up; what stands beside the reference wins."""
    if "$ref" not in schema:
        return schema
    referred: Json = study_schema()["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return referred | {key: value for key, value in schema.items() if key != "$ref"}


def allowed(schema: Json) -> str:
    """Say in words which values a key takes: ``a whole number, at least 1``."""
    if "enum" in schema:
        names = ["null" if value is None else value for value in schema["enum"]]
        return " or ".join(names) if len(names) < 3 else f"one of {', '.join(names)}"
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    words = " or ".join(_TYPE_WORDS[name] for name in types)
    if "items" in schema:
        words += f", each {allowed(schema['items'])}"
    if "propertyNames" in schema:
        words += " by name"
    if "pattern" in schema:
        words += " of small letters, digits and hyphens"
    if "minimum" in schema and "maximum" in schema:
        return f"{words} from {schema['minimum']} to {schema['maximum']}"
    bounds = [text.format(schema[key]) for key, text in _BOUND_WORDS.items() if key in schema]
    return f"{words}, {' and '.join(bounds)}" if bounds else words


_TYPE_WORDS: Final = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "array": "a list",
    "object": "a group of settings",
    "null": "null",
}
_BOUND_WORDS: Final = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}


def resolve(raw: Any, schema: Json) -> Json:
    """Return ``raw`` with its defaults filled in, its keys in the schema's order and its numbers of the schema's type.

    Raises:
        InputError: a key is unknown, missing, of the wrong type or out of range; it names the first such key.
    """
    value: Json = _filled(raw, schema, "")
    errors = jsonschema.Draft202012Validator({**schema, "$defs": study_schema()["$defs"]}).iter_errors(value)

    def position(error: jsonschema.ValidationError) -> tuple[list[str], bool]:
        # A misspelt key is both unknown and missing; the misspelling is what helps.
        return [str(key) for key in error.absolute_path], error.validator != "additionalProperties"

    if first := min(errors, key=position, default=None):
        _refuse(first)
    return value


def _filled(value: Any, schema: Json, path: str) -> Any:
    """Return ``value`` with the defaults of its missing keys, in the schema's order; what is wrong with it stays."""
    schema = definition(schema)
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise InputError(f"{path or 'study'}: the name {shown(odd[0])} should be text; put it in quotes")
        known: Json = schema.get("properties", {})
        others: Json = schema.get("additionalProperties") or {}
        # Unknown keys last, for the validation to find.
        keys = [key for key in known if key in value or "default" in known[key]]
        keys += [key for key in value if key not in known]
        return {
            key: _filled(
                value[key] if key in value else known[key]["default"],
                known.get(key, others),
                _dotted(path, key),
            )
            for key in keys
        }
    if isinstance(value, list) and "items" in schema:
        return [_filled(item, schema["items"], path) for item in value]
    return _scalar(value, schema, path)


def _scalar(value: Any, schema: Json, path: str) -> Any:
    """Return a number, a text, true, false or null as the type that the schema asks for, where that is possible."""
    types = schema["type"] if isinstance(schema.get("type"), list) else [schema.get("type", "string")]
    if isinstance(value, str) and "string" not in types:
        # YAML reads 1e-4 as text, and Snakemake's --config reads whatever is inside braces as text.
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{path}: {shown(value)} should be {allowed(schema)}")
    # So that 1 and 1.0 give the same configuration, and so the same digest.
    if isinstance(value, int) and not isinstance(value, bool) and "number" in types:
        return float(value)
    if isinstance(value, float) and value.is_integer() and "integer" in types:
        return int(value)
    return value


def _refuse(error: jsonschema.ValidationError) -> NoReturn:
    """Raise an InputError in words for what the validation found."""
    path = ".".join(str(key) for key in error.absolute_path if isinstance(key, str))
    # Any, for the types know a value not yet set and a schema that is a bare true or false; neither is here.
    schema: Any = error.schema
    value: Any = error.instance
    rule = error.validator
    if rule == "additionalProperties":
        known = list(schema["properties"])
        unknown = next(key for key in value if key not in known)
        close = difflib.get_close_matches(unknown, known, n=1)
        advice = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        raise InputError(f"{_dotted(path, unknown)}: no such setting; {advice}")
    if rule == "required":
        missing = next(key for key in schema["required"] if key not in value)
        right = allowed(definition(schema["properties"][missing]))
        raise InputError(f"{_dotted(path, missing)}: is missing; it should be {right}")
    if rule == "minProperties":
        raise InputError(f"{path}: is empty; it should have at least one entry")
    if rule == "uniqueItems":
        raise InputError(f"{path}: {shown(value)} should have no value twice")
    if rule == "minItems":
        raise InputError(f"{path}: should have at least one value")
    if "propertyNames" in list(error.absolute_schema_path):
        raise InputError(f"{path}: the name {shown(value)} should be small letters, digits and hyphens")
    raise InputError(f"{path or 'study'}: {shown(value)} should be {allowed(schema)}")


def _dotted(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def shown(value: Any) -> str:
    """Return a value as a study file would spell it, on one line and not too long."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except TypeError:
        text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
