"""What the settings of a benchmark ask to be installed."""

from pipeline.benchmark.contestants import CONTESTANTS
from pipeline.core.errors import InputError
from pipeline.study.benchmark import Benchmark
from pipeline.study.frameworks import check_framework


def frameworks(settings: Benchmark) -> dict[str, str]:
    """Return the frameworks that are needed, each with the first contestant that needs it."""
    asked = [
        *(name for contest in settings.training.values() for name in contest.contestants),
        *settings.sampling.contestants,
        *settings.scaling.contestants,
        *settings.startup,
    ]
    return {CONTESTANTS[name].framework: name for name in reversed(asked)}


def check_installed(settings: Benchmark) -> None:
    """Check that the frameworks of the contestants are there.

    Raises:
      InputError: one is not.
    """
    for framework, contestant in frameworks(settings).items():
        try:
            check_framework(framework, f"benchmark: the contestant {contestant}")
        except InputError as error:
            raise InputError(f"{error}, or leave it out") from None
