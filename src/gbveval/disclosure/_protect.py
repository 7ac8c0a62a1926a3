"""Which further numbers of a table to hide so that no hidden one can be worked out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gbveval.disclosure._exact import best_choice, is_small
from gbveval.disclosure._layout import BoolArray
from gbveval.disclosure._problem import Problem
from gbveval.disclosure._search import Searcher
from gbveval.disclosure._witness import Witness, check

# Witnesses searched at most when showing numbers again.
_MOST_RETRIALS = 6000


@dataclass(frozen=True, slots=True, eq=False)
class Protection:
    """What to hide, with a witness for each number that must not be confined.

    Attributes
    ----------
    hidden : ndarray of bool
        What is not shown, including what is not printed in any case.
    proofs : dict of int to Witness
        By entry.
    """

    hidden: BoolArray
    proofs: dict[int, Witness]

    def cost(self, problem: Problem) -> float:
        """Return what the choice loses."""
        return float(problem.weight()[self.hidden].sum())


def protect(problem: Problem) -> Protection | None:
    """Return what to hide and the proof that it is enough, or None if no choice of numbers was found.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    Protection or None

    Notes
    -----
    Each number that must not be confined needs a witness: two whole tables that agree with all that is shown and known
    and differ in that number by its protection. Numbers without one are repaired in turn, by the cheapest move or flow
    of cells that gives one, reusing what is hidden already; then the dearest numbers hidden on the way are shown
    again where every witness through them can be replaced. On small tables an integer programme then looks for a
    cheaper choice. The witnesses of the choice are checked once more, in whole numbers.

    References
    ----------
    Kelly, J. P., Golden, B. L. and Assad, A. A. (1992). Cell suppression: disclosure protection for sensitive tabular
    data. Networks 22.

    Fischetti, M. and Salazar, J. J. (2001). Solving the cell suppression problem on tabular data with linear
    constraints. Management Science 47.
    """
    searcher = Searcher(problem)
    found = _repair(searcher)
    if found is not None:
        found = _show_again(searcher, found)
    if is_small(problem):
        found = _better(searcher, found)
    if found is None or not check(problem, found.hidden, found.proofs):
        return None
    return found


def _repair(searcher: Searcher) -> Protection | None:
    """Hide more until each number that must not be confined has a witness."""
    problem = searcher.problem
    hidden = searcher.sums.cover(problem.start())
    proofs: dict[int, Witness] = {}
    up, down = problem.room()
    # Those with the least room of their own have the fewest witnesses, so they choose first.
    while pending := [j for j in np.flatnonzero(problem.required(hidden)).tolist() if j not in proofs]:
        for entry in sorted(pending, key=lambda j: (-problem.layout.level[j], up[j] + down[j], problem.mass[j])):
            if entry in proofs:
                continue
            witness = searcher.anywhere(entry, hidden)
            if witness is None:
                return None
            hidden[witness.entries] = True
            _record(problem, proofs, witness)
        hidden = searcher.sums.cover(hidden)
    return Protection(hidden, proofs)


def _record(problem: Problem, proofs: dict[int, Witness], witness: Witness) -> None:
    """Keep a witness for each entry that it proves and that has none."""
    for entry in witness.proves(problem).tolist():
        proofs.setdefault(entry, witness)


def _show_again(searcher: Searcher, found: Protection) -> Protection:
    """Show what turned out to be hidden needlessly, the dearest first."""
    problem = searcher.problem
    hidden, proofs = found.hidden.copy(), dict(found.proofs)
    users = _users(proofs)
    spare = np.flatnonzero(hidden & ~problem.start())
    tried = 0
    for entry in spare[np.argsort(-searcher.weight[spare], kind="stable")].tolist():
        trial = hidden.copy()
        trial[entry] = False
        if searcher.sums.bad_at(trial, entry):
            continue
        fresh: dict[int, Witness] = {}
        for user in sorted(users.get(entry, set()) - {entry}):
            if user in fresh:
                continue
            tried += 1
            witness = searcher.among(user, trial, thorough=not searcher.is_large) if tried < _MOST_RETRIALS else None
            if witness is None:
                break
            _record(problem, fresh, witness)
        else:
            hidden = trial
            for changed in (entry, *fresh):
                if changed in proofs:
                    _forget(users, changed, proofs.pop(changed))
            kept = {j: witness for j, witness in fresh.items() if j != entry}
            proofs.update(kept)
            for j, used in _users(kept).items():
                users.setdefault(j, set()).update(used)
    return Protection(hidden, proofs)


def _users(proofs: dict[int, Witness]) -> dict[int, set[int]]:
    """Return, for each entry, the entries whose witness departs from the truth there."""
    users: dict[int, set[int]] = {}
    for proved, witness in proofs.items():
        for entry in witness.entries.tolist():
            users.setdefault(entry, set()).add(proved)
    return users


def _forget(users: dict[int, set[int]], proved: int, witness: Witness) -> None:
    for entry in witness.entries.tolist():
        users[entry].discard(proved)


def _better(searcher: Searcher, found: Protection | None) -> Protection | None:
    """Return the choice of the integer programme if it is cheaper."""
    problem = searcher.problem
    hidden = best_choice(searcher)
    if hidden is None:
        return found
    proofs: dict[int, Witness] = {}
    for entry in np.flatnonzero(problem.required(hidden)).tolist():
        if entry not in proofs:
            witness = searcher.among(entry, hidden)
            if witness is None:
                return found
            _record(problem, proofs, witness)
    choice = Protection(hidden, proofs)
    return choice if found is None or choice.cost(problem) < found.cost(problem) - 1e-6 else found
