from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import jax
import pytest

from pipeline.jax_backend.edm import EDM
from pipeline.noise import polynomial_schedule
from pipeline.scales import Scales


@dataclass
class FakeNetwork:
    """A network that answers with given clouds, whatever it is asked; it keeps the questions."""

    answer: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    preconditioned: bool = False
    asked: list[Any] = field(default_factory=list)

    @property
    def config(self) -> SimpleNamespace:
        return SimpleNamespace(preconditioned=self.preconditioned)

    def apply(self, params: Any, x: jax.Array, h: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        self.asked.append((x, h))
        return self.answer(x, h)


SCALES = Scales(coordinates=1.4, types=0.112, charges=0.45)


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
