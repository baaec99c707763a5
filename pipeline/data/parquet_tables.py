"""Validated Parquet files, the common format of molecule files and shards."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import InputError
from pipeline.core.files import atomic_path

METADATA_KEY: Final = b"consistent_edm"
"""Key of the schema metadata that contains the JSON object of every file of this project."""

UNIT: Final = b"unit"
"""Key of a column's metadata under which its unit is."""

VERSION: Final = 1
"""Version of all our Parquet formats; readers refuse any other."""

_RESERVED_KEYS = ("kind", "version", "num_rows", "columns", "units")


def write_table(
    path: str | os.PathLike[str],
    table: pa.Table,
    *,
    kind: str,
    metadata: Mapping[str, Any],
    units: Mapping[str, str],
) -> None:
    """Write ``table`` to ``path`` atomically.

    Args:
      path: file to write; its folder is created if necessary.
      table: the columns.
      kind: type of content, for instance "molecules", which readers check.
      metadata: any JSON object; ``read_table`` returns it.
      units: units by column, for those that have one; stored with each column and in the schema.
    """
    fields = [
        field.with_metadata({UNIT: units[field.name]}) if field.name in units else field for field in table.schema
    ]
    described = {
        "kind": kind,
        "version": VERSION,
        "num_rows": table.num_rows,
        "columns": table.column_names,
        "units": dict(units),
    }
    text = json.dumps({**metadata, **described}, allow_nan=False)
    schema = pa.schema(fields, metadata={METADATA_KEY: text.encode()})
    with atomic_path(path) as temporary:
        # Only page checksums detect a flipped bit in a float.
        pq.write_table(table.cast(schema), temporary, compression="zstd", write_page_checksum=True)


def read_table(
    path: str | os.PathLike[str], *, kind: str, required: Sequence[str], optional: Iterable[str] | None = ()
) -> tuple[pa.Table, dict[str, Any]]:
    """Return columns of a Parquet file and its JSON object ({} for a file not written by this project).

    Args:
      path: the file.
      kind: required type of content, checked if the file states it.
      required: columns that must be present.
      optional: columns to read if present; None for all.

    Raises:
      InputError: the file is missing, truncated, corrupt or of another kind, or lacks a column.
    """
    with _open(path) as file:
        metadata = _metadata(path, file.schema_arrow, kind)
        names = file.schema_arrow.names
        # Parquet's checksums do not cover its footer, where the names of the columns are.
        if metadata.get("columns", names) != names:
            raise InputError(f"{path}: does not have the columns that its metadata names: the file is damaged")
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"{path}: has the column {twice[0]} twice")
        if missing := [name for name in required if name not in names]:
            raise InputError(f"{path}: has no column {missing[0]}, only {', '.join(names)}; not a file of {kind}")
        wanted = names if optional is None else [*required, *(name for name in optional if name in names)]
        table = file.read(columns=wanted)
    if (expected := metadata.pop("num_rows", table.num_rows)) != table.num_rows:
        raise InputError(f"{path}: holds {table.num_rows} {kind}, its metadata says {expected}: the file is damaged")
    return table, {key: value for key, value in metadata.items() if key not in _RESERVED_KEYS}


def read_metadata(path: str | os.PathLike[str], *, kind: str) -> dict[str, Any]:
    """Return the JSON object of a file of ``kind``, including its kind, version, number of rows and units.

    Raises:
      InputError: the file is missing, truncated, corrupt or of another kind.
    """
    with _open(path) as file:
        return _metadata(path, file.schema_arrow, kind)


@contextmanager
def _open(path: str | os.PathLike[str]) -> Iterator[pq.ParquetFile]:
    """Yield the open file; an error of Arrow becomes a one-line InputError."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError) as error:
        # Arrow's messages can have many lines; the first gives the cause.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: not a readable Parquet file, truncated or damaged ({reason})") from error


def _metadata(path: str | os.PathLike[str], schema: pa.Schema, kind: str) -> dict[str, Any]:
    text = (schema.metadata or {}).get(METADATA_KEY)
    if text is None:
        return {}
    try:
        metadata = json.loads(text)
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict):
        raise InputError(f"{path}: the metadata of its schema is not a JSON object: the file is damaged")
    if metadata.get("kind") != kind:
        raise InputError(f"{path}: holds {metadata.get('kind')}, not {kind}")
    if metadata.get("version") != VERSION:
        raise InputError(f"{path}: is of version {metadata.get('version')}; this program reads version {VERSION}")
    return metadata
