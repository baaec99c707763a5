"""Molecules from a file of SMILES: each gets a conformer.

| suffix      | what                                                                                        |
|-------------|---------------------------------------------------------------------------------------------|
| .csv        | a header with a column ``smiles``, in any case; the others become columns, ``title`` a title |
| any other   | a SMILES and a title on each line, with blanks or a tab between them                        |

Either may be gzipped. The conformers are kept in parts as they come, so that what a killed process has done is not done
again; they depend on the file, the seed and RDKit's version alone.
"""

import contextlib
import csv
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from rdkit import rdBase

from pipeline.chemistry.embedding import Failure, embed
from pipeline.chemistry.molecule_text import shown
from pipeline.chemistry.parallel import map_parts
from pipeline.core.errors import InputError
from pipeline.core.files import json_digest
from pipeline.data.molecule_files import (
    Found,
    Invalid,
    Problem,
    Reading,
    format_suffix,
    make_columns,
    make_reading,
    open_text,
)
from pipeline.data.molecule_parquet import MoleculeTable
from pipeline.data.parquet_tables import read_table, write_table

SUFFIXES: Final = frozenset({".smi", ".csv"})
"""Of files, see ``format_suffix``, that are taken for SMILES where nobody says what they are."""

_KIND: Final = "conformers"
_AT_ONCE: Final = 50
"""SMILES in a part."""

_SCHEMA: Final = pa.schema(
    {
        "atomic_numbers": pa.list_(pa.uint8()),
        "positions": pa.list_(pa.float32()),
        "kind": pa.string(),
        "reason": pa.string(),
    }
)
"""Of a part; kind and reason are null where there is a conformer."""


class _Row(NamedTuple):
    line: int
    smiles: str
    title: str
    properties: dict[str, str]


def read_smiles_file(
    path: Path,
    *,
    seed: int,
    processes: int,
    state: Path,
    invalid: Invalid,
    advance: Callable[[int], object] = lambda count: None,
) -> Reading:
    """Return the molecules of a file of SMILES, numbered from 0, see ``read_molecule_files``.

    Args:
      path: the file.
      seed: of the conformers.
      processes: how many share the work; 1 starts none.
      state: folder for the folder of the parts; the latter is deleted in the end, and the former if it is empty then.
      invalid: what to do about molecules without a conformer.
      advance: is told the number of molecules, now and then.

    Raises:
      InputError: there is no such file, it is not one of SMILES, or a molecule has no conformer; the line names it.
    """
    rows = list(_rows(path))
    if not rows:
        raise InputError(f"{path}: has no molecules")
    folder = state / json_digest([[row.smiles for row in rows], seed, rdBase.rdkitVersion])[:16]
    starts = range(0, len(rows), _AT_ONCE)
    parts = [folder / f"{start}.parquet" for start in starts]
    texts = [[row.smiles for row in rows[start : start + _AT_ONCE]] for start in starts]
    work = [(part, start, some) for part, start, some in zip(parts, starts, texts, strict=True) if not part.exists()]
    advance(len(rows) - sum(len(some) for *_, some in work))
    for done in map_parts(partial(_embed_part, seed), work, processes=processes):
        advance(done)
    columns = _SCHEMA.names
    table = pa.concat_tables([read_table(part, kind=_KIND, required=columns)[0] for part in parts]).combine_chunks()
    kinds, reasons = table["kind"].to_pylist(), table["reason"].to_pylist()
    molecules = MoleculeTable(
        sizes=np.array([len(one) for one in table["atomic_numbers"]], np.int32),
        atomic_numbers=table["atomic_numbers"].combine_chunks().flatten().to_numpy(),
        positions=table["positions"].combine_chunks().flatten().to_numpy().reshape(-1, 3),
        smiles=tuple(row.smiles for row in rows),
        columns=make_columns([row.title for row in rows], [row.properties for row in rows]),
    )
    places = [(path, number, row.line, row.title) for number, row in enumerate(rows)]
    errors = {row: Problem(kind, 0, reasons[row]) for row, kind in enumerate(kinds) if kind}
    reading = make_reading(path, Found(molecules, places, errors), invalid=invalid, num_files=1, not_read=[])
    shutil.rmtree(folder)
    with contextlib.suppress(OSError):  # what else is there is not ours
        state.rmdir()
    return reading


def _embed_part(seed: int, part: tuple[Path, int, list[str]]) -> int:
    """Write to a file the conformers of some SMILES, from a row on; return their number."""
    (path, start, smiles), rows = part, []
    for row, text in enumerate(smiles, start=start):
        own = int(np.random.SeedSequence((seed, row)).generate_state(1)[0]) >> 1  # RDKit's are of 31 bits
        found = embed(text, seed=own)
        if isinstance(found, Failure):
            rows.append({"atomic_numbers": [], "positions": [], **found._asdict()})
        else:
            rows.append({"atomic_numbers": found.atomic_numbers, "positions": found.positions.ravel()})
    write_table(path, pa.Table.from_pylist(rows, schema=_SCHEMA), kind=_KIND, metadata={}, units={})
    return len(smiles)


def _rows(path: Path) -> Iterator[_Row]:
    if path.is_dir():
        raise InputError(f"{path}: should be a file of SMILES, not a folder")
    with open_text(path) as lines:
        if format_suffix(path) == ".csv":
            yield from _csv_rows(path, lines)
            return
        for number, line in enumerate(lines, start=1):
            words = line.split(maxsplit=1)
            if words and not (number == 1 and words[0].lower() == "smiles"):
                yield _Row(number, words[0], words[1].strip() if len(words) > 1 else "", {})


def _csv_rows(path: Path, lines: Iterator[str]) -> Iterator[_Row]:
    reader = csv.DictReader(lines)
    try:
        header = list(reader.fieldnames or ())
        lowered = [name.strip().lower() for name in header]
        names = dict(zip(lowered, header, strict=True))
        if len(set(header)) < len(header) or lowered.count("smiles") != 1:
            raise InputError(
                f"{path}: its first line should name the columns, each once and smiles among them, with commas between "
                f"them, not {shown(','.join(header))}"
            )
        title = names.get("title")
        for row in reader:
            if None in row or None in row.values():
                raise InputError(
                    f"{path}, line {reader.line_num}: should have {len(header)} fields, as the first line has"
                )
            smiles = row.pop(names["smiles"]).strip()
            yield _Row(reader.line_num, smiles, row.pop(title) if title else "", row)
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num + 1}: {error}") from None
