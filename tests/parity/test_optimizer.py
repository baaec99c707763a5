"""Twenty steps of the optimiser and of the weights' average agree, for the same gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import pipeline.jax_backend.optimizer
import pipeline.torch_backend.optimizer
import pipeline.training.learning_rate
from pipeline.jax_backend.weights import Layout

from .conftest import TOLERANCE, assert_close, run_of

# Hidden matrices of three shapes, one of them twice, among other parameters.
SHAPES = {
    "embedding.kernel": (3, 4),
    "layer_0.first": (4, 6),
    "layer_0.bias": (6,),
    "layer_0.second": (5, 4),
    "layer_1.attention": (8, 1),
    "layer_1.first": (4, 6),
    "layer_1.square": (2, 2),
}
SIZE, STEPS = 98, 20
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "muon, norm, linear": {"kind": "muon", "clip": {"kind": "norm", "value": 5.0}, "schedule": "linear"},
    "muon, none, constant": {"kind": "muon", "clip": {"kind": "none"}, "schedule": "constant"},
    "adam, norm, linear": {"kind": "adam", "clip": {"kind": "norm", "value": 5.0}, "schedule": "linear"},
    "amsgrad, adaptive, constant": {"kind": "amsgrad", "clip": {"kind": "adaptive"}, "schedule": "constant"},
    "amsgrad, none, cosine": {"kind": "amsgrad", "clip": {"kind": "none"}, "schedule": "cosine"},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_and_average(name: str, precision: str) -> None:
    # Muon's steps are longer, and the learning rate is computed in single precision.
    rate = 0.001 if name.startswith("muon") else 0.01
    settings = OPTIMIZERS[name] | {"warmup_steps": 5, "weight_decay": 0.1, "learning_rate": rate}
    training = run_of(training={"steps": 30, "optimizer": settings, "ema_decay": 0.8}).training
    generator = np.random.default_rng(0)
    assert Layout(SHAPES).size == SIZE
    # A few gradients are large, so that clipping and the largest mean of squares matter.
    sizes = np.where(np.arange(STEPS) % 7 == 2, 5000.0, 1.0)
    gradients = generator.normal(size=(STEPS, SIZE)) * sizes[:, None]
    start = generator.normal(size=SIZE)

    optimizer = pipeline.jax_backend.optimizer.make_optimizer(training, Layout(SHAPES))

    @jax.jit
    def step(params: jax.Array, state: Any, ema: jax.Array, gradient: jax.Array, number: jax.Array) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        decay = pipeline.jax_backend.optimizer.ema_decay(number, training.ema_decay).astype(params.dtype)
        return params, state, decay * ema + (1.0 - decay) * params

    theirs = their_average = jnp.asarray(start, precision)
    state = optimizer.init(theirs)
    ours = torch.tensor(start, dtype=getattr(torch, precision))
    our_average = ours.clone()
    clip = pipeline.torch_backend.optimizer.GradientClip(training.optimizer.clip, like=ours)
    ours_optimizer = pipeline.torch_backend.optimizer.Optimizer(training, ours, SHAPES)
    schedule = pipeline.training.learning_rate.learning_rate(training)
    for number, gradient in enumerate(gradients):
        theirs, state, their_average = step(
            theirs, state, their_average, jnp.asarray(gradient, precision), jnp.asarray(number)
        )
        pipeline.torch_backend.optimizer.update(
            ours_optimizer,
            clip,
            torch.tensor(gradient, dtype=ours.dtype),
            our_average,
            rate=schedule(number),
            decay=pipeline.torch_backend.optimizer.ema_decay(number, training.ema_decay),
        )
    assert np.abs(np.asarray(theirs) - start).max() > 0.05
    assert_close(ours, theirs, TOLERANCE[precision])
    assert_close(our_average, their_average, TOLERANCE[precision])


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 7])
def test_learning_rate(schedule: str, warmup: int) -> None:
    training = run_of(training={"steps": 30, "optimizer": {"schedule": schedule, "warmup_steps": warmup}}).training
    ours = pipeline.training.learning_rate.learning_rate(training)
    theirs = pipeline.jax_backend.optimizer.learning_rate(training)
    steps = range(35)
    np.testing.assert_allclose([ours(step) for step in steps], [theirs(step) for step in steps], rtol=1e-6, atol=1e-9)


def test_decay_of_the_average() -> None:
    ours, theirs = pipeline.torch_backend.optimizer.ema_decay, pipeline.jax_backend.optimizer.ema_decay
    for step in (0, 1, 10, 1000, 10**6):
        assert ours(step, 0.999) == pytest.approx(float(theirs(jnp.asarray(step), 0.999)), rel=1e-6)
