"""Molecules from files and folders of any format that this project reads.

| suffix                 | what                                                                      |
|------------------------|---------------------------------------------------------------------------|
| .parquet               | columns atomic_numbers and positions (``pipeline.data.molecule_parquet``) |
| .xyz, .extxyz          | XYZ and its dialects (``pipeline.chemistry.xyz``)                         |
| .sdf, .sd, .mol        | SDF and MOL, V2000 and V3000 (``pipeline.chemistry.sdf``)                 |
| .msgpack               | the published archive of GEOM, not in a folder (``pipeline.chemistry.geom``) |
| .npy                   | GEOM-Drugs as EDM prepares it, likewise                                   |
| any other, as .txt     | XYZ, SDF or Parquet, if its beginning says so                             |

Text may be gzipped, whatever its name. A folder stands for all such files in it and below, in the order of their names;
hidden ones are not looked at, and what else is not read is named. No molecule is lost: what cannot be used is refused,
left out and counted, or counted as unstable, as the caller asks.
"""

import codecs
import gzip
import io
import itertools
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.chemistry.elements import OTHER_ELEMENTS, SUPPORTED, TYPE_OF_ATOMIC_NUMBER, UNKNOWN
from pipeline.chemistry.geom import read_edm_array, read_geom_archive
from pipeline.chemistry.molecule_text import Record, element_symbol
from pipeline.chemistry.molecules import STAND_IN, STAND_IN_SIZE, Molecules, in_float32
from pipeline.chemistry.plausibility import plausibility_warnings
from pipeline.chemistry.sdf import read_sdf
from pipeline.chemistry.xyz import read_xyz
from pipeline.core.errors import InputError
from pipeline.core.files import visible_entries
from pipeline.data.molecule_parquet import (
    INDEX,
    SCHEMA_COLUMNS,
    SPLIT,
    TITLE,
    MoleculeTable,
    free_name,
    read_molecule_table,
)
from pipeline.data.parquet_tables import UNIT
from pipeline.data.source import SourceData

Invalid = Literal["refuse", "skip", "unstable"]
"""What to do about molecules that cannot be used.

``unstable`` is for scoring: a molecule that a generator left empty or not finite counts, as one that no metric calls
stable or valid. Other elements, and atoms that cannot be read, are refused all the same.
"""

_FORMATS: Final = {".xyz": "xyz", ".extxyz": "xyz", ".sdf": "sdf", ".sd": "sdf", ".mol": "sdf", ".parquet": "parquet",
    ".msgpack": "geom", ".npy": "edm"}  # fmt: skip
_READERS: Final = {"xyz": read_xyz, "sdf": read_sdf}
_ARCHIVES: Final = ("geom", "edm")
_GZIP: Final = b"\x1f\x8b"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_WINDOWS: Final = "windows-1252"
"""Name of a handler of decoding errors."""
_XYZ_START: Final = re.compile(r"\s*\d+[ \t]*\n.*\n\s*(?:[A-Za-z]{1,2}|\d{1,3})(?:\s+[-+.\d]\S*){3}")
_SDF_START: Final = re.compile(r"(?:.*\n){3}[ \d]{6}.*V[23]000")
_BEGINNING: Final = 2048

_UNREADABLE, _NOT_FINITE, _EMPTY = "unreadable", "not finite", "empty"
_FAILED: Final = (_NOT_FINITE, _EMPTY)
"""What a generator makes when it fails."""

_ADVANCE: Final = 1000
_NAMED: Final = 20
"""Molecules and files that are named in full; of more, the number is told."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What was read from a file or a folder."""

    data: SourceData
    num_files: int
    usable: npt.NDArray[np.bool_]
    """Of each molecule in the data, whether it is its own and no stand-in."""
    unusable: Mapping[str, int]
    """Molecules that could not be used, by reason."""
    left_out: Sequence[str]
    """A line for each of these if they were left out; else they are there, to be counted as unstable."""
    not_read: Sequence[str]
    """Files in the folder that are not molecules."""


