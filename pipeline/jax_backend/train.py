"""Training: a compiled gradient for each size bucket, one compiled update, and checkpoints to resume from bit for bit.

Step k of a run is a function of the state after step k - 1, the seed and k alone (``pipeline.training.loop``). Where a
run is interrupted changes nothing.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
from jax import Array
from jax.sharding import Mesh

from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.diffusion.objectives import OBJECTIVES
from pipeline.jax_backend.build import build_layout, build_objective, build_weights
from pipeline.jax_backend.features import noisy_batch
from pipeline.jax_backend.objective import Objective
from pipeline.jax_backend.optimizer import ema_decay, make_optimizer
from pipeline.jax_backend.parallel import (
    chunk_size,
    is_cpu,
    make_mesh,
    mapped,
    partial_value_and_grad,
    replicated,
    update_sharding,
)
from pipeline.jax_backend.processes import Processes, join
from pipeline.jax_backend.sample import JaxSampler
from pipeline.jax_backend.weights import Layout
from pipeline.study.config import RunConfig, TrainingConfig
from pipeline.training.array_files import Arrays
from pipeline.training.checkpoint_files import CheckpointFiles
from pipeline.training.feeding import worker_processes
from pipeline.training.loop import PROGRESS_BATCH, Trained, TrainingRun, run_training
from pipeline.training.noisy_batches import HostBatch


class State(NamedTuple):
    """All that a step changes: its number, the parameters [P], the optimiser's state, the parameters' average [P]."""

    step: Array
    params: Array
    optimizer: Any
    ema: Array


def next_state(
    state: State, gradient: Array, optimizer: optax.GradientTransformation, training: TrainingConfig
) -> State:
    """Return the state after a step with the gradient [P] of its loss."""
    # Optax mixes floats and integers, which strict promotion of types (the tests' setting) forbids.
    with jax.numpy_dtype_promotion("standard"):
        updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    decay = ema_decay(state.step, training.ema_decay)
    return State(state.step + 1, params, optimizer_state, decay * state.ema + (1.0 - decay) * params)


class Stepper:
    """The compiled training step of a run.

    Compiled programs are kept by bucket and cannot compile again: after a bucket's first visit its steps only run.

    Attributes:
      teacher: the parameters to learn from, [P].
    """

    def __init__(
        self,
        config: RunConfig,
        objective: Objective,
        layout: Layout,
        teacher: Array,
        mesh: Mesh,
        processes: Processes,
    ):
        """Prepare the step of a run with the parameters ``teacher`` [P] to learn from; nothing is compiled yet."""
        self._config, self._objective, self._layout, self._mesh = config, objective, layout, mesh
        self._processes = processes
        self._optimizer = make_optimizer(config.training, layout)
        # Weights that are of no use to a loss are dropped by the compiler.
        self.teacher = jax.device_put(teacher, replicated(mesh))
        self._gradients: dict[int, Callable[..., Any]] = {}
        self._update = jax.jit(self._update_state, donate_argnums=0)
        self._sums = jax.jit(lambda losses, gradients: jnp.append(jnp.sum(gradients, axis=0), jnp.sum(losses)))

    def initial_state(self, params: Array) -> State:
        """Return the state before step 0, from the parameters [P]."""
        # Copies: a step consumes its state, and these parameters may be the teacher's, too.
        state = State(jnp.zeros((), jnp.int32), params.copy(), self._optimizer.init(params), params.copy())
        return State(*jax.device_put(state, update_sharding(self._mesh)))

    def __call__(self, state: State, batch: HostBatch) -> tuple[State, Array, Array]:
        """Take a step; return the new state (the old one is consumed), the mean loss and the gradient's norm."""
        batch = self._processes.share(batch)
        params = jax.device_put(state.params, replicated(self._mesh))
        arguments = (params, batch, self.teacher)
        bucket = batch.noise.shape[1]
        if bucket not in self._gradients:
            self._gradients[bucket] = jax.jit(self._gradient).lower(*arguments).compile()
        partial = self._gradients[bucket](*arguments)
        losses, gradients = jax.device_put(partial, update_sharding(self._mesh)) if is_cpu(self._mesh) else partial
        if self._processes.count > 1:
            total = self._processes.sum(self._sums(losses, gradients))
            total = jax.device_put(total, update_sharding(self._mesh))
            losses, gradients = total[-1:], total[None, :-1]
        after, loss, norm = self._update(state, losses, gradients)
        return after, loss, norm

    def _gradient(self, params: Array, batch: HostBatch, teacher: Array) -> tuple[Array, Array]:
        chunk = self.chunk(batch, self._mesh, parts=self._config.training.accumulate)
        return partial_value_and_grad(self.losses, self._mesh, chunk=chunk)(params, batch, teacher)

    def chunk(self, batch: HostBatch, mesh: Mesh, *, parts: int = 1) -> int:
        """Return how many molecules of a batch a device takes at a time, see ``chunk_size``."""
        molecules, width = batch.noise.shape[:2]
        return chunk_size(mesh, molecules, width, self._config.model, parts=parts)

    def losses(self, flat: Array, batch: HostBatch, teacher: Array) -> Array:
        """Return the losses [B] of a noisy batch.

        Args:
          flat: the parameters, [P].
          batch: the molecules.
          teacher: the teacher's parameters, [P].
        """
        noisy = noisy_batch(batch, self._objective.elements, self._objective.features)
        return self._objective.losses(self._layout.unravel(flat), noisy, self._layout.unravel(teacher))

    def _update_state(self, state: State, losses: Array, gradients: Array) -> tuple[State, Array, Array]:
        training = self._config.training
        gradient = jnp.sum(gradients, axis=0) / training.batch_size
        after = next_state(state, gradient, self._optimizer, training)
        return after, jnp.sum(losses) / training.batch_size, optax.tree.norm(gradient)


