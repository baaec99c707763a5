"""Metrics beside those of ``pipeline.chemistry.metrics``, under keys of their own in the same dictionary.

| key                               | what                                                                            |
|-----------------------------------|---------------------------------------------------------------------------------|
| valence_..._stability             | stability by valence, charge and aromatics (``pipeline.chemistry.valences``)    |
| inchikey_...                      | uniqueness and novelty by InChIKey, of connected valid molecules                |
| distances, distances_floor        | of samples, of the test split, from training (``pipeline.chemistry.distances``) |
| posebusters                       | share that pass each check (``pipeline.chemistry.posebusters_checks``)          |
| relaxation, relaxation_gfn2_xtb   | strain by MMFF94 and by GFN2-xTB (``pipeline.chemistry.relaxation``)            |

A standard InChI is the same for tautomers and for other ways to draw a mesomer, a SMILES need not be: by InChIKey fewer
molecules are unique and novel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from rdkit import Chem, rdBase
from rdkit.Chem import inchi

from pipeline.chemistry.distances import Histograms, distances
from pipeline.chemistry.fragments import sharing_a_skeleton
from pipeline.chemistry.intervals import USUAL, Resampling, bootstrap, bootstrap_median
from pipeline.chemistry.metrics import Judgement, distinct_estimates, estimate_json
from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.parallel import Advance
from pipeline.chemistry.posebusters_checks import posebusters_checks
from pipeline.chemistry.rdkit_molecules import perceive
from pipeline.chemistry.relaxation import Relaxation, relax
from pipeline.chemistry.stability import per_molecule
from pipeline.chemistry.valences import stable_atoms
from pipeline.core.text_tables import aligned

FURTHER_LABELS: Final[dict[str, str]] = {
    "valence_atom_stability": "valence table: atoms stable",
    "valence_molecule_stability": "valence table: molecules stable",
    "inchikey_uniqueness": "connected: unique by InChIKey",
    "inchikey_novelty": "connected: novel by InChIKey",
}
"""The fractions in the dictionary and what to call them in tables."""


RELAXATIONS: Final[dict[str, tuple[str, str]]] = {
    "mmff94": ("relaxation", "MMFF94"),
    "gfn2_xtb": ("relaxation_gfn2_xtb", "GFN2-xTB"),
}
"""Key in the dictionary and name in tables of each method of relaxation."""


@dataclass(frozen=True, eq=False)
class Details:
    """What is known of each of M judged molecules beside their stability and validity."""

    judgement: Judgement
    stable_atoms: npt.NDArray[np.int64]
    """[M] by the table of valences."""
    inchikeys: tuple[str | None, ...]
    """[M] of connected valid molecules, None for others."""
    checks: Mapping[str, npt.NDArray[np.bool_]]
    """Whether the first molecules pass each check of PoseBusters; empty if none were to be checked."""
    relaxations: Mapping[str, Relaxation]
    """Of the first valid molecules by method; without a method if none were to be relaxed or none are valid."""

    @classmethod
    def of(
        cls,
        judgement: Judgement,
        *,
        posebusters: int = 0,
        relaxed: Mapping[str, int] = MappingProxyType({}),
        processes: int = 1,
        advance: Advance = lambda count: None,
    ) -> Self:
        """Examine molecules.

        Args:
            judgement: of M molecules, M > 0.
            posebusters: how many, from the first, to check with PoseBusters.
            relaxed: how many connected valid molecules, from the first, to relax by each method.
            processes: how many processes share the work; 1 starts none.
            advance: is told the number of molecules of each of these, now and then.
        """
        shared: dict[str, Any] = {"processes": processes, "advance": advance}
        molecules, smiles = judgement.molecules, judgement.perceived.connected
        checked = np.arange(min(posebusters, len(molecules)))
        valid = np.flatnonzero([one is not None for one in smiles])
        return cls(
            judgement=judgement,
            stable_atoms=stable_atoms(molecules, **shared),
            inchikeys=_inchikeys(smiles),
            checks=posebusters_checks(molecules.select(checked), **shared) if len(checked) else {},
            relaxations={
                method: relax(molecules.select(valid[:number]), method=method, **shared)
                for method, number in relaxed.items()
                if len(valid[:number])
            },
        )

    @classmethod
    def joined(cls, parts: Sequence["Details"]) -> Self:
        """Return the details of several sets of molecules as one."""
        relaxations: dict[str, list[Relaxation]] = {}
        for part in parts:
            for method, relaxation in part.relaxations.items():
                relaxations.setdefault(method, []).append(relaxation)
        return cls(
            judgement=Judgement.joined([part.judgement for part in parts]),
            stable_atoms=np.concatenate([part.stable_atoms for part in parts]),
            inchikeys=tuple(key for part in parts for key in part.inchikeys),
            checks={name: np.concatenate([part.checks[name] for part in parts]) for name in parts[0].checks},
            relaxations={
                method: Relaxation(
                    energy=np.concatenate([one.energy for one in found]),
                    rmsd=np.concatenate([one.rmsd for one in found]),
                )
                for method, found in relaxations.items()
            },
        )


@dataclass(frozen=True, eq=False)
class Reference:
    """What samples are compared with."""

    inchikeys: frozenset[str]
    """Of every training molecule that might be among the samples."""
    train: Histograms
    floor: Mapping[str, Any] | None
    """The distances of the test split from the training split; None without one."""

    @classmethod
    def of(
        cls,
        train: Molecules,
        test: Molecules | None,
        generated: Molecules,
        *,
        resampling: Resampling = USUAL,
        processes: int = 1,
    ) -> Self:
        """Measure the data.

        Args:
            train: the training molecules.
            test: molecules of the same data that are not among them, if there are any.
            generated: the molecules that are to be compared.
            resampling: of the bootstrap.
            processes: how many processes share the work; 1 starts none.
        """
        candidates = sharing_a_skeleton(train, generated)
        known = _inchikeys(perceive(train.select(candidates), processes=processes).connected)
        histograms = Histograms.of(train, processes=processes)
        measured = Histograms.of(test, processes=processes) if test else None
        return cls(
            inchikeys=frozenset(key for key in known if key is not None),
            train=histograms,
            floor=distances(measured, histograms, resampling) if measured else None,
        )


def further_metrics(
    details: Details, *, reference: Reference | None = None, resampling: Resampling = USUAL
) -> dict[str, Any]:
    """Return the metrics of the table above as a JSON object.

    Args:
        details: of M molecules, M > 0.
        reference: the data; without them novelty and distances are None.
        resampling: of the bootstrap.

    Returns:
        For each key of ``FURTHER_LABELS`` an object with "value", "low" and "high", or None; "distances" and
        "distances_floor" see ``distances``; "posebusters" and the keys of ``RELAXATIONS``, None if not examined,
        with "molecules" and an estimate for each check, "all" of them, the median "energy" (kcal/mol) and "rmsd"
        (angstrom).
    """
    molecules = details.judgement.molecules
    stability = {
        "valence_atom_stability": (details.stable_atoms, molecules.sizes),
        "valence_molecule_stability": per_molecule(details.stable_atoms == molecules.sizes),
    }
    known = reference.inchikeys if reference else None
    distinct = distinct_estimates(details.inchikeys, known, "inchikey_", resampling)
    estimates = bootstrap(stability, resampling) | distinct
    measured = Histograms.of(molecules) if reference else None
    return {
        **{key: estimate_json(estimates[key]) for key in FURTHER_LABELS},
        "distances": distances(measured, reference.train, resampling) if reference and measured else None,
        "distances_floor": reference.floor if reference else None,
        "posebusters": _posebusters(details.checks, resampling) if details.checks else None,
        **{key: _relaxation(details.relaxations.get(method), resampling) for method, (key, _) in RELAXATIONS.items()},
    }


def further_table(evaluations: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what ``further_metrics`` found of one or more files as plain text, a column for each."""
    rows = [["", *evaluations]]
    rows += [[label, *(_percent(one[key]) for one in evaluations.values())] for key, label in FURTHER_LABELS.items()]
    first = next(iter(evaluations.values()))
    for name in list(first["posebusters"] or ())[1:]:  # the first is their number
        values = [_percent(one["posebusters"] and one["posebusters"].get(name)) for one in evaluations.values()]
        rows.append([f"PoseBusters: {name.replace('_', ' ')}", *values])
    for key, method in RELAXATIONS.values():
        if any(one[key] for one in evaluations.values()):
            for name, label in (("energy", "strain, kcal/mol"), ("rmsd", "moved by relaxation, angstrom")):
                values = [_plain(one[key] and one[key][name]) for one in evaluations.values()]
                rows.append([f"{method}: {label}", *values])
    for name, floor in (first["distances_floor"] or first["distances"] or {}).items():
        values = [_plain(one["distances"][name]) for one in evaluations.values()]
        below = f" (test split {floor['value']:.2g})" if floor and first["distances_floor"] else ""
        unit = f", {floor['unit']}" if floor else ""
        rows.append([f"distance of {name.replace('_', ' ')}{unit}{below}", *values])
    return aligned(rows)


