"""Consistency models: f(x_t, t) is where the path through x_t began, so that neighbours on a path agree.

Song et al. 2023 (arXiv 2303.01469) for the idea, Song and Dhariwal 2023 (arXiv 2310.14189) for the distance,
Geng et al. 2024 (ECT, arXiv 2406.14548) for tuning, Luhman and Luhman 2021 (arXiv 2101.02388) for distillation. Which
levels are compared, and how a pair is weighed, is ``pipeline.diffusion.training_levels``.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor

from pipeline.diffusion.feature_scales import Scales
from pipeline.study.config import ConsistencyConfig
from pipeline.torch_backend.denoiser import Preconditioned, at_level
from pipeline.torch_backend.egnn import EGNN
from pipeline.torch_backend.features import Cloud, combine
from pipeline.training.noisy_batches import NoisyBatch


class Consistency(Preconditioned):
    """The training of a consistency model.

    Attributes:
      config: the kind of pairs, and the distance.
    """

    def __init__(self, model: EGNN, *, config: ConsistencyConfig, sigma_data: Scales, preconditioning: str):
        """Make the objective."""
        super().__init__(model, sigma_data=sigma_data, preconditioning=preconditioning)
        self.config = config

    def losses(self, batch: NoisyBatch[Tensor], teacher: EGNN) -> Tensor:
        """Return weight(t, r) d(f(x_t, t), f(x_r, r)), [B]; the second, the target, gets no gradient.

        x_r lies on the straight line from x_t to the data, with the same noise (an unbiased step of the probability
        flow). The target's weights are the trained ones themselves.

        For kind distillation x_t is pure noise, and the target is the molecule that the teacher makes of it.
        """
        data, noise, mask, t, r, weight, condition = batch
        assert r is not None and weight is not None
        with torch.no_grad():
            if self.config.kind == "distillation":
                noisy = self._first_cloud(noise)
                target = self._teacher_sample(teacher, mask, noise, condition)
            else:
                noisy = at_level(data, noise, t)
                target, _ = self.raw(self.model, mask, at_level(data, noise, r), r, condition)
        estimate, _ = self.raw(self.model, mask, noisy, t, condition)
        return weight * self._distance(estimate, target, mask)

    def _first_cloud(self, noise: Cloud) -> Cloud:
        """Return the cloud that sampling starts from at the first level of the path (``few_step``)."""
        first = self.config.path[0]
        scales = (self.sigma_data.coordinates, self.sigma_data.types)
        return Cloud(*(math.hypot(first, scale) * z for scale, z in zip(scales, noise, strict=True)))

    def _teacher_sample(self, teacher: EGNN, mask: Tensor, noise: Cloud, condition: Tensor | None) -> Cloud:
        """Return what the teacher's calls at all levels of the path make of one draw of noise."""
        state = self._first_cloud(noise)
        for sigma, lower in pairwise([*self.config.path, 0.0]):
            estimate, _ = self.raw(teacher, mask, state, mask.new_full((len(mask),), sigma), condition)
            state = at_level(estimate, noise, mask.new_full((len(mask),), lower))
        return state

    def _distance(self, estimate: Cloud, target: Cloud, mask: Tensor) -> Tensor:
        """Return the squared or pseudo-Huber distance (Song and Dhariwal, eq. 8) for each of 3 N dimensions, [B]."""
        squares = combine(lambda a, b: (a - b).square().sum(dim=(1, 2)), estimate, target)
        square = squares.x + self.config.type_weight * squares.h
        dimension = 3.0 * mask.sum(dim=1)
        if self.config.huber == 0.0:
            return square / dimension
        c = self.config.huber * dimension.sqrt()
        return ((square + c.square()).sqrt() - c) / dimension
