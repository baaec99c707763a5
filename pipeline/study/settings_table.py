"""Documentation generated from the settings of a study: a table of every setting, and a schema for editors."""

from collections.abc import Iterator
from typing import Final

import yaml

from pipeline.core.errors import InputError
from pipeline.study.group import Json, describe_values, format_value, json_schema, resolve_reference
from pipeline.study.study import Study

BEGIN: Final = "<!-- settings: written by `make readme` -->"
END: Final = "<!-- end of settings -->"


def schema_file() -> str:
    """Return the JSON schema of a study as YAML."""
    head = "# Written by `make readme` from pipeline/study, for editors: nothing in the project reads it.\n"
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return head + yaml.safe_dump(draft | json_schema(Study), sort_keys=False, width=120)


def settings_table() -> str:
    """Return a Markdown table with the dotted path, values, default and meaning of every setting."""
    lines = ["| setting | values | default | meaning |", "|---|---|---|---|"]
    for path, schema, required in _settings(json_schema(Study), ""):
        default = "required" if required else f"`{format_value(schema['default'])}`"
        lines.append(f"| `{path}` | {describe_values(schema)} | {default} | {schema['description']} |")
    return "\n".join(lines)


def with_settings_table(document: str) -> str:
    """Return a document with the table between its two markers updated.

    Raises:
      InputError: a marker is missing.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"the document should have the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{settings_table()}\n{END}{after}"


def _settings(group: Json, path: str) -> Iterator[tuple[str, Json, bool]]:
    """Yield every setting that has a value of its own: its path, its schema, and whether it is required."""
    for name, schema in group.get("properties", {}).items():
        dotted = f"{path}{name}"
        value = resolve_reference(schema, json_schema(Study))
        named = next(iter(value.get("patternProperties", {}).values()), None)
        # A group of settings has no value of its own, unless it may be null as a whole.
        if not (named or "properties" in value) or "anyOf" in schema:
            yield dotted, schema, name in group.get("required", [])
        yield from _settings(value, f"{dotted}.")
        if named:
            yield from _settings(resolve_reference(named, json_schema(Study)), f"{dotted}.NAME.")
