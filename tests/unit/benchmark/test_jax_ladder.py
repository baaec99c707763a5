"""The rungs of the ablation are the same function as the backend, written differently."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pipeline.benchmark.contestants import reference_settings
from pipeline.benchmark.jax_ladder import EDGE_NETWORKS, PlainTraining
from pipeline.benchmark.workload import synthetic_shard
from pipeline.data.batches import PaddedMolecules
from pipeline.data.statistics import Statistics
from pipeline.jax_backend.egnn import EdgeMLP
from pipeline.study.benchmark import LADDER
from pipeline.study.config import run_config


def test_every_rung_but_the_whole_backend_has_its_edge_network() -> None:
    assert list(EDGE_NETWORKS) == list(LADDER[:-1])


@pytest.mark.parametrize("rung", EDGE_NETWORKS)
def test_value_and_gradient_are_those_of_the_backend(rung: str) -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    h, edges = jax.random.normal(keys[0], (2, 4, 3)), jax.random.normal(keys[1], (2, 4, 4, 2))
    network = EDGE_NETWORKS[rung](5)
    params = EdgeMLP(5).init(keys[2], h, edges)
    assert jax.tree.map(jnp.shape, network.init(keys[2], h, edges)) == jax.tree.map(jnp.shape, params)

    def loss(params: object, h: jax.Array, edges: jax.Array, *, module: object) -> jax.Array:
        return jnp.sum(jnp.sin(module.apply(params, h, edges)))  # type: ignore[attr-defined]

    expected = jax.value_and_grad(loss, argnums=(0, 1, 2))(params, h, edges, module=EdgeMLP(5))
    found = jax.value_and_grad(loss, argnums=(0, 1, 2))(params, h, edges, module=network)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5), found, expected)


def test_plain_training_takes_steps(statistics: Statistics) -> None:
    config = run_config(reference_settings(hidden=4, layers=1, batch_size=2))
    training = PlainTraining("jax-naive", config, statistics)
    molecules = PaddedMolecules.of(synthetic_shard(atoms=3, molecules=2, seed=0), np.arange(2))
    first, second = training.step(molecules), training.step(molecules)
    assert np.isfinite([first, second]).all()
    assert first != second
