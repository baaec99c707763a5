"""Measurement of contestants in turns, each in its own process, so that disturbances affect all of them alike."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Self

from pipeline.benchmark.machine import load_average
from pipeline.benchmark.processes import ContestantFailed, Process
from pipeline.benchmark.tasks import Task

PAUSE: Final = 0.2
"""Seconds between two turns, in which idle threads of the last contestant stop spinning."""


@dataclass(frozen=True)
class Turn:
    """Measurements of a contestant in one repetition.

    Attributes:
      seconds: duration of each pass, by kind of unit.
      widths: padded number of atoms of each pass, by kind of unit.
      compilations: programs compiled during the repetition; should be 0.
      resident_mb: memory at the end, in MiB.
      peak_mb: peak memory, of the GPU or else of the process, in MiB.
      load: load average of the last minute, at the start.
    """

    seconds: Mapping[str, Sequence[float]]
    widths: Mapping[str, Sequence[int]]
    compilations: int
    resident_mb: float
    peak_mb: float
    load: float


@dataclass
class Outcome:
    """All measurements of a contestant.

    Attributes:
      task: its task.
      failed: why it failed; None if it did not.
      start_seconds: from the start of its process to the end of its first unit, including imports and compilation.
      warm_up_seconds: time to compile and run one unit of every other kind.
      base_mb: memory of the process with only its framework loaded, in MiB.
      shares: share of each kind of unit in the work.
      molecules: molecules per unit.
      turns: measurements of the repetitions, in order.
      gpu: name of the GPU that it ran on; None for the CPU.
    """

    task: Task
    failed: str | None = None
    start_seconds: float = 0.0
    warm_up_seconds: float = 0.0
    base_mb: float = 0.0
    shares: Mapping[str, float] = field(default_factory=dict)
    molecules: int = 0
    turns: list[Turn] = field(default_factory=list)
    gpu: str | None = None

    def seconds(self) -> list[float]:
        """Return the mean seconds per unit in each repetition, with kinds weighted by their shares."""
        return [self._average(turn.seconds) for turn in self.turns]

    def mean(self, function: Callable[[int], float]) -> float:
        """Return the mean of a function of the padded number of atoms, with kinds weighted by their shares."""
        return self._average(
            {kind: [function(width) for turn in self.turns for width in turn.widths[kind]] for kind in self.shares}
        )

    def _average(self, values: Mapping[str, Sequence[float]]) -> float:
        return sum(share * sum(values[kind]) / len(values[kind]) for kind, share in self.shares.items())


def turns(names: Sequence[str], repetitions: int) -> Iterator[str]:
    """Yield names in the order of their turns: all in every repetition, rotated by one each time."""
    for repetition in range(repetitions):
        first = repetition % len(names)
        yield from (*names[first:], *names[:first])


class Arena:
    """Processes of the contestants, kept between measurements.

    Args:
      parallel_starts: how many contestants start and compile at the same time, before the measurements.
      note: called with each progress message.
      advance: called after every turn.
    """

    def __init__(
        self,
        *,
        parallel_starts: int,
        note: Callable[[str], None] = lambda _: None,
        advance: Callable[[], None] = lambda: None,
    ):
        """Start with no process."""
        self._parallel_starts, self._note, self._advance = parallel_starts, note, advance
        self._processes: dict[str, Process] = {}

    def __enter__(self) -> Self:
        """Return the arena."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End all processes."""
        self.dismiss()

    def dismiss(self) -> None:
        """End all processes; the next measurement starts new ones."""
        while self._processes:
            self._processes.popitem()[1].close()

    def measure(self, tasks: Mapping[str, Task], *, repetitions: int, seconds: float) -> dict[str, Outcome]:
        """Measure each contestant on its task, in turns; one that fails drops out.

        Args:
          tasks: the task of each contestant.
          repetitions: turns per contestant.
          seconds: minimum duration of a turn, which has at least one unit of every kind.
        """
        outcomes = {name: Outcome(task) for name, task in tasks.items()}
        with ThreadPoolExecutor(max_workers=self._parallel_starts) as pool:
            passes = dict(zip(tasks, pool.map(self._prepare, tasks, outcomes.values()), strict=True))
        for name in turns(list(tasks), repetitions):
            if outcomes[name].failed is None:
                time.sleep(PAUSE)
                self._take_turn(name, outcomes[name], passes=math.ceil(seconds / passes[name]))
            self._advance()
        return outcomes

    def judge(self, contestant: str) -> dict[str, Any]:
        """Return the stability of the last samples of a contestant.

        Raises:
          ContestantFailed: it does not answer, or answers with an error.
        """
        stability: dict[str, Any] = self._processes[contestant].request("judge")["stability"]
        return stability

    def _prepare(self, name: str, outcome: Outcome) -> float:
        """Start a contestant and compile every kind of unit; return the seconds per pass."""
        try:
            if name not in self._processes:
                self._processes[name] = Process()
            process = self._processes[name]
            started = process.start(outcome.task)
            outcome.start_seconds, outcome.base_mb = started["seconds"], started["base_mb"]
            outcome.shares, outcome.molecules = started["shares"], started["molecules"]
            outcome.gpu = started["gpu"]
            warmed = process.request("warm")
        except ContestantFailed as failure:
            self._drop(name, outcome, failure)
            return math.inf
        outcome.warm_up_seconds = warmed["first_seconds"]
        self._note(
            f"{name}: first unit after {outcome.start_seconds:.1f} s, all kinds of units after another "
            f"{outcome.warm_up_seconds:.1f} s, then {warmed['seconds']:.2f} s per pass"
        )
        return float(warmed["seconds"])

    def _take_turn(self, name: str, outcome: Outcome, *, passes: int) -> None:
        load = load_average()
        try:
            answer = self._processes[name].request("measure", passes=passes)
        except ContestantFailed as failure:
            self._drop(name, outcome, failure)
        else:
            outcome.turns.append(Turn(**answer, load=load))

    def _drop(self, name: str, outcome: Outcome, failure: ContestantFailed) -> None:
        """Remove a contestant from a measurement; the next one starts a new process for it."""
        outcome.failed = str(failure)
        self._processes.pop(name).close()
        self._note(f"{name}: failed: {failure}")
