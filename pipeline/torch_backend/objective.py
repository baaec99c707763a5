"""What training and sampling ask of an objective, whatever it minimises."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from pipeline.torch_backend.egnn import EGNN
from pipeline.torch_backend.features import Cloud
from pipeline.training.noisy_batches import NoisyBatch


class Objective(nn.Module, ABC):
    """What to minimise.

    Attributes:
      model: the network.
    """

    model: EGNN

    @property
    def like(self) -> Tensor:
        """A tensor of the device and type that inputs should have."""
        return self.model.embedding.kernel

    @property
    @abstractmethod
    def elements(self) -> tuple[int, ...]:
        """The atomic number of each type."""

    @property
    def features(self) -> int:
        """K, the number of an atom's features: unless it is a regressor's, those that the network returns."""
        return self.model.output.kernel.shape[-1]

    @abstractmethod
    def losses(self, batch: NoisyBatch[Tensor], teacher: EGNN) -> Tensor:
        """Return the loss of every molecule, [B].

        ``teacher`` is the network of the run that this one's configuration names as its teacher, without gradient; of
        no meaning where it names none.
        """


class GenerativeObjective(Objective):
    """An objective whose network denoises, so that it can be sampled."""

    @abstractmethod
    def denoise(self, mask: Tensor, noisy: Cloud, sigma: float, condition: Tensor | None = None) -> Cloud:
        """Return the estimate of the clean cloud from one at the variance-exploding level ``sigma``.

        ``condition`` [B, C] is that of each molecule in a conditional run; None withholds it.
        """
