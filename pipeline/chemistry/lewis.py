"""Lewis structures: bond orders and formal charges of a molecule whose bonded pairs are known.

A distance alone cannot distinguish a long double bond from a short single bond and says nothing about charges, but the
graph as a whole nearly always has one solution. The search is exact: if there is a structure, it finds one with the
fewest charges and, among these, the lowest valences of P, S and the like, so whether there is one depends only on the
molecule. (RDKit's ``DetermineBondOrders`` takes the first structure with the right total charge; for one in a thousand
QM9 molecules the result depends on the order of atoms.)
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_STATES: Final[dict[int, tuple[tuple[int, int], ...]]] = {
    1: ((1, 0),),
    5: ((3, 0), (4, -1)),
    6: ((4, 0),),
    7: ((3, 0), (4, 1), (2, -1)),
    8: ((2, 0), (1, -1)),
    9: ((1, 0),),
    13: ((3, 0), (4, -1)),
    14: ((4, 0),),
    15: ((3, 0), (5, 0), (4, 1)),
    16: ((2, 0), (4, 0), (6, 0), (3, 1), (1, -1)),
    17: ((1, 0),),
    33: ((3, 0), (5, 0)),
    35: ((1, 0),),
    53: ((1, 0), (3, 0), (5, 0)),
    80: ((2, 0),),
    83: ((3, 0), (5, 0)),
}
"""(valence, formal charge) by atomic number, neutral first, those in ascending order and all even or all odd.

Of QM9's elements only N and O may be charged, as in ammonium, nitro groups, N-oxides, azides and carboxylates. Charged
carbon or positive oxygen would turn many broken bonds into a "valid" pair of ions: of 74 such pairs that RDKit found in
a third of QM9, two agree with the published structure.
"""

_MAX_CHARGE_PAIRS: Final = 4
"""Maximum number of pairs of opposite charges; QM9 needs no more than two."""

_MAX_EXTRA: Final = 2
"""Maximum of the bond order minus one."""

_MAX_STEPS: Final = 10_000
"""Maximum number of search steps, a few hundredths of a second; a structure not found by then counts as missing."""


@dataclass(frozen=True)
class LewisStructure:
    """Bond orders and charges that give every atom its valence, no unpaired electron and a neutral molecule."""

    orders: list[int]
    """[B] 1 to 3, in the order of the pairs given."""
    charges: list[int]
    """[N] -1, 0 or 1."""


def lewis_structure(atomic_numbers: Sequence[int], pairs: Sequence[tuple[int, int]]) -> LewisStructure | None:
    """Return a Lewis structure with as few charges as possible, or None if there is none.

    Args:
      atomic_numbers: [N] of supported elements.
      pairs: [B] atoms that are bonded, counted from 0, each pair once.
    """
    neighbours: list[set[int]] = [set() for _ in atomic_numbers]
    for first, second in pairs:
        neighbours[first].add(second)
        neighbours[second].add(first)
    # Valence left for double and triple bonds after a single bond to every neighbour, the corresponding charge, and by
    # how many steps a neutral atom exceeds its lowest valence.
    choices = [
        [
            (valence - len(bonded), charge, 0 if charge else step)
            for step, (valence, charge) in enumerate(_STATES[number])
            if valence >= len(bonded)
        ]
        for number, bonded in zip(atomic_numbers, neighbours, strict=True)
    ]
    if not all(choices):
        return None
    # Pairs of charges do not change the parity of the sum: if it is odd, the molecule is a radical.
    if sum(states[0][0] - states[0][1] for states in choices) % 2:
        return None
    search = _Search(choices, neighbours)
    least, most = (sum(limit(step for *_, step in states) for states in choices) for limit in (min, max))
    budgets = itertools.product(range(_MAX_CHARGE_PAIRS + 1), range(least, most + 1))
    if not any(search.find(charges, steps) for charges, steps in budgets):
        return None
    return LewisStructure(orders=[1 + search.extra.get(frozenset(pair), 0) for pair in pairs], charges=search.charges)


class _Search:
    """Depth-first search over atoms, most constrained first, with an explicit stack since molecules may be large."""

    def __init__(self, choices: list[list[tuple[int, int, int]]], neighbours: list[set[int]]):
        self.extra: dict[frozenset[int], int] = {}
        self.charges = [0] * len(choices)
        self._choices = choices
        self._neighbours = neighbours
        self._received = [0] * len(choices)  # extra bonds from neighbours that are assigned
        self._left = {1: 0, -1: 0}  # charges of either sign still to be assigned
        self._raises = 0  # steps above the lowest valences still to be assigned
        self._steps = 0

    def find(self, pairs_of_charges: int, raises: int) -> bool:
        """Search for a structure with this number of charges of either sign; if found, return True and keep it.

        Its neutral atoms exceed their lowest valences by ``raises`` steps in all.
        """
        self._left, self._raises = {1: pairs_of_charges, -1: pairs_of_charges}, raises
        # A saturated hydrogen or carbon needs no decision.
        unassigned: set[int] | None
        unassigned = {atom for atom, states in enumerate(self._choices) if states != [(0, 0, 0)]}
        if not unassigned:
            return pairs_of_charges == 0
        stack = [self._moves(unassigned)]
        while stack and self._steps < _MAX_STEPS:
            self._steps += 1
            unassigned = next(stack[-1], None)
            if unassigned is None:
                stack.pop()
            elif unassigned:
                stack.append(self._moves(unassigned))
            elif self._left == {1: 0, -1: 0} and not self._raises:
                return True
        return False

    def _moves(self, unassigned: set[int]) -> Iterator[set[int]]:
        """Assign one atom in every possible way in turn, yielding the remaining atoms; each assignment is undone."""
        atom = min(unassigned, key=lambda a: (len(self._neighbours[a] & unassigned), a))
        remaining = unassigned - {atom}
        bonded = sorted(self._neighbours[atom] & remaining)
        capacities = [min(_MAX_EXTRA, max(self._choices[b])[0] - self._received[b]) for b in bonded]
        for valence_left, charge, step in self._choices[atom]:
            if (charge and not self._left[charge]) or step > self._raises:
                continue
            self._assign_charge(atom, charge, 1)
            self._raises -= step
            for shares in _shares(valence_left - self._received[atom], capacities):
                self._assign_extra(atom, bonded, shares, 1)
                yield remaining
                self._assign_extra(atom, bonded, shares, -1)
            self._assign_charge(atom, charge, -1)
            self._raises += step

    def _assign_charge(self, atom: int, charge: int, sign: int) -> None:
        self.charges[atom] += sign * charge
        if charge:
            self._left[charge] -= sign

    def _assign_extra(self, atom: int, bonded: list[int], shares: tuple[int, ...], sign: int) -> None:
        for neighbour, share in zip(bonded, shares, strict=True):
            self._received[neighbour] += sign * share
            self.extra[frozenset((atom, neighbour))] = share


def _shares(total: int, capacities: list[int]) -> Iterator[tuple[int, ...]]:
    """Yield every way to divide ``total`` into parts of at most ``capacities[i]``."""
    if not capacities:
        if total == 0:
            yield ()
        return
    for share in range(min(total, capacities[0]), -1, -1):
        for others in _shares(total - share, capacities[1:]):
            yield (share, *others)
