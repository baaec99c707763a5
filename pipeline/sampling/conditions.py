"""What molecules are sampled for: their sizes, atoms and values of properties."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.elements import parse_formula
from pipeline.chemistry.molecules import Molecules
from pipeline.data.properties import PropertyStatistics, Values
from pipeline.data.statistics import Statistics
from pipeline.sampling.molecule_batches import choose_sizes
from pipeline.sampling.sampler import MoleculeSampler
from pipeline.study.config import SamplerConfig


@dataclass(frozen=True, eq=False)
class Request:
    """What M molecules are sampled for.

    Attributes:
      sizes: atoms of each, [M].
      atoms: the atomic numbers of every molecule; empty if the model chooses them.
      fixed: one molecule that every other contains at its place; None for none.
      values: of the properties, [M, P]; None without a condition.
      context: these values as the network takes them, see ``PropertyStatistics.context``; None without a condition.
      size_warnings: what is unusual about the sizes.
      property_warnings: what is unusual about the values.
    """

    sizes: npt.NDArray[np.int32]
    atoms: tuple[int, ...]
    fixed: Molecules | None
    values: Values | None
    context: npt.NDArray[np.float32] | None
    size_warnings: Sequence[str]
    property_warnings: Sequence[str]

    @classmethod
    def of(
        cls,
        statistics: Statistics,
        properties: PropertyStatistics | None,
        sampler: SamplerConfig,
        *,
        sizes: Sequence[int] | None,
        formula: str | None,
        fixed: Molecules | None,
    ) -> Self:
        """Complete a request with what it leaves out, drawn as in the training data.

        Args:
          statistics: of the training molecules.
          properties: those of a conditional run; None for other runs.
          sampler: its number of molecules and seed, and the values of its properties: None draws them from training
            molecules of the same size, {} asks for none.
          sizes: atoms of each molecule; None draws them.
          formula: sum formula of every molecule, instead of ``sizes``.
          fixed: one molecule that every other is to contain at its place.

        Raises:
          InputError: a size, the formula or a value is not possible.
        """
        atoms = parse_formula(formula) if formula else ()
        above = 0 if fixed is None else int(fixed.sizes.max())
        chosen, outside = choose_sizes(statistics, sampler, [len(atoms)] * sampler.num if atoms else sizes, above=above)
        asked = sampler.properties
        if properties is None or asked == {}:
            return cls(chosen, atoms, fixed, None, None, outside, [])
        values = properties.draw(chosen, sampler.seed) if asked is None else properties.given(asked, len(chosen))
        context = properties.context(values, chosen)
        return cls(chosen, atoms, fixed, values, context, outside, properties.warnings(values))

    def apply(self, program: MoleculeSampler) -> MoleculeSampler:
        """Return a sampler of the run for these molecules.

        Raises:
          InputError: the sampler or the run takes no such formula, or no such fixed atoms.
        """
        if self.fixed is not None:
            program = program.holding(self.fixed, self.atoms)
        elif self.atoms:
            program = program.of_composition(self.atoms)
        return program.given(self.context)
