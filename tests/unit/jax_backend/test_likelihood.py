from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from pipeline.core.progress import progress
from pipeline.data.qm9 import ATOMIC_NUMBERS as QM9
from pipeline.diffusion.likelihood import Bound
from pipeline.jax_backend.build import build_edm, build_layout
from pipeline.jax_backend.edm import EDM
from pipeline.jax_backend.features import Cloud, atom_features, node_mask
from pipeline.jax_backend.likelihood import bound_terms, prior_divergence, variational_bound
from pipeline.study.config import RunConfig

MakeObjective = Callable[..., EDM]


def zero(x: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.zeros_like(x), jnp.zeros_like(h[..., :6])


def test_the_prior_is_the_divergence_from_a_standard_normal(make_objective: MakeObjective) -> None:
    objective = make_objective(zero, precision=0.1)
    alpha, sigma = objective.schedule.alpha[-1], objective.schedule.sigma[-1]
    # Two atoms at 0.9 and -0.9 on an axis: one dimension of six coordinates has a mean, three have no freedom at all.
    x = jnp.array([[[0.9, 0, 0], [-0.9, 0, 0], [7, 7, 7]]], jnp.float32) * jnp.array([1.0, 1.0, 0.0])[None, :, None]
    data = Cloud(x, atom_features(jnp.array([[1, 6, 0]], jnp.uint8), QM9, 6))
    found = prior_divergence(objective, data, node_mask(jnp.array([2]), 3))

    def divergence(mean: float) -> float:
        p, q = stats.norm(mean, sigma), stats.norm(0, 1)
        return float(integrate.quad(lambda z: p.pdf(z) * (p.logpdf(z) - q.logpdf(z)), -8, 8)[0])

    coordinates = [alpha * 0.9 * 2**0.5, 0.0, 0.0]
    features = [alpha * value for value in np.asarray(data.h[0, :2]).reshape(-1).tolist()]
    assert found[0] == pytest.approx(sum(map(divergence, coordinates + features)), rel=1e-4)


def test_the_diffusion_term_is_an_unbiased_estimate_of_the_sum_over_steps(make_objective: MakeObjective) -> None:
    steps, count = 4, 4000
    objective = make_objective(zero, steps=steps, precision=1e-4)
    h = atom_features(jnp.array([[8, 1, 1]], jnp.uint8), QM9, 6)
    data = Cloud(jnp.zeros((count, 3, 3)), jnp.broadcast_to(h, (count, 3, 6)))
    mask = jnp.ones((count, 3))
    keys = jax.random.split(jax.random.key(0), count)
    terms = np.asarray(jax.jit(lambda keys: bound_terms(objective, {}, data, mask, keys))(keys), np.float64)
    # A network that predicts no noise is wrong by all of it: 6 + 18 dimensions of variance 1 at every t in 1..T.
    snr = objective.schedule.snr
    expected = 0.5 * (snr[:-1] / snr[1:] - 1).sum() * 24
    diffusion = terms[:, 1]
    assert diffusion.mean() == pytest.approx(expected, abs=4 * diffusion.std() / count**0.5)
    assert diffusion.std() / count**0.5 < 0.05 * expected
    # Step 0 is the reconstruction: half the squared noise of the coordinates, and types that are in no doubt.
    assert terms[:, 2].mean() == pytest.approx(3.0, abs=4 * 3**0.5 / count**0.5)


def test_the_bound_of_a_molecule_is_its_own(data: Any, make_config: Callable[..., RunConfig]) -> None:
    shards, statistics = data.read()
    objective = build_edm(make_config(), statistics)
    layout = build_layout(objective)
    weights = jnp.asarray(np.random.default_rng(0).normal(size=layout.size) / 5, jnp.float32)

    def bound(seed: int) -> Bound:
        small = [shard for shard in shards["test"] if shard.bucket == 18]
        with progress(total=None, description="", unit="molecules") as bar:
            return variational_bound(objective, layout, weights, small, statistics, seed=seed, progress=bar)

    first, other = bound(0), bound(1)
    assert first.prior.shape == (5,)
    for values in (first.prior, first.diffusion, first.reconstruction, first.size):
        assert np.isfinite(values).all()
        assert (values > 0).all()
    # Another seed is another step and noise; what is not drawn is the same.
    assert (first.prior == other.prior).all()
    assert (first.diffusion != other.diffusion).all()
