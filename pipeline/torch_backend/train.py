"""Training: a gradient from every core, one update of one vector, and checkpoints to resume from bit for bit.

Step k of a run is a function of the state after step k - 1, the seed and k alone, on the same number of cores.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.chemistry.molecules import Molecules
from pipeline.diffusion.objectives import OBJECTIVES
from pipeline.torch_backend.build import build_objective
from pipeline.torch_backend.features import noisy_batch
from pipeline.torch_backend.objective import GenerativeObjective
from pipeline.torch_backend.optimizer import GradientClip, Optimizer, ema_decay, update
from pipeline.torch_backend.parallel import Replicas, Workers, take
from pipeline.torch_backend.runtime import Machine
from pipeline.torch_backend.sample import TorchSampler
from pipeline.torch_backend.weights import from_arrays, to_arrays, to_vector, use_vector
from pipeline.training.array_files import Arrays
from pipeline.training.checkpoint_files import CheckpointFiles
from pipeline.training.feeding import worker_processes
from pipeline.training.learning_rate import learning_rate
from pipeline.training.loop import PROGRESS_BATCH, Trained, TrainingRun, run_training
from pipeline.training.noisy_batches import HostBatch


def train(run: TrainingRun, machine: Machine) -> Trained:
    """Train a run, from its newest sound checkpoint where there is one.

    Raises:
      Interrupted: ``run.stop`` asked for it.
      InputError: there is nothing to train on; a checkpoint is of another configuration; the loss is not finite; the
        weights to start from are of another network.
    """
    feeding = worker_processes(machine.cores, on_cpu=machine.is_cpu)
    return run_training(TorchTrainer(run, machine), run, processes=feeding)


class TorchTrainer:
    """A training run: its state, and how it is stepped, looked at and saved (``pipeline.training.loop.Trainer``)."""

    def __init__(self, run: TrainingRun, machine: Machine):
        """Take the initial weights, or draw them, and put them on the device."""
        config, statistics, pretrained, training = run.config, run.statistics, run.pretrained, run.config.training
        objective = build_objective(config, statistics)
        if pretrained.init:
            from_arrays(objective.model, pretrained.init)
        teacher = deepcopy(objective.model)
        if pretrained.teacher:
            from_arrays(teacher, pretrained.teacher)
        self._objective = objective.to(machine.device)
        self._averaged = deepcopy(objective).requires_grad_(False)
        self._teacher = teacher.to(machine.device).requires_grad_(False)
        self._weights = to_vector(objective)
        self._ema = self._weights.clone()
        use_vector(self._averaged, self._ema)
        self._config, self._workers = config, Workers(machine)
        self.compiles = machine.compile
        self._replicas = Replicas(
            objective,
            self._weights,
            self._workers,
            batch_size=training.batch_size,
            parts=training.accumulate,
            compile=machine.compile,
        )
        shapes = {name: tuple(parameter.shape) for name, parameter in objective.model.named_parameters()}
        self._optimizer = Optimizer(training, self._weights, shapes)
        self._clip = GradientClip(training.optimizer.clip, like=self._weights)
        self._rate = learning_rate(training)
        self._checkpoints = CheckpointFiles(run.directory / "checkpoints", config_digest=run.config_digest)
        progress_sampler = OBJECTIVES[config.objective].progress_sampler
        self._sampler: TorchSampler | None = None
        if progress_sampler and isinstance(self._averaged, GenerativeObjective):
            self._sampler = TorchSampler(
                config,
                statistics,
                progress_sampler(config),
                self._averaged,
                self._workers,
                batch=min(PROGRESS_BATCH, training.sample_count),
                buckets=[max(statistics.buckets)],
            )

    def step(self, batch: HostBatch, step: int) -> Tensor:
        """Take a step; return its mean loss and gradient norm [2], perhaps not computed yet."""
        loss, gradient = self._replicas.value_and_gradient(
            noisy_batch(batch, self._objective.elements, self._objective.features, self._weights), self._teacher
        )
        decay = ema_decay(step, self._config.training.ema_decay)
        norm = update(self._optimizer, self._clip, gradient, self._ema, rate=self._rate(step), decay=decay)
        return torch.stack([loss, norm])

    def read(self, outcomes: Sequence[Tensor]) -> npt.NDArray[np.float64]:
        """Return losses and norms of steps, [K, 2]."""
        return torch.stack(list(outcomes)).double().cpu().numpy()

    def validation_loss(self, batch: HostBatch) -> npt.NDArray[np.floating[Any]]:
        """Return the losses [B] of the averaged weights."""
        tensors = noisy_batch(batch, self._objective.elements, self._objective.features, self._weights)

        def losses(part: slice) -> Tensor:
            return self._averaged.losses(take(tensors, part), self._teacher)

        count, width = tensors.mask.shape
        chunk = self._workers.chunk(self._config.model, width)
        return self._workers.infer(losses, count, chunk=chunk).cpu().numpy()

    def sample(self, sizes: npt.NDArray[np.int32], context: npt.NDArray[np.float32] | None) -> Molecules:
        """Return molecules from the averaged weights, see ``Trainer``."""
        assert self._sampler is not None, "a regressor is not sampled"
        return self._sampler.given(context)(sizes).molecules

    def is_finite(self) -> bool:
        """Return whether the averaged weights are."""
        return bool(torch.isfinite(self._ema).all())

    def save(self, step: int, extra: dict[str, Any]) -> None:
        """Write the state after ``step`` steps as a checkpoint."""
        state = self._vectors()
        state |= {f"optimizer.{name}": value for name, value in self._optimizer.state().items()}
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
        self._optimizer.load(optimizer)
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
