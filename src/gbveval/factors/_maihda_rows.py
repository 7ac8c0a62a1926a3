"""Hides how fits over intersectional strata become rows: variance shares, levels of strata, departures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.estimand import Estimand
from gbveval.core.method import NO_ANSWER, Cell
from gbveval.core.term import Term
from gbveval.factors._row_blocks import RowBlocks, of_draws, of_mixtures
from gbveval.factors._strata import PeopleInStrata
from gbveval.numerics.random_strata import Strata, StrataFit, given_sd
from gbveval.numerics.strata_inference import SpreadNodes, StratumLevels, VarianceDraws

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Extra = tuple[tuple[str, float | str | None], ...]
LOGISTIC = np.pi**2 / 3.0
LEVELS = {"binomial": "proportion", "poisson": "rate", "normal": "mean"}
DEPARTURES = {"binomial": "odds_ratio", "poisson": "rate_ratio", "normal": "mean_difference"}


@dataclass(frozen=True, slots=True, eq=False)
class StrataAnswer:
    """What was found: two fits, the distribution of the spread, draws of variances, levels of strata."""

    people: PeopleInStrata
    null: StrataFit
    additive: StrataFit
    nodes: SpreadNodes
    draws: VarianceDraws
    levels: StratumLevels


def answer_rows(answer: StrataAnswer) -> RowBlocks:
    """Return rows, their covariance, and the distributions that intervals are quantiles of."""
    shares, drawn = _share_rows(answer)
    rows, found = _stratum_rows(answer), answer.levels
    count = len(found.levels)
    return (
        of_draws(shares, drawn) + of_mixtures(rows[:count], found.levels) + of_mixtures(rows[count:], found.departures)
    )


def _share_rows(answer: StrataAnswer) -> tuple[list[Term], FloatArray]:
    """Return VPC before and after main effects, PCV and, with sites, theirs; with draws of each, (draws, rows)."""
    people, d = answer.people, answer.draws
    family = people.sums.family
    null, additive = answer.null, answer.additive
    whole = d.main + d.rest
    columns = [
        _vpc(family, whole, d.sites, d.residual, d.level),
        _vpc(family, d.rest, d.sites, d.residual, d.level),
        d.main / whole,
    ]
    pcv = 1.0 - additive.variance / null.variance if null.variance > 0 else None
    models = ((null, people.null), (additive, people.sums))
    known = [
        _vpc(family, fit.variance, _between_sites(fit, sums), fit.residual, _middle(fit, sums)) for fit, sums in models
    ]
    extras: list[Extra] = [
        (("maximum_likelihood", float(known[0])), ("variance", null.variance), ("auc", _auc(answer, whole=True))),
        (("maximum_likelihood", float(known[1])), ("variance", additive.variance), ("auc", _auc(answer, whole=False))),
        (("maximum_likelihood", pcv), ("variance", None), ("auc", None)),
    ]
    names = ["VPC", "VPC after main effects", "PCV"]
    kinds = ["between_strata_share", "between_strata_share", "main_effects_share"]
    if people.sums.sites > 1:
        sites, sums = _between_sites(additive, people.sums), people.sums
        strata = additive.variance + float(np.var(sums.levels[:, sums.main] @ additive.beta[sums.main]))
        share = _vpc(family, sites, strata, additive.residual, _middle(additive, sums))
        columns.append(_vpc(family, d.sites, whole, d.residual, d.level))
        extras.append((("maximum_likelihood", float(share)), ("variance", sites), ("auc", None)))
        names.append("VPC of sites")
        kinds.append("between_sites_share")
    rows = []
    for name, kind, values, extra in zip(names, kinds, columns, extras, strict=True):
        rows.append(
            Term(
                term=name,
                estimand=Estimand(kind, "share", "sample"),
                outcome=people.data.outcome_names[0],
                value=float(values.mean()),
                std_error=float(values.std(ddof=1)),
                n_units=int(people.n.sum()),
                support=whole_support(people),
                extra=extra,
            )
        )
    return rows, np.column_stack(columns)


def _between_sites(fit: StrataFit, sums: Strata) -> float:
    """Return the variance over sites of their effects, which sum to zero."""
    effects = fit.beta[sums.main.stop :]
    return float((effects @ effects + effects.sum() ** 2) / sums.sites)


def _middle(fit: StrataFit, sums: Strata) -> float:
    return float(sums.levels.mean(axis=0) @ fit.beta)


def _vpc(
    family: str,
    between: FloatArray | float,
    other: FloatArray | float,
    residual: FloatArray | float,
    level: FloatArray | float,
) -> FloatArray:
    """Return the share of the variance between people that one source has, beside another crossed with it.

    Log odds: against the logistic's pi^2 / 3. Counts: on their own scale, with a the variance asked for, b the other
    and mean m = exp(level + (a + b) / 2): people who share only the first source covary by m^2 (e^a - 1), and one
    person's variance is m^2 (e^(a + b) - 1) + m (Leckie and others 2020).
    """
    between, other = np.asarray(between, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if family == "binomial":
        return np.asarray(between / (between + other + LOGISTIC), dtype=np.float64)
    if family == "normal":
        return np.asarray(between / (between + other + residual), dtype=np.float64)
    mean = np.exp(np.asarray(level) + 0.5 * (between + other))
    return np.asarray(mean * np.expm1(between) / (mean * np.expm1(between + other) + 1.0), dtype=np.float64)


def _auc(answer: StrataAnswer, *, whole: bool) -> float | None:
    """Return how well levels of strata, or main effects alone, order those with the outcome before those without."""
    sums = answer.people.sums
    if sums.family != "binomial":
        return None
    score = sums.levels @ answer.additive.beta
    if whole:
        sd = float(np.sqrt(max(answer.null.variance, 1e-12)))
        null = given_sd(answer.people.null, sd, 15)
        score = null.deviation
    order = np.argsort(score, kind="stable")
    with_it, without = answer.people.total[order], (answer.people.n - answer.people.total)[order]
    _, tied = np.unique(np.round(score[order], 12), return_inverse=True)
    events, others = np.bincount(tied, with_it), np.bincount(tied, without)
    below = np.concatenate([[0.0], np.cumsum(others)[:-1]])
    pairs = sums.total.sum() * (sums.n - sums.total).sum()
    return float((events * (below + 0.5 * others)).sum() / pairs)


def _stratum_rows(answer: StrataAnswer) -> list[Term]:
    """Return level and then departure of every stratum."""
    people, found = answer.people, answer.levels
    family = people.sums.family
    support, n = _stratum_support(people), people.n
    # Departures add to almost zero over each category: all but one tell the last, and what its few people said.
    together = [tuple(cell for cells in support for cell in cells)] * len(support)
    departure = Estimand("interaction", DEPARTURES[family], "sample", "conditional")
    kinds = (
        (found.levels, Estimand("stratum_level", LEVELS[family], "sample"), "", support),
        (found.departures, departure, "departure of ", together),
    )
    return [
        Term(
            term=f"{prefix}{people.domains.name}: {label}",
            estimand=estimand,
            outcome=people.data.outcome_names[0],
            value=float(mean),
            std_error=float(sd),
            n_units=int(n[j]),
            support=rests_on[j],
            extra=(
                ("domain", people.domains.name),
                ("domain_level", label),
                ("pooling_factor", float(found.pooling[j])),
            ),
        )
        for part, estimand, prefix, rests_on in kinds
        for j, (label, mean, sd) in enumerate(zip(people.domains.labels, part.mean, part.sd, strict=True))
    ]


def whole_support(people: PeopleInStrata) -> tuple[Cell, ...]:
    """Return the counts behind all strata together: everybody with the outcome, and who of them is in no stratum."""
    name = people.data.outcome_names[0]
    everybody = _cell(people, people.data.observed(0), "all", name)
    silent = _silent(people)
    # The number in strata and the number of everybody would tell those without an answer.
    return (everybody, silent) if silent.n else (everybody,)


def _stratum_support(people: PeopleInStrata) -> list[tuple[Cell, ...]]:
    """Return the counts behind each stratum; those without an answer stand with the smallest, which would tell them."""
    table = f"{people.data.outcome_names[0]} by {people.domains.name}"
    binary = people.sums.family == "binomial"
    cells = [
        Cell(label, int(n), int(total) if binary else None, table)
        for label, n, total in zip(people.domains.labels, people.n, people.total, strict=True)
    ]
    silent = _silent(people)
    support: list[tuple[Cell, ...]] = [(cell,) for cell in cells]
    if silent.n:
        smallest = int(np.argmin(people.n))
        support[smallest] = (cells[smallest], silent)
    return support


def _silent(people: PeopleInStrata) -> Cell:
    """Return those with the outcome and without an answer to a variable of the strata."""
    table = f"{people.data.outcome_names[0]} by {people.domains.name}"
    return _cell(people, people.data.observed(0) & ~people.used, NO_ANSWER, table)


def _cell(people: PeopleInStrata, member: BoolArray, label: str, table: str) -> Cell:
    events = int(people.data.outcomes[member, 0].sum()) if people.sums.family == "binomial" else None
    return Cell(label, int(member.sum()), events, table)