class Problem(NamedTuple):
    """What is wrong with a molecule."""

    kind: str
    atom: int
    """Which of its atoms, counted from 0."""
    reason: str


@dataclass(frozen=True, eq=False)
class Found:
    """M molecules as some files have them, before any is refused."""

    table: MoleculeTable
    places: Sequence[tuple[Path, int, int | None, str]]
    """[M] file, number in it, line of the first atom and title, for messages."""
    errors: Mapping[int, Problem] = field(default_factory=dict)
    """Why a molecule could not be read."""

    def named(self, molecule: int, problems: Mapping[int, Problem]) -> str:
        """Return what a message says of a molecule that cannot be used."""
        path, number, line, title = self.places[molecule]
        problem = problems[molecule]
        where = "" if line is None or problem.kind == _UNREADABLE else f", line {line + problem.atom}"
        return f"{path}{where}: molecule {number}" + (f" ({title[:40]})" if title else "") + f": {problem.reason}"


def read_molecule_files(
    path: str | os.PathLike[str],
    *,
    invalid: Invalid,
    conformers: int = 1,
    advance: Callable[[int], object] = lambda count: None,
) -> Reading:
    """Return at least one molecule from a file, or from all files in a folder, numbered from 0.

    Titles, tags of SDF and further columns of Parquet become columns: of numbers where each molecule has one. A
    molecule too far from the origin for float32 is centred.

    Args:
      path: the file or folder.
      invalid: what to do about molecules that cannot be used.
      conformers: of an archive of GEOM, how many of each molecule to take, lowest energy first.
      advance: is told the number of molecules, now and then.

    Raises:
      InputError: there is no such file, it is truncated, damaged or of none of these formats, or has molecules that
        cannot be used; the line names the file and, where it can, the line, the molecule and its title.
    """
    files, not_read = _files(Path(path))
    parts: list[Found] = []
    for is_parquet, group in itertools.groupby(files, key=lambda file: file[1] == "parquet"):
        some = list(group)
        parts += (
            [_parquet_part(file, advance) for file, _ in some]
            if is_parquet
            else [_record_part(some, conformers, advance)]
        )
    return make_reading(path, _joined(path, parts), invalid=invalid, num_files=len(files), not_read=not_read)


def make_reading(
    path: str | os.PathLike[str], found: Found, *, invalid: Invalid, num_files: int, not_read: Sequence[str]
) -> Reading:
    """Return what was found in a file or a folder, with what cannot be used treated as ``invalid`` says.

    Raises:
      InputError: there are no molecules, or some that cannot be used.
    """
    number = len(found.table.sizes)
    if not number:
        raise InputError(f"{path}: has no molecules")
    problems = _problems(found)
    counts = Counter(problem.kind for problem in problems.values())
    refused = [one for one, problem in problems.items() if invalid == "refuse" or problem.kind not in _FAILED]
    if invalid != "skip" and refused:
        advice = "; --skip-invalid, or data.skip of a study, leaves them out" if invalid == "refuse" else ""
        raise InputError(f"{found.named(refused[0], problems)}; of {number:,} molecules, {_listed(counts)}{advice}")
    usable = np.ones(number, bool)
    usable[list(problems)] = False
    if invalid == "skip" and not usable.any():
        raise InputError(f"{path}: has no molecule that can be used; {_listed(counts)}")
    return Reading(
        data=_chosen(found, usable, stand_ins=invalid == "unstable"),
        num_files=num_files,
        usable=usable if invalid == "unstable" else usable[usable],
        unusable=counts,
        left_out=[found.named(one, problems) for one in problems] if invalid == "skip" else [],
        not_read=not_read,
    )


