"""Tasks of contestants, as JSON for the pipe to their processes."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pipeline.benchmark.workload import synthetic_shard
from pipeline.data.shards import Shard, read_shards


@dataclass(frozen=True)
class Task:
    """A contestant's task.

    Attributes:
      contestant: name of the contestant, see ``contestants``.
      work: ``train`` (a unit is a training step), ``sample`` (a unit is ``molecules`` samples), or ``multiply`` (a unit
        is a product of two square matrices with ``molecules`` rows).
      cores: cores that it may use.
      run: settings of the run, see ``pipeline.study.config.run_config``.
      statistics: file of the data's statistics.
      shards: directory of the molecules to train on; None for synthetic ones.
      atoms: number of atoms of each synthetic molecule.
      molecules: see ``work``; ignored for ``train``.
      sampler: settings of the sampler, see ``pipeline.study.config.sampler_config``.
      weights: file of trained weights to sample with, whose settings replace ``run``; None for random ones.
    """

    contestant: str
    work: str
    cores: int
    run: Mapping[str, Any]
    statistics: str
    shards: str | None = None
    atoms: int = 0
    molecules: int = 0
    sampler: Mapping[str, Any] | None = None
    weights: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the task of a JSON object."""
        return cls(**value)

    def training_shards(self) -> list[Shard]:
        """Return the molecules to train on.

        Raises:
          InputError: there are none, or their files are damaged.
        """
        if self.shards is None:
            return [synthetic_shard(atoms=self.atoms, molecules=int(self.run["training"]["batch_size"]), seed=0)]
        return read_shards(self.shards, "train")
