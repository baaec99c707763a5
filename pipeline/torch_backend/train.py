"""Training: a gradient from every core, one update of one vector, and checkpoints to resume from bit for bit.

Step k of a run is a function of the state after step k - 1, the seed and k alone, on the same number of cores.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.study.config import RunConfig
from pipeline.torch_backend.build import build_objective
from pipeline.torch_backend.checkpoints import open_checkpoints
from pipeline.torch_backend.features import to_tensor
from pipeline.torch_backend.objective import Frozen
from pipeline.torch_backend.optimizer import GradientClip, ema_decay, learning_rate, make_optimizer, update
from pipeline.torch_backend.parallel import Replicas, Workers, take
from pipeline.torch_backend.runtime import Machine
from pipeline.torch_backend.sample import RunSampler
from pipeline.torch_backend.weights import from_arrays, to_arrays, to_vector, use_vector
from pipeline.training.checkpoint_files import Arrays
from pipeline.training.loop import PROGRESS_BATCH, Trained, progress_sampler, run_training
from pipeline.training.noisy_batches import HostBatch, NoisyBatch
from pipeline.training.run_folder import Starts


def train(
    config: RunConfig,
    *,
    config_digest: str,
    shards: Mapping[str, list[Shard]],
    statistics: Statistics,
    starts: Starts,
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
      starts: weights of other runs to start and to learn from.
      directory: for the checkpoints and the growing log; survives a kill.
      log: receives the progress.
      stop: asked after every step; True saves and raises.
      machine: what to run on.

    Raises:
      Interrupted: ``stop`` asked for it.
      InputError: there is nothing to train on; a checkpoint is of another configuration; the loss is not finite;
        the weights to start from are of another network.
    """
    if not shards["train"]:
        raise InputError("shards: there is no training molecule")
    trainer = TorchTrainer(
        config,
        config_digest=config_digest,
        statistics=statistics,
        starts=starts,
        directory=directory,
        machine=machine,
    )
    return run_training(trainer, config, shards=shards, statistics=statistics, directory=directory, log=log, stop=stop)


class TorchTrainer:
    """A training run: its state, and how it is stepped, looked at and saved (``pipeline.training.loop.Trainer``)."""

    def __init__(
        self,
        config: RunConfig,
        *,
        config_digest: str,
        statistics: Statistics,
        starts: Starts,
        directory: Path,
        machine: Machine,
    ):
        """Take the initial weights, or draw them, and put them on the device."""
        training = config.training
        objective = build_objective(config, statistics)
        if starts.init:
            from_arrays(objective.model, starts.init)
        teacher = deepcopy(objective.model)
        if starts.teacher:
            from_arrays(teacher, starts.teacher)
        self._objective = objective.to(machine.device)
        self._averaged = deepcopy(objective).requires_grad_(False)
        self._frozen = Frozen(self._averaged.model, teacher.to(machine.device).requires_grad_(False))
        self._weights = to_vector(objective)
        self._ema = self._weights.clone()
        use_vector(self._averaged, self._ema)
        self._config, self._workers = config, Workers(machine)
        self._replicas = Replicas(
            objective,
            self._weights,
            self._workers,
            batch_size=training.batch_size,
            parts=training.accumulate,
            compile=machine.compile,
        )
        self._optimizer = make_optimizer(training, self._weights)
        self._clip = GradientClip(training.optimizer.clip, like=self._weights)
        self._rate = learning_rate(training)
        self._checkpoints = open_checkpoints(directory / "checkpoints", config_digest=config_digest)
        self._sampler = RunSampler(
            config,
            self._averaged,
            progress_sampler(config),
            self._workers,
            buckets=[max(statistics.buckets)],
            batch=min(PROGRESS_BATCH, training.sample_count),
        )

    def step(self, batch: HostBatch, step: int) -> Tensor:
        """Take a step; return its mean loss and gradient norm [2], perhaps not computed yet."""
        loss, gradient = self._replicas.value_and_gradient(self._on_device(batch), self._frozen)
        decay = ema_decay(step, self._config.training.ema_decay)
        norm = update(self._optimizer, self._clip, gradient, self._ema, rate=self._rate(step), decay=decay)
        return torch.stack([loss, norm])

    def _on_device(self, batch: HostBatch) -> NoisyBatch[Tensor]:
        return batch.map(lambda array: to_tensor(array, self._weights))

    def read(self, outcomes: Sequence[Tensor]) -> npt.NDArray[np.float64]:
        """Return losses and norms of steps, [K, 2]."""
        return torch.stack(list(outcomes)).double().cpu().numpy()

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return self._rate(step)

    def validation_loss(self, batch: HostBatch) -> npt.NDArray[np.floating[Any]]:
        """Return the losses [B] of the averaged weights."""
        tensors = self._on_device(batch)

        def losses(part: slice) -> Tensor:
            return self._averaged.losses(take(tensors, part), self._frozen)

        count, width = batch.mask.shape
        chunk = self._workers.chunk(self._config.model, width)
        return self._workers.infer(losses, count, chunk=chunk).cpu().numpy()

    def sample(self, sizes: npt.NDArray[np.int32]) -> Molecules:
        """Return one molecule for each of ``sizes`` from the averaged weights, by ``progress_sampler``."""
        return self._sampler(sizes).molecules

    def is_finite(self) -> bool:
        """Return whether the averaged weights are."""
        return bool(torch.isfinite(self._ema).all())

    def save(self, step: int, extra: dict[str, Any]) -> None:
        """Write the state after ``step`` steps as a checkpoint."""
        state = self._vectors()
        state |= {f"optimizer.{name}": value for name, value in self._optimizer.state_dict()["state"][0].items()}
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
        prefix = "optimizer."
        optimizer = {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}
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
