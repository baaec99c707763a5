"""The EDM objective: a variance-preserving diffusion with eps-prediction (Hoogeboom et al. 2022, arXiv 2203.17003).

Notation. z_t = alpha_t x + sigma_t eps; t = 0, ..., T; SNR_t = alpha_t^2 / sigma_t^2. The cloud x stands for
coordinates (free of a centre of mass, so of dimension 3 (N - 1)) together with the features h = [one-hot / 4, Z / 10].
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.stats import norm

from pipeline.diffusion.feature_scales import CHARGE_SCALE, TYPE_SCALE, Scales
from pipeline.diffusion.schedules import VariancePreserving
from pipeline.jax_backend.egnn import EGNN
from pipeline.jax_backend.features import Cloud
from pipeline.jax_backend.objective import Params
from pipeline.training.noisy_batches import NoisyBatch


@dataclass(frozen=True)
class EDM:
    """The objective: what to draw, what to minimise, how to denoise.

    Attributes:
      model: the network, with as many output features as an atom has.
      schedule: alpha_t and sigma_t.
      scales: of the data, and its elements; the numbers are used where ``model.config.preconditioned``.
      loss: ``l2`` (L_t with weight 1) or ``vlb`` (with the weight of the variational bound).
    """

    model: EGNN
    schedule: VariancePreserving
    scales: Scales
    loss: str

    @property
    def features(self) -> int:
        """K: the one-hot types and the charge."""
        return len(self.elements) + 1

    @property
    def elements(self) -> tuple[int, ...]:
        """The atomic number of each type."""
        return self.scales.elements

    # --- the network --------------------------------------------------------------------------------------------------

    def predict_noise(
        self,
        params: Params,
        z: Cloud,
        mask: Array,
        *,
        t: Array,
        alpha: Array,
        sigma: Array,
        condition: Array | None = None,
    ) -> Cloud:
        """Return the network's estimate of eps.

        Args:
          params: of the network.
          z: the noisy cloud in VP units.
          mask: [B, N].
          t: the step divided by T, [B].
          alpha: [B].
          sigma: [B].
          condition: see ``GenerativeObjective.denoise``.
        """
        if not self.model.config.preconditioned:
            time = t[:, None, None] * mask[..., None]
            features = jnp.concatenate([z.h, time], axis=-1)
            return Cloud(*self.model.apply(params, z.x, features, mask, condition=condition))
        # The linear estimate of eps for Gaussian data, plus the network times the error of that estimate, so that the
        # network's input and target have unit variance at every t (Karras et al., eq. 7, written for eps and VP).
        alpha, sigma = alpha[:, None, None], sigma[:, None, None]
        scale = jnp.array([self.scales.types] * len(self.scales.elements) + [self.scales.charges])
        variance_x = (alpha * self.scales.coordinates) ** 2 + sigma**2
        variance_h = (alpha * scale) ** 2 + sigma**2
        # Coordinates twice as wide as unit variance: bonds then lie in the middle of the radial functions.
        x = z.x * 2.0 * jax.lax.rsqrt(variance_x)
        h = z.h * jax.lax.rsqrt(variance_h)
        level = (jnp.log(sigma / alpha) / 4.0) * mask[..., None]
        features = jnp.concatenate([h, level], axis=-1)
        out = Cloud(*self.model.apply(params, x, features, mask, condition=condition))
        return Cloud(
            sigma / variance_x * z.x + alpha * self.scales.coordinates * jax.lax.rsqrt(variance_x) * out.x,
            sigma / variance_h * z.h + alpha * scale * jax.lax.rsqrt(variance_h) * out.h,
        )

    def denoise(self, params: Params, mask: Array, noisy: Cloud, sigma: Array, condition: Array | None = None) -> Cloud:
        """Return the estimate of the clean cloud from one at the VE level ``sigma`` (scalar)."""
        grid = np.linspace(0.0, 1.0, self.schedule.steps + 1)
        t = jnp.interp(jnp.log(sigma), jnp.asarray(np.log(self.schedule.sigma_ve)), jnp.asarray(grid))
        batch = mask.shape[0]
        alpha = jnp.broadcast_to(jax.lax.rsqrt(1.0 + sigma**2), (batch,))
        z = jax.tree.map(lambda value: alpha[:, None, None] * value, noisy)
        t = jnp.broadcast_to(t, (batch,))
        noise = self.predict_noise(params, z, mask, t=t, alpha=alpha, sigma=sigma * alpha, condition=condition)
        clean: Cloud = jax.tree.map(lambda value, eps: value - sigma * eps, noisy, noise)
        return clean

    # --- the loss -----------------------------------------------------------------------------------------------------

    def losses(self, params: Params, batch: NoisyBatch[Array], teacher: Params = None) -> Array:
        """Return the loss of every molecule, [B].

        ``l2``: |eps - eps_hat|^2 / (2 (3 + K) N), so that every molecule counts alike whatever it is padded to, and at
        t = 0 the reconstruction term L_0 with its coordinate part scaled likewise. ``vlb``: (T + 1) L_t, an unbiased
        estimate of the bound without its constants.
        """
        del teacher
        if self.loss == "vlb":
            return (self.schedule.steps + 1) * self.bound_losses(params, batch)
        error, types = self._errors(params, batch)
        dimensions = (3 + self.features) * jnp.sum(batch.mask, axis=1)
        return jnp.where(batch.t == 0, 0.5 * error.x / dimensions + types, 0.5 * (error.x + error.h) / dimensions)

    def bound_losses(self, params: Params, batch: NoisyBatch[Array]) -> Array:
        """Return L_t for t > 0 and L_0 without its constant for t = 0, in nats, [B] (EDM, section 3)."""
        error, types = self._errors(params, batch)
        loss_t = 0.5 * self.bound_weight(batch.t) * (error.x + error.h)
        return jnp.where(batch.t == 0, 0.5 * error.x + types, loss_t)

    def _errors(self, params: Params, batch: NoisyBatch[Array]) -> tuple[Cloud, Array]:
        """Return the squared errors of eps for coordinates and for features, and -log p(h | z), each [B]."""
        alpha = jnp.asarray(self.schedule.alpha)[batch.t]
        sigma = jnp.asarray(self.schedule.sigma)[batch.t]
        z = jax.tree.map(lambda x, eps: alpha[:, None, None] * x + sigma[:, None, None] * eps, batch.data, batch.noise)
        t = batch.t.astype(alpha.dtype) / self.schedule.steps
        estimate = self.predict_noise(params, z, batch.mask, t=t, alpha=alpha, sigma=sigma, condition=batch.condition)
        error = jax.tree.map(lambda eps, guess: jnp.sum((eps - guess) ** 2, axis=(1, 2)), batch.noise, estimate)
        return error, -self.log_likelihood_of_types(batch.data, z, batch.mask)

    def bound_weight(self, t: Array) -> Array:
        """Return SNR_{t-1} / SNR_t - 1, twice the weight of the squared error in L_t, [B]; 0 at t = 0."""
        snr = self.schedule.snr
        weight = np.concatenate([[0.0], snr[:-1] / snr[1:] - 1.0])
        return jnp.asarray(weight)[t]

    def log_likelihood_of_types(self, data: Cloud, z: Cloud, mask: Array) -> Array:
        """Return log p(h | z_0), [B]: Gaussian mass of each feature's interval (EDM appendix A)."""
        sigma = float(self.schedule.sigma[0])
        types, charges = data.h[..., :-1] * TYPE_SCALE, data.h[..., -1] * CHARGE_SCALE
        z_types, z_charges = z.h[..., :-1] * TYPE_SCALE, z.h[..., -1] * CHARGE_SCALE

        def log_mass(centred: Array, width: float) -> Array:
            return jnp.log(norm.cdf((centred + 0.5) / width) - norm.cdf((centred - 0.5) / width) + 1e-10)

        log_charges = log_mass(charges - z_charges, sigma * CHARGE_SCALE)
        log_types = jax.nn.log_softmax(log_mass(z_types - 1.0, sigma * TYPE_SCALE), axis=-1)
        return jnp.sum((log_charges + jnp.sum(log_types * types, axis=-1)) * mask, axis=1)
