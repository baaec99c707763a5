"""The training loop of every backend: what to train on, what to log, when to look and when to save.

Step k of a run is a function of the state after step k - 1, the seed and k alone: the epoch's plan is drawn from (seed,
epoch), a step's noise from (seed, k) (``pipeline.training.noisy_batches``). Where a run is interrupted changes nothing.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.stability import stability_metrics
from pipeline.core.errors import InputError
from pipeline.core.files import exclusive_lock
from pipeline.core.progress import Progress, progress
from pipeline.data.batches import Batch, PaddedMolecules, epoch_plan
from pipeline.data.properties import Properties
from pipeline.data.shards import Shard
from pipeline.data.statistics import Statistics
from pipeline.diffusion.objectives import OBJECTIVES
from pipeline.sampling.molecule_batches import draw_sizes
from pipeline.study.config import RunConfig
from pipeline.training.feeding import prepared
from pipeline.training.learning_rate import learning_rate
from pipeline.training.noisy_batches import HostBatch, Noising
from pipeline.training.run_folder import MetricsLog, PretrainedWeights

LOG_STEPS: Final = 50
VALIDATION_MOLECULES: Final = 1024
# A multiple of 8 x 4 molecules can be split over the devices and chunks of any usual machine.
VALIDATION_MULTIPLE: Final = 32
PROGRESS_BATCH: Final = 128


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """What a training is given.

    Attributes:
      config: of the run.
      config_digest: of the run and its data; checkpoints of another one are refused.
      shards: of the splits ``train`` and ``validation``.
      statistics: of the data.
      directory: for the checkpoints and the growing log; survives a kill.
      pretrained: weights of other runs to start and to learn from.
      log: receives the progress.
      stop: asked after every step; True saves and raises.
      properties: of the molecules, for a conditional run.
    """

    config: RunConfig
    config_digest: str
    shards: Mapping[str, list[Shard]]
    statistics: Statistics
    directory: Path
    pretrained: PretrainedWeights = PretrainedWeights()
    log: Path | None = None
    stop: Callable[[], bool] = lambda: False
    properties: Properties | None = None


@dataclass(frozen=True)
class Trained:
    """The outcome of a training that reached its last step: averaged weights by name, and the seconds it took in all.

    Of several processes that train together, one leads: it is the one to write this down.
    """

    arrays: Mapping[str, npt.NDArray[np.float32]]
    seconds: float
    leads: bool = True


class Interrupted(Exception):
    """The training was asked to stop; its state is saved."""


class Trainer(Protocol):
    """A training run as a backend implements it. It owns the state: weights, optimiser, average, number of steps.

    Attributes:
      compiles: whether the first steps take longer because they compile.
    """

    compiles: bool

    def step(self, batch: HostBatch, step: int) -> Any:
        """Take a step; return its mean loss and gradient norm in any form, perhaps not computed yet."""

    def read(self, outcomes: Sequence[Any]) -> npt.NDArray[np.float64]:
        """Return what some steps returned as numbers: losses and norms, [K, 2]."""

    def validation_loss(self, batch: HostBatch) -> npt.NDArray[np.floating[Any]]:
        """Return the losses [B] of the averaged weights."""

    def sample(self, sizes: npt.NDArray[np.int32], context: npt.NDArray[np.float32] | None) -> Molecules:
        """Return one molecule for each of ``sizes`` from the averaged weights, by the ``progress_sampler``.

        ``context`` is that of each molecule in a conditional run, see ``PropertyStatistics.context``.
        """

    def is_finite(self) -> bool:
        """Return whether the averaged weights are."""

    def save(self, step: int, extra: dict[str, Any]) -> None:
        """Write the state after ``step`` steps as a checkpoint."""

    def restore(self, *, note: Callable[[str], None]) -> tuple[int, dict[str, Any]] | None:
        """Take up the newest sound checkpoint; return its number of steps and its ``extra``, or None if there is none.

        Raises:
          InputError: a checkpoint belongs to another configuration of the run.
        """

    def averaged_weights(self) -> Mapping[str, npt.NDArray[np.float32]]:
        """Return the averaged weights by name."""


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


def run_training(
    trainer: Trainer,
    run: TrainingRun,
    *,
    processes: int = 0,
    agreed: Callable[..., tuple[bool, ...]] = lambda *wishes: wishes,
) -> Trained:
    """Train a run to its last step, from its newest sound checkpoint where there is one.

    Args:
      trainer: the backend's part.
      run: what it was made of.
      processes: how many prepare batches, see ``pipeline.training.feeding.prepared``.
      agreed: maps flags of this process to whether any process of this training has set them; called after every step.

    Raises:
      Interrupted: ``run.stop`` asked for it.
      InputError: there is nothing to train on; a checkpoint is of another configuration; the loss is not finite.
      ChildProcessError: a process that prepares batches was killed.
    """
    config, shards = run.config, run.shards["train"]
    if not shards:
        raise InputError("shards: there is no training molecule")
    training, total, rate_at = config.training, config.training.steps, learning_rate(config.training)
    counts = {shard.bucket: len(shard) for shard in shards}
    noising = Noising(config, shards, run.statistics, run.properties)
    observer = _Observer(trainer, run, noising)
    metrics = MetricsLog(run.directory / "metrics.jsonl")
    first, seconds = 0, 0.0
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(progress(total=total, description=f"train {config.name}", unit="steps", log=run.log))
        # A job that was given up for lost may still be at work.
        stack.enter_context(exclusive_lock(run.directory / "lock", wait=_LockWait(config, bar, run.stop)))
        if restored := trainer.restore(note=bar.note):
            first, seconds = restored[0], restored[1]["seconds"]
            bar.note(f"{config.name}: resumed at step {first} of {total}")
        bar.resume(first)
        metrics.rewind(first)
        began = saved = time.monotonic()
        began -= seconds
        pending: list[Any] = []
        logged = time.monotonic()
        if trainer.compiles and first < total:
            bar.show(status="compiling")
        batches = prepared(steps_from(first, counts, config), noising, processes=processes)
        for step, epoch, batch in stack.enter_context(contextlib.closing(batches)):
            pending.append(trainer.step(batch, step))
            done, last = step + 1, step + 1 == total
            observing = observer.due(done, last=last)
            stopping, due = agreed(run.stop(), time.monotonic() - saved >= training.checkpoint_seconds)
            if len(pending) == LOG_STEPS or observing or stopping or due:
                losses, norms = trainer.read(pending).T
                if not np.isfinite(losses).all() or not np.isfinite(norms).all():
                    raise _diverged(config, done)
                seconds = time.monotonic() - began
                rate = len(pending) * training.batch_size / (time.monotonic() - logged)
                logged = time.monotonic()
                metrics.append(
                    "train",
                    step=done,
                    epoch=round(epoch, 4),
                    seconds=round(seconds, 2),
                    loss=float(losses.mean()),
                    gradient_norm=float(np.median(norms)),
                    learning_rate=rate_at(step),
                    molecules_per_second=round(rate, 1),
                )
                bar.update(len(pending), loss=f"{losses.mean():.4f}", molecules_per_second=f"{rate:.0f}")
                pending = []
            if observing:
                at = {"step": done, "epoch": round(epoch, 4), "seconds": round(seconds, 2)}
                for kind in observing:
                    values = observer.look(kind)
                    if not np.isfinite(values.get("loss", 0.0)):
                        raise _diverged(config, done)
                    metrics.append(kind, **at, **values)
                    bar.note(f"step {done}: {_in_words(kind, values)}")
            if last or stopping or due:
                # The losses are those before the last step.
                if not trainer.is_finite():
                    raise _diverged(config, done)
                trainer.save(done, {"seconds": time.monotonic() - began})
                saved = time.monotonic()
            if observing or last or stopping or due:
                # What is no training has no part in the rate.
                logged = time.monotonic()
            if stopping and not last:
                raise Interrupted(f"run {config.name}: stopped at step {done} of {total}, which is saved")
    return Trained(trainer.averaged_weights(), seconds)


class _LockWait:
    """Waits for the lock that another process which trains the same run has."""

    def __init__(self, config: RunConfig, bar: Progress, stop: Callable[[], bool]):
        self._config, self._bar, self._stop, self._noted = config, bar, stop, False

    def __call__(self, holder: str) -> None:
        if not self._noted:
            self._bar.note(f"{self._config.name}: {holder} is training this run; waiting for it to end")
            self._noted = True
        if self._stop():
            raise Interrupted(f"run {self._config.name}: stopped while {holder} was training it")
        time.sleep(0.5)


def _diverged(config: RunConfig, step: int) -> InputError:
    return InputError(
        f"run {config.name}: the loss is not finite near step {step}; the last good checkpoint is kept. "
        "Lower training.optimizer.learning_rate or use model.radial_features: gaussian"
    )


class _Observer:
    """Looks at the averaged weights of a running training: validation loss, and the stability of a few samples."""

    def __init__(self, trainer: Trainer, run: TrainingRun, noising: Noising):
        config, training, statistics = run.config, run.config.training, run.statistics
        progress_sampler = OBJECTIVES[config.objective].progress_sampler
        self._trainer, self._sampler = trainer, progress_sampler(config) if progress_sampler else None
        molecules = validation_molecules(run.shards["validation"], max(statistics.buckets), config.seed)
        self._validation = (noising.draw.validation(molecules[0]), molecules[1]) if molecules else None
        self._sizes = draw_sizes(statistics, training.sample_count, config.seed)
        properties = run.properties.statistics if run.properties else None
        self._context = properties.drawn_context(self._sizes, config.seed) if properties else None
        self._intervals = {
            "validation": training.validation_interval if self._validation else 0,
            "samples": training.sample_interval if self._sampler else 0,
        }

    def due(self, step: int, *, last: bool) -> list[str]:
        """Return the kinds of lines to log after ``step`` steps."""
        return [kind for kind, every in self._intervals.items() if every and (step % every == 0 or last)]

    def look(self, kind: str) -> dict[str, Any]:
        """Return the values of a line of one kind."""
        if kind == "validation":
            assert self._validation is not None
            batch, count = self._validation
            losses = np.asarray(self._trainer.validation_loss(batch), np.float64)[:count]
            return {"loss": float(losses.mean())}
        assert self._sampler is not None
        samples = self._trainer.sample(self._sizes, self._context)
        return {"sampler": self._sampler.name, "num": len(samples), **stability_metrics(samples)}


def _in_words(kind: str, values: Mapping[str, Any]) -> str:
    if kind == "validation":
        return f"validation loss {values['loss']:.4f}"
    return f"{100 * values['atom_stability']['value']:.1f} % of sampled atoms stable"


def validation_molecules(shards: list[Shard], width: int, seed: int) -> tuple[PaddedMolecules, int] | None:
    """Return up to 1,024 molecules padded to one width and filled up to whole chunks, and how many; or None."""
    total = sum(map(len, shards))
    if not total:
        return None
    chosen = np.random.default_rng(seed).permutation(total)[:VALIDATION_MOLECULES]
    filled = np.resize(chosen, -(-len(chosen) // VALIDATION_MULTIPLE) * VALIDATION_MULTIPLE)
    return PaddedMolecules.together(shards, width).take(filled), len(chosen)
