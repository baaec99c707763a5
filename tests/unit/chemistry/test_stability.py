import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers
from scipy.spatial.transform import Rotation

from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.stability import stability

Examples = dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]]


STABLE = ["methane", "ammonia", "water", "hydrogen cyanide", "ethanol", "tetrafluoromethane"]


@pytest.mark.parametrize("name", STABLE)
def test_real_molecules_are_stable(examples: Examples, name: str) -> None:
    judged = stability(Molecules.from_list([examples[name]]))
    assert judged.atoms.all()
    assert judged.molecules.tolist() == [True]


@pytest.mark.parametrize(
    ("name", "stable_atoms"),
    [
        ("cyanogen", 2),  # the single bond between its carbons is short enough for a double one
        ("benzene", 6),  # its bonds of 1.395 angstrom are too long for double ones
        ("oxamate zwitterion", 6),  # two bonds alike at carbon, both taken for double ones, twice
        ("nitro-oxatriazole", 7),  # the same at the nitro group's nitrogen
    ],
)
def test_molecules_the_rule_gets_wrong(examples: Examples, name: str, stable_atoms: int) -> None:
    """EDM's rule fails 4.7 % of QM9; that is part of the metric and must not be repaired."""
    judged = stability(Molecules.from_list([examples[name]]))
    assert judged.stable_atoms.tolist() == [stable_atoms]
    assert not judged.molecules[0]


def test_a_lost_hydrogen_costs_its_neighbour_alone(examples: Examples) -> None:
    numbers, positions = examples["methane"]
    judged = stability(Molecules.from_list([(numbers[:-1], positions[:-1])]))
    assert judged.atoms.tolist() == [False, True, True, True]
    assert judged.stable_atoms.tolist() == [3]
    assert judged.molecules.tolist() == [False]


def test_a_stretched_bond_costs_both_its_atoms(examples: Examples) -> None:
    numbers, positions = examples["methane"]
    stretched = positions.copy()
    stretched[1] = positions[0] + 1.2 * (positions[1] - positions[0])
    assert stability(Molecules.from_list([(numbers, stretched)])).atoms.tolist() == [False, False, True, True, True]


def test_each_molecule_is_judged_for_itself(examples: Examples) -> None:
    numbers, positions = examples["methane"]
    broken = (numbers[:-1], positions[:-1])
    molecules = Molecules.from_list([examples["ethanol"], broken, examples["water"], examples["methane"]])
    judged = stability(molecules)
    assert judged.molecules.tolist() == [True, False, True, True]
    assert judged.stable_atoms.tolist() == [9, 3, 3, 5]
    assert len(judged.atoms) == molecules.sizes.sum()


def test_two_molecules_in_one_are_stable_all_the_same(examples: Examples) -> None:
    (a, x), (b, y) = examples["methane"], examples["water"]
    pair = np.concatenate([a, b]), np.concatenate([x, y + 50])
    assert stability(Molecules.from_list([pair])).molecules.tolist() == [True]


def test_no_molecules() -> None:
    judged = stability(Molecules.from_list([]))
    assert len(judged.atoms) == len(judged.molecules) == 0


def cloud(seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Atoms dense enough to be bonded at random."""
    generator = np.random.default_rng(seed)
    return generator.choice([1, 6, 7, 8, 9], 15).astype(np.uint8), generator.normal(scale=1.2, size=(15, 3))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_does_not_depend_on_where_the_molecule_is_or_how_it_is_turned(seed: int) -> None:
    numbers, positions = cloud(seed)
    generator = np.random.default_rng(seed)
    turn = Rotation.random(rng=generator).as_matrix() * generator.choice([-1, 1])  # reflections too
    moved = positions @ turn.T + generator.normal(scale=3, size=3)
    here, there = (stability(Molecules.from_list([(numbers, x)])) for x in (positions, moved))
    # Rounding to float32 may move a distance over a limit, but only one that is nearly there.
    distances = 100 * np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    if np.abs(distances - np.round(distances)).min(initial=1, where=distances > 1) > 1e-3:
        assert here.atoms.tolist() == there.atoms.tolist()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_does_not_depend_on_the_order_of_the_atoms(seed: int) -> None:
    numbers, positions = cloud(seed)
    order = np.random.default_rng(seed).permutation(len(numbers))
    here = stability(Molecules.from_list([(numbers, positions)]))
    there = stability(Molecules.from_list([(numbers[order], positions[order])]))
    assert here.atoms[order].tolist() == there.atoms.tolist()


@pytest.mark.parametrize("smiles", ["CSC", "CS(=O)C", "CS(=O)(=O)C", "CCCl", "CCBr", "CCI", "C[Si](C)(C)C", "CP(C)C"])
def test_molecules_of_other_elements_are_stable(smiles: str) -> None:
    """By EDM's lengths of single bonds; a sulphoxide's S=O, which has no double bond in them, counts as single."""
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(molecule, randomSeed=1) == 0
    rdForceFieldHelpers.MMFFOptimizeMolecule(molecule)
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], np.uint8)
    positions = molecule.GetConformer().GetPositions()
    judged = stability(Molecules.from_list([(numbers, positions)]))
    assert set(numbers[~judged.atoms].tolist()) <= {8, 16}
    assert judged.molecules[0] == ("O" not in smiles)
