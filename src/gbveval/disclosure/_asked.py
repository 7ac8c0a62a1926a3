"""What a release asks to show of respondents: tables of counts, printed or behind estimates, and their facts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gbveval.core.counts import CountTable
from gbveval.core.errors import DisclosureError
from gbveval.core.method import COMPLETE_ON, IN_SITE, NO_ANSWER, Cell
from gbveval.disclosure._facts import ELSE, WITH, WITHOUT, Fact, TableFacts, Where
from gbveval.disclosure._layout import BoolArray, FloatArray, IntArray
from gbveval.disclosure._names import split_name
from gbveval.disclosure.nesting import Nesting, finest_of, told
from gbveval.disclosure.policy import Policy
from gbveval.disclosure.suppress import suppress_table
from gbveval.disclosure.suppressed import FEW_RESPONDENTS, SuppressedTable

# What groups vary by when their table does not say so, and when there is but one, of everybody.
UNNAMED, NO_VARIABLE = "groups of ", ""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A table before suppression.

    Attributes
    ----------
    title : str
        What it counts.
    variables : tuple of str
        What its directions are.
    categories : tuple of tuple of str
        Labels along each direction.
    finest : tuple of tuple of tuple of str
        The finer categories that each of them was merged from.
    groups : dict of int to sequence of sequences of str
        Levels of groups along a direction.
    n, events : ndarray of int
        Respondents, and those with the outcome or None.
    outcome : str
        Name of the outcome; without `events` the table counts those who answered.
    within : tuple of (str, str)
        Subgroup to which the table is confined.
    answered : frozenset of str
        Variables, the outcome included, to which nobody's answer (in the subgroup) is missing.
    tells_missing : bool
        Whether it says that somebody is without an answer to the others; the groups behind estimates do not.
    """

    title: str
    variables: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    finest: tuple[tuple[tuple[str, ...], ...], ...]
    n: IntArray
    events: IntArray | None
    groups: dict[int, Sequence[Sequence[str]]] = field(default_factory=dict)
    outcome: str = ""
    within: tuple[tuple[str, str], ...] = ()
    answered: frozenset[str] = frozenset()
    tells_missing: bool = False

    def protect(self, policy: Policy, also_hidden: BoolArray | None = None) -> SuppressedTable:
        """Return the table in which what must not be shown is absent."""
        first, totals = (self.n, None) if self.events is None else (self.events, self.n)
        found = suppress_table(
            first,
            policy,
            totals=totals,
            structural_zeros=self._impossible(policy.nestings),
            groupings=self.groups,
            also_hidden=also_hidden,
        )
        if policy.enforce and not found.audit.passed:
            raise DisclosureError(
                f"The table is too large to prove that nothing hidden can be worked out ({found.audit.sentence()}). "
                "Merge categories, or release it in parts that exclude each other."
            )
        return found

    def _impossible(self, nestings: Sequence[Nesting]) -> BoolArray | None:
        """Return the cells of a ward in another district than its own, if there are any; every reader knows them."""
        finer = finest_of(nestings)
        within = [(variable, frozenset([category])) for variable, category in self.within]
        names = [*self.variables, *(variable for variable, _ in within)]
        if len({finer[name][0] if name in finer else name for name in names}) == len(names):
            return None  # No two of its variables speak of the same places.
        cells = [
            [(variable, frozenset(parts)) for parts in finest]
            for variable, finest in zip(self.variables, self.finest, strict=True)
        ]
        impossible = np.array(
            [not all(told([*within, *here], finer).values()) for here in itertools.product(*cells)]
        ).reshape(self.n.shape)
        # One that is not empty is a mistake in the table or in the nesting, which the comparison tells.
        impossible &= self.n == 0
        return impossible if impossible.any() else None

    def places(self) -> tuple[tuple[Where | None, ...], ...]:
        """Return, for each direction, of which variables which finest categories are behind each place.

        None stands for those who lack an answer to one of several variables, which no categories say.
        """
        found: list[tuple[Where | None, ...]] = []
        for number, (variable, finest) in enumerate(zip(self.variables, self.finest, strict=True)):
            cells = [frozenset(names) for names in finest]
            sets = [
                frozenset().union(*(names for names, group in zip(cells, level, strict=True) if group == label))
                for level in self.groups.get(number, ())
                for label in dict.fromkeys(level)
            ]
            everything: frozenset[str] = frozenset().union(*cells)
            crossed = _crossed(variable, self.categories[number])
            if crossed is None:
                found.append(tuple({variable: names} if variable else {} for names in (*cells, *sets, everything)))
            else:
                found.append(crossed)
        answered = frozenset([WITH, WITHOUT])
        if self.events is not None:
            found.append(tuple({self.outcome: side} for side in (frozenset([WITH]), frozenset([WITHOUT]), answered)))
        elif self.outcome:
            # Counted are those who answered, whatever they said.
            found.append(({self.outcome: answered},))
        return tuple(found)

    def facts(self, found: SuppressedTable, policy: Policy, number: int = -1) -> TableFacts:
        """Return what the suppressed table says: a number, or for a hidden one what the reader knows of it."""
        return self._facts([_known(found, spot, policy) for spot in np.ndindex(*found.released.shape)], number)

    def vague_facts(self, low: FloatArray, high: FloatArray) -> TableFacts:
        """Return what a table says in which every number is known to lie in an interval."""
        ends = zip(low.ravel().tolist(), high.ravel().tolist(), strict=True)
        return self._facts([(bottom, top, 0) for bottom, top in ends])

    def _facts(self, known: Sequence[tuple[float, float, int]], number: int = -1) -> TableFacts:
        axes = self.places()
        within = {variable: frozenset([category]) for variable, category in self.within}
        facts = []
        of_place = dict(zip(itertools.product(*(range(len(places)) for places in axes)), known, strict=True))
        for entry, (spot, ends) in enumerate(of_place.items()):
            places = [axis[place] for axis, place in zip(axes, spot, strict=True)]
            if None in places:
                # They are told by the others, who answered all: the total less these.
                axis = places.index(None)
                all_of_it = of_place[(*spot[:axis], len(axes[axis]) - 1, *spot[axis + 1 :])]
                if all_of_it[0] < all_of_it[1]:
                    continue
                ends = (max(all_of_it[0] - ends[1], 0.0), all_of_it[0] - ends[0], ends[2])
                places[axis] = _union(axes[axis])
            where = dict(itertools.chain.from_iterable(place.items() for place in places if place)) | within
            facts.append(Fact(where, *ends, table=number, entry=entry))
        return TableFacts(
            title=self.title,
            axes=tuple(
                (variable, tuple(sorted(labels | ({ELSE} if None in places else set()))))
                for places in axes
                for variable, labels in _union(places).items()
            ),
            within=tuple((variable, (category,)) for variable, category in self.within),
            answered=self.answered,
            facts=tuple(facts),
            tells_missing=self.tells_missing,
        )


