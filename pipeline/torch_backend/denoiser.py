"""The denoiser of Karras et al. 2022; notation and both forms are those of ``pipeline.jax_backend.denoiser``."""

import torch
from torch import Tensor

from pipeline.diffusion.feature_scales import Scales
from pipeline.torch_backend.egnn import EGNN
from pipeline.torch_backend.features import Cloud, combine
from pipeline.torch_backend.objective import GenerativeObjective
from pipeline.training.constants import SMALLEST_LEVEL
from pipeline.training.noisy_batches import NoisyBatch


class Preconditioned(GenerativeObjective):
    """A network under Karras's preconditioning; the attributes are those of the class of the other backend."""

    def __init__(self, model: EGNN, *, sigma_data: Scales, preconditioning: str):
        """Make the objective."""
        super().__init__()
        self.model, self.sigma_data, self.preconditioning = model, sigma_data, preconditioning

    @property
    def elements(self) -> tuple[int, ...]:
        """The atomic number of each type."""
        return self.sigma_data.elements

    def denoise(self, mask: Tensor, noisy: Cloud, sigma: float, condition: Tensor | None = None) -> Cloud:
        """Return D(noisy, sigma)."""
        return self.raw(self.model, mask, noisy, mask.new_full((len(mask),), sigma), condition)[0]

    def raw(
        self, network: EGNN, mask: Tensor, noisy: Cloud, sigma: Tensor, condition: Tensor | None = None
    ) -> tuple[Cloud, Cloud]:
        """Return D(noisy, sigma), and the factor c_out [B, 1, 1] of coordinates and of types (table 1).

        Args:
          network: one of the objective's own, or one that it is compared with.
          mask: [B, N].
          noisy: the cloud at the level sigma.
          sigma: [B].
          condition: see ``GenerativeObjective.denoise``.
        """
        sigma = sigma[:, None, None]
        scales = (self.sigma_data.coordinates, self.sigma_data.types)
        c_skip = Cloud(*(data**2 / (sigma.square() + data**2) for data in scales))
        c_in = Cloud(*(torch.rsqrt(sigma.square() + data**2) for data in scales))
        c_out = Cloud(*(sigma * data * factor for data, factor in zip(scales, c_in, strict=True)))
        # A level of 0 occurs only where c_out is 0.
        level = sigma.clamp(min=SMALLEST_LEVEL).log() / 4.0 * mask[..., None]
        features = torch.cat([noisy.h * c_in.h, level], dim=-1)
        scale = self.sigma_data.coordinates
        # Coordinates twice as wide as unit variance: bonds then lie in the middle of the radial functions.
        if self.preconditioning == "karras":
            out = Cloud(*network(2.0 * c_in.x * noisy.x, features, mask, condition=condition))
            x = c_skip.x * noisy.x + c_out.x * out.x
        else:
            # The root of a quotient: exactly the identity where c_out is 0, which a reciprocal root is not.
            scaled = c_skip.x.sqrt() * noisy.x
            out = Cloud(*network(2.0 / scale * scaled, features, mask, c_out.x[:, 0, 0] / scale, condition))
            x = scaled + 0.5 * scale * out.x
        return Cloud(x, c_skip.h * noisy.h + c_out.h * out.h), c_out


def at_level(data: Cloud, noise: Cloud, sigma: Tensor) -> Cloud:
    """Return x + sigma z for levels [B]."""
    return combine(lambda x, z: x + sigma[:, None, None] * z, data, noise)


def unit_errors(clean: Cloud, data: Cloud, c_out: Cloud, mask: Tensor) -> Tensor:
    """Return |D - x|^2 / (2 c_out^2 (3 + T) N), [B]: the network's target has unit weight at every level (eq. 8)."""
    errors = combine(lambda d, x, scale: ((d - x) / scale).square().sum(dim=(1, 2)), clean, data, c_out)
    return 0.5 * (errors.x + errors.h) / ((3 + data.h.shape[-1]) * mask.sum(dim=1))


class Denoiser(Preconditioned):
    """The denoiser's training."""

    def losses(self, batch: NoisyBatch[Tensor], teacher: EGNN) -> Tensor:
        """Return the loss of every molecule at the levels sigma, see ``unit_errors``."""
        del teacher
        noisy = at_level(batch.data, batch.noise, batch.t)
        clean, c_out = self.raw(self.model, batch.mask, noisy, batch.t, batch.condition)
        return unit_errors(clean, batch.data, c_out, batch.mask)
