from collections.abc import Callable
from typing import Any

import pytest
import torch

from pipeline.config import RunConfig
from pipeline.torch_backend.build import build_objective
from pipeline.torch_backend.features import node_mask, seeded
from pipeline.torch_backend.parallel import Replicas, Workers, take
from pipeline.torch_backend.runtime import Machine
from pipeline.torch_backend.weights import to_vector

MakeConfig = Callable[..., RunConfig]


def workers(cores: int) -> Workers:
    return Workers(Machine(torch.device("cpu"), cores=cores, compile=False))


@pytest.mark.parametrize(("cores", "parts"), [(1, 2), (2, 1), (3, 1), (4, 4), (8, 1)])
def test_cores_and_parts_change_rounding_only(make_config: MakeConfig, data: Any, cores: int, parts: int) -> None:
    shards, statistics = data.read()
    objective = build_objective(make_config(), statistics)
    shard = max(shards["train"], key=len)
    batch = objective.clean(torch.tensor(shard.positions[:8]), torch.tensor(shard.atomic_numbers[:8]))
    mask = node_mask(torch.tensor(shard.sizes[:8]), shard.bucket)
    draws = objective.draw(seeded(0), mask)

    losses = objective.losses(batch, mask, draws)
    torch.autograd.backward(losses.mean())
    expected = torch.cat([p.grad.flatten() for p in objective.model.parameters() if p.grad is not None])

    weights = to_vector(objective.model)
    replicas = Replicas(objective, weights, workers(cores), batch_size=8, parts=parts)
    for _ in range(2):
        loss, gradient = replicas.value_and_gradient(batch, mask, draws)
        torch.testing.assert_close(loss, losses.detach().mean(), rtol=1e-6, atol=0)
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    again, same = replicas.value_and_gradient(batch, mask, draws)
    assert torch.equal(again, loss) and torch.equal(same, gradient)

    weights += 0.1
    assert replicas.value_and_gradient(batch, mask, draws)[0] != loss


def test_inference_takes_all_molecules_in_their_order(make_config: MakeConfig, data: Any) -> None:
    numbers = torch.arange(100.0)

    def double(part: slice) -> torch.Tensor:
        assert torch.is_inference_mode_enabled()
        return 2 * numbers[part]

    assert torch.equal(workers(2).infer(double, 100, chunk=7), 2 * numbers)


def test_some_molecules_of_a_cloud(make_config: MakeConfig, data: Any) -> None:
    shards, statistics = data.read()
    shard = shards["train"][0]
    cloud = build_objective(make_config(), statistics).clean(
        torch.tensor(shard.positions), torch.tensor(shard.atomic_numbers)
    )
    assert torch.equal(take(cloud, slice(1, 3)).x, cloud.x[1:3])
    assert torch.equal(take(cloud, slice(1, 3)).h, cloud.h[1:3])
