"""Shards: molecules as padded arrays in size buckets, so that training steps have few static shapes.

A molecule belongs to the smallest bucket that it fits. Its atoms are the first ``size`` entries. Positions are centred
on the unweighted mean of the atoms and zero in the padding.

A directory of shards has one file ``{split}-{bucket}.parquet`` for every split and bucket, empty ones included:

| column         | type                                |                                   |
|----------------|-------------------------------------|-----------------------------------|
| index          | int32                               | number of the molecule in its source |
| size           | uint16                              | atoms                             |
| atomic_numbers | fixed_size_list<uint8>[bucket]      | 0 in the padding                  |
| positions      | fixed_size_list<float>[3 * bucket]  | angstrom, x y z of each atom in turn |
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.core.files import atomic_directory
from pipeline.data.molecule_parquet import SPLITS
from pipeline.data.parquet_tables import read_table, write_table

KIND: Final = "shard"


@dataclass(frozen=True, eq=False)
class Shard:
    """M molecules of one split that share a bucket."""

    bucket: int
    """Padded number of atoms."""
    index: npt.NDArray[np.int32]
    """[M] number of each molecule in its source."""
    sizes: npt.NDArray[np.int32]
    """[M] atoms, 1 to bucket."""
    atomic_numbers: npt.NDArray[np.uint8]
    """[M, bucket], 0 in the padding."""
    positions: npt.NDArray[np.float32]
    """[M, bucket, 3] in angstrom, centred, 0 in the padding."""

    def __len__(self) -> int:
        """Return the number of molecules, M."""
        return len(self.sizes)

    def take(self, rows: npt.NDArray[Any]) -> Self:
        """Return the molecules in some rows, by number or by mask."""
        columns = (self.index, self.sizes, self.atomic_numbers, self.positions)
        return type(self)(self.bucket, *(column[rows] for column in columns))

    def digest(self) -> str:
        """Return a SHA-256 of the content."""
        digest = hashlib.sha256(f"{self.bucket} {len(self)}".encode())
        for array in (self.index, self.sizes, self.atomic_numbers, self.positions):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def make_shards(
    molecules: Molecules,
    *,
    index: npt.NDArray[np.integer[Any]],
    split: npt.NDArray[Any],
    buckets: Sequence[int] | None = None,
) -> dict[str, list[Shard]]:
    """Return the shards of every split, one for each bucket, empty ones included, in ascending order of bucket.

    Args:
      molecules: M molecules.
      index: [M] number of each molecule in its source.
      split: [M] "train", "validation" or "test".
      buckets: sizes in atoms, ascending; ``best_buckets`` by default.

    Raises:
      InputError: the buckets are not ascending, or a molecule is larger than the largest.
    """
    buckets = best_buckets(molecules.sizes) if buckets is None else buckets
    edges = np.asarray(buckets, dtype=np.int32)
    if not edges.size or edges[0] < 1 or edges[-1] > np.iinfo(np.uint16).max or (np.diff(edges) <= 0).any():
        raise InputError(f"data.buckets: {list(buckets)} should be numbers of atoms, at least 1 each and ascending")
    if (large := np.flatnonzero(molecules.sizes > edges[-1])).size:
        row = large[0]
        raise InputError(
            f"data.buckets: molecule {index[row]} has {molecules.sizes[row]} atoms, more than the largest bucket, "
            f"{edges[-1]}; the largest molecule needs a bucket of {molecules.sizes.max()}"
        )
    if unknown := set(split) - set(SPLITS):
        raise InputError(f"{str(min(unknown))!r} is not a split; there are {', '.join(SPLITS)}")
    bucket_of = np.searchsorted(edges, molecules.sizes)
    return {
        name: [
            _pad(molecules.select(rows), index=index[rows], bucket=int(edge))
            for i, edge in enumerate(edges)
            for rows in [np.flatnonzero((bucket_of == i) & (split == name))]
        ]
        for name in SPLITS
    }


def best_buckets(sizes: npt.NDArray[np.integer[Any]], most: int = 7) -> list[int]:
    """Return the buckets that leave the fewest pairs of atoms, padding included; the last is the largest size.

    Args:
      sizes: [M] atoms of each molecule.
      most: maximum number of buckets; fewer if there are fewer sizes.
    """
    widths, counts = np.unique(sizes, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])
    # cost[k] is the least number of pairs of the first k sizes in so many buckets; the last of these begins at cut[k].
    cost, cuts = np.concatenate([[0], np.full(len(widths), np.inf)]), []
    for _ in range(min(most, len(widths))):
        # [k, j]: a bucket of the sizes j to k - 1, after the best buckets of the first j.
        pairs = (below[1:, None] - below[:-1]) * (widths.astype(float) ** 2)[:, None]
        whole = np.where(np.tri(len(widths), dtype=bool), cost[:-1] + pairs, np.inf)
        cuts.append(whole.argmin(axis=1))
        cost = np.concatenate([[np.inf], whole.min(axis=1)])
    buckets, end = [], len(widths)
    for cut in reversed(cuts):
        buckets.append(int(widths[end - 1]))
        end = int(cut[end - 1])
    return buckets[::-1]


def padding(sizes: npt.NDArray[np.integer[Any]], buckets: Sequence[int]) -> float:
    """Return the share of the pairs of atoms that padding to ``buckets`` adds; each of ``sizes`` [M] fits one."""
    widths = np.asarray(buckets)[np.searchsorted(buckets, sizes)].astype(np.float64)
    return float(1 - np.square(sizes.astype(np.float64)).sum() / np.square(widths).sum())


def write_shards(directory: str | os.PathLike[str], shards: Mapping[str, Sequence[Shard]]) -> None:
    """Write the shards of every split to ``directory``, which is replaced as a whole when complete."""
    with atomic_directory(directory) as temporary:
        for split, of_split in shards.items():
            for shard in of_split:
                path = temporary / f"{split}-{shard.bucket:03d}.parquet"
                _write_shard(path, shard, split, [s.bucket for s in of_split])


def read_shards(directory: str | os.PathLike[str], split: str) -> list[Shard]:
    """Return the shards of a split in ascending order of bucket; empty ones are left out.

    Raises:
      InputError: a file is missing, truncated or damaged, or is not a shard of this split.
    """
    directory = Path(directory)
    paths = sorted(directory.glob(f"{split}-*.parquet"))
    if not paths:
        raise InputError(f"{directory}: has no shards of the split {split}; the stage shard writes them")
    shards, expected = [], set()
    for path in paths:
        shard, buckets = _read_shard(path, split)
        shards.append(shard)
        expected |= set(buckets)
    if expected != (found := {shard.bucket for shard in shards}):
        raise InputError(
            f"{directory}: the shards of the split {split} have buckets {sorted(found)}, "
            f"but should have {sorted(expected)}; run the stage shard again"
        )
    return sorted((shard for shard in shards if len(shard)), key=lambda shard: shard.bucket)


def take_half(shards: Sequence[Shard], half: Literal["first", "second"]) -> list[Shard]:
    """Return the molecules of one half of the training split (see ``half_of``), empty shards left out."""
    chosen = half_of(np.concatenate([shard.index for shard in shards]), half)
    taken = [shard.take(np.isin(shard.index, chosen)) for shard in shards]
    return [shard for shard in taken if len(shard)]


def half_of(index: npt.NDArray[np.integer[Any]], half: Literal["first", "second"]) -> npt.NDArray[np.integer[Any]]:
    """Return the numbers of the molecules in one half of the training split, in random order.

    EDM's halves (Hoogeboom et al. 2022, ``qm9/dataset.py``): the molecules in the order of the source, permuted by
    ``np.random.permutation`` after seed 42, cut in the middle. Property regressors are trained on the first half and
    generators on the second.

    Args:
      index: number of each training molecule in its source.
      half: which.
    """
    permuted = np.sort(index)[np.random.RandomState(42).permutation(len(index))]
    middle = len(index) // 2
    return permuted[:middle] if half == "first" else permuted[middle:]


def _pad(molecules: Molecules, *, index: npt.NDArray[np.integer[Any]], bucket: int) -> Shard:
    number, sizes = len(molecules), molecules.sizes
    atomic_numbers = np.zeros((number, bucket), np.uint8)
    positions = np.zeros((number, bucket, 3), np.float32)
    if number:
        present = np.arange(bucket) < sizes[:, None]
        # In double precision, since a molecule far from the origin would not be centred accurately in float32.
        exact = molecules.positions.astype(np.float64)
        means = np.add.reduceat(exact, molecules.offsets[:-1]) / sizes[:, None]
        atomic_numbers[present] = molecules.atomic_numbers
        positions[present] = exact - np.repeat(means, sizes, axis=0)
    return Shard(
        bucket=bucket,
        index=np.asarray(index, np.int32),
        sizes=sizes,
        atomic_numbers=atomic_numbers,
        positions=positions,
    )


def _columns(bucket: int) -> dict[str, pa.DataType]:
    return {
        "index": pa.int32(),
        "size": pa.uint16(),
        "atomic_numbers": pa.list_(pa.uint8(), bucket),
        "positions": pa.list_(pa.float32(), 3 * bucket),
    }


def _write_shard(path: Path, shard: Shard, split: str, buckets: Iterable[int]) -> None:
    values = {
        "index": pa.array(shard.index),
        "size": pa.array(shard.sizes.astype(np.uint16)),
        "atomic_numbers": pa.FixedSizeListArray.from_arrays(pa.array(shard.atomic_numbers.reshape(-1)), shard.bucket),
        "positions": pa.FixedSizeListArray.from_arrays(pa.array(shard.positions.reshape(-1)), 3 * shard.bucket),
    }
    write_table(
        path,
        pa.table(values, schema=pa.schema(_columns(shard.bucket))),
        kind=KIND,
        metadata={"split": split, "bucket": shard.bucket, "buckets": list(buckets), "sha256": shard.digest()},
        units={"positions": "angstrom"},
    )


def _read_shard(path: Path, split: str) -> tuple[Shard, list[int]]:
    """Return a shard and all buckets of its split."""
    table, metadata = read_table(path, kind=KIND, required=["index", "size", "atomic_numbers", "positions"])
    bucket, buckets = metadata.get("bucket"), metadata.get("buckets")
    if not isinstance(bucket, int) or not isinstance(buckets, list) or metadata.get("split") != split:
        raise InputError(f"{path}: not a shard of the split {split}")
    if {field.name: field.type for field in table.schema} != _columns(bucket):
        raise InputError(f"{path}: its columns are not those of a shard of bucket {bucket}")
    if any(column.null_count for column in table.columns):
        raise InputError(f"{path}: has missing values: the file is damaged")
    table = table.combine_chunks()
    shard = Shard(
        bucket=bucket,
        index=table["index"].to_numpy(),
        sizes=table["size"].to_numpy().astype(np.int32),
        atomic_numbers=_flat(table, "atomic_numbers").reshape(-1, bucket),
        positions=_flat(table, "positions").reshape(-1, bucket, 3),
    )
    if shard.digest() != metadata.get("sha256"):
        raise InputError(f"{path}: its content does not match its checksum: the file is damaged")
    return shard, buckets


def _flat(table: pa.Table, name: str) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = table[name].combine_chunks().flatten().to_numpy()
    return values
