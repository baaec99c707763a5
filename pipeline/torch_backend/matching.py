"""Distribution matching: a few-step generator whose samples a denoiser finds as likely as data.

Yin et al. 2024 (DMD, arXiv 2311.18828; DMD2, arXiv 2405.14867). The generator G makes x' = G(x_t, t) from noise or from
noisy data. With x'_s = x' + s e, the gradient of the divergence between what G makes and what the teacher has learned
is the difference of two denoisers of x'_s: F, trained beside G on what G makes, and the teacher D (DMD, eq. 7).
Nothing ties G to the teacher's own path from a noise to a molecule: G may choose a map that a small network can learn.
"""

from copy import deepcopy

import torch
from torch import Tensor

from pipeline.diffusion.feature_scales import TYPES, Scales
from pipeline.torch_backend.denoiser import Preconditioned, at_level, unit_errors
from pipeline.torch_backend.egnn import EGNN
from pipeline.torch_backend.features import Cloud, combine
from pipeline.torch_backend.objective import Draws, Frozen


class Matching(Preconditioned):
    """The training of a generator and, as the second network, of the denoiser of what it makes.

    Attributes:
      estimator: the second network.
    """

    def __init__(self, model: EGNN, sigma_data: Scales, *, preconditioning: str = "karras"):
        """Make the objective; the second network has the weights of the first."""
        super().__init__(model, sigma_data, preconditioning=preconditioning)
        self.estimator = deepcopy(model)

    @property
    def networks(self) -> tuple[EGNN, ...]:
        """The generator and the estimator."""
        return self.model, self.estimator

    def losses(self, data: Cloud, mask: Tensor, draws: Draws, frozen: Frozen) -> Tensor:
        """Return the sum of both networks' losses, [B]; each has a gradient for its own network only."""
        t, share_of_data, s = draws.levels.unbind(dim=1)
        unit, score_noise = _split(draws.noise)
        noisy = at_level(combine(lambda x: share_of_data[:, None, None] * x, data), unit, t)
        made, c_out = self.raw(self.model, mask, noisy, t)
        fixed = combine(Tensor.detach, made)
        again = at_level(fixed, score_noise, s)
        with torch.no_grad():
            real, _ = self.raw(frozen.teacher, mask, again, s)
        estimate, c_out_again = self.raw(self.estimator, mask, again, s)
        fake = combine(Tensor.detach, estimate)
        atoms = mask.sum(dim=1)

        def generator_loss(made: Tensor, scale: Tensor, real: Tensor, fake: Tensor, fixed: Tensor) -> Tensor:
            # Normalised for each molecule like DMD's eq. 8, so that every level s counts alike.
            size = (fixed - real).abs().sum(dim=(1, 2)) / (made.shape[-1] * atoms) + 1e-4
            direction = (fake - real) / size[:, None, None]
            return (direction * made / scale).sum(dim=(1, 2))

        parts = combine(generator_loss, made, c_out, real, fake, fixed)
        matching = (parts.x + parts.h) / ((3 + TYPES) * atoms)
        return matching + unit_errors(estimate, fixed, c_out_again, mask)


def _split(noise: Cloud) -> tuple[Cloud, Cloud]:
    """Return the two draws of noise that lie one after the other in the features of one."""
    x, h = noise.x, noise.h
    return Cloud(x, h[..., :TYPES]), Cloud(h[..., TYPES : TYPES + 3], h[..., TYPES + 3 :])