def _percent(estimate: Mapping[str, float] | None) -> str:
    return _plain(estimate and {part: 100 * estimate[part] for part in ("value", "low", "high")})


def _plain(estimate: Mapping[str, float] | None) -> str:
    return f"{estimate['value']:.3g} ({estimate['low']:.3g} to {estimate['high']:.3g})" if estimate else "-"


def _inchikeys(smiles: Sequence[str | None]) -> tuple[str | None, ...]:
    """Return the InChIKey of every SMILES, None for None; takes about 0.3 ms for each distinct one."""
    with rdBase.BlockLogs():
        found = {one: inchi.MolToInchiKey(Chem.MolFromSmiles(one)) or one for one in set(smiles) if one is not None}
    return tuple(None if one is None else found[one] for one in smiles)


def _posebusters(checks: Mapping[str, npt.NDArray[np.bool_]], resampling: Resampling) -> dict[str, Any]:
    passed = {"all": np.all(list(checks.values()), axis=0), **checks}
    ratios = {name: per_molecule(hits) for name, hits in passed.items()}
    estimates = bootstrap(ratios, resampling)
    found = {name: estimate_json(estimate) for name, estimate in estimates.items()}
    return {"molecules": len(passed["all"]), **found}


def _relaxation(relaxation: Relaxation | None, resampling: Resampling) -> dict[str, Any] | None:
    done = np.isfinite(relaxation.energy) if relaxation else np.zeros(0, np.bool_)
    if relaxation is None or not done.any():
        return None
    medians = {
        name: bootstrap_median(values[done], resampling).to_json()
        for name, values in (("energy", relaxation.energy), ("rmsd", relaxation.rmsd))
    }
    return {"molecules": int(done.sum()), **medians}
