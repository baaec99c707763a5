"""Every figure by which generated molecules are judged, with 95 % intervals, as one dictionary.

| key                                | fraction of        | that are                                   |
|------------------------------------|--------------------|--------------------------------------------|
| atom_stability, molecule_stability | atoms, molecules   | stable (``pipeline.chemistry.stability``)  |
| validity                           | molecules          | valid as EDM has it (``rdkit_molecules``)  |
| uniqueness                         | valid molecules    | distinct, by SMILES                        |
| novelty                            | distinct molecules | not among the training molecules           |
| unique_and_valid                   | molecules          | validity times uniqueness                  |
| connected_...                      | the same           | the same for the stricter validity         |

The definitions are those of Hoogeboom et al. 2022 (arXiv 2203.17003, section 5) and of the authors'
``qm9/rdkit_functions.py``. Three things to know:

- Novelty compares SMILES that come out of the same procedure on both sides: a training molecule's is derived from its
  coordinates like a generated one's, largest fragment included, and not read from the data. What is in the training
  data therefore never counts as novel. (EDM writes down all fragments of a training molecule instead, which no
  generated one can match; that concerns at most 29 of QM9's 130,831 molecules.)
- Uniqueness falls as more molecules are drawn: compare it at equal numbers only.
- The intervals of stability and validity draw molecules again, since the atoms of one molecule stand and fall together.
  Those of uniqueness and novelty draw distinct molecules with all their copies, since a molecule that is drawn twice
  would count as a duplicate that was never generated.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from pipeline.chemistry.elements import SYMBOLS
from pipeline.chemistry.fragments import sharing_a_fragment
from pipeline.chemistry.intervals import USUAL, Estimate, Resampling, bootstrap
from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.parallel import Advance
from pipeline.chemistry.rdkit_molecules import KnownMolecules, Perceived, perceive
from pipeline.chemistry.stability import Ratio, Stability, per_molecule, stability, stability_ratios
from pipeline.core.errors import InputError
from pipeline.core.files import read_json

VERSION: Final = 1
"""Of the dictionary that ``summarise`` returns."""

LABELS: Final[dict[str, str]] = {
    "atom_stability": "atoms stable",
    "molecule_stability": "molecules stable",
    "validity": "valid",
    "uniqueness": "unique",
    "novelty": "novel",
    "unique_and_valid": "valid and unique",
    "connected_validity": "connected: valid",
    "connected_uniqueness": "connected: unique",
    "connected_novelty": "connected: novel",
    "connected_unique_and_valid": "connected: valid and unique",
}
"""The fractions in the dictionary, in the order of tables, and what to call them there."""


@dataclass(frozen=True, eq=False)
class Judgement:
    """What is known of each of M molecules."""

    molecules: Molecules
    stability: Stability
    perceived: Perceived

    @classmethod
    def of(
        cls,
        molecules: Molecules,
        *,
        perceived: Perceived | None = None,
        processes: int = 1,
        advance: Advance = lambda count: None,
    ) -> Self:
        """Judge molecules; takes about 0.3 ms for one of the size of QM9's unless they are ``perceived`` already.

        See ``perceive`` for the other arguments.
        """
        perceived = perceived or perceive(molecules, processes=processes, advance=advance)
        return cls(molecules, stability(molecules), perceived)

    @classmethod
    def joined(cls, parts: Sequence["Judgement"]) -> Self:
        """Return the judgements of several sets of molecules as one."""
        molecules = Molecules.concatenate([part.molecules for part in parts])
        return cls.of(molecules, perceived=Perceived.joined([part.perceived for part in parts]))


def known_molecules(
    train: Molecules, generated: Molecules, *, processes: int = 1, advance: Advance = lambda count: None
) -> KnownMolecules:
    """Return the SMILES of every training molecule that might be among the generated ones.

    Args:
        train: the training molecules.
        generated: the molecules whose novelty is of interest.
        processes: see ``perceive``.
        advance: called with the number of training molecules done, now and then; they add up to all of them.
    """
    candidates = sharing_a_fragment(train, generated)
    advance(len(train) - int(candidates.sum()))
    return perceive(train.select(candidates), processes=processes, advance=advance).distinct()


def summarise(
    judgement: Judgement, *, known: KnownMolecules | None = None, resampling: Resampling = USUAL
) -> dict[str, Any]:
    """Return all metrics of the judged molecules; see the table above, and ``pipeline.cli.evaluate`` for the file.

    Args:
        judgement: M molecules, M > 0.
        known: the training molecules; without them the novelties are None.
        resampling: of the bootstrap.

    Returns:
        A JSON object: "version", "num_molecules", "num_atoms", for each key of ``LABELS`` an object with "value", "low"
        and "high" (fractions, 0 to 1) or None where it means nothing, "atom_fraction" by symbol of what is there,
        "sizes" the number of molecules by number of atoms, "metadata" of the molecules.
    """
    molecules, edm, connected = judgement.molecules, judgement.perceived.edm, judgement.perceived.connected
    estimates = bootstrap(
        {
            **stability_ratios(molecules, judgement.stability),
            "validity": per_molecule([smiles is not None for smiles in edm]),
            "connected_validity": per_molecule([smiles is not None for smiles in connected]),
        },
        resampling,
    )
    estimates |= distinct_estimates(edm, known.edm if known else None, "", resampling)
    estimates |= distinct_estimates(connected, known.connected if known else None, "connected_", resampling)
    types = np.bincount(molecules.types(), minlength=len(SYMBOLS))
    sizes, counts = np.unique(molecules.sizes, return_counts=True)
    return {
        "version": VERSION,
        "num_molecules": len(molecules),
        "num_atoms": len(molecules.atomic_numbers),
        **{key: estimate_json(estimates[key]) for key in LABELS},
        "atom_fraction": {
            symbol: share for symbol, share in zip(SYMBOLS, (types / types.sum()).tolist(), strict=True) if share
        },
        "sizes": {str(size): count for size, count in zip(sizes.tolist(), counts.tolist(), strict=True)},
        "metadata": dict(molecules.metadata),
    }


def read_summary(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what ``summarise`` returned, from the JSON file that the stage evaluate made of it.

    Raises:
        InputError: the file is missing, truncated or something else.
    """
    return check_summary(read_json(path), source=str(path))


