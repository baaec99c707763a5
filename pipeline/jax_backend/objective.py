"""What training asks of an objective, and what sampling asks of one that generates molecules."""

from typing import Any, Protocol

from jax import Array

from pipeline.jax_backend.egnn import EGNN
from pipeline.jax_backend.features import Cloud
from pipeline.training.noisy_batches import NoisyBatch

Params = Any


class Objective(Protocol):
    """What to minimise."""

    @property
    def model(self) -> EGNN:
        """The network."""

    @property
    def features(self) -> int:
        """K, the number of an atom's features."""

    @property
    def elements(self) -> tuple[int, ...]:
        """The atomic number of each type."""

    def losses(self, params: Params, batch: NoisyBatch[Array], teacher: Params) -> Array:
        """Return the loss of every molecule, [B].

        ``teacher`` has the parameters of the run that this one's configuration names as its teacher, without gradient;
        of no meaning where it names none.
        """


class GenerativeObjective(Objective, Protocol):
    """An objective whose network denoises, so that it can be sampled."""

    def denoise(self, params: Params, mask: Array, noisy: Cloud, sigma: Array, condition: Array | None = None) -> Cloud:
        """Return the estimate of the clean cloud from one at the variance-exploding level ``sigma`` (scalar).

        ``condition`` [B, C] is that of each molecule in a conditional run; None withholds it.
        """