def report(readings: Sequence[Reading]) -> list[str]:
    """Return lines for people: what was read in all, what was left out or not read, and what looks like a mistake."""
    number = sum(len(reading.data.molecules) for reading in readings)
    left_out = [line for reading in readings for line in reading.left_out]
    not_read = [name for reading in readings for name in reading.not_read]
    unusable = sum((Counter(reading.unusable) for reading in readings), Counter())
    lines = [f"{_count(number, 'molecule')} from {_count(sum(reading.num_files for reading in readings), 'file')}"]
    if unusable:
        lines[0] += f"; {_listed(unusable)}, {'left out' if left_out else 'counted as unstable'}"
    lines += [f"left out: {line}" for line in _first(left_out)]
    if not_read:
        lines.append(f"not read, not molecules in a known format: {', '.join(_first(not_read))}")
    every = Molecules.concatenate([one.data.molecules.select(np.flatnonzero(one.usable)) for one in readings])
    return [*lines, *(f"warning: {line}" for line in (plausibility_warnings(every) if len(every) else []))]


def _joined(path: str | os.PathLike[str], parts: Sequence[Found]) -> Found:
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(part.places) for part in parts)]).tolist()
    try:
        table = MoleculeTable.joined([part.table for part in parts])
    except pa.ArrowException as error:
        raise InputError(
            f"{path}: a column is of different types in its files ({str(error).splitlines()[0]})"
        ) from None
    return Found(
        table,
        places=[place for part in parts for place in part.places],
        errors={s + one: error for s, part in zip(starts, parts, strict=False) for one, error in part.errors.items()},
    )


def _files(path: Path) -> tuple[list[tuple[Path, str]], list[str]]:
    """Return the files of molecules with their formats, and the names of the others in a folder."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if not path.is_dir():
        if not path.is_file():
            raise InputError(f"{path}: a pipe or a device, which can be read only once; write it to a file first")
        kind = _format(path)
        if kind is None:
            raise InputError(f"{path}: not molecules in a format that is read: {', '.join(_FORMATS)}, also gzipped")
        return [(path, kind)], []
    files, others = [], []
    for entry in sorted(visible_entries(path)):
        name = entry.relative_to(path)
        # Spark and others keep notes under such names.
        kind = _format(entry) if entry.is_file() and not entry.name.startswith("_") else None
        # An array beside molecules is seldom one of EDM's; those are read by their own names alone.
        if kind and kind not in _ARCHIVES:
            files.append((entry, kind))
        else:
            others.append(str(name))
    if not files:
        raise InputError(f"{path}: has no files of molecules ({', '.join(_FORMATS)}, also gzipped)")
    return files, others


def format_suffix(path: Path) -> str:
    """Return the suffix of a file, gzipped or not, in lower case."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _format(path: Path) -> str | None:
    """Return the format of a file by its suffix, or else by its beginning."""
    if (suffix := format_suffix(path)) in _FORMATS:
        return _FORMATS[suffix]
    with open_text(path) as text:
        beginning = text.read(_BEGINNING)
    if beginning.startswith("PAR1"):
        return "parquet"
    if _SDF_START.match(beginning):
        return "sdf"
    return "xyz" if _XYZ_START.match(beginning) else None


def _as_windows(error: UnicodeError) -> tuple[str, int]:
    """Return bytes that are not UTF-8 as text, and where to go on; a handler of decoding errors."""
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


@contextmanager
def open_text(path: Path) -> Iterator[io.TextIOWrapper]:
    """Yield a text file, gzipped or not; any end of line will do.

    It is in UTF-8 or, with a byte-order mark, UTF-16; bytes that are not UTF-8 are read as Windows-1252, which many
    editors write titles in. A number with a strange character is refused as such.
    """
    codecs.register_error(_WINDOWS, _as_windows)
    try:
        with path.open("rb") as file:
            stream = gzip.GzipFile(fileobj=file) if file.peek(2).startswith(_GZIP) else file
            encoding = "utf-16" if stream.peek(2).startswith(_UTF16) else "utf-8-sig"
            with io.TextIOWrapper(stream, encoding=encoding, errors=_WINDOWS) as text:
                yield text
    except FileNotFoundError:
        raise InputError(f"{path}: no such file or folder") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: truncated or damaged gzip ({error})") from None


