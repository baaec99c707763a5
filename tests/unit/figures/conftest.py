import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.chemistry.intervals import Resampling
from pipeline.chemistry.metrics import Judgement, summarise
from pipeline.chemistry.molecules import Molecules
from pipeline.cli.figures import main as figures
from pipeline.data.molecule_files import read_molecule_files
from pipeline.data.molecule_parquet import write_molecules
from pipeline.data.statistics import Statistics
from pipeline.training.run_folder import write_weights

STATISTICS = Statistics(
    dataset="molecules64.sdf",
    num_molecules={"train": 60, "validation": 2, "test": 2},
    size_histogram={"train": {18: 60}, "validation": {18: 2}, "test": {18: 2}},
    atom_counts={"H": 500, "C": 400, "N": 100, "O": 70, "F": 10},
    coordinate_scale=1.4,
    type_scale=0.1,
    buckets={29: 60},
)
MOLECULES64 = Path(__file__).parents[2] / "data" / "molecules64.sdf"


@pytest.fixture(scope="session")
def real() -> Molecules:
    """64 molecules of QM9."""
    return read_molecule_files(MOLECULES64, invalid="refuse").data.molecules


@dataclass(frozen=True)
class FakeRun:
    """What one run of a fake study is like."""

    objective: str
    seconds: float
    steps: int
    """Of 64 molecules each."""
    samplers: Mapping[str, tuple[str, int, float]]
    """Kind, network calls and noise on the molecules of each."""
    backend: str = "jax"
    init: str | None = None
    checkups: Sequence[str] = ("heun-12",)
    """Samplers that drew samples during training."""


Runs = Mapping[str, FakeRun]


def perturbed(molecules: Molecules, scale: float, seed: int, metadata: dict[str, Any]) -> Molecules:
    """Return molecules with noise on their coordinates, some much and some little, in another order."""
    generator = np.random.default_rng(seed)
    shuffled = molecules.select(generator.permutation(len(molecules)))
    each = scale * np.repeat(generator.gamma(2, 0.5, len(molecules)), shuffled.sizes)
    noise = generator.normal(size=shuffled.positions.shape) * each[:, None]
    return Molecules(
        sizes=shuffled.sizes,
        atomic_numbers=shuffled.atomic_numbers,
        positions=(shuffled.positions + noise).astype(np.float32),
        metadata=metadata,
    )


def loss_lines(run: FakeRun, *, start: float) -> list[dict[str, Any]]:
    """Return the lines of a metrics.jsonl as train writes it."""
    generator = np.random.default_rng(0)
    lines: list[dict[str, Any]] = []
    for number in range(1, 201):
        done = number / 200
        loss = start * (0.2 + math.exp(-5 * done))
        step = max(1, round(run.steps * done))
        line = {"step": step, "epoch": step * 64 / 100_000, "seconds": run.seconds * done}
        lines.append(
            {"kind": "train", **line, "loss": loss * math.exp(0.2 * generator.normal()), "learning_rate": 1e-3}
        )
        if number % 20 == 0:
            lines.append({"kind": "validation", **line, "loss": loss})
        if number % 40 == 0:
            for place, sampler in enumerate(run.checkups):
                atoms, molecules = 0.2 + (0.6 - 0.2 * place) * done / start**0.3, 0.1 * done / start / (1 + place)
                lines.append(
                    {
                        "kind": "samples",
                        **line,
                        "sampler": sampler,
                        "num": 64,
                        "atom_stability": {"value": atoms, "low": atoms - 0.03, "high": atoms + 0.03},
                        "molecule_stability": {"value": molecules, "low": molecules / 2, "high": molecules + 0.03},
                    }
                )
    return lines


