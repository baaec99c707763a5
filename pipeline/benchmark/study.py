"""The complete benchmark: all parts, written to a folder of JSON files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pipeline.benchmark import sections
from pipeline.benchmark.contestants import frameworks
from pipeline.benchmark.machine import describe_machine, load_average
from pipeline.benchmark.sections import Inputs, Json
from pipeline.core.files import write_json

VERSION: Final = 1


def parts(inputs: Inputs) -> dict[str, Callable[[Inputs], Json]]:
    """Return the parts that the settings enable, by file name, in the order of measurement."""
    settings = inputs.settings
    available: dict[str, tuple[Any, Callable[[Inputs], Json]]] = {
        "peak": (frameworks(settings), sections.peak),
        "training": (settings.training, sections.training),
        "sampling": (settings.sampling.contestants, sections.sampling),
        "scaling": (settings.scaling.contestants, sections.scaling),
        "startup": (settings.startup, sections.startup),
    }
    return {name: measure for name, (enabled, measure) in available.items() if enabled}


def run_benchmark(inputs: Inputs, folder: Path) -> dict[str, Json]:
    """Run all parts and write a JSON file for each, and one with machine and settings, to an existing folder.

    Returns:
      The content of the files, by name.
    """
    loads = [load_average()]
    found = {}
    for name, measure in parts(inputs).items():
        found[name] = measure(inputs)
        loads.append(load_average())
    about = {
        "version": VERSION,
        "machine": describe_machine(cores=inputs.cores),
        # Includes other processes: the measurements are reliable if it does not exceed the cores.
        "load_average": loads,
        "settings": inputs.settings.model_dump(mode="json"),
    }
    found = {"machine": about, **found}
    for name, part in found.items():
        write_json(folder / f"{name}.json", part)
    return found