def _records(path: Path, kind: str, conformers: int) -> Iterator[Record]:
    if kind == "geom":
        yield from read_geom_archive(path, conformers=conformers)
    elif kind == "edm":
        yield from read_edm_array(path)
    else:
        with open_text(path) as lines:
            # Files that were joined may each begin with a byte-order mark.
            yield from _READERS[kind](line.removeprefix("\ufeff") for line in lines)


def _record_part(files: Iterable[tuple[Path, str]], conformers: int, advance: Callable[[int], object]) -> Found:
    sizes: list[int] = []
    atomic_numbers = bytearray()
    positions: list[npt.NDArray[np.float32]] = [np.empty((0, 3), np.float32)]
    pending: list[npt.NDArray[np.float64]] = []
    places: list[tuple[Path, int, int | None, str]] = []
    properties: list[dict[str, str]] = []
    errors: dict[int, Problem] = {}

    def settle(since: int) -> None:
        """Take the positions of the molecules from one on."""
        positions.append(in_float32(np.concatenate([np.empty((0, 3)), *pending]), np.array(sizes[since:], int)))
        pending.clear()
        advance(len(sizes) - since)

    for path, kind in files:
        first = since = len(sizes)
        try:
            for number, record in enumerate(_records(path, kind, conformers)):
                if record.error:
                    errors[len(sizes)] = Problem(_UNREADABLE, 0, record.error)
                sizes.append(len(record.atomic_numbers))
                atomic_numbers += bytes(record.atomic_numbers)
                pending.append(np.array(record.positions, np.float64).reshape(-1, 3))
                places.append((path, number, record.line or None, record.title))
                properties.append(record.properties)
                if len(sizes) - since == _ADVANCE:
                    settle(since)
                    since = len(sizes)
        except InputError as error:
            if str(error).startswith(str(path)):
                raise
            raise InputError(f"{path}{', ' if str(error).startswith('line') else ': '}{error}") from None
        if len(sizes) == first:
            raise InputError(f"{path}: empty")
        settle(since)
    keys = [next((key for key in own if key.lower() == "smiles"), None) for own in properties]
    smiles = [None if key is None else own.pop(key) for key, own in zip(keys, properties, strict=True)]
    table = MoleculeTable(
        sizes=np.array(sizes, np.int32),
        atomic_numbers=np.frombuffer(bytes(atomic_numbers), np.uint8),
        positions=np.concatenate(positions),
        smiles=tuple(text or None for text in smiles),
        columns=make_columns([title for *_, title in places], properties),
    )
    return Found(table, places, errors)


def make_columns(titles: Sequence[str], properties: Sequence[Mapping[str, str]]) -> pa.Table:
    """Return titles and tags as columns of M rows each; a tag with the name of a column of ours gets another."""
    columns = {TITLE: pa.array([title or None for title in titles], pa.string())}
    names, ours = dict.fromkeys(name for own in properties for name in own), (*SCHEMA_COLUMNS, SPLIT, TITLE)
    for name in names:
        values = pa.array([own.get(name) for own in properties], pa.string())
        columns[free_name(name, {*ours, *names}) if name in ours else name] = _as_numbers(values)
    return pa.table(columns)


def _as_numbers(values: pa.Array) -> pa.Array:
    """Return text as int64 or float64 where all of it is finite numbers that these hold; 007 is a name."""
    are_whole = pc.all(pc.match_substring_regex(values, r"^(0|-?[1-9]\d*)$")).as_py()
    kind, names = (pa.int64(), r"^$") if are_whole else (pa.float64(), r"^$|^[+-]?0\d|^[+-]?\d{17}")
    if values.null_count or pc.any(pc.match_substring_regex(values, names)).as_py():
        return values
    try:
        numbers = values.cast(kind)
    except pa.ArrowInvalid:
        return values
    return numbers if pc.all(pc.is_finite(numbers)).as_py() else values