def check_summary(summary: Any, *, source: str) -> dict[str, Any]:
    """Return ``summary`` if it has all that ``summarise`` returns.

    Raises:
        InputError: it has not; the line begins with ``source``.
    """
    if not isinstance(summary, dict) or "atom_stability" not in summary:
        raise InputError(f"{source}: not what the stage evaluate writes")
    if summary.get("version") != VERSION:
        raise InputError(f"{source}: of version {summary.get('version')}, not {VERSION}; run the stage evaluate again")
    for key in ("num_molecules", "metadata", *LABELS):
        if key not in summary:
            raise InputError(f"{source}: has no {key}; run the stage evaluate again")
    for key in LABELS:
        if summary[key] is not None and not _is_estimate(summary[key]):
            raise InputError(f"{source}: {key} should be null or an object with the numbers value, low and high")
    return summary


def _is_estimate(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(part), int | float) for part in ("value", "low", "high")
    )


def distinct_estimates(
    smiles: Sequence[str | None], known: frozenset[str] | None, prefix: str, resampling: Resampling
) -> dict[str, Estimate | None]:
    """Return the metrics whose units are distinct valid molecules, and the invalid ones, each for itself."""
    copies = Counter(one for one in smiles if one is not None)
    invalid = len(smiles) - copies.total()
    # A unit is a distinct molecule with its copies, or an invalid one, which is neither distinct nor valid.
    distinct = np.repeat([1, 0], [len(copies), invalid])
    valid = np.concatenate([list(copies.values()), np.zeros(invalid)])
    ratios: dict[str, Ratio] = {
        f"{prefix}uniqueness": (distinct, valid),
        f"{prefix}unique_and_valid": (distinct, np.where(distinct, valid, 1)),
    }
    if known is not None:
        novel = np.array([one not in known for one in copies] + [False] * invalid)
        ratios[f"{prefix}novelty"] = (novel, distinct)
    return {f"{prefix}novelty": None} | bootstrap(ratios, resampling)


def estimate_json(estimate: Estimate | None) -> dict[str, float] | None:
    """Return an estimate as a JSON object, None as None."""
    return estimate.to_json() if estimate else None
