"""Contestants measured side by side: each in its process, taking turns, so that what disturbs one disturbs all."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from pipeline.benchmark.machine import load_average
from pipeline.benchmark.processes import ContestantFailed, Process
from pipeline.benchmark.tasks import Task

PAUSE: Final = 0.2
"""Seconds between two turns: threads that wait for more work in vain go to sleep first."""


@dataclass(frozen=True)
class Turn:
    """What a contestant did in one repetition.

    Attributes:
      seconds: by kind of unit, of each pass.
      widths: by kind of unit, the number of atoms that molecules were padded to, of each pass.
      compilations: programs that were compiled meanwhile; there should be none.
      resident_mb: memory at the end.
      peak_mb: the most memory within.
      load: how many processes wanted to run during the last minute, at the start.
    """

    seconds: Mapping[str, Sequence[float]]
    widths: Mapping[str, Sequence[int]]
    compilations: int
    resident_mb: float
    peak_mb: float
    load: float


@dataclass
class Outcome:
    """What was measured of a contestant.

    Attributes:
      task: what it did.
      failed: why it could not, or could not go on; None if it could.
      start_seconds: from the start of its process to the end of its first unit, imports and compilation included.
      warm_up_seconds: spent compiling and running the units of every other kind once.
      base_mb: memory of the process with its framework and nothing else.
      shares: of the kinds of units in the work.
      molecules: of a unit.
      turns: of the repetitions, in order.
    """

    task: Task
    failed: str | None = None
    start_seconds: float = 0.0
    warm_up_seconds: float = 0.0
    base_mb: float = 0.0
    shares: Mapping[str, float] = field(default_factory=dict)
    molecules: int = 0
    turns: list[Turn] = field(default_factory=list)

    def seconds(self) -> list[float]:
        """Return the seconds that a unit takes, in the proportions of the work, in each repetition."""
        return [self._average(turn.seconds) for turn in self.turns]

    def mean(self, function: Callable[[int], float]) -> float:
        """Return the mean of a function of the padded number of atoms, in the proportions of the work."""
        return self._average(
            {kind: [function(width) for turn in self.turns for width in turn.widths[kind]] for kind in self.shares}
        )

    def _average(self, values: Mapping[str, Sequence[float]]) -> float:
        return sum(share * sum(values[kind]) / len(values[kind]) for kind, share in self.shares.items())


def turns(names: Sequence[str], repetitions: int) -> Iterator[str]:
    """Yield whose turn it is: all of them in every repetition, each time another one first."""
    for repetition in range(repetitions):
        first = repetition % len(names)
        yield from (*names[first:], *names[:first])


class Arena:
    """Contestants' processes, kept from one measurement to the next.

    Attributes:
      side_by_side: how many contestants compile at the same time, before anything is measured.
      environment: variables for their environment.
      note: is told what goes on, a line at a time.
      advance: is called after every turn.
    """

    def __init__(
        self,
        *,
        side_by_side: int,
        environment: Mapping[str, str] | None = None,
        note: Callable[[str], None] = lambda _: None,
        advance: Callable[[], None] = lambda: None,
    ):
        """Start with no process."""
        self._side_by_side, self._environment = side_by_side, environment
        self._note, self._advance = note, advance
        self._processes: dict[str, Process] = {}

    def __enter__(self) -> Self:
        """Return the arena."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End all processes."""
        self.dismiss()

    def dismiss(self) -> None:
        """End all processes; the next measurement starts new ones."""
        while self._processes:
            self._processes.popitem()[1].close()

    def measure(self, tasks: Mapping[str, Task], *, repetitions: int, seconds: float) -> dict[str, Outcome]:
        """Let each contestant do its task, in turn; one that fails drops out.

        Args:
          tasks: by contestant.
          repetitions: turns of each.
          seconds: least time of a turn, in which there is at least one unit of every kind.
        """
        outcomes = {name: Outcome(task) for name, task in tasks.items()}
        with ThreadPoolExecutor(max_workers=self._side_by_side) as pool:
            passes = dict(zip(tasks, pool.map(self._prepare, tasks, outcomes.values()), strict=True))
        for name in turns(list(tasks), repetitions):
            if outcomes[name].failed is None:
                time.sleep(PAUSE)
                self._take_turn(name, outcomes[name], passes=math.ceil(seconds / passes[name]))
            self._advance()
        return outcomes

    def judge(self, contestant: str) -> dict[str, Any]:
        """Return the stability of what a contestant sampled last.

        Raises:
          ContestantFailed: it cannot say.
        """
        stability: dict[str, Any] = self._processes[contestant].ask("judge")["stability"]
        return stability

    def _prepare(self, name: str, outcome: Outcome) -> float:
        """Start a contestant and let it compile all that it needs; return the seconds of a pass."""
        try:
            if name not in self._processes:
                self._processes[name] = Process(self._environment)
            process = self._processes[name]
            started = process.start(outcome.task)
            outcome.start_seconds, outcome.base_mb = started["seconds"], started["base_mb"]
            outcome.shares, outcome.molecules = started["shares"], started["molecules"]
            warmed = process.ask("warm")
        except ContestantFailed as failure:
            self._drop(name, outcome, failure)
            return math.inf
        outcome.warm_up_seconds = warmed["first_seconds"]
        self._note(
            f"{name}: first unit after {outcome.start_seconds:.1f} s, all kinds of units after another "
            f"{outcome.warm_up_seconds:.1f} s, then {warmed['seconds']:.2f} s a pass"
        )
        return float(warmed["seconds"])

    def _take_turn(self, name: str, outcome: Outcome, *, passes: int) -> None:
        load = load_average()
        try:
            answer = self._processes[name].ask("measure", passes=passes)
        except ContestantFailed as failure:
            self._drop(name, outcome, failure)
        else:
            outcome.turns.append(Turn(**answer, load=load))

    def _drop(self, name: str, outcome: Outcome, failure: ContestantFailed) -> None:
        """Take a contestant out of a measurement; it gets a new process for the next."""
        outcome.failed = str(failure)
        self._processes.pop(name).close()
        self._note(f"{name}: failed: {failure}")