def _union(places: Sequence[Where | None]) -> dict[str, frozenset[str]]:
    """Return all categories behind the places of a direction, by variable."""
    found: dict[str, frozenset[str]] = {}
    for place in places:
        for variable, labels in (place or {}).items():
            found[variable] = found.get(variable, frozenset()) | labels
    return found


def _crossed(name: str, labels: Sequence[str]) -> tuple[Where | None, ...] | None:
    """Return groups by several variables in one name, taken apart, and all of them in the last place.

    "w, north" of "gender and region" is taken apart if every combination of categories is there, so that the sum of all
    groups is a group again. Otherwise None: then nobody can see whom the list leaves out. With a group of those who
    lack an answer the last place is everybody.
    """
    if NO_ANSWER in labels:
        silent = labels.index(NO_ANSWER)
        others = _crossed(name, [*labels[:silent], *labels[silent + 1 :]])
        return None if others is None else (*others[:silent], None, *others[silent:-1], {})
    variables = split_name(name)
    parts = [label.split(", ") for label in labels]
    if len(variables) < 2 or any(len(part) != len(variables) for part in parts):
        return None
    levels = [tuple(dict.fromkeys(column)) for column in zip(*parts, strict=True)]
    if len(labels) != math.prod(len(level) for level in levels) or len(set(map(tuple, parts))) != len(labels):
        return None
    cells = [{variable: frozenset([one]) for variable, one in zip(variables, part, strict=True)} for part in parts]
    return (*cells, dict(zip(variables, map(frozenset, levels), strict=True)))


