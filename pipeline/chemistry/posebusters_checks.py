"""The checks of PoseBusters for molecules without a protein (Buttenschoen et al. 2024, arXiv 2308.05777).

They are those of its configuration ``mol``: whether RDKit can sanitise the molecule, InChI can write it, all atoms are
connected and none has an unpaired electron; bond lengths, angles and clashes by distance geometry; flat aromatic rings
and double bonds; and the energy against that of 50 conformers. Bonds and charges are those of
``rdkit_molecules.sanitised``. A check that PoseBusters could not make, such as the energy of a cage that RDKit finds no
conformer of, counts as failed.
"""

import logging

import numpy as np
import numpy.typing as npt
from rdkit import rdBase

from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.parallel import Advance, map_molecules
from pipeline.chemistry.rdkit_molecules import sanitised

_AT_ONCE = 10


def posebusters_checks(
    molecules: Molecules, *, processes: int = 1, advance: Advance = lambda count: None
) -> dict[str, npt.NDArray[np.bool_]]:
    """Return by check, in the words of PoseBusters, which of M > 0 molecules pass, [M]; about 1 s for each molecule.

    Args:
        molecules: M molecules.
        processes: how many processes share the work; 1 starts none.
        advance: see ``map_molecules``.
    """
    parts = list(map_molecules(_checks, molecules, processes=processes, at_once=_AT_ONCE, advance=advance))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _checks(molecules: Molecules) -> dict[str, npt.NDArray[np.bool_]]:
    from posebusters import PoseBusters  # optional, and takes a second to import

    logging.getLogger("posebusters").setLevel(logging.CRITICAL)  # a line for every check that it could not make
    with rdBase.BlockLogs():
        report = PoseBusters(config="mol").bust(list(sanitised(molecules)))
    return {name: np.array([value is True or value == 1 for value in report[name]]) for name in report.columns}
