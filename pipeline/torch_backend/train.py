"""Training: a gradient from every core, one update of one vector, and checkpoints to resume from bit for bit.

Step k of a run is a function of the state after step k - 1, the seed and k alone, on the same number of cores.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.checkpoint_files import Arrays
from pipeline.chemistry.molecules import Molecules
from pipeline.config import RunConfig
from pipeline.data.batches import Batch, PaddedMolecules
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.errors import InputError
from pipeline.torch_backend.build import build_objective
from pipeline.torch_backend.checkpoints import open_checkpoints
from pipeline.torch_backend.edm import Draws
from pipeline.torch_backend.features import node_mask, seeded
from pipeline.torch_backend.optimizer import GradientClip, ema_decay, learning_rate, make_optimizer, update
from pipeline.torch_backend.parallel import Replicas, Workers, take
from pipeline.torch_backend.runtime import Machine
from pipeline.torch_backend.sample import Sampler
from pipeline.torch_backend.weights import to_arrays, to_vector, use_vector
from pipeline.training import PROGRESS_BATCH, PROGRESS_SAMPLER, Trained, run_training


class BucketData(NamedTuple):
    """The training molecules of a bucket, on the device: [M, N, 3], [M, N] and [M]."""

    positions: Tensor
    atomic_numbers: Tensor
    sizes: Tensor


def train(
    config: RunConfig,
    *,
    config_digest: str,
    shards: Mapping[str, list[Shard]],
    statistics: Statistics,
    directory: Path,
    log: Path | None,
    stop: Callable[[], bool],
    machine: Machine,
) -> Trained:
    """Train a run, from its newest sound checkpoint where there is one.

    Args:
      config: of the run.
      config_digest: of the same; checkpoints of another one are refused.
      shards: of the splits ``train`` and ``validation``.
      statistics: of the data.
      directory: for the checkpoints and the growing log; survives a kill.
      log: receives the progress.
      stop: asked after every step; True saves and raises.
      machine: what to run on.

    Raises:
      Interrupted: ``stop`` asked for it.
      InputError: there is nothing to train on; a checkpoint is of another configuration; the loss is not finite.
    """
    if not shards["train"]:
        raise InputError("shards: there is no training molecule")
    trainer = TorchTrainer(
        config,
        config_digest=config_digest,
        shards=shards["train"],
        statistics=statistics,
        directory=directory,
        machine=machine,
    )
    return run_training(trainer, config, shards=shards, statistics=statistics, directory=directory, log=log, stop=stop)


class TorchTrainer:
    """A training run: its state, and how it is stepped, looked at and saved (``pipeline.training.Trainer``)."""

    def __init__(
        self,
        config: RunConfig,
        *,
        config_digest: str,
        shards: list[Shard],
        statistics: Statistics,
        directory: Path,
        machine: Machine,
    ):
        """Put the molecules of ``shards`` on the device and draw the initial weights."""
        training = config.training
        objective = build_objective(config, statistics).to(machine.device)
        self._config, self._workers = config, Workers(machine)
        self._averaged = deepcopy(objective)
        if machine.compile:
            objective.model.compile_layers()
        self._weights = to_vector(objective.model)
        self._ema = self._weights.clone()
        use_vector(self._averaged.model, self._ema)
        self._objective = objective
        self._replicas = Replicas(
            objective, self._weights, self._workers, batch_size=training.batch_size, parts=training.accumulate
        )
        self._optimizer = make_optimizer(training, self._weights)
        self._clip = GradientClip(training.optimizer.clip, like=self._weights)
        self._rate = learning_rate(training)
        self._data = {
            shard.bucket: BucketData(
                torch.tensor(shard.positions, device=machine.device),
                torch.tensor(shard.atomic_numbers, device=machine.device),
                torch.tensor(shard.sizes, device=machine.device),
            )
            for shard in shards
        }
        self._checkpoints = open_checkpoints(directory / "checkpoints", config_digest=config_digest)
        self._buckets = [max(statistics.buckets)]
        self._sampler = Sampler(
            self._averaged,
            PROGRESS_SAMPLER,
            self._workers,
            widest=self._buckets[-1],
            batch=min(PROGRESS_BATCH, training.sample_count),
        )

    def step(self, batch: Batch, step: int) -> Tensor:
        """Take a step; return its mean loss and gradient norm [2], perhaps not computed yet."""
        data = self._data[batch.bucket]
        rows = torch.from_numpy(batch.indices).to(self._weights.device)
        mask = node_mask(data.sizes[rows], batch.bucket)
        clean = self._objective.clean(data.positions[rows], data.atomic_numbers[rows])
        draws = self._objective.draw(seeded(self._config.seed, 1, step), mask)
        loss, gradient = self._replicas.value_and_gradient(clean, mask, draws)
        decay = ema_decay(step, self._config.training.ema_decay)
        norm = update(self._optimizer, self._clip, gradient, self._ema, rate=self._rate(step), decay=decay)
        return torch.stack([loss, norm])

    def read(self, outcomes: Sequence[Tensor]) -> npt.NDArray[np.float64]:
        """Return losses and norms of steps, [K, 2]."""
        return torch.stack(list(outcomes)).double().cpu().numpy()

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return self._rate(step)

    def validation_loss(self, molecules: PaddedMolecules) -> npt.NDArray[np.floating[Any]]:
        """Return the losses [B] of the averaged weights, with the same steps t and noise every time."""
        device, objective = self._weights.device, self._averaged
        mask = node_mask(torch.from_numpy(molecules.sizes).to(device), molecules.positions.shape[1])
        data = objective.clean(
            torch.from_numpy(molecules.positions).to(device), torch.from_numpy(molecules.atomic_numbers).to(device)
        )
        draws = objective.draw(seeded(self._config.seed, 2), mask)

        def losses(part: slice) -> Tensor:
            return objective.losses(take(data, part), mask[part], Draws(draws.t[part], take(draws.noise, part)))

        chunk = self._workers.chunk(self._config.model, mask.shape[1])
        return self._workers.infer(losses, len(molecules.sizes), chunk=chunk).cpu().numpy()

    def sample(self, sizes: npt.NDArray[np.int32]) -> Molecules:
        """Return one molecule for each of ``sizes`` from the averaged weights, by ``PROGRESS_SAMPLER``."""
        return self._sampler(sizes, buckets=self._buckets).molecules

    def is_finite(self) -> bool:
        """Return whether the averaged weights are."""
        return bool(torch.isfinite(self._ema).all())

    def save(self, step: int, extra: dict[str, Any]) -> None:
        """Write the state after ``step`` steps as a checkpoint."""
        optimizer = self._optimizer.state[self._weights]
        state = self._vectors() | {f"optimizer.{name}": value for name, value in optimizer.items()}
        arrays = {name: tensor.cpu().numpy() for name, tensor in state.items()}
        self._checkpoints.save(step, arrays | {"step": np.array(step)}, extra)

    def restore(self, *, note: Callable[[str], None]) -> tuple[int, dict[str, Any]] | None:
        """Take up the newest sound checkpoint; return its number of steps and its ``extra``, or None without one."""
        return self._checkpoints.restore(self._take_up, note=note)

    def _take_up(self, arrays: Arrays) -> int:
        """Make the state that of a checkpoint; return its number of steps."""
        tensors = {name: torch.tensor(array) for name, array in arrays.items()}
        vectors = self._vectors()
        # All or nothing: after this, nothing fails.
        if odd := [name for name, own in vectors.items() if tensors[name].shape != own.shape]:
            raise ValueError(f"{odd[0]} has another shape")
        optimizer = {
            name.removeprefix("optimizer."): tensors[name] for name in tensors if name.startswith("optimizer.")
        }
        self._optimizer.load_state_dict(self._optimizer.state_dict() | {"state": {0: optimizer}})
        for name, own in vectors.items():
            own.copy_(tensors[name])
        return int(tensors["step"])

    def _vectors(self) -> dict[str, Tensor]:
        """Return the state that is changed in place: all but the optimiser's."""
        return {
            "weights": self._weights,
            "ema": self._ema,
            "clip.norms": self._clip.norms,
            "clip.count": self._clip.count,
        }

    def averaged_weights(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return the averaged weights by name."""
        return to_arrays(self._averaged.model)
