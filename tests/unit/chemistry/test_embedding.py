import numpy as np
import pytest
from rdkit import Chem

from pipeline.chemistry.bonds import find_bonds
from pipeline.chemistry.embedding import Conformer, Failure, embed
from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.rdkit_molecules import perceive


@pytest.mark.parametrize("smiles", ["CCO", "c1ccsc1", "CS(=O)(=O)Nc1ccc(Cl)cc1", "OCCBr", "C[N+](=O)[O-]"])
def test_a_conformer_has_the_graph_of_its_smiles(smiles: str) -> None:
    found = embed(smiles, seed=3)
    assert isinstance(found, Conformer)
    molecules = Molecules.from_list([found])
    assert (find_bonds(molecules).length > 0.8).all()
    assert perceive(molecules).connected == (Chem.CanonSmiles(smiles),)


def test_the_seed_decides() -> None:
    one, again, other = (embed("CCCCO", seed=seed) for seed in (1, 1, 2))
    assert isinstance(one, Conformer) and isinstance(again, Conformer) and isinstance(other, Conformer)
    assert np.array_equal(one.positions, again.positions)
    assert not np.allclose(one.positions, other.positions, atol=0.1)


@pytest.mark.parametrize(
    ("smiles", "kind", "reason"),
    [
        ("C1CC", "not read by RDKit", "RDKit cannot read 'C1CC'"),
        ("", "not read by RDKit", "RDKit cannot read ''"),
        ("C[Se]C", "of other elements", "has Se; supported are H, B"),
        ("CC(=O)[O-].[NH4+]", "of several fragments", "as a salt has"),
        ("C[Hg]C", "not embedded", "MMFF94 has no parameters"),
    ],
)
def test_what_has_no_conformer_is_told(smiles: str, kind: str, reason: str) -> None:
    found = embed(smiles, seed=0)
    assert isinstance(found, Failure)
    assert found.kind == kind
    assert reason in found.reason
