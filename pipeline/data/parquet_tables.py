"""Parquet files that are complete or refused: what molecule files and shards have in common."""

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
"""Key of the schema metadata under which every file of this project keeps a JSON object."""

UNIT: Final = b"unit"
"""Key of a column's metadata under which its unit is."""

VERSION: Final = 1
"""Of all our Parquet formats; a reader refuses any other."""

_OURS = ("kind", "version", "num_rows", "columns", "units")


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
        path: the file to write; its folder is made if need be.
        table: the columns.
        kind: what the file holds, for instance "molecules"; a reader asks for it.
        metadata: any JSON object, to be given back by ``read_table``.
        units: unit of the columns that have one; stored with each column and, together, in the schema.
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
        # Checksums of pages are what tells a flipped bit in a float from a float.
        pq.write_table(table.cast(schema), temporary, compression="zstd", write_page_checksum=True)


def read_table(
    path: str | os.PathLike[str], *, kind: str, required: Sequence[str], optional: Iterable[str] | None = ()
) -> tuple[pa.Table, dict[str, Any]]:
    """Return columns of a Parquet file and the JSON object that it was written with ({} in a file from elsewhere).

    Args:
        path: the file.
        kind: what the file has to hold if it says what it holds.
        required: columns that have to be there.
        optional: columns to read if they are there; None for all.

    Raises:
        InputError: the file is missing, truncated, corrupt or of another kind, or lacks a column.
    """
    with _open(path) as file:
        metadata = _metadata(path, file.schema_arrow, kind)
        names = file.schema_arrow.names
        # Parquet's checksums do not cover its footer, where the names of the columns are.
        if metadata.get("columns", names) != names:
            raise InputError(f"{path}: has not the columns that its metadata names: the file is damaged")
        if missing := [name for name in required if name not in names]:
            raise InputError(f"{path}: has no column {missing[0]}, only {', '.join(names)}; not a file of {kind}")
        wanted = names if optional is None else [*required, *(name for name in optional if name in names)]
        table = file.read(columns=wanted)
    if (expected := metadata.pop("num_rows", table.num_rows)) != table.num_rows:
        raise InputError(f"{path}: holds {table.num_rows} {kind}, its metadata says {expected}: the file is damaged")
    return table, {key: value for key, value in metadata.items() if key not in _OURS}


def read_metadata(path: str | os.PathLike[str], *, kind: str) -> dict[str, Any]:
    """Return the JSON object of a file of ``kind``, its kind, version, number of rows and units included.

    Raises:
        InputError: the file is missing, truncated, corrupt or of another kind.
    """
    with _open(path) as file:
        return _metadata(path, file.schema_arrow, kind)


@contextmanager
def _open(path: str | os.PathLike[str]) -> Iterator[pq.ParquetFile]:
    """Yield the open file; what Arrow has to say of a broken one becomes one line."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError) as error:
        # Arrow's messages can run over many lines; the first says what is wrong.
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
