import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pipeline.jax_backend.parallel import chunk_size, make_mesh, mapped, partial_value_and_grad

# Devices are made when JAX starts, so this runs in a process of its own. It prints, for 1, 2 and 8 devices, the loss,
# the gradient and the operations of the compiled program that move data between devices; and the sizes of meshes.
GRADIENTS = """
import json, re
import jax, jax.numpy as jnp, numpy as np
from pipeline.study.config import ModelConfig
from pipeline.jax_backend.build import build_layout
from pipeline.jax_backend.edm import EDM
from pipeline.jax_backend.egnn import EGNN
from pipeline.jax_backend.features import node_mask, noisy_batch
from pipeline.jax_backend.parallel import AXIS, make_mesh, partial_value_and_grad
from pipeline.jax_backend.runtime import start
from pipeline.diffusion.schedules import polynomial_schedule
from pipeline.diffusion.feature_scales import Scales
from pipeline.diffusion.training_levels import Levels
from pipeline.training.noisy_batches import HostBatch

start(cores=8)
model = ModelConfig(hidden=8, edge_hidden=8, layers=1, attention=True, radial_features="gaussian", node_norm="rms",
    shared_edges=True, preconditioned=True, norm_constant=1.0, coordinate_range=3.0, aggregation_divisor=4.0)
objective = EDM(EGNN(model, output_features=6), polynomial_schedule(steps=20, precision=1e-4),
    Scales(1.4, 0.11, 0.45, (1, 6, 7, 8, 9)), "l2")
layout = build_layout(objective)
generator = np.random.default_rng(0)
params = jnp.asarray(generator.normal(size=layout.size) / 3, jnp.float32)
sizes = generator.integers(2, 6, 8).astype(np.int32)
mask = np.asarray(node_mask(sizes, 5))
batch = HostBatch(
    generator.normal(size=(8, 5, 3)).astype(np.float32) * mask[..., None],
    generator.choice([1, 6], (8, 5)).astype(np.uint8) * mask.astype(np.uint8),
    sizes,
    generator.normal(size=(8, 5, 3 + 6)).astype(np.float32) * mask[..., None],
    Levels(generator.integers(0, 21, 8).astype(np.int32)),
)

def losses(flat, part, factor):
    return factor * objective.losses(layout.unravel(flat), noisy_batch(part, objective.elements, objective.features))

found = {}
for count in (1, 2, 8):
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:count]), (AXIS,))
    program = jax.jit(partial_value_and_grad(losses, mesh, chunk=1)).lower(params, batch, np.float32(3)).compile()
    value, gradient = program(params, batch, np.float32(3))
    collectives = re.findall(r"all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute", program.as_text())
    found[count] = {"partial": gradient.shape[0], "value": float(value.sum()), "collectives": collectives,
        "gradient": np.asarray(gradient, np.float64).sum(0).tolist()}
found["meshes"] = [make_mesh(batch).size for batch in (8, 6, 5, 12, 22)]
print(json.dumps(found))
"""


def test_any_number_of_devices_gives_the_same_gradient_without_a_collective() -> None:
    done = subprocess.run([sys.executable, "-c", GRADIENTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # As many as share the batch evenly.
    assert found["meshes"] == [8, 6, 5, 6, 2]
    one = found["1"]
    assert np.abs(one["gradient"]).max() > 1e-3
    for count in ("1", "2", "8"):
        assert found[count]["partial"] == int(count)
        assert found[count]["value"] == pytest.approx(one["value"], rel=1e-5)
        scale = np.abs(one["gradient"]).max()
        np.testing.assert_allclose(found[count]["gradient"], one["gradient"], rtol=1e-5, atol=1e-5 * scale)
        assert found[count]["collectives"] == []


def squares(params: jax.Array, batch: Any, shift: jax.Array) -> jax.Array:
    return jnp.square(batch["x"] @ params - shift)


@pytest.mark.parametrize("chunk", [1, 3, 6, 12])
def test_chunks_add_up_to_the_whole(chunk: int) -> None:
    generator = np.random.default_rng(0)
    params, x = (
        jnp.asarray(generator.normal(size=4), jnp.float32),
        jnp.asarray(generator.normal(size=(12, 4)), jnp.float32),
    )
    shift = jnp.float32(0.5)
    program = jax.jit(partial_value_and_grad(squares, make_mesh(12), chunk=chunk))
    value, gradient = program(params, {"x": x}, shift)
    expected = jax.value_and_grad(lambda params: squares(params, {"x": x}, shift).sum())(params)
    assert value.shape == (1,)
    np.testing.assert_allclose(value[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(gradient[0], expected[1], rtol=1e-5)
    in_order = jax.jit(mapped(squares, make_mesh(12), chunk=chunk))(params, {"x": x}, shift)
    np.testing.assert_allclose(in_order, squares(params, {"x": x}, shift), rtol=1e-5)


def mesh(platform: str) -> Any:
    return SimpleNamespace(devices=np.array([SimpleNamespace(platform=platform)]), size=1)


@pytest.mark.parametrize(
    ("platform", "share", "parts", "atoms", "expected"),
    [
        ("cpu", 32, 1, 9, 4),
        ("cpu", 6, 1, 9, 3),
        ("cpu", 7, 1, 9, 1),
        ("cpu", 32, 16, 9, 4),
        ("cpu", 512, 1, 29, 2),
        ("gpu", 64, 1, 29, 64),
        ("gpu", 64, 4, 29, 16),
        ("gpu", 512, 1, 29, 512),
        ("gpu", 512, 1, 181, 32),
        # Not divisible into that many equal parts: more and smaller ones.
        ("gpu", 15, 2, 9, 5),
        ("gpu", 8, 16, 9, 1),
        ("gpu", 8, 1, 10**4, 1),
    ],
)
def test_chunk_sizes_of_a_network_of_256_features(
    platform: str, share: int, parts: int, atoms: int, expected: int
) -> None:
    model: Any = SimpleNamespace(edge_hidden=256)
    assert chunk_size(mesh(platform), share, atoms, model, parts=parts) == expected
