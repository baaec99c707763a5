"""The published EDM, as it is written for the benchmark, computes what our networks compute."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pipeline.benchmark.contestants import reference_settings
from pipeline.benchmark.reference_edm import (
    ReferenceEDM,
    ReferenceEGNN,
    ReferenceTraining,
    load_weights,
    sum_by_node,
)
from pipeline.data.qm9 import ATOMIC_NUMBERS as QM9
from pipeline.data.statistics import Statistics
from pipeline.diffusion.schedules import polynomial_schedule
from pipeline.jax_backend.build import build_edm, build_layout, build_weights
from pipeline.jax_backend.features import Cloud, atom_features
from pipeline.study.config import run_config
from pipeline.training.noisy_batches import NoisyBatch

CONFIG = run_config(reference_settings(hidden=16, layers=3, batch_size=4))
SCHEDULE = polynomial_schedule(steps=1000, precision=1e-5)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Keep PyTorch from waiting for threads that a busy machine does not run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def ours(statistics: Statistics) -> tuple[Any, Any, dict[str, np.ndarray]]:
    """Return our objective, its parameters, and these by name; the coordinates' weights are large enough to matter."""
    objective = build_edm(CONFIG, statistics)
    layout = build_layout(objective)
    vector = build_weights(objective, jax.random.key(1))
    arrays = {
        name: np.array(array) * (300 if name.endswith("coordinate_output") else 1)
        for name, array in layout.to_arrays(vector).items()
    }
    return objective, layout.unravel(layout.from_arrays(arrays)), arrays


@pytest.fixture(scope="module")
def reference(ours: Any) -> ReferenceEDM:
    network = ReferenceEGNN(hidden=16, layers=3)
    load_weights(network, ours[2])
    return ReferenceEDM(network, SCHEDULE)


def clouds(sizes: list[int], width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return coordinates, features with the time among them, and the mask of some noisy molecules."""
    generator = np.random.default_rng(0)
    mask = (np.arange(width) < np.array(sizes)[:, None]).astype(np.float32)
    x = generator.normal(size=(len(sizes), width, 3)) * mask[..., None]
    x -= (x.sum(axis=1) / mask.sum(axis=1)[:, None])[:, None] * mask[..., None]
    h = generator.normal(size=(len(sizes), width, 7)) * mask[..., None]
    return x.astype(np.float32), h.astype(np.float32), mask


def test_the_network_is_ours_without_the_factoring(ours: Any, reference: ReferenceEDM) -> None:
    x, h, mask = clouds([9, 5, 3, 7], width=10)
    objective, params, _ = ours
    expected = objective.model.apply(params, x, h, mask)
    found = reference.model(torch.tensor(x), torch.tensor(h), torch.tensor(mask))
    for theirs, our in zip(found, expected, strict=True):
        assert np.abs(our).max() > 0.1
        # Coordinates reach 35, where one rounding of float32 is 4e-6.
        np.testing.assert_allclose(theirs.detach().numpy(), our, rtol=5e-6, atol=2e-5)


@pytest.mark.parametrize("t", [0, 1, 500, 1000])
def test_the_loss_is_ours_where_there_is_no_padding(ours: Any, reference: ReferenceEDM, t: int) -> None:
    x, h, mask = clouds([9, 9], width=9)
    objective, params, _ = ours
    positions, atomic_numbers = 1.4 * x, np.array([[1, 6, 7, 8, 9, 1, 1, 6, 1]] * 2, np.uint8)
    steps = np.array([t, t])
    data = Cloud(jnp.array(positions), atom_features(jnp.array(atomic_numbers), QM9, 6))
    eps = Cloud(jnp.array(x), jnp.array(h[..., :6]))
    expected = objective.losses(params, NoisyBatch(data, eps, jnp.array(mask), jnp.array(steps)))
    noise = torch.tensor(np.concatenate([x, h[..., :6]], axis=-1))
    found = reference.losses(
        torch.tensor(positions), torch.tensor(atomic_numbers), torch.tensor(mask), t=torch.tensor(steps), noise=noise
    )
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-4)


def test_messages_are_summed_where_they_arrive() -> None:
    sums = sum_by_node(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([2, 0, 2]), 3)
    assert sums.tolist() == [[2.0], [0.0], [5.0]]


def test_training_lowers_the_loss_and_keeps_the_last_norms(statistics: Statistics) -> None:
    torch.manual_seed(0)
    training = ReferenceTraining(ReferenceEDM(ReferenceEGNN(hidden=8, layers=1), SCHEDULE), learning_rate=1e-2)
    x, _, mask = clouds([5, 4], width=5)
    atomic_numbers = torch.tensor(6 * mask, dtype=torch.uint8)
    losses = [training.step(torch.tensor(x), atomic_numbers, torch.tensor(mask)) for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    assert len(training.recent_norms) == 50


def test_sampling_calls_the_network_as_often_as_asked(reference: ReferenceEDM) -> None:
    calls = []
    reference.model.register_forward_hook(lambda *_: calls.append(1))
    mask = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    positions, types = reference.sample(mask, calls=7)
    assert len(calls) == 7
    assert torch.isfinite(positions).all()
    assert positions[0, 3].abs().max() == 0
    assert 0 <= types.min() <= types.max() < 5
