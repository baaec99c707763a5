import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from pipeline.chemistry import parallel
from pipeline.chemistry.molecules import Molecules
from pipeline.chemistry.rdkit_molecules import Graph, Perceived, connected_smiles, edm_smiles, perceive

Molecule = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]
Examples = dict[str, Molecule]


def perceived(*molecules: Molecule) -> Perceived:
    return perceive(Molecules.from_list(list(molecules)))


@pytest.mark.parametrize(
    ("name", "smiles"),
    [
        ("methane", "C"),
        ("ammonia", "N"),
        ("water", "O"),
        ("hydrogen cyanide", "C#N"),
        ("ethanol", "CCO"),
        ("cyanogen", "N#CC#N"),
        ("tetrafluoromethane", "FC(F)(F)F"),
        ("benzene", "c1ccccc1"),
        ("oxamate zwitterion", "NC(=[NH2+])C(=O)[O-]"),
        ("nitro-oxatriazole", "O=[N+]([O-])c1nnon1"),
    ],
)
def test_connected_validity_finds_the_published_molecule(examples: Examples, name: str, smiles: str | None) -> None:
    assert perceived(examples[name]).connected == (smiles,)


@pytest.mark.parametrize(
    ("name", "smiles"),
    [
        ("methane", "[H]C([H])([H])[H]"),
        ("ethanol", "[H]OC([H])([H])C([H])([H])[H]"),
        # What the rule gets wrong, it gets wrong here too: EDM's figures are made of this.
        ("cyanogen", None),
        ("oxamate zwitterion", None),
        ("nitro-oxatriazole", "O=[N+]([O-])c1nnon1"),  # RDKit's clean-up knows five-valent nitro groups
        ("benzene", "[H]C1C([H])C([H])C([H])C([H])C1[H]"),
    ],
)
def test_edm_validity_is_what_edm_made_of_it(examples: Examples, name: str, smiles: str | None) -> None:
    assert perceived(examples[name]).edm == (smiles,)


def without(molecule: Molecule, atom: int) -> Molecule:
    numbers, positions = molecule
    return np.delete(numbers, atom), np.delete(positions, atom, axis=0)


def beside(first: Molecule, second: Molecule, distance: float = 20.0) -> Molecule:
    return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1] + np.float32(distance)])


def test_a_missing_hydrogen_is_made_up_by_edm_and_missed_by_us(examples: Examples) -> None:
    result = perceived(without(examples["methane"], 4))
    assert result.edm == ("[H]C([H])[H]",)  # RDKit fills up the fourth valence, silently
    assert result.connected == (None,)


def test_two_missing_hydrogens_are_no_excuse(examples: Examples) -> None:
    assert perceived(without(without(examples["methane"], 4), 3)).connected == (None,)


def test_two_molecules_are_one_to_edm_and_none_to_us(examples: Examples) -> None:
    result = perceived(beside(examples["water"], examples["methane"]))
    assert result.edm == ("[H]C([H])([H])[H]",)  # the larger fragment
    assert result.connected == (None,)


def test_a_fragment_of_any_size_can_make_a_molecule_invalid_by_edm(examples: Examples) -> None:
    broken = np.array([1, 1, 1], np.uint8), np.array([[0, 0, 0], [0.7, 0, 0], [0.35, 0.6, 0]], np.float32)
    assert perceived(beside(examples["ethanol"], broken)).edm == (None,)


def test_of_fragments_alike_in_size_the_first_counts(examples: Examples) -> None:
    assert perceived(beside(examples["water"], examples["hydrogen cyanide"])).edm == ("[H]O[H]",)
    assert perceived(beside(examples["hydrogen cyanide"], examples["water"])).edm == ("[H]C#N",)


def test_five_bonds_at_carbon_are_too_many(examples: Examples) -> None:
    numbers, positions = examples["methane"]
    extra = positions[0] - (positions[1] - positions[0]) * 0.9
    result = perceived((np.append(numbers, np.uint8(1)), np.vstack([positions, extra])))
    assert result.edm == result.connected == (None,)


