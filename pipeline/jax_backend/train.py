"""Training: a compiled gradient for each size bucket, one compiled update, and checkpoints to resume from bit for bit.

Step k of a run is a function of the state after step k - 1, the seed and k alone: the epoch's plan is drawn from (seed,
epoch), a molecule's noise from (seed, k, its place in the batch). Where a run is interrupted changes nothing.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh

from pipeline.chemistry.metrics import stability_metrics
from pipeline.config import RunConfig, SamplerConfig
from pipeline.data.batches import Batch, epoch_plan
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.errors import InputError
from pipeline.jax_backend.build import build_objective, build_weights
from pipeline.jax_backend.checkpoints import Checkpoints
from pipeline.jax_backend.edm import EDM
from pipeline.jax_backend.features import node_mask
from pipeline.jax_backend.optimizer import ema_decay, learning_rate, make_optimizer
from pipeline.jax_backend.parallel import (
    is_cpu,
    make_mesh,
    mapped,
    partial_value_and_grad,
    replicated,
    update_sharding,
)
from pipeline.jax_backend.sample import Sampler
from pipeline.jax_backend.weights import Layout
from pipeline.progress import Progress, progress
from pipeline.runs import MetricsLog
from pipeline.sampling import draw_sizes

LOG_STEPS = 50
VALIDATION_MOLECULES = 1024
# What the weights of a running training are sampled with, to see them improve: cheap, and good enough to compare.
PROGRESS_SAMPLER = SamplerConfig(
    name="heun-12", kind="heun", steps=12, num=0, seed=0, sigma_max=20.0, sigma_min=0.01, rho=7.0
)


class State(NamedTuple):
    """All that a step changes: its number, the parameters [P], the optimiser's state, the parameters' average [P]."""

    step: Array
    params: Array
    optimizer: Any
    ema: Array


class BucketData(NamedTuple):
    """The training molecules of a bucket, on the devices: [M, N, 3], [M, N] and [M]."""

    positions: Array
    atomic_numbers: Array
    sizes: Array


@dataclass(frozen=True)
class Trained:
    """The outcome of a training that reached its last step: averaged weights by name, and seconds spent training."""

    arrays: dict[str, Any]
    seconds: float


class Interrupted(Exception):
    """The training was asked to stop; its state is saved."""


class Stepper:
    """The compiled training step of a run.

    Compiled programs are kept by bucket and cannot compile again: after a bucket's first visit its steps only run.
    """

    def __init__(self, config: RunConfig, objective: EDM, layout: Layout, data: dict[int, BucketData], mesh: Mesh):
        """Prepare the step; nothing is compiled yet."""
        self._config, self._objective, self._layout, self._data, self._mesh = config, objective, layout, data, mesh
        self._optimizer = make_optimizer(config.training)
        self._root = jax.random.fold_in(jax.random.key(config.seed), 1)
        self._gradients: dict[int, Callable[..., Any]] = {}
        self._update = jax.jit(self._update_state, donate_argnums=0)

    @property
    def compiled(self) -> int:
        """Number of compiled gradient programs: the number of buckets visited."""
        return len(self._gradients)

    def initial_state(self, params: Array) -> State:
        """Return the state before step 0."""
        state = State(jnp.zeros((), jnp.int32), params, self._optimizer.init(params), params.copy())
        return State(*jax.device_put(state, update_sharding(self._mesh)))

    def __call__(self, state: State, batch: Batch, step: int) -> tuple[State, Array, Array]:
        """Take a step; return the new state (the old one is consumed), the mean loss and the gradient's norm."""
        places = np.arange(len(batch.indices), dtype=np.int32)
        arguments = (
            jax.device_put(state.params, replicated(self._mesh)),
            (batch.indices, places),
            (self._data[batch.bucket], np.int32(step)),
        )
        if batch.bucket not in self._gradients:
            self._gradients[batch.bucket] = jax.jit(self._gradient).lower(*arguments).compile()
        partial = self._gradients[batch.bucket](*arguments)
        losses, gradients = jax.device_put(partial, update_sharding(self._mesh)) if is_cpu(self._mesh) else partial
        after, loss, norm = self._update(state, losses, gradients)
        return after, loss, norm

    def _gradient(self, params: Array, batch: tuple[Array, Array], constants: Any) -> tuple[Array, Array]:
        training = self._config.training
        share = training.batch_size // self._mesh.size
        # On a CPU the chunks are small already; elsewhere they are what the config asks for.
        chunk = None if is_cpu(self._mesh) else max(1, share // training.accumulate)

        def losses(flat: Array, part: tuple[Array, Array], constants: tuple[BucketData, Array]) -> Array:
            (rows, places), (data, step) = part, constants
            atomic_numbers = data.atomic_numbers[rows]
            mask = node_mask(data.sizes[rows], atomic_numbers.shape[1])
            key = jax.random.fold_in(self._root, step)
            keys = jax.vmap(lambda place: jax.random.fold_in(key, place))(places)
            clean = self._objective.clean(data.positions[rows], atomic_numbers)
            return self._objective.losses(self._layout.unravel(flat), clean, mask, self._objective.draw(keys, mask))

        return partial_value_and_grad(losses, self._mesh, chunk=chunk)(params, batch, constants)

    def _update_state(self, state: State, losses: Array, gradients: Array) -> tuple[State, Array, Array]:
        training = self._config.training
        gradient = jnp.sum(gradients, axis=0) / training.batch_size
        updates, optimizer = self._optimizer.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = ema_decay(state.step, training.ema_decay)
        ema = decay * state.ema + (1.0 - decay) * params
        return (
            State(state.step + 1, params, optimizer, ema),
            jnp.sum(losses) / training.batch_size,
            optax.global_norm(gradient),
        )


def steps_from(step: int, counts: dict[int, int], config: RunConfig) -> Iterator[tuple[int, float, Batch]]:
    """Yield (step, epochs done, batch) from ``step`` on to the last one of the run."""
    before = 0
    for epoch in itertools.count():
        plan = epoch_plan(counts, config.training.batch_size, config.seed, epoch)
        for place in range(max(0, step - before), len(plan)):
            if before + place >= config.training.steps:
                return
            yield before + place, epoch + (place + 1) / len(plan), plan[place]
        before += len(plan)


def train(
    config: RunConfig,
    *,
    config_digest: str,
    shards: dict[str, list[Shard]],
    statistics: Statistics,
    directory: Path,
    log: Path | None,
    stop: Callable[[], bool],
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

    Raises:
      Interrupted: ``stop`` asked for it.
      InputError: there is nothing to train on; a checkpoint is of another configuration; the loss is not finite.
    """
    if not shards["train"]:
        raise InputError("shards: there is no training molecule")
    objective = build_objective(config, statistics)
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    params, layout = build_weights(objective, key)
    mesh = make_mesh(config.training.batch_size)
    data = {
        shard.bucket: BucketData(
            *jax.device_put((shard.positions, shard.atomic_numbers, shard.sizes.astype(np.int32)), replicated(mesh))
        )
        for shard in shards["train"]
    }
    counts = {shard.bucket: len(shard) for shard in shards["train"]}
    stepper = Stepper(config, objective, layout, data, mesh)
    observer = Observer(config, objective, layout, shards["validation"], statistics)
    checkpoints = Checkpoints(directory / "checkpoints", config_digest=config_digest)
    metrics = MetricsLog(directory / "metrics.jsonl")
    schedule = learning_rate(config.training)

    state, seconds = stepper.initial_state(params), 0.0
    total = config.training.steps
    with progress(total=total, description=f"train {config.name}", unit="steps", log=log) as bar:
        if restored := checkpoints.restore(state, note=bar.note):
            state, seconds = jax.device_put(restored[0], update_sharding(mesh)), restored[1]["seconds"]
            bar.note(f"{config.name}: resumed at step {int(state.step)} of {total}")
        first = int(state.step)
        bar.resume(first)
        metrics.rewind(first)
        began = saved = time.monotonic()
        began -= seconds
        pending: list[tuple[Array, Array]] = []
        logged = time.monotonic()
        for step, epoch, batch in steps_from(first, counts, config):
            state, loss, norm = stepper(state, batch, step)
            pending.append((loss, norm))
            done, last = step + 1, step + 1 == total
            stopping = stop()
            due = time.monotonic() - saved >= config.training.checkpoint_seconds
            if len(pending) == LOG_STEPS or last or stopping or due or done % config.training.validation_interval == 0:
                losses, norms = np.array(jax.device_get(pending), np.float64).T
                if not np.isfinite(losses).all() or not np.isfinite(norms).all():
                    raise InputError(
                        f"run {config.name}: the loss is not finite near step {done}; the last good checkpoint is "
                        "kept. Lower training.optimizer.learning_rate or use model.radial_features: gaussian"
                    )
                seconds = time.monotonic() - began
                rate = len(pending) * config.training.batch_size / (time.monotonic() - logged)
                logged = time.monotonic()
                metrics.append(
                    "train",
                    step=done,
                    epoch=round(epoch, 4),
                    seconds=round(seconds, 2),
                    loss=float(losses.mean()),
                    gradient_norm=float(np.median(norms)),
                    learning_rate=float(schedule(step)),
                    molecules_per_second=round(rate, 1),
                )
                bar.update(len(pending), loss=f"{losses.mean():.4f}", molecules_per_second=f"{rate:.0f}")
                pending = []
            if done % config.training.validation_interval == 0 or last:
                at = {"step": done, "epoch": round(epoch, 4), "seconds": round(seconds, 2)}
                for kind, values in observer(state.ema, done, last=last, bar=bar):
                    metrics.append(kind, **at, **values)
            if last or stopping or due:
                checkpoints.save(done, state, {"seconds": time.monotonic() - began})
                saved = time.monotonic()
            if stopping and not last:
                raise Interrupted(f"run {config.name}: stopped at step {done} of {total}, which is saved")
    return Trained(layout.to_arrays(state.ema), seconds)


class Observer:
    """Looks at the averaged weights of a running training: validation loss, and the stability of a few samples."""

    def __init__(
        self, config: RunConfig, objective: EDM, layout: Layout, validation: list[Shard], statistics: Statistics
    ):
        """Choose the molecules to look at; nothing is compiled yet."""
        training = config.training
        self._config, self._objective, self._layout = config, objective, layout
        self._buckets = sorted(statistics.buckets)
        self._validation = _validation_batch(validation, self._buckets[-1], config.seed)
        self._sizes = draw_sizes(statistics, training.sample_count, config.seed)
        self._sampler = Sampler(
            objective, layout, PROGRESS_SAMPLER, widest=self._buckets[-1], batch=min(128, training.sample_count)
        )
        self._validate: Callable[..., Array] | None = None

    def __call__(self, weights: Array, step: int, *, last: bool, bar: Progress) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what to log at ``step``: (kind, values)."""
        if self._validation is not None:
            loss = self._validation_loss(weights)
            bar.note(f"step {step}: validation loss {loss:.4f}")
            yield "validation", {"loss": loss}
        interval = self._config.training.sample_interval
        if interval and (step % interval == 0 or last):
            samples = self._sampler(weights, self._sizes, buckets=[self._buckets[-1]])
            stability = stability_metrics(samples.molecules, seed=0)
            bar.note(f"step {step}: {100 * stability['atom_stability']['value']:.1f} % of sampled atoms stable")
            yield "samples", {"sampler": PROGRESS_SAMPLER.name, "num": len(samples.molecules), **stability}

    def _validation_loss(self, weights: Array) -> float:
        """Return the mean loss over the same molecules, steps t and noise every time."""
        assert self._validation is not None
        batch, count = self._validation
        mesh = make_mesh(len(batch[0]))
        if self._validate is None:
            root = jax.random.fold_in(jax.random.key(self._config.seed), 2)

            def losses(flat: Array, part: Any, _: None) -> Array:
                numbers, positions, atomic_numbers, sizes = part
                mask = node_mask(sizes, atomic_numbers.shape[1])
                draws = self._objective.draw(jax.vmap(lambda n: jax.random.fold_in(root, n))(numbers), mask)
                clean = self._objective.clean(positions, atomic_numbers)
                return self._objective.losses(self._layout.unravel(flat), clean, mask, draws)

            self._validate = jax.jit(lambda flat, part: mapped(losses, mesh)(flat, part, None))
        values = self._validate(jax.device_put(weights, replicated(mesh)), batch)
        return float(np.mean(np.asarray(values, np.float64)[:count]))


def _validation_batch(shards: list[Shard], width: int, seed: int) -> tuple[Any, int] | None:
    """Return up to 1,024 molecules padded to one width (one program) and filled up to whole chunks; and how many."""
    places = [(shard, row) for shard in shards for row in range(len(shard))]
    if not places:
        return None
    chosen = np.random.default_rng(seed).permutation(len(places))[:VALIDATION_MOLECULES]
    count = len(chosen)
    # A multiple of 8 x 4 molecules can be split over the devices and chunks of any usual machine.
    chosen = np.resize(chosen, -(-count // 32) * 32)
    positions = np.zeros((len(chosen), width, 3), np.float32)
    atomic_numbers = np.zeros((len(chosen), width), np.uint8)
    sizes = np.zeros(len(chosen), np.int32)
    for place, (shard, row) in enumerate(places[i] for i in chosen):
        positions[place, : shard.bucket] = shard.positions[row]
        atomic_numbers[place, : shard.bucket] = shard.atomic_numbers[row]
        sizes[place] = shard.sizes[row]
    return (np.arange(len(chosen), dtype=np.int32), positions, atomic_numbers, sizes), count
