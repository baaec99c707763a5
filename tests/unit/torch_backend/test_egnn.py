from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from pipeline.study.config import RunConfig
from pipeline.torch_backend.build import build_objective
from pipeline.torch_backend.egnn import EGNN, LARGE
from pipeline.torch_backend.features import node_mask, seeded

SIZES = torch.tensor([5, 7, 2])
FORMS: dict[str, dict[str, Any]] = {
    "reference": {"radial_features": "squared", "node_norm": "none", "coordinate_range": 15.0},
    "stabilised": {"shared_edges": False},
    "shared edges, no attention": {"shared_edges": True, "attention": False},
}


@pytest.fixture(params=FORMS)
def network(request: pytest.FixtureRequest, make_config: Callable[..., RunConfig]) -> EGNN:
    """In double precision, with weights so large that it moves atoms."""
    model = EGNN(
        make_config(model={"layers": 2} | FORMS[request.param]).model, input_features=4, output_features=3
    ).double()
    generator = seeded(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5 * parameter.shape[0] ** -0.5, generator=generator)
    return model


def clouds(width: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    mask = node_mask(SIZES, width, dtype=torch.float64)
    values = torch.zeros(3, width, 7, dtype=torch.float64)
    values[:, :7] = torch.randn(3, 7, 7, generator=seeded(1), dtype=torch.float64)
    values *= mask[..., None]
    return values[..., :3], values[..., 3:], mask


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-9 * float(other.detach().abs().max()))


@pytest.mark.parametrize("reflect", [1.0, -1.0])
def test_turns_and_reflections_turn_the_change_of_coordinates(network: EGNN, reflect: float) -> None:
    x, h, mask = clouds()
    turn = reflect * torch.from_numpy(Rotation.random(rng=np.random.default_rng(0)).as_matrix())
    change, features = network(x, h, mask)
    turned_change, turned_features = network(x @ turn, h, mask)
    assert change.detach().abs().max() > 0.1
    close(turned_change, change @ turn)
    close(turned_features, features)


def test_the_order_of_atoms_is_that_of_the_outputs(network: EGNN) -> None:
    x, h, mask = clouds()
    order = torch.randperm(7, generator=seeded(2))
    change, features = network(x, h, mask)
    permuted = network(x[:, order], h[:, order], mask[:, order])
    close(permuted[0], change[:, order])
    close(permuted[1], features[:, order])


def test_padding_changes_nothing(network: EGNN) -> None:
    change, features = network(*clouds())
    wide_change, wide_features = network(*clouds(width=11))
    close(wide_change[:, :7], change)
    close(wide_features[:, :7], features)
    assert not wide_change[:, 7:].any() and not wide_features[:, 7:].any()


def test_a_condition_is_a_feature_of_every_atom(make_config: Callable[..., RunConfig]) -> None:
    # So that what holds for features, above, holds for conditions; parity tests say the same of the other backend.
    config = make_config(model={"layers": 1}).model
    networks = [
        EGNN(config, input_features=count, output_features=3, condition_features=6 - count).double() for count in (4, 6)
    ]
    for network in networks:
        generator = seeded(0)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.5 * parameter.shape[0] ** -0.5, generator=generator)
    (x, h, mask), condition = clouds(), torch.randn(3, 2, generator=seeded(3), dtype=torch.float64)
    found = networks[0](x, h, mask, condition=condition)
    expected = networks[1](x, torch.cat([h, condition[:, None] * mask[..., None]], dim=-1), mask)
    close(found[0], expected[0])
    close(found[1], expected[1])
    assert not torch.equal(found[1], networks[0](x, h, mask)[1])


def test_the_change_has_no_centre_of_mass(network: EGNN) -> None:
    change, _ = network(*clouds())
    assert change.detach().sum(dim=1).abs().max() < 1e-9


def test_gradients_are_finite_where_atoms_coincide(network: EGNN) -> None:
    x, h, mask = clouds()
    change, features = network(torch.zeros_like(x, requires_grad=True), h, mask)
    torch.autograd.backward(change.sum() + features.sum())
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in network.parameters())


def test_fresh_weights_are_the_reference_s(make_config: Callable[..., RunConfig]) -> None:
    model = EGNN(
        make_config(model={"hidden": 64, "layers": 2, "shared_edges": False}).model, input_features=7, output_features=6
    )
    model.initialise(seeded(0))
    # PyTorch's default, with the fan-in of the layer that is factored here: two nodes and two distances of 18 features.
    for name in ("receiver", "sender", "distance"):
        kernel = model.get_parameter(f"layer_0.message.{name}.kernel").detach()
        assert kernel.abs().max() == pytest.approx((2 * 64 + 36) ** -0.5, rel=0.01)
    assert model.get_parameter("layer_0.coordinate_output").detach().abs().max() < 1e-3


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of what TorchDynamo looks at
@pytest.mark.parametrize("network", ["stabilised"], indirect=True)
def test_layers_can_be_compiled(network: EGNN) -> None:
    inputs = clouds()
    expected = network(*inputs)
    # All but the code generation of the default, which takes half a minute.
    network.compile_layers(backend="aot_eager")
    for one, other in zip(network(*inputs), expected, strict=True):
        close(one, other)
    torch.autograd.backward(network(*inputs)[0].square().sum())
    assert network.get_parameter("layer_0.message.hidden.kernel").grad is not None


@pytest.mark.parametrize(("precision", "requested"), [("tf32", "high"), ("float32", "highest")])
def test_a_gpu_is_asked_for_tf32_by_the_runs_that_say_so(
    make_config: Callable[..., RunConfig], data: Any, precision: str, requested: str
) -> None:
    before = torch.get_float32_matmul_precision()
    build_objective(make_config(precision=precision), data.read()[1])
    found = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(before)
    assert found == requested


def test_layers_of_large_molecules_are_computed_again(network: EGNN, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which saves memory and does not change the gradient."""
    gradients, calls = [], []
    network.get_submodule("layer_0").register_forward_pre_hook(lambda *_: calls.append(1))
    for large in (LARGE, 0):
        monkeypatch.setattr("pipeline.torch_backend.egnn.LARGE", large)
        network.zero_grad()
        torch.autograd.backward(sum(out.square().sum() for out in network(*clouds())))
        found = [parameter.grad.ravel() for parameter in network.parameters() if parameter.grad is not None]
        gradients.append(torch.cat(found))
    assert len(calls) == 3
    close(*gradients)