def test_single_atoms() -> None:
    result = perceived(*[(np.array([z], np.uint8), np.zeros((1, 3), np.float32)) for z in (1, 6, 7, 8, 9)])
    assert result.connected == (None,) * 5
    assert all(result.edm)  # to EDM a lone carbon is methane


def test_hydrogen_molecule() -> None:
    pair = np.array([1, 1], np.uint8), np.array([[0, 0, 0], [0.74, 0, 0]], np.float32)
    assert perceived(pair).connected == ("[H][H]",)


def test_rdkit_prints_nothing(examples: Examples, capfd: pytest.CaptureFixture[str]) -> None:
    perceived(examples["cyanogen"], without(examples["methane"], 1))
    assert capfd.readouterr() == ("", "")


def test_order_and_number_of_the_results(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_MOLECULES_AT_ONCE", 2)
    names = ["methane", "water", "cyanogen", "ethanol", "benzene"]
    done: list[int] = []
    result = perceive(Molecules.from_list([examples[name] for name in names]), advance=done.append)
    assert result.connected == ("C", "O", "N#CC#N", "CCO", "c1ccccc1")
    assert done == [2, 2, 1]
    assert perceive(Molecules.from_list([])).edm == ()


def test_two_processes_find_what_one_does(examples: Examples) -> None:
    some = [examples[name] for name in ("methane", "cyanogen", "ethanol")]
    molecules = Molecules.from_list(some * 200)
    assert len(molecules) > parallel._MOLECULES_AT_ONCE, "else no process is started"
    assert perceive(molecules, processes=2) == perceive(molecules)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_does_not_depend_on_the_order_of_the_atoms(examples: Examples, seed: int) -> None:
    generator = np.random.default_rng(seed)
    # The last two have charges to place, and more than one way to place them.
    for name in ("ethanol", "benzene", "oxamate zwitterion", "nitro-oxatriazole"):
        numbers, positions = examples[name]
        order = generator.permutation(len(numbers))
        assert perceived((numbers[order], positions[order])) == perceived((numbers, positions))


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(8)))
def test_of_two_lewis_structures_always_the_same_is_taken(order: list[int]) -> None:
    """Difluorocyclobutadiene has two, which are different molecules on paper: F-C=C-F and F-C-C-F."""
    numbers = [6, 6, 6, 6, 9, 9, 1, 1]
    pairs = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 4), (1, 5), (2, 6), (3, 7)]
    place = {old: new for new, old in enumerate(order)}
    shuffled = Graph([numbers[old] for old in order], [(place[first], place[second], 1) for first, second in pairs])
    assert connected_smiles(shuffled) == connected_smiles(Graph(numbers, [(*pair, 1) for pair in pairs]))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Connected graphs of a few atoms with any bonds at all."""
    numbers = draw(st.lists(st.sampled_from([1, 6, 7, 8, 9]), min_size=1, max_size=12))
    orders = st.integers(1, 3)
    bonds = {(draw(st.integers(0, atom - 1)), atom): draw(orders) for atom in range(1, len(numbers))}
    for _ in range(draw(st.integers(0, 3)) if len(numbers) > 2 else 0):
        first, second = sorted(draw(st.lists(st.integers(0, len(numbers) - 1), min_size=2, max_size=2, unique=True)))
        bonds.setdefault((first, second), draw(orders))
    return Graph(atomic_numbers=numbers, bonds=[(*pair, order) for pair, order in bonds.items()])


@settings(max_examples=200, deadline=None)
@given(graph=graphs())
def test_whatever_is_valid_is_a_molecule_rdkit_reads_back(graph: Graph) -> None:
    if smiles := edm_smiles(graph):
        assert Chem.MolFromSmiles(smiles) is not None
    if smiles := connected_smiles(graph):
        molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
        assert sorted(atom.GetAtomicNum() for atom in molecule.GetAtoms()) == sorted(graph.atomic_numbers)
        assert Chem.GetFormalCharge(molecule) == 0
        assert not any(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())
        assert "." not in smiles
