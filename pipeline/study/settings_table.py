"""The table of every setting of a study, written from its schema."""

from collections.abc import Iterator
from typing import Final

from pipeline.core.errors import InputError
from pipeline.study.schema import Json, allowed, definition, shown, study_schema

BEGIN: Final = "<!-- settings: written by `make readme` -->"
END: Final = "<!-- end of settings -->"


def settings_table() -> str:
    """Return a Markdown table: one line a setting, by its dotted path, with its values, default and meaning."""
    lines = ["| setting | values | default | meaning |", "|---|---|---|---|"]
    for path, schema, required in _settings(study_schema(), ""):
        default = "required" if required else f"`{shown(schema['default'])}`"
        lines.append(f"| `{path}` | {allowed(schema)} | {default} | {schema['description']} |")
    return "\n".join(lines)


def with_settings_table(document: str) -> str:
    """Return a document with the table between its two marks brought up to date.

    Raises:
        InputError: it does not have both marks.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"the document should have the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{settings_table()}\n{END}{after}"


def _settings(schema: Json, path: str) -> Iterator[tuple[str, Json, bool]]:
    """Yield the path, schema and necessity of every setting that has a value of its own."""
    required = schema.get("required", [])
    for name, reference in schema.get("properties", {}).items():
        value = definition(reference)
        dotted = f"{path}{name}"
        # A group of settings has no value of its own, unless it may be null as a whole.
        group = "properties" in value or "additionalProperties" in value
        if not group or ("default" in value and value["default"] is None):
            yield dotted, value, name in required
        yield from _settings(value, f"{dotted}.")
        if isinstance(named := value.get("additionalProperties"), dict):
            yield from _settings(definition(named), f"{dotted}.NAME.")
