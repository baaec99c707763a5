from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.diffusion.clouds import draw_noise, one_hot
from pipeline.diffusion.feature_scales import Scales
from pipeline.diffusion.schedules import polynomial_schedule
from pipeline.jax_backend.edm import EDM
from pipeline.jax_backend.features import Cloud, node_mask
from pipeline.training.noisy_batches import NoisyBatch

Doubles = npt.NDArray[np.float64]


@dataclass
class FakeNetwork:
    """A network that returns given clouds for any input, and records its inputs."""

    answer: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    preconditioned: bool = False
    recorded: list[Any] = field(default_factory=list)

    @property
    def config(self) -> SimpleNamespace:
        return SimpleNamespace(preconditioned=self.preconditioned)

    def apply(
        self, params: Any, x: jax.Array, h: jax.Array, mask: jax.Array, step: Any = None, condition: Any = None
    ) -> tuple[jax.Array, jax.Array]:
        self.recorded.append((x, h))
        return self.answer(x, h)


SCALES = Scales(coordinates=1.4, types=0.112, charges=0.45, elements=(1, 6, 7, 8, 9))


@pytest.fixture
def make_objective() -> Callable[..., EDM]:
    """An objective around a network that is a function of (x, h)."""

    def make(
        answer: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]],
        *,
        preconditioned: bool = False,
        steps: int = 10,
        precision: float = 1e-3,
        loss: str = "l2",
    ) -> EDM:
        network: Any = FakeNetwork(answer, preconditioned)
        return EDM(network, polynomial_schedule(steps=steps, precision=precision), SCALES, loss)

    return make


# --- for the objectives that know coordinates and types ---------------------------------------------------------------


class LinearNetwork:
    """A network of two parameters: factors of its input coordinates and types."""

    def apply(
        self,
        params: jax.Array,
        x: jax.Array,
        h: jax.Array,
        mask: jax.Array,
        step: jax.Array | None = None,
        condition: Any = None,
    ) -> tuple[jax.Array, jax.Array]:
        del mask
        return params[0] * x * (1.0 if step is None else step[:, None, None]), params[1] * h[..., :5]


class Pair(NamedTuple):
    """A cloud in double precision."""

    x: Doubles
    h: Doubles


SIZES = np.array([3, 5, 2], np.int32)
MASK = node_mask(jnp.asarray(SIZES), 5)
ATOMIC_NUMBERS = np.array([[8, 1, 1, 0, 0], [6, 1, 9, 7, 1], [1, 1, 0, 0, 0]], np.uint8)
DATA = Pair(
    1.4 * draw_noise(np.random.default_rng(7), SIZES, 5, 0).astype(np.float64),
    one_hot(ATOMIC_NUMBERS, SCALES.elements).astype(np.float64) / 4.0,
)


def unit_noise(seed: int) -> Pair:
    """Return noise for the three molecules of ``SIZES``."""
    noise = draw_noise(np.random.default_rng(seed), SIZES, 5, 5).astype(np.float64)
    return Pair(noise[..., :3], noise[..., 3:])


def cloud(pair: Pair) -> Cloud:
    return Cloud(jnp.asarray(pair.x, jnp.float32), jnp.asarray(pair.h, jnp.float32))


def widened(batch: NoisyBatch[jax.Array]) -> NoisyBatch[jax.Array]:
    """Return the batch with four more places of padding."""
    widths = {3: ((0, 0), (0, 4), (0, 0)), 2: ((0, 0), (0, 4)), 1: ((0, 0),)}
    return batch.map(lambda part: jnp.pad(part, widths[part.ndim]))


def noisy(data: Pair, noise: Pair, sigma: Any) -> Pair:
    """Return the data at the levels ``sigma`` [B]."""
    column = np.asarray(sigma, np.float64)[:, None, None]
    return Pair(data.x + column * noise.x, data.h + column * noise.h)


def factors(sigma: Any, scale: float) -> tuple[Doubles, Doubles, Doubles]:
    """Return c_skip, c_out and c_in of Karras et al. (table 1), each [B, 1, 1]."""
    column = np.asarray(sigma, np.float64)[:, None, None]
    c_skip = scale**2 / (column**2 + scale**2)
    c_out = column * scale / np.sqrt(column**2 + scale**2)
    return c_skip, c_out, 1 / np.sqrt(column**2 + scale**2)


def plainly(params: Any, state: Pair, sigma: Any) -> Pair:
    """Return what a ``LinearNetwork`` with ``SCALES`` makes of a noisy cloud at the levels ``sigma`` [B]."""
    of_x, of_h = np.asarray(params, np.float64)
    (skip_x, out_x, in_x), (skip_h, out_h, in_h) = (
        factors(sigma, scale) for scale in (SCALES.coordinates, SCALES.types)
    )
    return Pair(skip_x * state.x + out_x * of_x * 2 * in_x * state.x, skip_h * state.h + out_h * of_h * in_h * state.h)


def squares(part: Doubles) -> Doubles:
    """Return the sum of squares of every molecule, [B]."""
    total: Doubles = np.square(part).sum((1, 2))
    return total
