"""Consistency models: f(x_t, t) is where the path through x_t began, so that neighbours on a path agree.

Song et al. 2023 (arXiv 2303.01469) for the idea and for kinds ct and distillation, Song and Dhariwal 2023 (arXiv
2310.14189) for ict, Geng et al. 2024 (ECT, arXiv 2406.14548) for tuning. Which levels are compared, and how a pair is
weighed, is ``pipeline.diffusion.training_levels``.
"""

import torch
from torch import Tensor

from pipeline.diffusion.feature_scales import Scales
from pipeline.study.config import ConsistencyConfig
from pipeline.torch_backend.denoiser import Preconditioned, at_level
from pipeline.torch_backend.egnn import EGNN
from pipeline.torch_backend.features import Cloud, combine
from pipeline.torch_backend.objective import Frozen
from pipeline.training.constants import SMALLEST_LEVEL
from pipeline.training.noisy_batches import NoisyBatch


class Consistency(Preconditioned):
    """The training of a consistency model.

    Attributes:
      config: the kind of pairs, and the distance.
    """

    def __init__(
        self,
        model: EGNN,
        sigma_data: Scales,
        *,
        epsilon: float,
        preconditioning: str = "karras",
        config: ConsistencyConfig,
    ):
        """Make the objective."""
        super().__init__(model, sigma_data, epsilon=epsilon, preconditioning=preconditioning)
        self.config = config

    def losses(self, batch: NoisyBatch[Tensor], frozen: Frozen) -> Tensor:
        """Return weight(t, r) d(f(x_t, t), f(x_r, r)), [B]; the second, the target, gets no gradient.

        x_r lies on the straight line from x_t to the data, with the same noise (an unbiased step of the probability
        flow); for kind distillation it is a Heun step of the teacher. The target's weights are the trained ones
        themselves, or for kind ct their average.
        """
        data, noise, mask, t, r, weight, condition = batch
        assert r is not None and weight is not None
        noisy = at_level(data, noise, t)
        with torch.no_grad():
            if self.config.kind == "distillation":
                earlier = self._heun_step(frozen.teacher, mask, noisy, t, r, condition)
            else:
                earlier = at_level(data, noise, r)
            network = frozen.averaged if self.config.kind == "ct" else self.model
            target, _ = self.raw(network, mask, earlier, r, condition)
        estimate, _ = self.raw(self.model, mask, noisy, t, condition)
        return weight * self._distance(estimate, target, mask)

    def _distance(self, estimate: Cloud, target: Cloud, mask: Tensor) -> Tensor:
        """Return the squared or pseudo-Huber distance (iCT, eq. 8) for each of 3 N dimensions, [B]."""
        squares = combine(lambda a, b: (a - b).square().sum(dim=(1, 2)), estimate, target)
        square = squares.x + self.config.type_weight * squares.h
        dimension = 3.0 * mask.sum(dim=1)
        if self.config.huber == 0.0:
            return square / dimension
        c = self.config.huber * dimension.sqrt()
        return ((square + c.square()).sqrt() - c) / dimension

    def _heun_step(
        self, teacher: EGNN, mask: Tensor, noisy: Cloud, t: Tensor, r: Tensor, condition: Tensor | None
    ) -> Cloud:
        """Return the teacher's estimate of x_r on the path through ``noisy`` = x_t (arXiv 2303.01469, eq. 6)."""

        def slope(state: Cloud, sigma: Tensor) -> Cloud:
            clean, _ = self.raw(teacher, mask, state, sigma, condition)
            # Where r is 0 the corrector is not taken.
            return combine(lambda x, d: (x - d) / sigma.clamp(min=SMALLEST_LEVEL)[:, None, None], state, clean)

        step, corrected = (r - t)[:, None, None], (r > 0.0)[:, None, None]
        first = slope(noisy, t)
        euler = combine(lambda x, d: x + step * d, noisy, first)
        second = slope(euler, r)
        return combine(lambda x, a, b: x + step * torch.where(corrected, 0.5 * (a + b), a), noisy, first, second)