def train(run: TrainingRun, *, cores: int = 1) -> Trained:
    """Train a run, from its newest sound checkpoint where there is one; beside a GPU, ``cores`` prepare its batches.

    Raises:
      Interrupted: ``run.stop`` asked for it.
      InputError: there is nothing to train on; a checkpoint is of another configuration; the loss is not finite; the
        processes do not divide a batch.
    """
    join()
    processes = Processes()
    if (batch_size := run.config.training.batch_size) % processes.count:
        raise InputError(f"{processes.count} processes: they should divide batch_size, {batch_size}")
    with contextlib.ExitStack() as stack:
        if not processes.leads:
            # All processes do the same, so the leader's files and messages suffice.
            run = replace(run, directory=Path(stack.enter_context(tempfile.TemporaryDirectory())), log=None)
            silence = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stderr(silence))
        feeding = worker_processes(cores, on_cpu=jax.default_backend() == "cpu")
        trained = run_training(JaxTrainer(run, processes), run, processes=feeding, agreed=processes.any)
    return replace(trained, leads=processes.leads)


class JaxTrainer:
    """A training run: its state, and how it is stepped, looked at and saved (``pipeline.training.loop.Trainer``)."""

    compiles = True

    def __init__(self, run: TrainingRun, processes: Processes | None = None):
        """Take the initial weights, or draw them; nothing is compiled yet."""
        config, statistics, pretrained = run.config, run.statistics, run.pretrained
        self._processes = processes or Processes()
        self._objective = build_objective(config, statistics)
        key = jax.random.fold_in(jax.random.key(config.seed), 0)
        self._layout = build_layout(self._objective)
        params = self._layout.from_arrays(pretrained.init) if pretrained.init else build_weights(self._objective, key)
        teacher = self._layout.from_arrays(pretrained.teacher) if pretrained.teacher else params
        mesh = make_mesh(config.training.batch_size // self._processes.count)
        self._stepper = Stepper(config, self._objective, self._layout, teacher, mesh, self._processes)
        self._state = self._stepper.initial_state(params)
        self._sharding = update_sharding(mesh)
        self._checkpoints = CheckpointFiles(run.directory / "checkpoints", config_digest=run.config_digest)
        progress_sampler = OBJECTIVES[config.objective].progress_sampler
        self._sampler = progress_sampler and JaxSampler(
            config,
            statistics,
            progress_sampler(config),
            params,
            batch=min(PROGRESS_BATCH, config.training.sample_count),
            buckets=[max(statistics.buckets)],
        )
        self._validate: Callable[..., Array] | None = None
        self._previous_loss: Array | None = None

    def step(self, batch: HostBatch, step: int) -> tuple[Array, Array]:
        """Take a step; return its mean loss and gradient norm, perhaps not computed yet."""
        del step
        self._state, loss, norm = self._stepper(self._state, batch)
        # One step may wait in the queue, not fifty: the caller looks for a signal and at the clock after each.
        if self._previous_loss is not None:
            self._previous_loss.block_until_ready()
        self._previous_loss = loss
        return loss, norm

    def read(self, outcomes: Sequence[tuple[Array, Array]]) -> npt.NDArray[np.float64]:
        """Return losses and norms of steps, [K, 2]."""
        return np.array(jax.device_get(list(outcomes)), np.float64)

    def validation_loss(self, batch: HostBatch) -> npt.NDArray[np.floating[Any]]:
        """Return the losses [B] of the averaged weights."""
        mesh = make_mesh(len(batch.sizes))
        if self._validate is None:
            self._validate = jax.jit(mapped(self._stepper.losses, mesh, chunk=self._stepper.chunk(batch, mesh)))
        weights = jax.device_put((self._state.ema, self._stepper.teacher), replicated(mesh))
        return np.asarray(self._validate(weights[0], batch, weights[1]))

    def sample(self, sizes: npt.NDArray[np.int32], context: npt.NDArray[np.float32] | None) -> Molecules:
        """Return molecules from the averaged weights, see ``Trainer``."""
        assert self._sampler is not None, "a regressor is not sampled"
        self._sampler.weights = self._state.ema
        return self._sampler.given(context)(sizes).molecules

    def is_finite(self) -> bool:
        """Return whether the averaged weights are."""
        return bool(jnp.isfinite(self._state.ema).all())

    def save(self, step: int, extra: dict[str, Any]) -> None:
        """Write the state after ``step`` steps as a checkpoint."""
        if self._processes.leads:
            arrays = {f"{index:03d}": np.asarray(leaf) for index, leaf in enumerate(jax.tree.leaves(self._state))}
            self._checkpoints.save(step, arrays, extra)

    def restore(self, *, note: Callable[[str], None]) -> tuple[int, dict[str, Any]] | None:
        """Take up the newest sound checkpoint; return its number of steps and its ``extra``, or None without one."""
        restored = self._checkpoints.restore(self._of_arrays, note=note) if self._processes.leads else None
        state, extra = restored or (self._state, {"seconds": 0.0})
        # Only the leader has seen the files, and only its initial weights count.
        state = self._processes.as_leader_has(state)
        self._state = State(*jax.device_put(state, self._sharding))
        return (int(self._state.step), extra) if int(self._state.step) else None

    def _of_arrays(self, arrays: Arrays) -> State:
        """Return the state whose leaves were saved."""
        own, structure = jax.tree.flatten(self._state)
        saved = [arrays[name] for name in sorted(arrays)]
        if [(leaf.shape, leaf.dtype) for leaf in saved] != [(leaf.shape, leaf.dtype) for leaf in own]:
            raise ValueError("its arrays have other shapes")
        state: State = jax.tree.unflatten(structure, saved)
        return state

    def averaged_weights(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return the averaged weights by name."""
        return self._layout.to_arrays(self._state.ema)
