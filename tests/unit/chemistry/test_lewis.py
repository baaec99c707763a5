import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from pipeline.chemistry import lewis
from pipeline.chemistry.lewis import LewisStructure, lewis_structure

Graph = tuple[list[int], list[tuple[int, int]]]

VALENCE = {(1, 0): 1, (6, 0): 4, (7, 0): 3, (7, 1): 4, (7, -1): 2, (8, 0): 2, (8, -1): 1, (9, 0): 1}


def graph(text: str) -> Graph:
    """Atoms and bonded pairs of a chain or tree written as 'C0 N1; 0-1'."""
    atoms, _, pairs = text.partition(";")
    numbers = [{"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}[atom[0]] for atom in atoms.split()]
    ends = [pair.split("-") for pair in pairs.split()]
    return numbers, [(int(first), int(second)) for first, second in ends]


def structure(text: str) -> LewisStructure | None:
    return lewis_structure(*graph(text))


def assert_sound(numbers: Sequence[int], pairs: list[tuple[int, int]], found: LewisStructure | None) -> LewisStructure:
    """Every atom has its valence, and the whole is neutral."""
    assert found is not None
    total = [0] * len(numbers)
    for (first, second), order in zip(pairs, found.orders, strict=True):
        assert 1 <= order <= 3
        total[first] += order
        total[second] += order
    assert [VALENCE[number, charge] for number, charge in zip(numbers, found.charges, strict=True)] == total
    assert sum(found.charges) == 0
    return found


@pytest.mark.parametrize(
    ("text", "orders", "charges"),
    [
        ("H0 H1; 0-1", [1], [0, 0]),
        ("N0 N1; 0-1", [3], [0, 0]),
        ("O0 O1; 0-1", [2], [0, 0]),
        ("H0 C1 N2; 0-1 1-2", [1, 3], [0, 0, 0]),
        ("O0 C1 O2; 0-1 1-2", [2, 2], [0, 0, 0]),
        ("N0 C1 C2 N3; 0-1 1-2 2-3", [3, 1, 3], [0, 0, 0, 0]),
        # hydrogen azide: no neutral structure, one pair of charges
        ("H0 N1 N2 N3; 0-1 1-2 2-3", None, None),
        # nitric acid
        ("H0 O1 N2 O3 O4; 0-1 1-2 2-3 2-4", None, None),
    ],
)
def test_small_molecules(text: str, orders: list[int] | None, charges: list[int] | None) -> None:
    numbers, pairs = graph(text)
    found = assert_sound(numbers, pairs, lewis_structure(numbers, pairs))
    if orders:
        assert found.orders == orders
        assert found.charges == charges
    else:
        assert sorted(found.charges) == [-1] + [0] * (len(numbers) - 2) + [1]


def test_benzene_alternates() -> None:
    pairs = [(i, (i + 1) % 6) for i in range(6)] + [(i, 6 + i) for i in range(6)]
    numbers = [6] * 6 + [1] * 6
    found = assert_sound(numbers, pairs, lewis_structure(numbers, pairs))
    assert found.orders[:6] in ([1, 2] * 3, [2, 1] * 3)
    assert found.charges == [0] * 12


def test_two_nitro_groups_need_two_pairs_of_charges() -> None:
    numbers, pairs = graph("N0 O1 O2 C3 H4 H5 N6 O7 O8; 0-1 0-2 0-3 3-4 3-5 3-6 6-7 6-8")
    found = assert_sound(numbers, pairs, lewis_structure(numbers, pairs))
    assert sum(map(abs, found.charges)) == 4


def test_charges_are_a_last_resort() -> None:
    # Glycine: ammonium carboxylate only if the proton is on the nitrogen.
    neutral = "N0 H1 H2 C3 H4 H5 C6 O7 O8 H9; 0-1 0-2 0-3 3-4 3-5 3-6 6-7 6-8 8-9"
    zwitterion = "N0 H1 H2 C3 H4 H5 C6 O7 O8 H9; 0-1 0-2 0-3 3-4 3-5 3-6 6-7 6-8 0-9"
    numbers, pairs = graph(neutral)
    assert not any(assert_sound(numbers, pairs, structure(neutral)).charges)
    numbers, pairs = graph(zwitterion)
    charges = assert_sound(numbers, pairs, structure(zwitterion)).charges
    assert charges[0] == 1
    assert charges[7] + charges[8] == -1


@pytest.mark.parametrize(
    "text",
    [
        "H0;",  # a radical
        "C0 H1 H2 H3; 0-1 0-2 0-3",  # methyl, another
        "C0 H1 H2; 0-1 0-2",  # a carbene: even, but with nowhere to put the electrons
        "O0;",
        "F0 H1 H2; 0-1 0-2",
        "C0 H1 H2 H3 H4 H5; 0-1 0-2 0-3 0-4 0-5",  # five bonds
        "O0 H1 H2 H3; 0-1 0-2 0-3",  # three at oxygen
        "C0 O1; 0-1",  # carbon monoxide would need charged carbon
        "N0 H1 H2 H3 H4; 0-1 0-2 0-3 0-4",  # ammonium alone is not neutral
        "C0 C1; 0-1",  # a quadruple bond
    ],
)
def test_what_has_no_structure(text: str) -> None:
    assert structure(text) is None


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_structure_found_is_sound_and_any_that_exists_is_found(data: st.DataObject) -> None:
    """Builds a molecule with known orders and charges, forgets them, and asks for them."""
    states = st.sampled_from(sorted(VALENCE))
    chosen = [data.draw(states)]
    free = [VALENCE[chosen[0]]]
    pairs = []
    for atom in range(1, data.draw(st.integers(2, 14))):
        hosts = [i for i, left in enumerate(free) if left]
        if not hosts:
            break
        host = data.draw(st.sampled_from(hosts))
        chosen.append(data.draw(states))
        most = min(3, free[host], VALENCE[chosen[atom]])
        order = data.draw(st.integers(1, most))
        pairs.append((host, atom))
        free.append(VALENCE[chosen[atom]] - order)
        free[host] -= order
    for atom, left in enumerate(list(free)):  # fill up with hydrogen
        for _ in range(left):
            pairs.append((atom, len(chosen)))
            chosen.append((1, 0))
    numbers, charges = zip(*chosen, strict=True)
    found = lewis_structure(numbers, pairs)
    if found is not None:
        assert_sound(numbers, pairs, found)
        if sum(charges) == 0:
            assert sum(map(abs, found.charges)) <= sum(map(abs, charges))
    else:
        assert sum(charges) != 0 or sum(map(abs, charges)) > 8


def test_a_large_molecule_needs_no_recursion() -> None:
    carbons = 1200  # beyond Python's recursion limit
    chain = [(i, i + 1) for i in range(carbons - 1)]
    hydrogens = [(i, carbons + i) for i in range(carbons)] + [(0, 2 * carbons), (carbons - 1, 2 * carbons + 1)]
    numbers = [6] * carbons + [1] * (carbons + 2)
    polyene = assert_sound(numbers, chain + hydrogens, lewis_structure(numbers, chain + hydrogens))
    assert polyene.orders[: carbons - 1] == [2, 1] * (carbons // 2 - 1) + [2]


def test_the_search_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    nitric_acid = graph("H0 O1 N2 O3 O4; 0-1 1-2 2-3 2-4")
    assert lewis_structure(*nitric_acid) is not None
    monkeypatch.setattr(lewis, "_MAX_STEPS", 3)
    assert lewis_structure(*nitric_acid) is None


def test_a_hopeless_molecule_is_given_up_quickly() -> None:
    """Thirty benzene rings, two ways each, all to be tried in vain for two rings of three, which have no way at all."""
    numbers: list[int] = []
    pairs: list[tuple[int, int]] = []
    for size in [6] * 30 + [3] * 2:
        start = len(numbers)
        numbers += [6, 1] * size
        pairs += [(start + 2 * i, start + 2 * i + 1) for i in range(size)]
        pairs += [(start + 2 * i, start + 2 * ((i + 1) % size)) for i in range(size)]
    assert sum(numbers) % 2 == 0, "told apart from a radical by the search alone"
    began = time.monotonic()
    assert lewis_structure(numbers, pairs) is None
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "smiles",
    [
        "c1ccsc1",  # the lowest valence of sulphur, whatever the order of atoms
        "CS(=O)C",
        "CS(=O)(=O)Nc1ccc(Cl)cc1",
        "CP(=O)(O)OC",
        "CP(C)C",
        "Cc1nc(cs1)[N+](=O)[O-]",
        "FS(F)(F)(F)(F)F",
        "C[Si](C)(C)Br",
        "OB(O)c1ccccc1I",
        "C[N+](C)(C)CC(=O)[O-]",
        "CSC=S",
        "C[As](=O)(O)O",
        "Cl[Hg]c1ccccc1",
    ],
)
def test_molecules_of_other_elements_have_the_structure_that_chemists_draw(smiles: str) -> None:
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    order = np.random.default_rng(0).permutation(molecule.GetNumAtoms()).tolist()
    shuffled = Chem.RenumberAtoms(molecule, order)
    pairs = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in shuffled.GetBonds()]
    found = lewis_structure([atom.GetAtomicNum() for atom in shuffled.GetAtoms()], pairs)
    assert found is not None
    drawn = Chem.RWMol()
    for atom, charge in zip(shuffled.GetAtoms(), found.charges, strict=True):
        new = Chem.Atom(atom.GetAtomicNum())
        new.SetFormalCharge(charge)
        new.SetNoImplicit(True)
        drawn.AddAtom(new)
    for (first, second), bond in zip(pairs, found.orders, strict=True):
        drawn.AddBond(first, second, Chem.BondType.values[bond])
    Chem.SanitizeMol(drawn)
    assert Chem.MolToSmiles(Chem.RemoveHs(drawn)) == Chem.CanonSmiles(smiles)
