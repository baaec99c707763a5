from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.data.batches import Batch
from pipeline.study.config import RunConfig
from pipeline.torch_backend.build import build_objective
from pipeline.torch_backend.egnn import EGNN
from pipeline.torch_backend.features import noisy_batch
from pipeline.torch_backend.objective import Objective
from pipeline.torch_backend.parallel import Replicas, Workers, take
from pipeline.torch_backend.runtime import Machine
from pipeline.torch_backend.weights import to_vector
from pipeline.training.noisy_batches import Noising, NoisyBatch

MakeConfig = Callable[..., RunConfig]


def workers(cores: int) -> Workers:
    return Workers(Machine(torch.device("cpu"), cores=cores, compile=False))


def noisy(config: RunConfig, data: Any) -> tuple[Objective, NoisyBatch[torch.Tensor]]:
    """Return an objective and eight molecules for it."""
    shards, statistics = data.read()
    objective = build_objective(config, statistics)
    shard = max(shards["train"], key=len)
    noising = Noising(config, shards["train"], statistics)
    batch = noising.training(Batch(shard.bucket, np.arange(8, dtype=np.int32)), 0)
    return objective, noisy_batch(batch, objective.elements, objective.features, objective.like)


@pytest.mark.parametrize("objective", ["edm", "consistency"])
@pytest.mark.parametrize(("cores", "parts"), [(1, 2), (2, 1), (3, 1), (4, 4), (8, 1)])
def test_cores_and_parts_change_rounding_only(
    make_config: MakeConfig, data: Any, objective: str, cores: int, parts: int
) -> None:
    # A study would also need the run that it starts from.
    config = make_config().model_copy(update={"objective": objective})
    model, batch = noisy(config, data)
    teacher = deepcopy(model.model)

    losses = model.losses(batch, teacher)
    torch.autograd.backward(losses.mean())
    expected = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    weights = to_vector(model)
    replicas = Replicas(model, weights, workers(cores), batch_size=8, parts=parts)
    for _ in range(2):
        loss, gradient = replicas.value_and_gradient(batch, teacher)
        torch.testing.assert_close(loss, losses.detach().mean(), rtol=1e-6, atol=0)
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    again, same = replicas.value_and_gradient(batch, teacher)
    assert torch.equal(again, loss) and torch.equal(same, gradient)

    weights += 0.1
    assert replicas.value_and_gradient(batch, teacher)[0] != loss


def test_every_core_computes_with_compiled_layers(
    make_config: MakeConfig, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[EGNN] = []
    monkeypatch.setattr(EGNN, "compile_layers", lambda network: compiled.append(network))
    model, _ = noisy(make_config(), data)
    Replicas(model, to_vector(model), workers(3), batch_size=9, parts=1, compile=True)
    assert len({id(network) for network in compiled}) == 3


def test_inference_takes_all_molecules_in_their_order(make_config: MakeConfig, data: Any) -> None:
    numbers = torch.arange(100.0)

    def double(part: slice) -> torch.Tensor:
        assert torch.is_inference_mode_enabled()
        return 2 * numbers[part]

    assert torch.equal(workers(2).infer(double, 100, chunk=7), 2 * numbers)


def test_some_molecules_of_a_batch(make_config: MakeConfig, data: Any) -> None:
    batch = noisy(make_config(), data)[1]
    some = take(batch, slice(1, 3))
    assert torch.equal(some.data.x, batch.data.x[1:3]) and torch.equal(some.noise.h, batch.noise.h[1:3])
    assert torch.equal(some.mask, batch.mask[1:3]) and torch.equal(some.t, batch.t[1:3])


@pytest.mark.parametrize(
    ("device", "atoms", "expected"), [("cpu", 9, 16), ("cpu", 29, 8), ("cuda", 29, 1024), ("cuda", 181, 32)]
)
def test_molecules_that_go_through_a_network_of_256_features_together(
    make_config: MakeConfig, device: str, atoms: int, expected: int
) -> None:
    model = make_config(model={"hidden": 256, "layers": 9}).model
    assert Workers(Machine(torch.device(device), cores=1, compile=False)).chunk(model, atoms) == expected


def test_the_chunks_of_a_gpu_change_rounding_only(make_config: MakeConfig, data: Any) -> None:
    gradients = []
    for device in ("cpu", "cuda"):
        model, batch = noisy(make_config(model={"edge_hidden": 512}), data)
        teacher = deepcopy(model.model)
        chosen = Workers(Machine(torch.device(device), cores=1, compile=False))
        replicas = Replicas(model, to_vector(model), chosen, batch_size=8, parts=1)
        gradients.append(replicas.value_and_gradient(batch, teacher)[1])
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-5 * float(gradients[0].abs().max()))
