"""Tasks of contestants, as JSON for the pipe to their processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.benchmark.workload import synthetic_shard
from pipeline.data.shards import Shard, read_shards
from pipeline.data.statistics import Statistics, read_statistics
from pipeline.study.config import RunConfig, run_config
from pipeline.training.run_folder import Weights, read_weights


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

    def trained(self) -> tuple[RunConfig, Statistics, Weights | None]:
        """Return the run to sample, the statistics of its data, and its trained weights unless they are random."""
        if not self.weights:
            return run_config(self.run), read_statistics(self.statistics), None
        weights = read_weights(self.weights)
        return weights.config, weights.statistics, weights

    def training_shards(self) -> list[Shard]:
        """Return the molecules to train on.

        Raises:
          InputError: there are none, or their files are damaged.
        """
        if self.shards is None:
            return [synthetic_shard(atoms=self.atoms, molecules=int(self.run["training"]["batch_size"]), seed=0)]
        return read_shards(self.shards, "train")