class FakeStudy:
    """The files of a study, as earlier stages would write them, with the command line that draws them."""

    def __init__(self, folder: Path, real: Molecules, runs: Runs, *, trajectory: bool = True):
        """Write the files."""
        self.folder = folder
        self.options: dict[str, list[Path]] = {"weights": [], "curves": [], "metrics": [], "samples": []}
        for number, (name, run) in enumerate(runs.items()):
            place = folder / name
            (place / "samples").mkdir(parents=True)
            settings = {"name": name, "objective": run.objective, "backend": run.backend, "init": run.init}
            self.write_weights(place / "weights.safetensors", **settings)
            lines = loss_lines(run, start=1 + number)
            (place / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
            evaluations = {}
            for sampler, (kind, calls, scale) in run.samplers.items():
                metadata = {"run": name, "sampler": sampler, "sampler_kind": kind, "network_calls": calls, "seed": 0}
                metadata["seconds"] = 64 * calls * (0.0004 + 0.0002 * number)
                molecules = perturbed(real, scale, number, metadata)
                path = place / "samples" / f"{sampler}.parquet"
                write_molecules(path, molecules)
                self.options["samples"].append(path)
                evaluations[sampler] = summarise(Judgement.of(molecules), resampling=Resampling(50))
            (place / "metrics.json").write_text(json.dumps({"run": name, "samplers": evaluations}))
            files = {"weights": "weights.safetensors", "curves": "metrics.jsonl", "metrics": "metrics.json"}
            for option, file in files.items():
                self.options[option].append(place / file)
        self._write_references(real)
        if trajectory:
            self._write_trajectory(real, run=next(iter(runs)))

    @staticmethod
    def write_weights(path: Path, **settings: Any) -> None:
        """Write weights that say no more than what they were trained with."""
        training = {"steps": 100, "batch_size": 64, "optimizer": {"warmup_steps": 1}}
        config = {"data": "molecules64", **settings, "training": training}
        write_weights(path, {}, config=config, statistics=STATISTICS, provenance={"jax": "0.10.2", "cores": 2})

    def _write_references(self, real: Molecules) -> None:
        cloud = perturbed(real, 3.0, 5, {})
        for option, molecules in (("floor", cloud), ("ceiling", real)):
            self.options[option] = [self.folder / f"{option}.json"]
            evaluation = summarise(Judgement.of(molecules), resampling=Resampling(50))
            self.options[option][0].write_text(json.dumps(evaluation))
        self.options["molecules"] = [self.folder / "molecules.parquet"]
        split = ["train"] * 60 + ["test"] * (len(real) - 60)
        write_molecules(self.options["molecules"][0], real, extra_columns={"split": split})

    def _write_trajectory(self, real: Molecules, *, run: str) -> None:
        numbers, positions = real[40]
        noise = np.random.default_rng(0).normal(size=positions.shape)
        sigma = np.array([0.0, 0.1, 1.0, 10.0, 80.0], dtype=np.float32)  # not in the order of drawing
        frames = Molecules.from_list([(numbers, positions + level * noise) for level in sigma])
        self.options["trajectory"] = [self.folder / "trajectory.parquet"]
        columns = {"frame": np.arange(5, dtype=np.int32)[::-1], "sigma": sigma}
        metadata = {"run": run, "sampler": "heun-50", "shows": "state"}
        write_molecules(self.options["trajectory"][0], frames, extra_columns=columns, metadata=metadata)

    def argv(self, output: Path, **changes: Sequence[Path | int]) -> list[str]:
        """Return the command line; ``changes`` replace options."""
        options = {**self.options, **changes, "output": [output]}
        return [str(word) for name, values in options.items() for word in (f"--{name.replace('_', '-')}", *values)]


@pytest.fixture(scope="session")
def one_run(tmp_path_factory: pytest.TempPathFactory, real: Molecules) -> FakeStudy:
    """A study of one run with one sampler."""
    run = FakeRun("edm", 720.0, 4844, {"heun-50": ("heun", 50, 0.05)})
    return FakeStudy(tmp_path_factory.mktemp("one"), real, {"edm": run})


@pytest.fixture(scope="session")
def drawn(one_run: FakeStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stage makes of it, alone in its folder."""
    output = tmp_path_factory.mktemp("results") / "figures"
    assert figures(one_run.argv(output)) == 0
    return output


@pytest.fixture(scope="session")
def many_runs(tmp_path_factory: pytest.TempPathFactory, real: Molecules) -> FakeStudy:
    """A study of eight runs, three objectives, one to eight samplers, and no trajectory."""
    objectives = ("edm", "denoiser", "consistency")
    calls = (1, 2, 4, 8, 16, 32, 64, 1000)

    def sampler(place: int, objective: str) -> tuple[str, int, float]:
        others = "ancestral" if calls[place] == 1000 else ("heun", "ddim")[place % 2]
        return "consistency" if objective == "consistency" else others, calls[place], 0.4 / (1 + place)

    names = [f"run-{'long-name-' * (number % 2)}{number}" for number in range(8)]
    runs: Runs = {
        name: FakeRun(
            objective=objectives[number % 3],
            seconds=60.0 * 10**number,
            steps=3 * 6**number,
            samplers={f"calls-{calls[place]}": sampler(place, objectives[number % 3]) for place in range(8 - number)},
            backend=("jax", "torch")[number % 2],
            init=names[number - 1] if objectives[number % 3] == "consistency" else None,
            checkups=("one-step", "heun-12") if number == 5 else ("one-step",) if number % 3 == 2 else ("heun-12",),
        )
        for number, name in enumerate(names)
    }
    return FakeStudy(tmp_path_factory.mktemp("many"), real, runs, trajectory=False)
