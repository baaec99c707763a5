from collections import deque
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.jax_backend.optimizer import clip_by_recent_norms, ema_decay, learning_rate, make_optimizer
from pipeline.jax_backend.weights import Layout
from pipeline.study.config import RunConfig, TrainingConfig

Floats = npt.NDArray[np.float64]
MakeConfig = Callable[..., RunConfig]

GRADIENTS = [np.random.default_rng(step).normal(size=6) * 3.0 / (1 + step) for step in range(20)]


def training(make_config: MakeConfig, *, steps: int = 20, **optimizer: Any) -> TrainingConfig:
    defaults = {"schedule": "constant", "warmup_steps": 0, "learning_rate": 0.01, "clip": {"kind": "none"}}
    return make_config(training={"steps": steps, "optimizer": defaults | optimizer}).training


def run(
    config: TrainingConfig, gradients: list[Floats], start: Floats, shapes: dict[str, tuple[int, ...]] | None = None
) -> Floats:
    """Return the parameters after every step, [steps, P]."""
    optimizer = make_optimizer(config, Layout(shapes or {"bias": (6,)}))

    @jax.jit
    def step(state: Any, params: jax.Array, gradient: jax.Array) -> tuple[Any, jax.Array]:
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradient, state, params)
        return state, params + updates

    params = jnp.asarray(start, jnp.float32)
    state, found = optimizer.init(params), []
    for gradient in gradients:
        state, params = step(state, params, jnp.asarray(gradient, jnp.float32))
        found.append(np.asarray(params, np.float64))
    return np.array(found)


def adamw(
    gradients: list[Floats], start: Floats, *, rate: float, b1: float, b2: float, decay: float, amsgrad: bool
) -> Floats:
    """AdamW as Loshchilov and Hutter and PyTorch's documentation have it, in NumPy."""
    params, mean, square, largest = start.copy(), np.zeros(6), np.zeros(6), np.zeros(6)
    found = []
    for count, gradient in enumerate(gradients, start=1):
        params = params - rate * decay * params
        mean = b1 * mean + (1 - b1) * gradient
        square = b2 * square + (1 - b2) * gradient**2
        largest = np.maximum(largest, square)
        root = np.sqrt((largest if amsgrad else square) / (1 - b2**count)) + 1e-8
        params = params - rate * mean / (1 - b1**count) / root
        found.append(params)
    return np.array(found)


@pytest.mark.parametrize("amsgrad", [True, False])
def test_adamw_and_amsgrad(make_config: MakeConfig, amsgrad: bool) -> None:
    config = training(make_config, kind="amsgrad" if amsgrad else "adam", beta1=0.8, beta2=0.95, weight_decay=0.3)
    start = np.linspace(-1, 1, 6)
    expected = adamw(GRADIENTS, start, rate=0.01, b1=0.8, b2=0.95, decay=0.3, amsgrad=amsgrad)
    np.testing.assert_allclose(run(config, GRADIENTS, start), expected, atol=2e-6)
    # The gradients shrink, so the two differ, and decay does its part.
    other = adamw(GRADIENTS, start, rate=0.01, b1=0.8, b2=0.95, decay=0.3, amsgrad=not amsgrad)
    assert np.abs(other - expected).max() > 1e-3
    without = adamw(GRADIENTS, start, rate=0.01, b1=0.8, b2=0.95, decay=0.0, amsgrad=amsgrad)
    assert np.abs(without - expected).max() > 1e-3


def test_muon_turns_and_adam_has_the_rest(make_config: MakeConfig) -> None:
    # A matrix of two columns more than rows, and a vector.
    shapes = {"layer_0.kernel": (3, 5), "layer_0.bias": (6,)}
    generator = np.random.default_rng(0)
    gradients = [generator.normal(size=21) for _ in range(3)]
    start = generator.normal(size=21)
    path = run(training(make_config, beta1=0.8, weight_decay=0.3), gradients, start, shapes)
    vectors = [gradient[15:] for gradient in gradients]
    expected = adamw(vectors, start[15:], rate=0.01, b1=0.8, b2=0.99, decay=0.3, amsgrad=False)
    np.testing.assert_allclose(path[:, 15:], expected, atol=2e-6)
    # The mean of the first gradient and its look ahead, both free of their bias, are in its direction.
    change = (0.997 * start[:15] - path[0, :15]).reshape(3, 5) / (0.01 * 15.0 * (5 / 3) ** 0.5)
    left, singular, right = np.linalg.svd(gradients[0][:15].reshape(3, 5), full_matrices=False)
    found = left.T @ change @ right.T
    np.testing.assert_allclose(found, np.diag(np.diag(found)), atol=1e-4)
    assert (np.abs(np.diag(found) - 1.0) < 0.4).all() and singular[0] / singular[-1] > 2.0


