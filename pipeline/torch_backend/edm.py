"""The EDM objective (Hoogeboom et al. 2022); notation and losses are those of ``pipeline.jax_backend.edm``."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.special import ndtr

from pipeline.diffusion.feature_scales import CHARGE_SCALE, TYPE_SCALE, Scales
from pipeline.diffusion.schedules import VariancePreserving
from pipeline.torch_backend.egnn import EGNN
from pipeline.torch_backend.features import Cloud
from pipeline.torch_backend.objective import GenerativeObjective
from pipeline.training.noisy_batches import NoisyBatch


class EDM(GenerativeObjective):
    """The objective; the attributes are those of the class of the other backend."""

    alpha: Tensor
    sigma: Tensor
    bound_weight: Tensor
    feature_scales: Tensor

    def __init__(self, model: EGNN, schedule: VariancePreserving, scales: Scales, *, loss: str):
        """Make the objective; the schedule's tables move with it to a device, and stay in double precision."""
        super().__init__()
        self.model, self.schedule, self.scales, self.loss = model, schedule, scales, loss
        # SNR_{t-1} / SNR_t - 1, twice the weight of the squared error in L_t; 0 at t = 0.
        weight = np.append(0.0, schedule.snr[:-1] / schedule.snr[1:] - 1.0)
        tables = {
            "alpha": schedule.alpha,
            "sigma": schedule.sigma,
            "bound_weight": weight,
            "feature_scales": np.array([scales.types] * len(scales.elements) + [scales.charges]),
        }
        for name, table in tables.items():
            self.register_buffer(name, torch.tensor(table), persistent=False)

    @property
    def elements(self) -> tuple[int, ...]:
        """The atomic number of each type."""
        return self.scales.elements

    # --- the network --------------------------------------------------------------------------------------------------

    def predict_noise(
        self, z: Cloud, mask: Tensor, *, t: Tensor, alpha: Tensor, sigma: Tensor, condition: Tensor | None = None
    ) -> Cloud:
        """Return the network's estimate of eps in the cloud z in VP units, at the step t / T [B]."""
        if not self.model.config.preconditioned:
            time = t[:, None, None] * mask[..., None]
            return Cloud(*self.model(z.x, torch.cat([z.h, time], dim=-1), mask, condition=condition))
        # The linear estimate of eps for Gaussian data, plus the network times the error of that estimate, so that the
        # network's input and target have unit variance at every t (Karras et al., eq. 7, written for eps and VP).
        alpha, sigma = alpha[:, None, None], sigma[:, None, None]
        scale_x, scale_h = self.scales.coordinates, self.feature_scales.to(z.h.dtype)
        variance_x = (alpha * scale_x).square() + sigma.square()
        variance_h = (alpha * scale_h).square() + sigma.square()
        # Coordinates twice as wide as unit variance: bonds then lie in the middle of the radial functions.
        x = z.x * 2.0 * variance_x.rsqrt()
        h = z.h * variance_h.rsqrt()
        level = ((sigma / alpha).log() / 4.0) * mask[..., None]
        out = Cloud(*self.model(x, torch.cat([h, level], dim=-1), mask, condition=condition))
        return Cloud(
            sigma / variance_x * z.x + alpha * scale_x * variance_x.rsqrt() * out.x,
            sigma / variance_h * z.h + alpha * scale_h * variance_h.rsqrt() * out.h,
        )

    def denoise(self, mask: Tensor, noisy: Cloud, sigma: float, condition: Tensor | None = None) -> Cloud:
        """Return the estimate of the clean cloud from one at the VE level ``sigma``."""
        grid = np.linspace(0.0, 1.0, self.schedule.steps + 1)
        t = float(np.interp(np.log(sigma), np.log(self.schedule.sigma_ve), grid))
        alpha = (1.0 + sigma**2) ** -0.5
        z = Cloud(alpha * noisy.x, alpha * noisy.h)
        every = mask.new_ones(mask.shape[0])
        noise = self.predict_noise(
            z, mask, t=t * every, alpha=alpha * every, sigma=sigma * alpha * every, condition=condition
        )
        return Cloud(noisy.x - sigma * noise.x, noisy.h - sigma * noise.h)

    # --- the loss -----------------------------------------------------------------------------------------------------

    def losses(self, batch: NoisyBatch[Tensor], teacher: EGNN | None = None) -> Tensor:
        """Return the loss of every molecule, [B]."""
        del teacher
        if self.loss == "vlb":
            return (self.schedule.steps + 1) * self.bound_losses(batch)
        error_x, error_h, types = self._errors(batch)
        dimensions = (3 + self.features) * batch.mask.sum(dim=1)
        at_0, at_t = 0.5 * error_x / dimensions + types, 0.5 * (error_x + error_h) / dimensions
        return torch.where(batch.t == 0, at_0, at_t)

    def bound_losses(self, batch: NoisyBatch[Tensor]) -> Tensor:
        """Return L_t for t > 0 and L_0 without its constant for t = 0, in nats, [B] (EDM, section 3)."""
        error_x, error_h, types = self._errors(batch)
        loss_t = 0.5 * self.bound_weight[batch.t].to(error_x.dtype) * (error_x + error_h)
        return torch.where(batch.t == 0, 0.5 * error_x + types, loss_t)

    def _errors(self, batch: NoisyBatch[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the squared errors of eps for coordinates and for features, and -log p(h | z), each [B]."""
        data, eps, mask, t, *_ = batch
        alpha, sigma = (table[t].to(mask.dtype) for table in (self.alpha, self.sigma))
        z = Cloud(*(alpha[:, None, None] * x + sigma[:, None, None] * e for x, e in zip(data, eps, strict=True)))
        t = t.to(alpha) / self.schedule.steps
        guess = self.predict_noise(z, mask, t=t, alpha=alpha, sigma=sigma, condition=batch.condition)
        error_x, error_h = ((e - g).square().sum(dim=(1, 2)) for e, g in zip(eps, guess, strict=True))
        return error_x, error_h, -self.log_likelihood_of_types(data, z, mask)

    def log_likelihood_of_types(self, data: Cloud, z: Cloud, mask: Tensor) -> Tensor:
        """Return log p(h | z_0), [B]: Gaussian mass of each feature's interval (EDM appendix A)."""
        sigma = float(self.schedule.sigma[0])
        types, charges = data.h[..., :-1] * TYPE_SCALE, data.h[..., -1] * CHARGE_SCALE
        z_types, z_charges = z.h[..., :-1] * TYPE_SCALE, z.h[..., -1] * CHARGE_SCALE

        def log_mass(centred: Tensor, width: float) -> Tensor:
            return torch.log(ndtr((centred + 0.5) / width) - ndtr((centred - 0.5) / width) + 1e-10)

        log_charges = log_mass(charges - z_charges, sigma * CHARGE_SCALE)
        log_types = functional.log_softmax(log_mass(z_types - 1.0, sigma * TYPE_SCALE), dim=-1)
        return ((log_charges + (log_types * types).sum(dim=-1)) * mask).sum(dim=1)
