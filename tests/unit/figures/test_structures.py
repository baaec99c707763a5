import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from pipeline.chemistry.metrics import Judgement
from pipeline.chemistry.molecules import Molecules
from pipeline.figures.structures import GROUPS, RINGS, TORSION_BIN, Reference, measure


def embedded(*smiles: str) -> Molecules:
    """Return molecules of their SMILES, hydrogens and coordinates included."""
    found = []
    for one in smiles:
        molecule = Chem.AddHs(Chem.MolFromSmiles(one))
        rdDistGeom.EmbedMolecule(molecule, randomSeed=1)
        rdForceFieldHelpers.MMFFOptimizeMolecule(molecule)
        numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
        found.append((numbers, molecule.GetConformer().GetPositions()))
    return Molecules.from_list(found)


def test_rings_and_groups_of_known_molecules() -> None:
    found = measure(Judgement.of(embedded("CCO", "CC(N)=O", "C1CC1C#N", "c1ccccc1")), [])
    assert found.valid == 4
    groups = dict(zip(GROUPS, 4 * found.groups.value, strict=True))
    named = {"alcohol", "amide", "nitrile", "aromatic"}
    assert {name for name, count in groups.items() if count} == named
    assert all(groups[name] == 1 for name in named)
    assert dict(zip(RINGS, 4 * found.rings.value, strict=True)) == {3: 1, 4: 0, 5: 0, 6: 1, 7: 0, 8: 0}
    assert not found.similarity.value[1:].any()


def test_a_molecule_of_the_library_is_as_similar_as_can_be() -> None:
    train = embedded(*["CC" + "C" * more + "O" for more in range(10)])
    reference = Reference.of(train)
    assert (reference.measured.molecules, len(reference.library)) == (1, 9)
    assert measure(Judgement.of(train), reference.library).similarity.value[-1] >= 0.9


def test_torsions_are_counted_per_molecule_and_degree(real: Molecules) -> None:
    torsions = measure(Judgement.of(embedded("CCCC")), []).torsions.value
    assert TORSION_BIN * torsions.sum() == pytest.approx(1)
    assert np.flatnonzero(torsions).tolist() in ([29], [10], [11])  # anti or gauche
    nothing = measure(Judgement.of(real.select([0])), [])
    assert nothing.torsions.value.sum() == 0