def _parquet_part(path: Path, advance: Callable[[int], object]) -> Found:
    table = read_molecule_table(path)
    columns, number = table.columns, len(table.sizes)
    advance(number)
    if INDEX in columns.column_names:
        # Molecules are numbered anew; numbers of their own are kept under another name.
        index, name = columns[INDEX], free_name(INDEX, columns.column_names)
        columns = columns.drop_columns([INDEX])
        if index.to_pylist() != list(range(number)):
            columns = columns.append_column(name, index)
    if TITLE not in columns.column_names:
        columns = columns.append_column(TITLE, pa.nulls(number, pa.string()))
    places = [(path, row, None, str(title or "")) for row, title in enumerate(columns[TITLE].to_pylist())]
    return Found(table._replace(columns=columns), places)


def _problems(found: Found) -> dict[int, Problem]:
    """Return what is wrong with every molecule that cannot be used, in the order of the molecules."""
    sizes, atomic_numbers, positions, *_ = found.table
    problems = {int(one): Problem(_EMPTY, 0, "has no atoms") for one in np.flatnonzero(sizes == 0)}
    owner, starts = np.repeat(np.arange(len(sizes)), sizes), np.cumsum(sizes) - sizes
    there = ", ".join(map(element_symbol, np.unique(atomic_numbers).tolist()))
    # The worse later, and of each the first atom.
    for kind, wrong in (
        (_NOT_FINITE, ~np.isfinite(positions).all(axis=1)),
        (OTHER_ELEMENTS, TYPE_OF_ATOMIC_NUMBER[atomic_numbers] == UNKNOWN),
    ):
        for atom in reversed(np.flatnonzero(wrong).tolist()):
            one, symbol = int(owner[atom]), element_symbol(int(atomic_numbers[atom]))
            elements = f"has {symbol}; its elements are {there}, supported are {SUPPORTED}"
            reason = elements if kind == OTHER_ELEMENTS else f"a coordinate is not finite ({positions[atom]})"
            problems[one] = Problem(kind, atom - int(starts[one]), reason)
    problems |= found.errors
    return dict(sorted(problems.items()))


def _chosen(found: Found, chosen: npt.NDArray[np.bool_], *, stand_ins: bool) -> SourceData:
    """Return the chosen molecules or, with fluorine atoms at one point in place of the others, all of them."""
    table = found.table
    sizes = np.where(chosen, table.sizes, np.maximum(table.sizes, STAND_IN_SIZE) if stand_ins else 0)
    atoms, own = np.repeat(chosen, table.sizes), np.repeat(chosen, sizes)
    atomic_numbers = np.full(len(own), STAND_IN, np.uint8)
    positions = np.zeros((len(own), 3), np.float32)
    atomic_numbers[own], positions[own] = table.atomic_numbers[atoms], table.positions[atoms]
    kept = np.flatnonzero(sizes)
    columns = table.columns.take(kept)
    if columns[TITLE].null_count == len(kept):
        columns = columns.drop_columns([TITLE])
    smiles = tuple(table.smiles[one] for one in kept.tolist()) if table.smiles else ()
    return SourceData(
        molecules=Molecules(
            sizes=sizes[kept],
            atomic_numbers=atomic_numbers,
            positions=positions,
            smiles=smiles if any(smiles) else None,
            metadata=table.metadata,
        ),
        index=kept.astype(np.int32),
        columns=dict(zip(columns.column_names, columns.columns, strict=True)),
        units={
            one.name: one.metadata[UNIT].decode() for one in columns.schema if one.metadata and UNIT in one.metadata
        },
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {kind}" for kind, number in counts.items())


def _first(lines: Sequence[str]) -> list[str]:
    return [*lines[:_NAMED], *([f"and {len(lines) - _NAMED:,} more"] if len(lines) > _NAMED else [])]
