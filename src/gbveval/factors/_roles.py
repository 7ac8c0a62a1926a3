"""What each factor is adjusted for and why: declared confounders, mediators that are refused, a graph of causes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gbveval.core.errors import DesignError
from gbveval.core.method import Check
from gbveval.factors.causal_graph import CausalGraph

Roles = Mapping[str, tuple[str, ...]]
ON_THE_PATH = (
    "adjusting for it would take away the part of the association that goes through it. Take it out of adjust_for; to "
    "study the path itself takes a mediation analysis"
)


@dataclass(frozen=True, slots=True)
class Adjusted:
    """What a factor is adjusted for (None: roles not declared), why, and what was found on the way."""

    columns: tuple[str, ...] | None
    reason: str
    checks: tuple[Check, ...] = ()


def refuse_mediators(roles: Roles, mediators: Roles) -> None:
    """Raise DesignError when a factor is adjusted for what was declared to lie between it and the outcome."""
    for factor, columns in roles.items():
        between = [column for column in columns if column in mediators.get(factor, ())]
        if between:
            raise DesignError(f"{between[0]!r} was declared a mediator of {factor!r}: {ON_THE_PATH}.")


def adjusted_for(
    factor: str, outcome: str, roles: Roles, mediators: Roles, graph: CausalGraph | None, measured: Sequence[str]
) -> Adjusted:
    """Return the adjustment set of a factor and an outcome.

    Declared confounders are checked against the graph. A factor without any gets the smallest set that closes the back
    doors of the graph (the first in alphabetical order, when several are as small).

    Raises
    ------
    DesignError
        If a declared set holds what the graph says the factor brings about.
    """
    declared = roles.get(factor)
    if graph is None or not {factor, outcome} <= graph.names:
        reason = "" if declared is None else "declared confounders"
        return Adjusted(declared, reason, _undeclared(factor, outcome, graph))
    between = sorted(set(mediators.get(factor, ())) - graph.descendants(factor))
    if between:
        raise DesignError(
            f"{between[0]!r} was declared a mediator of {factor!r}, but the graph has no path from one to the other. "
            "Add the edge, or take the mediator out."
        )
    usable = [column for column in measured if column not in mediators.get(factor, ())]
    if declared is None:
        return _suggested(factor, outcome, graph, usable, _unmeasured(graph, measured, outcome))
    after = sorted(set(declared) & graph.descendants(factor))
    if after:
        what = "lies between the two" if after[0] in graph.mediators(factor, outcome) else "is brought about by it"
        raise DesignError(f"{after[0]!r} {what} according to the graph ({factor!r} to {outcome!r}): {ON_THE_PATH}.")
    path = graph.open_back_door(factor, outcome, declared)
    if not path:
        return Adjusted(declared, "closes the back doors of the declared graph")
    better = graph.smallest_sets(factor, outcome, usable)
    advice = (
        f"the smallest measured sets that close all: {'; '.join(', '.join(s) or 'none needed' for s in better)}"
        if better
        else f"no measured set closes all{_unmeasured(graph, measured, outcome)}"
    )
    text = f"{factor}: the adjustment set leaves a back door of the graph open ({' - '.join(path)}); {advice}."
    return Adjusted(declared, "leaves a back door open", (Check(f"back door {factor}", "warn", text),))


def _unmeasured(graph: CausalGraph, measured: Sequence[str], outcome: str) -> str:
    """Return what the graph names and the survey has not, in brackets; a misspelt column shows here."""
    names = sorted(graph.names - set(measured) - {outcome})
    return f" (no columns, so taken as unmeasured: {', '.join(names)})" if names else ""


def _suggested(factor: str, outcome: str, graph: CausalGraph, usable: Sequence[str], unmeasured: str) -> Adjusted:
    sets = graph.smallest_sets(factor, outcome, usable)
    if not sets:
        # The way that is left when all measured causes are adjusted for.
        causes = (graph.ancestors([factor, outcome]) & set(usable)) - graph.descendants(factor) - {factor}
        path = graph.open_back_door(factor, outcome, sorted(causes)) or graph.open_back_door(factor, outcome, ())
        text = (
            f"{factor}: no set of measured columns closes the back doors of the graph: {' - '.join(path)} stays "
            f"open{unmeasured}. Its rows are crude; a set given in adjust_for is used all the same, and said to leave "
            "it open."
        )
        reason = "no measured set closes the back doors"
        return Adjusted(None, reason, (Check(f"back door {factor}", "warn", text),))
    found: tuple[Check, ...] = ()
    if len(sets) > 1:
        text = f"{factor}: sets as small as the one used: {'; '.join(', '.join(s) for s in sets)}."
        found = (Check(f"adjustment sets {factor}", "info", text),)
    return Adjusted(sets[0], "smallest set of the declared graph", found)


def _undeclared(factor: str, outcome: str, graph: CausalGraph | None) -> tuple[Check, ...]:
    if graph is None:
        return ()
    absent = f"the outcome {outcome}" if factor in graph.names else "it"
    text = f"{factor}: the graph does not name {absent}, so its adjustment was not checked."
    return (Check(f"back door {factor}", "warn", text),)
