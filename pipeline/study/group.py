"""Base class of all settings, the types of their values, and one-line messages for invalid ones."""

import contextlib
import difflib
import functools
import json
import os
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticCustomError

from pipeline.core.errors import InputError
from pipeline.core.files import read_json

Json = dict[str, Any]


class Group(BaseModel):
    """A frozen group of settings; unknown keys are errors, and the docstring of each key describes it.

    A check across keys raises a ValueError whose message starts with the key at fault, relative to the group.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _parse_text(cls, value: Any, info: ValidationInfo) -> Any:
        # YAML reads 1e-4 as text, and Snakemake's --config reads whatever is inside braces as text.
        annotation = cls.model_fields[str(info.field_name)].annotation
        kinds = (annotation, *get_args(annotation))
        return value if str in kinds else _parse_value(value, share=Fraction in kinds)


def _parse_value(value: Any, *, share: bool = False) -> Any:
    """Return text that is JSON, such as a number or null, as its value, and 3.0 as 3; other values unchanged.

    Where a number may be a share, 1.0 stays as it is: nobody means one by it.
    """
    if isinstance(value, list | tuple):
        return [_parse_value(item) for item in value]
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    whole = isinstance(value, float) and value.is_integer() and not (share and value == 1)
    return int(value) if whole else value


NonNegativeInt = Annotated[int, Field(strict=True, ge=0)]
PositiveInt = Annotated[int, Field(strict=True, ge=1)]
AtLeastTwo = Annotated[int, Field(strict=True, ge=2)]
Seed = Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)]
NonNegativeFloat = Annotated[float, Field(strict=True, ge=0)]
PositiveFloat = Annotated[float, Field(strict=True, gt=0)]
Decay = Annotated[float, Field(strict=True, ge=0, lt=1)]
Fraction = Annotated[float, Field(strict=True, gt=0, lt=1)]
# A file's name, of at most 255 letters, may have those of a run and of a sampler in it.
Name = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,99}$")]

_Value = TypeVar("_Value")


def _check_unique(values: tuple[_Value, ...]) -> tuple[_Value, ...]:
    if len(set(values)) < len(values):
        raise PydanticCustomError("distinct", "should have no value twice")
    return values


UniqueTuple = Annotated[
    tuple[_Value, ...], AfterValidator(_check_unique), Field(json_schema_extra={"uniqueItems": True})
]
ByName = Annotated[dict[Name, _Value], Field(json_schema_extra={"additionalProperties": False})]

_Settings = TypeVar("_Settings", bound=Group)


def parse(model: type[_Settings], raw: Any, *, context: Any = None) -> _Settings:
    """Return ``raw`` as a model with defaults filled in; ``context`` is passed to its validators.

    Raises:
      InputError: a key is unknown, missing, of the wrong type or out of range, or two are inconsistent.
    """
    try:
        return model.model_validate(raw, context=context)
    except ValidationError as error:
        raise InputError(_describe_error(error, json_schema(model))) from None


def read_settings(model: type[_Settings], path: str | os.PathLike[str]) -> _Settings:
    """Return the content of a JSON file as a model; keys with a default may be missing.

    Raises:
      InputError: the file is missing or not JSON, or see ``parse``.
    """
    value = read_json(path)
    try:
        return parse(model, value)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


class _Untitled(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


@functools.cache
def json_schema(model: type[Group]) -> Json:
    """Return the JSON schema of a model; cached, so callers must not modify it."""

    def one_line(value: Any) -> Any:
        if isinstance(value, dict):
            # A group has no default of its own: its keys have.
            return {key: one_line(item) for key, item in value.items() if key != "default" or "$ref" not in value}
        return " ".join(value.split()) if isinstance(value, str) else value

    schema: Json = one_line(model.model_json_schema(schema_generator=_Untitled))
    return schema


def resolve_reference(schema: Json, whole: Json) -> Json:
    """Return ``schema``, a part of ``whole``, with its reference to a group resolved."""
    for option in schema.get("anyOf", [schema]):
        if "$ref" in option:
            referred: Json = whole["$defs"][option["$ref"].removeprefix("#/$defs/")]
            return referred
    return schema


def describe_values(schema: Json) -> str:
    """Describe the values that a key takes, such as ``a whole number, at least 1``."""
    options = schema.get("anyOf", [schema])
    names = [name for option in options for name in option.get("enum", [])]
    if names:
        names += ["null"] * ({"type": "null"} in options)
        return " or ".join(names) if len(names) < 3 else f"one of {', '.join(names)}"
    words = [_words(option) for option in options]
    return (", or " if any("," in one for one in words) else " or ").join(words)


def _words(schema: Json) -> str:
    words = _TYPE_WORDS[schema.get("type", "object")]
    if "items" in schema:
        words += f", each {describe_values(schema['items'])}"
    if "patternProperties" in schema:
        words += " by name"
    if "pattern" in schema:
        words += f" of {_NAME_WORDS}"
    if "minimum" in schema and "maximum" in schema:
        return f"{words} from {schema['minimum']} to {schema['maximum']}"
    bounds = [text.format(schema[key]) for key, text in _BOUND_WORDS.items() if key in schema]
    return f"{words}, {' and '.join(bounds)}" if bounds else words


_NAME_WORDS: Final = "at most 100 lowercase letters, digits and hyphens"
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


def _describe_error(error: ValidationError, whole: Json) -> str:
    # A misspelt key is reported as unknown and as missing; the first says more.
    first = min(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    kind, given, place = first["type"], first["input"], list(first["loc"])
    unknown = str(place.pop()) if kind == "extra_forbidden" else ""
    misnamed = place[-1:] == ["[key]"] or kind == "invalid_key"
    if misnamed:
        del place[-2 if place[-1] == "[key]" else -1 :]
    schema, keys = resolve_reference(whole, whole), []
    for step in place:
        if isinstance(step, int):
            schema = resolve_reference(
                next(one for one in schema.get("anyOf", [schema]) if "items" in one)["items"], whole
            )
            continue
        parent = resolve_reference(schema, whole)
        found = [parent["properties"][step]] if step in parent.get("properties", {}) else []
        found += parent.get("patternProperties", {}).values()
        if not found:  # not a key but a member of a union
            break
        schema = found[0]
        keys.append(step)
    path = ".".join(keys)
    if unknown:
        known = list(resolve_reference(schema, whole)["properties"])
        close = difflib.get_close_matches(unknown, known, n=1)
        advice = f"did you mean {close[0]}?" if close else f"valid settings: {', '.join(known)}"
        return f"{'.'.join([*keys, unknown])}: no such setting; {advice}"
    if misnamed:
        right = _NAME_WORDS if isinstance(given, str) else "text; put it in quotes"
        return f"{path or 'study'}: the name {format_value(given)} should be {right}"
    if kind == "value_error":
        return ".".join([*keys, str(first["ctx"]["error"])])
    if kind == "distinct":
        return f"{path}: {format_value(given)} {first['msg']}"
    if kind == "missing":
        return f"{path}: is missing; it should be {describe_values(schema)}"
    if kind == "too_short" and isinstance(given, Mapping):
        return f"{path}: is empty; it should have at least one entry"
    if kind == "too_short":
        return f"{path}: should have at least one value"
    return f"{path or 'study'}: {format_value(given)} should be {describe_values(schema)}"


def format_value(value: Any) -> str:
    """Return a value as a study file would contain it, on one line of at most 80 characters."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except TypeError:
        text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
