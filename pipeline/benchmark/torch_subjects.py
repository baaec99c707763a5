"""Tasks of the published EDM and of the PyTorch backend."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Final

import torch
import torch._dynamo.utils

from pipeline.benchmark.contestants import CONTESTANTS
from pipeline.benchmark.reference_edm import ReferenceEDM, ReferenceEGNN, ReferenceTraining, load_weights
from pipeline.benchmark.subjects import Framework, Subject, backend_training, multiplying, random_training, sampling
from pipeline.benchmark.tasks import Task
from pipeline.chemistry.molecules import Molecules
from pipeline.data.batches import PaddedMolecules
from pipeline.data.qm9 import ATOMIC_NUMBERS
from pipeline.data.statistics import read_statistics
from pipeline.diffusion.objectives import edm_schedule
from pipeline.sampling.molecule_batches import draw_sizes, network_calls
from pipeline.study.config import RunConfig, run_config, sampler_config
from pipeline.torch_backend import runtime
from pipeline.torch_backend.build import build_generative, load
from pipeline.torch_backend.parallel import Workers
from pipeline.torch_backend.runtime import Machine
from pipeline.torch_backend.sample import TorchSampler
from pipeline.torch_backend.train import TorchTrainer
from pipeline.training.loop import TrainingRun
from pipeline.training.run_folder import Weights

COMPILED: Final = "torch-compiled"


def prepare(task: Task) -> Framework:
    """Set up PyTorch for a task."""
    machine = runtime.start(cores=task.cores, compile=task.contestant == COMPILED)
    return Framework(
        partial(_make_subject, machine=machine),
        _compilations,
        lambda: torch.cuda.max_memory_allocated() / 2**20,
        machine.gpu,
    )


def _make_subject(task: Task, *, machine: Machine) -> Subject:
    if task.work == "multiply":
        return _multiplying(task, machine)
    if CONTESTANTS[task.contestant].is_backend:
        return _sampling(task, machine) if task.work == "sample" else _training(task, machine)
    return _reference_sampling(task, machine) if task.work == "sample" else _reference_training(task, machine)


def _compilations() -> int:
    """Return how many graphs TorchDynamo has compiled in this process."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def _training(task: Task, machine: Machine) -> Subject:
    config, statistics, shards = run_config(task.run), read_statistics(task.statistics), task.training_shards()
    # The directory is for checkpoints, which are never written.
    with tempfile.TemporaryDirectory() as directory:
        trainer = TorchTrainer(TrainingRun(config, "", {"train": shards}, statistics, Path(directory)), machine)
    return backend_training(trainer, config, shards, statistics)


def _sampling(task: Task, machine: Machine) -> Subject:
    assert task.sampler is not None
    config, statistics, weights = task.trained()
    objective = load(build_generative, weights) if weights else build_generative(config, statistics)
    objective = objective.to(machine.device)
    if machine.compile:
        objective.model.compile_layers()
    sampler = sampler_config(task.sampler)
    program = TorchSampler(config, statistics, sampler, objective, Workers(machine))
    sizes = draw_sizes(statistics, task.molecules, sampler.seed)

    def draw() -> Molecules:
        return program(sizes).molecules

    return sampling(draw, molecules=task.molecules)


def _reference(config: RunConfig, machine: Machine, weights: Weights | None = None) -> ReferenceEDM:
    model = config.model
    torch.manual_seed(config.seed)
    network = ReferenceEGNN(
        hidden=model.hidden,
        layers=model.layers,
        norm_constant=model.norm_constant,
        coordinate_range=model.coordinate_range,
    )
    if weights:
        load_weights(network, weights.arrays)
    return ReferenceEDM(network, edm_schedule(config)).to(machine.device)


def _reference_training(task: Task, machine: Machine) -> Subject:
    config, device = run_config(task.run), machine.device
    optimizer = config.training.optimizer
    training = ReferenceTraining(
        _reference(config, machine), learning_rate=optimizer.learning_rate, decay=config.training.ema_decay
    )

    def step(batch: PaddedMolecules) -> float:
        atomic_numbers = torch.from_numpy(batch.atomic_numbers).to(device)
        mask = (atomic_numbers > 0).float()
        return training.step(torch.from_numpy(batch.positions).to(device), atomic_numbers, mask)

    return random_training(step, task.training_shards(), config, trim=True)


def _reference_sampling(task: Task, machine: Machine) -> Subject:
    assert task.sampler is not None
    config, statistics, weights = task.trained()
    reference, sampler = _reference(config, machine, weights), sampler_config(task.sampler)
    calls = network_calls(sampler, edm_schedule(config))
    sizes = draw_sizes(statistics, task.molecules, sampler.seed)
    # Padded to the largest molecule of the data, as in the published code.
    atoms = torch.arange(max(statistics.buckets))
    mask = (atoms < torch.from_numpy(sizes)[:, None]).float().to(machine.device)

    def draw() -> Molecules:
        positions, types = reference.sample(mask, calls=calls)
        atomic_numbers = torch.tensor(ATOMIC_NUMBERS, dtype=torch.uint8)[types.cpu()]
        return Molecules.from_padded(
            positions=positions.cpu().numpy(), atomic_numbers=atomic_numbers.numpy(), sizes=sizes
        )

    return sampling(draw, molecules=task.molecules)


def _multiplying(task: Task, machine: Machine) -> Subject:
    matrix = torch.randn(task.molecules, task.molecules, device=machine.device)

    def product() -> None:
        (matrix @ matrix)[0, 0].item()

    return multiplying(product, rows=task.molecules)
