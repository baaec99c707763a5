"""The whole benchmark: all its parts, in a folder of JSON files."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pipeline.benchmark import sections
from pipeline.benchmark.machine import describe_machine, load_average
from pipeline.benchmark.sections import Inputs, Json
from pipeline.benchmark.settings import frameworks
from pipeline.core.files import write_json

VERSION: Final = 1


def parts(inputs: Inputs) -> dict[str, Callable[[Inputs], Json]]:
    """Return the parts that the settings ask for, by the name of their file, in the order of measuring."""
    settings = inputs.settings
    wanted: dict[str, tuple[Any, Callable[[Inputs], Json]]] = {
        "peak": (frameworks(settings), sections.peak),
        "training": (settings.training, sections.training),
        "sampling": (settings.sampling.contestants, sections.sampling),
        "scaling": (settings.scaling.contestants, sections.scaling),
        "startup": (settings.startup, sections.startup),
    }
    return {name: measure for name, (asked, measure) in wanted.items() if asked}


def run_benchmark(
    inputs: Inputs,
    folder: Path,
    *,
    note: Callable[[str], None] = lambda _: None,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Json]:
    """Measure everything and write a JSON file for each part, and one about machine and settings, to ``folder``.

    Args:
      inputs: what to measure, and with what.
      folder: where to write; it exists.
      note: is told what goes on, a line at a time.
      advance: is called after every turn of a contestant.

    Returns:
      What was written, by name.
    """
    inputs = dataclasses.replace(inputs, note=note, advance=advance)
    loads = [load_average()]
    found = {}
    for name, measure in parts(inputs).items():
        found[name] = measure(inputs)
        loads.append(load_average())
    about = {
        "version": VERSION,
        "machine": describe_machine(cores=inputs.cores),
        # Of others too: a figure is worth something when it is no more than the cores.
        "load_average": loads,
        "settings": inputs.settings.model_dump(mode="json"),
    }
    found = {"machine": about, **found}
    for name, part in found.items():
        write_json(folder / f"{name}.json", part)
    return found
