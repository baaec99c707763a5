"""The Lewis structure of a molecule whose bonded pairs are known: bond orders and formal charges.

A distance alone cannot tell a long double bond from a short single one and knows nothing of charges, but the graph as
a whole nearly always leaves one choice. The search is exact: if there is a structure it finds one with the fewest
charges, so that whether there is one depends on the molecule alone. (RDKit's ``DetermineBondOrders`` takes the first
structure of the right total charge; for one molecule of QM9 in a thousand the answer hangs on the order of its atoms.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_STATES: Final[dict[int, tuple[tuple[int, int], ...]]] = {
    1: ((1, 0),),
    6: ((4, 0),),
    7: ((3, 0), (4, 1), (2, -1)),
    8: ((2, 0), (1, -1)),
    9: ((1, 0),),
}
"""(valence, formal charge) by atomic number, neutral first.

Charged are only N and O, as in ammonium, nitro groups, N-oxides, azides and carboxylates. A charged carbon or a
positive oxygen would turn many a broken bond into a "valid" pair of ions: of 74 such pairs that RDKit saw in a third of
QM9, two agree with the published structure.
"""

_MOST_PAIRS: Final = 4
"""Of opposite charges; QM9 needs no more than two."""

_MOST_EXTRA: Final = 2
"""By how much the order of a bond may exceed one."""

_MOST_STEPS: Final = 10_000
"""Limit of the search, a few hundredths of a second; what is not found by then counts as not found."""


@dataclass(frozen=True)
class LewisStructure:
    """Bond orders and charges with which every atom has its valence, no electron is unpaired and the sum is neutral."""

    orders: list[int]
    """[B] 1 to 3, in the order of the pairs given."""
    charges: list[int]
    """[N] -1, 0 or 1."""


def lewis_structure(atomic_numbers: Sequence[int], pairs: Sequence[tuple[int, int]]) -> LewisStructure | None:
    """Return a Lewis structure with as few charges as possible, or None if there is none.

    Args:
        atomic_numbers: [N] of H, C, N, O, F.
        pairs: [B] atoms that are bonded, counted from 0, each pair once.
    """
    neighbours: list[set[int]] = [set() for _ in atomic_numbers]
    for first, second in pairs:
        neighbours[first].add(second)
        neighbours[second].add(first)
    # What is left for double and triple bonds once every bond is a single one, and the charge that goes with it.
    choices = [
        [(valence - len(bonded), charge) for valence, charge in _STATES[number] if valence >= len(bonded)]
        for number, bonded in zip(atomic_numbers, neighbours, strict=True)
    ]
    if not all(choices):
        return None
    # Charges come in pairs and leave the parity of the sum alone: an odd one is a radical, whatever the structure.
    if sum(states[0][0] - states[0][1] for states in choices) % 2:
        return None
    search = _Search(choices, neighbours)
    if not any(map(search.find, range(_MOST_PAIRS + 1))):
        return None
    return LewisStructure(orders=[1 + search.extra.get(frozenset(pair), 0) for pair in pairs], charges=search.charges)


class _Search:
    """Depth first over the atoms, most constrained first, with a stack of its own: a molecule may be large."""

    def __init__(self, choices: list[list[tuple[int, int]]], neighbours: list[set[int]]):
        self.extra: dict[frozenset[int], int] = {}
        self.charges = [0] * len(choices)
        self._choices = choices
        self._neighbours = neighbours
        self._received = [0] * len(choices)  # extra bonds from neighbours that are settled
        self._left = {1: 0, -1: 0}  # charges of either sign that may still be given
        self._steps = 0

    def find(self, pairs_of_charges: int) -> bool:
        """Tell whether there is a structure with this number of charges of either sign, and leave it in place."""
        self._left = {1: pairs_of_charges, -1: pairs_of_charges}
        # A saturated hydrogen or carbon has nothing to decide.
        unsettled: set[int] | None
        unsettled = {atom for atom, states in enumerate(self._choices) if states != [(0, 0)]}
        if not unsettled:
            return pairs_of_charges == 0
        stack = [self._moves(unsettled)]
        while stack and self._steps < _MOST_STEPS:
            self._steps += 1
            unsettled = next(stack[-1], None)
            if unsettled is None:
                stack.pop()
            elif unsettled:
                stack.append(self._moves(unsettled))
            elif self._left == {1: 0, -1: 0}:
                return True
        return False

    def _moves(self, unsettled: set[int]) -> Iterator[set[int]]:
        """Settle one atom in every possible way in turn, yielding the atoms that remain; each way is undone after."""
        atom = min(unsettled, key=lambda a: (len(self._neighbours[a] & unsettled), a))
        remaining = unsettled - {atom}
        bonded = sorted(self._neighbours[atom] & remaining)
        rooms = [min(_MOST_EXTRA, max(self._choices[b])[0] - self._received[b]) for b in bonded]
        for valence_left, charge in self._choices[atom]:
            if charge and not self._left[charge]:
                continue
            self._charge(atom, charge, 1)
            for shares in _shares(valence_left - self._received[atom], rooms):
                self._give(atom, bonded, shares, 1)
                yield remaining
                self._give(atom, bonded, shares, -1)
            self._charge(atom, charge, -1)

    def _charge(self, atom: int, charge: int, sign: int) -> None:
        self.charges[atom] += sign * charge
        if charge:
            self._left[charge] -= sign

    def _give(self, atom: int, bonded: list[int], shares: tuple[int, ...], sign: int) -> None:
        for neighbour, share in zip(bonded, shares, strict=True):
            self._received[neighbour] += sign * share
            self.extra[frozenset((atom, neighbour))] = share


def _shares(total: int, rooms: list[int]) -> Iterator[tuple[int, ...]]:
    """Yield every way to share out ``total``, with at most ``rooms[i]`` to the i-th."""
    if not rooms:
        if total == 0:
            yield ()
        return
    for share in range(min(total, rooms[0]), -1, -1):
        for others in _shares(total - share, rooms[1:]):
            yield (share, *others)
