"""The counted operations against those that XLA counts in the program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pipeline.benchmark.contestants import CONTESTANTS, reference_settings
from pipeline.benchmark.jax_ladder import PlainTraining
from pipeline.benchmark.workload import synthetic_shard
from pipeline.data.batches import PaddedMolecules
from pipeline.data.statistics import Statistics
from pipeline.jax_backend.egnn import EGNN
from pipeline.study.config import run_config
from pipeline.study.operations import FEATURES, forward_operations, training_operations


@pytest.mark.parametrize("rung", ["jax-naive", "jax-factored"])
def test_xla_counts_what_is_counted_and_the_elementwise_rest(rung: str, statistics: Statistics) -> None:
    config = run_config(reference_settings(hidden=128, layers=2, batch_size=2))
    molecules = PaddedMolecules.of(synthetic_shard(atoms=16, molecules=2, seed=0), np.arange(2))
    counted = 2 * training_operations(config.model, 16, factored=CONTESTANTS[rung].factored)
    by_xla = PlainTraining(rung, config, statistics).operations(molecules)
    assert 1.0 < by_xla / counted < 1.15


@pytest.mark.parametrize("shared_edges", [False, True])
def test_both_kinds_of_layers_are_counted(shared_edges: bool) -> None:
    reference = reference_settings(hidden=128, layers=2, batch_size=2)
    model = run_config(reference | {"model": reference["model"] | {"shared_edges": shared_edges}}).model
    network, inputs = EGNN(model, output_features=FEATURES), (jnp.zeros((1, 16, 3)), jnp.zeros((1, 16, FEATURES + 1)))
    params = network.init(jax.random.key(0), *inputs, jnp.ones((1, 16)))
    by_xla = jax.jit(network.apply).lower(params, *inputs, jnp.ones((1, 16))).compile().cost_analysis()
    assert by_xla is not None
    assert 1.0 < by_xla["flops"] / forward_operations(model, 16) < 1.15


def test_the_factoring_saves_two_thirds_of_wide_networks() -> None:
    model = run_config(reference_settings(hidden=256, layers=9, batch_size=1)).model
    ratio = forward_operations(model, 29, factored=False) / forward_operations(model, 29)
    assert 2.5 < ratio < 3.0


def test_operations_grow_with_the_pairs_of_atoms() -> None:
    model = run_config(reference_settings(hidden=64, layers=5, batch_size=1)).model
    assert forward_operations(model, 200) / forward_operations(model, 100) == pytest.approx(4, rel=0.02)
