"""Hides how fits over intersectional strata become rows: variance shares, levels of strata, departures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.estimand import Estimand
from gbveval.core.grid_posterior import GridPosterior
from gbveval.core.method import NO_ANSWER, Cell
from gbveval.core.posterior import DrawsPosterior, PartialPosterior
from gbveval.core.term import Term
from gbveval.factors._strata import PeopleInStrata
from gbveval.numerics.mixtures import NormalMixtures
from gbveval.numerics.random_strata import Strata, StrataFit, given_sd
from gbveval.numerics.strata_inference import SpreadNodes, StratumLevels, VarianceDraws

FloatArray = NDArray[np.float64]
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


def answer_rows(answer: StrataAnswer) -> tuple[tuple[Term, ...], FloatArray, PartialPosterior]:
    """Return rows, their covariance, and the distributions that intervals are quantiles of."""
    shares, drawn = _share_rows(answer)
    levels, effects = _stratum_rows(answer)
    count, strata = len(shares), len(levels)
    covariance = np.zeros((count + strata, count + strata))
    covariance[:count, :count] = np.cov(drawn, rowvar=False)
    covariance[count:, count:] = effects.covariance
    nodes = answer.nodes.sd[:, None][:, :0]
    parts = (DrawsPosterior(drawn[None]), GridPosterior(effects, nodes, (), tuple(range(strata))))
    places = (*((0, i) for i in range(count)), *((1, i) for i in range(strata)))
    return (*shares, *levels), covariance, PartialPosterior(parts, places)


def _share_rows(answer: StrataAnswer) -> tuple[list[Term], FloatArray]:
    """Return VPC before and after main effects and PCV, with draws of each, shape (draws, 3)."""
    people, d = answer.people, answer.draws
    family = people.sums.family
    whole = whole_support(people)
    null, additive = answer.null, answer.additive
    columns = (
        _vpc(family, d.main + d.rest, d.residual, d.level),
        _vpc(family, d.rest, d.residual, d.level),
        d.main / (d.main + d.rest),
    )
    pcv = 1.0 - additive.variance / null.variance if null.variance > 0 else None
    models = ((null, people.null), (additive, people.sums))
    known = [_vpc(family, fit.variance, fit.residual, _middle(fit, sums)) for fit, sums in models]
    extras: list[Extra] = [
        (("maximum_likelihood", float(known[0])), ("variance", null.variance), ("auc", _auc(answer, whole=True))),
        (("maximum_likelihood", float(known[1])), ("variance", additive.variance), ("auc", _auc(answer, whole=False))),
        (("maximum_likelihood", pcv), ("variance", None), ("auc", None)),
    ]
    kinds = ("between_strata_share", "between_strata_share", "main_effects_share")
    rows = []
    for name, kind, values, extra in zip(("VPC", "VPC after main effects", "PCV"), kinds, columns, extras, strict=True):
        rows.append(
            Term(
                term=name,
                estimand=Estimand(kind, "share", "sample"),
                outcome=people.data.outcome_names[0],
                value=float(values.mean()),
                std_error=float(values.std(ddof=1)),
                n_units=int(people.sums.n.sum()),
                support=whole,
                extra=extra,
            )
        )
    return rows, np.column_stack(columns)


def _middle(fit: StrataFit, sums: Strata) -> float:
    return float(sums.X.mean(axis=0) @ fit.beta)


def _vpc(
    family: str, between: FloatArray | float, residual: FloatArray | float, level: FloatArray | float
) -> FloatArray:
    """Return the share of the variance between people that lies between strata.

    Log odds: against the logistic's pi^2 / 3. Counts: on their own scale, with mean m = exp(level + between / 2) the
    variance between is m^2 (exp(between) - 1) and that within m (Leckie and others 2020).
    """
    between = np.asarray(between, dtype=np.float64)
    if family == "binomial":
        return np.asarray(between / (between + LOGISTIC), dtype=np.float64)
    if family == "normal":
        return np.asarray(between / (between + residual), dtype=np.float64)
    spread = np.exp(np.asarray(level) + 0.5 * between) * np.expm1(between)
    return np.asarray(spread / (spread + 1.0), dtype=np.float64)


def _auc(answer: StrataAnswer, *, whole: bool) -> float | None:
    """Return how well levels of strata, or main effects alone, order those with the outcome before those without."""
    sums = answer.people.sums
    if sums.family != "binomial":
        return None
    score = sums.X @ answer.additive.beta
    if whole:
        sd = float(np.sqrt(max(answer.null.variance, 1e-12)))
        null = given_sd(answer.people.null, sd, 15)
        score = null.deviation
    order = np.argsort(score, kind="stable")
    with_it, without = sums.total[order], (sums.n - sums.total)[order]
    _, tied = np.unique(np.round(score[order], 12), return_inverse=True)
    events, others = np.bincount(tied, with_it), np.bincount(tied, without)
    below = np.concatenate([[0.0], np.cumsum(others)[:-1]])
    pairs = sums.total.sum() * (sums.n - sums.total).sum()
    return float((events * (below + 0.5 * others)).sum() / pairs)


def _stratum_rows(answer: StrataAnswer) -> tuple[list[Term], NormalMixtures]:
    """Return level and departure of every stratum, with their distributions."""
    people, found = answer.people, answer.levels
    family = people.sums.family
    effects = NormalMixtures(
        weights=answer.nodes.weight,
        means=np.concatenate([found.level, found.departure], axis=1),
        sds=np.concatenate([found.level_sd, found.departure_sd], axis=1),
    )
    mean, sd = effects.mean, effects.sd
    support = _stratum_support(people)
    rows, count = [], len(people.domains.labels)
    nodes = answer.nodes
    told = nodes.sd[:, None] ** 2 * np.stack([at.information for at in nodes.given])
    # 0: the stratum speaks for itself; 1: its main effects do.
    pooling = nodes.weight @ (1.0 / (1.0 + told))
    kinds = (("stratum_level", LEVELS[family], ""), ("interaction", DEPARTURES[family], "departure of "))
    for block, (kind, contrast, prefix) in enumerate(kinds):
        for j, label in enumerate(people.domains.labels):
            i = block * count + j
            extra: Extra = (
                ("domain", people.domains.name),
                ("domain_level", label),
                ("pooling_factor", float(pooling[j])),
            )
            rows.append(
                Term(
                    term=f"{prefix}{people.domains.name}: {label}",
                    estimand=Estimand(kind, contrast, "sample", "conditional" if block else "marginal"),
                    outcome=people.data.outcome_names[0],
                    value=float(mean[i]),
                    std_error=float(sd[i]),
                    n_units=int(people.sums.n[j]),
                    support=support[j],
                    extra=extra,
                )
            )
    return rows, effects


def whole_support(people: PeopleInStrata) -> tuple[Cell, ...]:
    """Return the counts behind all strata together."""
    events = int(people.sums.total.sum()) if people.sums.family == "binomial" else None
    return (Cell("all", int(people.sums.n.sum()), events, people.data.outcome_names[0]),)


def _stratum_support(people: PeopleInStrata) -> list[tuple[Cell, ...]]:
    """Return the counts behind each stratum; those without an answer stand with the smallest, which would tell them."""
    table = f"{people.data.outcome_names[0]} by {people.domains.name}"
    binary = people.sums.family == "binomial"
    cells = [
        Cell(label, int(n), int(total) if binary else None, table)
        for label, n, total in zip(people.domains.labels, people.sums.n, people.sums.total, strict=True)
    ]
    silent = (people.domains.codes < 0) & people.data.observed(0)
    support: list[tuple[Cell, ...]] = [(cell,) for cell in cells]
    if silent.any():
        events = int(people.data.outcomes[silent, 0].sum()) if binary else None
        smallest = int(np.argmin(people.sums.n))
        support[smallest] = (cells[smallest], Cell(NO_ANSWER, int(silent.sum()), events, table))
    return support