def recent(norms: list[float]) -> list[float]:
    """Return the limits of EDM's clipping for a training whose gradients have these norms."""
    queue, limits = deque([3000.0], maxlen=50), []
    for norm in norms:
        limit = 1.5 * float(np.mean(queue)) + 2 * float(np.std(queue))
        limits.append(limit)
        queue.append(min(norm, limit))
    return limits


def test_adaptive_clipping_is_the_reference_s() -> None:
    generator = np.random.default_rng(0)
    norms = np.exp(generator.normal(size=130) * 1.5).tolist()
    norms[3], norms[70], norms[100] = 1e5, 400.0, 80.0
    transformation = clip_by_recent_norms()
    update = jax.jit(transformation.update)
    state, clipped = transformation.init(None), []
    for norm in norms:
        gradient, state = update(jnp.array([0.6, -0.8]) * norm, state)
        assert float(gradient[0]) == pytest.approx(-0.75 * float(gradient[1]), rel=1e-5)
        clipped.append(float(jnp.linalg.norm(gradient)))
    expected = np.minimum(norms, recent(norms))
    np.testing.assert_allclose(clipped, expected, rtol=1e-4)
    # The first of all is let through by the norm of 3,000 it starts with; the later ones are cut.
    assert [clipped[place] < 0.99 * norms[place] for place in (0, 3, 70, 100)] == [False, True, True, True]


def test_norm_clipping(make_config: MakeConfig) -> None:
    start = np.zeros(6)
    clip = {"kind": "norm", "value": 0.5}
    cut = [gradient * min(1.0, 0.5 / float(np.linalg.norm(gradient))) for gradient in GRADIENTS]
    expected = adamw(cut, start, rate=0.01, b1=0.9, b2=0.99, decay=1e-12, amsgrad=False)
    np.testing.assert_allclose(run(training(make_config, clip=clip), GRADIENTS, start), expected, atol=2e-6)
    assert np.abs(run(training(make_config), GRADIENTS, start) - expected).max() > 1e-3


def test_adaptive_clipping_is_used(make_config: MakeConfig) -> None:
    gradients = [np.full(6, 1e6), *GRADIENTS]
    limits = recent([float(np.linalg.norm(gradient)) for gradient in gradients])
    cut = [g * min(1.0, limit / float(np.linalg.norm(g))) for g, limit in zip(gradients, limits, strict=True)]
    expected = adamw(cut, np.zeros(6), rate=0.01, b1=0.9, b2=0.99, decay=1e-12, amsgrad=False)
    found = run(training(make_config, clip={"kind": "adaptive"}), gradients, np.zeros(6))
    np.testing.assert_allclose(found, expected, atol=5e-6)


def rates(config: TrainingConfig, steps: list[int]) -> list[float]:
    with jax.numpy_dtype_promotion("standard"):
        schedule = learning_rate(config)
        return [float(schedule(step)) for step in steps]


def test_warm_up_and_decay(make_config: MakeConfig) -> None:
    steps = [0, 1, 4, 5, 55, 104]
    linear = training(make_config, steps=105, learning_rate=0.6, warmup_steps=5, schedule="linear")
    # The first step is a sixth of the way and not lost; the last is the last above 0.
    assert rates(linear, steps) == pytest.approx([0.1, 0.2, 0.5, 0.6, 0.3, 0.006], rel=1e-5)
    constant = training(make_config, steps=105, learning_rate=0.6, warmup_steps=5, schedule="constant")
    assert rates(constant, steps) == pytest.approx([0.1, 0.2, 0.5, 0.6, 0.6, 0.6], rel=1e-5)
    cosine = training(make_config, steps=105, learning_rate=0.6, warmup_steps=5, schedule="cosine")
    last = 0.3 * (1 + np.cos(np.pi * 0.99))
    assert rates(cosine, steps) == pytest.approx([0.1, 0.2, 0.5, 0.6, 0.3, last], rel=1e-3)


def test_no_warm_up(make_config: MakeConfig) -> None:
    config = training(make_config, steps=100, learning_rate=0.6, warmup_steps=0, schedule="linear")
    assert rates(config, [0, 50, 99]) == pytest.approx([0.6, 0.3, 0.006], rel=1e-5)
    # A training that is all warm-up is one too.
    config = training(make_config, steps=5, learning_rate=0.6, warmup_steps=5)
    assert rates(config, [0, 4]) == pytest.approx([0.1, 0.5], rel=1e-5)


def test_the_average_forgets_its_start() -> None:
    steps = jnp.arange(0, 100_000, dtype=jnp.int32)
    decays = np.asarray(ema_decay(steps, 0.999))
    assert decays[0] == 0.5
    assert decays[80] == pytest.approx(0.9)
    assert decays[-1] == pytest.approx(0.999)
    assert (np.diff(decays) >= 0).all()
    # What is left of the weights at the start, after 100 steps and in the end.
    assert np.prod(decays[:100]) < 1e-8
    average = 0.0
    for decay in decays[:3000]:
        average = decay * average + (1 - decay) * 7.0
    assert average == pytest.approx(7.0)