def _known(found: SuppressedTable, spot: tuple[int, ...], policy: Policy) -> tuple[float, float, int]:
    """Return the least and the largest value that a reader holds possible, and the width that must be left."""
    shown = float(found.released[spot])
    if not np.isnan(shown):
        return shown, shown, 0
    low, high = 0.0, np.inf
    if policy.attacker_knows_rule and not found.withheld:
        of_outcome = found.pairs and spot[-1] < 2
        few = found.reasons[spot] == FEW_RESPONDENTS
        limit = policy.event_threshold if of_outcome and not few else policy.min_n
        low, high = (0.0, limit - 1.0) if found.primary[spot] else (float(limit), np.inf)
    return low, high, policy.protection_width


def ask_counts(table: CountTable) -> Asked:
    """Return a printed table as it is asked for."""
    unknown = tuple(f"{table.title}, direction {number + 1}" for number in range(len(table.directions)))
    variables = table.variables or unknown
    outcome = "" if table.events is None else table.outcome or f"outcome of {table.title}"
    # Of a table that does not say what it breaks down nobody knows whose total its total is.
    answered = table.answered if table.left_out or not table.variables else (*variables, outcome)
    return Asked(
        title=table.title,
        variables=variables,
        categories=table.directions,
        finest=table.finest,
        n=table.counts(),
        events=table.event_counts(),
        groups={number: levels for number, levels in enumerate(table.groups) if levels},
        outcome=outcome,
        within=table.within,
        answered=frozenset(answered),
        tells_missing=True,
    )


def ask_support(name: str, cells: Sequence[Cell], outcome: str = "") -> Asked:
    """Return the groups behind estimates as a table by one variable.

    Groups named "outcome by variable" exclude each other, and "all" in a table named like the outcome is everybody who
    gave an answer to it. Groups of other names may be anything, such as comparison groups that overlap, so they are
    compared only with a table of the same name. Outcomes can have a "by" in their name; the outcome says where it ends.
    """
    counted = [cell.events is not None for cell in cells]
    if any(counted) and not all(counted):
        raise DisclosureError(
            "Some groups of one table come with counts of the outcome and some without; they cannot be protected "
            "together. Release them in tables of their own."
        )
    labels = tuple(cell.label for cell in cells)
    what, by = _named(name, labels, outcome, all(counted))
    return Asked(
        title=name,
        variables=(by,),
        categories=(labels,),
        finest=(tuple((ELSE if label == NO_ANSWER else label,) for label in labels),),
        n=np.array([cell.n for cell in cells], dtype=np.int64),
        events=np.array([cell.events for cell in cells], dtype=np.int64) if all(counted) else None,
        outcome=what,
    )


def ask_sizes(title: str, arms: Sequence[str], n: Sequence[int], outcome: str) -> Asked:
    """Return how many of each arm gave an answer to an outcome, as a table."""
    return Asked(
        title=title,
        variables=("arm",),
        categories=(tuple(arms),),
        finest=(tuple((arm,) for arm in arms),),
        n=np.array(n, dtype=np.int64),
        events=None,
        outcome=outcome or f"outcome of {title}",
    )


def _named(name: str, labels: Sequence[str], outcome: str, counted: bool) -> tuple[str, str]:
    """Return the outcome of a table behind estimates, empty if unknown, and the variable of its groups."""
    if COMPLETE_ON in name or IN_SITE in name:
        # Behind adjusted rows, which print how many respondents they rest on and none of their answers, and behind
        # pooled ones, which print nothing of a site: protected like any table, not compared with those of everybody.
        return f"outcome of {name}", f"{UNNAMED}{name}"
    start = f"{outcome} by "
    if outcome and name.startswith(start):
        return outcome, name.removeprefix(start)
    if outcome and name == outcome and tuple(labels) == ("all",):
        return outcome, NO_VARIABLE
    if not counted:
        return "", f"{UNNAMED}{name}"
    what, _, by = name.partition(" by ")
    return what, by or f"{UNNAMED}{name}"
