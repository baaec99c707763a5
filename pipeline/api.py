"""The project from Python: a trained run, and molecules from it.

from pipeline import load_run

molecules = load_run("few-step").sample(num=50, calls=4)
"""

import functools
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.backends import Backend, load_backend
from pipeline.chemistry.molecules import Molecules
from pipeline.core.errors import InputError
from pipeline.diffusion.objectives import OBJECTIVES
from pipeline.sampling.conditions import Request
from pipeline.sampling.molecule_batches import found_levels
from pipeline.sampling.sampler import MoleculeSampler
from pipeline.study.config import SamplerConfig, check_sampler_of, sampler_config
from pipeline.study.released import released_names, released_path
from pipeline.training.run_folder import Weights, read_weights


class Run:
    """A trained run.

    Attributes:
      weights: its weights, configuration and provenance.
    """

    def __init__(self, path: str | os.PathLike[str]):
        """Read weights from a file or a run's folder, or those of a released model by its name.

        Raises:
          InputError: there are none, or they are damaged.
        """
        file = Path(path)
        if str(path) in released_names():
            file = released_path(str(path))
        elif file.is_dir():
            file = file / "weights.safetensors"
        elif not file.exists():
            released = ", ".join(released_names())
            raise InputError(f"{path}: no such file, nor a released model; there are {released}")
        self._levels = file.parent / "levels"
        self.weights: Weights = read_weights(file)

    def sampler(self, *, calls: int, num: int = 1000, seed: int = 0, guidance: float = 0.0) -> SamplerConfig:
        """Return the sampler with so many network calls a molecule.

        That is Heun's method for a diffusion model, and for a few-step model the levels that were found for them.

        Raises:
          InputError: there is no such sampler for this run.
        """
        settings = {"num": num, "seed": seed, "guidance": guidance}
        name, traits = self.weights.config.name, OBJECTIVES[self.weights.config.objective]
        if not traits.progress_sampler:
            raise InputError(f"{name}: it predicts properties and generates no molecules")
        if not traits.few_step:
            if calls % 2 == 0 or calls < 3:
                raise InputError(f"{name}: Heun's method takes 3, 5, 7, ... network calls, not {calls}")
            steps = (calls + 1) // 2
            return sampler_config(settings | {"name": f"heun-{steps}", "kind": "heun", "steps": steps})
        of_weights = {**self.weights.config.known_levels, **self.weights.levels}
        levels = of_weights.get(calls)
        if levels is None and (path := self._levels / f"{calls}.json").exists():
            levels = found_levels(path, calls)
        if levels is None:
            known = {*of_weights, *(int(path.stem) for path in self._levels.glob("[0-9]*.json"))}
            others = f" (only for {', '.join(map(str, sorted(known)))})" if known else ""
            missing = f"{name}: there are no noise levels for {calls} network calls{others}"
            raise InputError(f"{missing}; search for them with the stage levels")
        return sampler_config(settings | {"name": f"steps-{calls}", "kind": "consistency", "levels": list(levels)})

    def one_call(self, framework: Backend, *, guidance: float) -> MoleculeSampler:
        """Return a sampler of one call, to be the first of another's calls."""
        return framework.sampler(self.weights, self.sampler(calls=1, guidance=guidance))

    def with_levels(self, sampler: SamplerConfig) -> SamplerConfig:
        """Return a sampler with the noise levels that were found for it, if it is few-step and states none.

        Raises:
          InputError: none were found.
        """
        if sampler.kind != "consistency" or sampler.levels is not None:
            return sampler
        return sampler.model_copy(update={"levels": self.sampler(calls=sampler.steps).levels})

    def sample(
        self,
        *,
        calls: int,
        num: int = 1000,
        sizes: Sequence[int] | None = None,
        formula: str | None = None,
        seed: int = 0,
        property: Mapping[str, float | Sequence[float]] | None = None,
        guidance: float = 0.0,
        fixed: Molecules | None = None,
        even_electrons: bool | None = None,
        first: str | os.PathLike[str] | None = None,
        backend: str | None = None,
    ) -> Molecules:
        """Draw molecules.

        Args:
          calls: network calls a molecule.
          num: how many, of sizes as in the training data.
          sizes: the atoms of each molecule, instead of ``num``.
          formula: sum formula of every molecule, such as C7H10O2, for few-step samplers; instead of ``sizes``.
          seed: of sizes, molecules and drawn properties.
          property: for a conditional run, the value of each property, for all molecules or for each; None draws them
            from the training molecules of the same size, {} samples without any. A value outside the training data is
            warned of.
          guidance: for a conditional run, the weight of classifier-free guidance, which doubles the network calls.
          fixed: for a few-step model, one molecule whose atoms are the first of every sample, at their places.
          even_electrons: for a few-step model, whether types are rounded to an even number of electrons; None does so
            where at least 99 % of the training molecules have an even number.
          first: for a few-step model, what makes the first of two calls or more: a model that samples in one call, by
            name or path.
          backend: ``jax`` or ``torch``; None for the one it was trained on.

        Raises:
          InputError: there is no such sampler for this run; the backend is not installed; a size is below 2.
        """
        sampler = self.sampler(calls=calls, num=num, seed=seed, guidance=guidance)
        sampler = sampler.model_copy(update={"properties": property, "even_electrons": even_electrons})
        check_sampler_of(sampler, self.weights.config)
        request = Request.of(
            self.weights.statistics, self.weights.properties, sampler, sizes=sizes, formula=formula, fixed=fixed
        )
        framework = _backend(backend or self.weights.config.backend)
        program = request.apply(framework.sampler(self.weights, sampler))
        if first is not None:
            program = program.after(load_run(first).one_call(framework, guidance=guidance))
        for warning in (*request.size_warnings, *request.property_warnings):
            warnings.warn(warning, stacklevel=2)
        return program(request.sizes).molecules


def load_run(path: str | os.PathLike[str]) -> Run:
    """Return a trained run: a released model by its name, a run's folder, or a file of weights.

    Raises:
      InputError: there is none, or it is damaged.
    """
    return Run(path)


@functools.cache
def _backend(name: str) -> Backend:
    # A framework is set up once in a process.
    return load_backend(name)
