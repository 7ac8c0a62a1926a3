"""Rows of a randomisation test: estimate, p-value, interval, and how many allocations they rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.term import Term
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import arm_support, mean_contrast
from gbveval.estimators.randomised._assignment import assignment_of
from gbveval.estimators.randomised._joint import joint_statistics
from gbveval.estimators.randomised._randomisation_test import (
    NullDistribution,
    Prepared,
    Settings,
    list_all,
    need_list,
    null_distribution,
    prepare,
)
from gbveval.numerics.allocations import draw_allocations, enumerate_allocations, how_many
from gbveval.numerics.exact_sums import exact_sums, moments
from gbveval.numerics.groups import group_sums
from gbveval.numerics.inference import normal_upper
from gbveval.numerics.null_distribution import probability_of, tail
from gbveval.numerics.ranks import midranks

FloatArray = NDArray[np.float64]
Extra = tuple[tuple[str, float | str | None], ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A row, the estimator's row behind it, and what was looked at."""

    term: Term
    base: int | None
    checks: tuple[Check, ...]
    words: str


def compare(
    data: Trial, outcome: int, arm: int, settings: Settings, base: Estimates | None, rng: np.random.Generator
) -> Comparison:
    """Return the randomisation test of one arm against control for one outcome."""
    label = f"{data.arms[arm]} vs {data.arms[0]}"
    used = data.observed(outcome) & np.isin(data.arm, (0, arm))
    row = Term(
        term=label,
        estimand=Estimand("ITT", mean_contrast(data, outcome), "participant_average"),
        outcome=data.outcome_names[outcome],
        value=None,
        std_error=None,
        n_units=int(used.sum()),
        n_clusters=None if data.cluster is None else int(np.unique(data.cluster.codes[used]).size),
        support=arm_support(data, outcome, used, (0, arm)),
        reason="a test gives no estimate",
    )
    ready = prepare(data, outcome, arm, settings)
    if settings.kind in ("sum", "rank_sum"):
        return _sum_test(ready, outcome, row, settings, rng)
    place = None if base is None else _place(base, data.outcome_names[outcome], label)
    found = null_distribution(ready, settings, rng)
    return _difference_test(ready, found, settings, row, None if base is None or place is None else (base, place))


def _place(base: Estimates, outcome: str, label: str) -> int:
    for number, row in enumerate(base.terms):
        if row.outcome == outcome and row.estimand.effect != "nuisance" and row.term == label:
            return number
    found = [n for n, row in enumerate(base.terms) if row.outcome == outcome and row.estimand.effect != "nuisance"]
    if not found:
        raise DesignError(f"{base.estimator} has no effect on {outcome!r} to test. Use another estimator.")
    return found[0]


def _difference_test(
    ready: Prepared,
    found: NullDistribution,
    settings: Settings,
    row: Term,
    base: tuple[Estimates, int] | None,
) -> Comparison:
    p_value = found.p_value(settings.null, settings.rule, studentised=settings.studentised)
    statistic = found.statistic(settings.null, studentised=settings.studentised)
    smallest = _smallest(found, settings)
    checks, words = _allocation_checks(ready, found, settings, smallest)
    source = row if base is None else base[0].terms[base[1]]
    invertible = not (not settings.fast and not getattr(ready.statistic, "linear", True))
    if not invertible:
        text = (
            "the estimate is not linear in the outcome, so a constant additive effect cannot be subtracted from it; "
            "there is a test and no interval."
        )
        term = _as_test(source, row, statistic, p_value)
        return Comparison(term, None, (*checks, Check("no interval", "info", text)), words)
    low, high = found.interval(settings)
    error = source.std_error if base is not None else _error(found)
    reason = "" if error is not None else "the design gives no standard error; the test and its interval need none"
    two_sided = settings.rule not in ("greater", "less")
    if np.isinf(low) and (np.isinf(high) or not two_sided):
        reason = f"no effect can be excluded: the smallest p-value that this test can give is {smallest:.3g}"
    value = float(found.observed.d_y[0]) if base is None else source.value
    if ready.trial.is_binary(0) and settings.fast:
        checks.append(
            Check(
                "constant effect",
                "info",
                "the interval holds constant effects; on an outcome of 0 and 1 no effect is constant, so read it as an "
                "approximation. The test needs no such supposition.",
            )
        )
    term = Term(
        term=row.term if base is None else source.term,
        estimand=row.estimand if base is None else source.estimand,
        outcome=row.outcome,
        value=value,
        std_error=error,
        df=source.df,
        interval=(low, high),
        interval_level=settings.level,
        statistic=statistic if np.isfinite(statistic) else None,
        p_value=p_value,
        n_units=row.n_units,
        n_clusters=row.n_clusters,
        support=row.support,
        reason=reason,
        extra=_extras(found, settings),
    )
    return Comparison(term, None if base is None else base[1], tuple(checks), words)


def _as_test(source: Term, row: Term, statistic: float, p_value: float) -> Term:
    return Term(
        term=source.term,
        estimand=source.estimand,
        outcome=row.outcome,
        value=None,
        std_error=None,
        kind="test",
        statistic=statistic,
        p_value=p_value,
        n_units=row.n_units,
        n_clusters=row.n_clusters,
        support=row.support,
        reason="a test without an interval; the estimator's own result has the estimate",
    )


def _error(found: NullDistribution) -> float | None:
    variance = float(found.observed.v_yy[0])
    return float(np.sqrt(variance)) if np.isfinite(variance) and variance > 0 else None


def _smallest(found: NullDistribution, settings: Settings) -> float:
    """Return the smallest p-value that the test can give."""
    if found.weight is None:
        return 1.0 / (found.parts.d_y.size + 1.0)
    values = found.parts.statistic(settings.null, studentised=settings.studentised)
    known = values[~np.isnan(values)]
    ends = {
        "greater": (known.max(),),
        "less": (known.min(),),
        "absolute": (known[np.argmax(np.abs(known))],),
    }.get(settings.rule, (known.max(), known.min()))
    return min(tail(values, float(end), found.weight, rule=settings.rule) for end in ends)


def _allocation_checks(
    ready: Prepared, found: NullDistribution, settings: Settings, smallest: float
) -> tuple[list[Check], str]:
    n = found.parts.d_y.size
    values = found.parts.statistic(settings.null, studentised=settings.studentised)
    undefined = int(np.isnan(values).sum())
    how = f"all {n:,} listed" if found.weight is not None else f"{n:,} drawn of {how_many(found.count)}"
    status = "warn" if smallest > 1.0 - settings.level else "info"
    text = f"{ready.assignment.words}; {how}. The smallest p-value that this test can give is {smallest:.3g}" + (
        ", so it cannot reject at the level asked." if status == "warn" else "."
    )
    public = f"{ready.assignment.words}; allocations {'listed' if found.weight is not None else 'drawn'}."
    checks = [Check("allocations", status, text, public)]
    if undefined:
        text = (
            f"the statistic is undefined in {undefined:,} of {n:,} allocations; they count as extreme, which can only "
            "raise the p-value."
        )
        public = "the statistic is undefined in some allocations; they count as extreme."
        checks.append(Check("undefined statistics", "warn", text, public))
    if found.weight is None:
        p = found.p_value(settings.null, settings.rule, studentised=settings.studentised)
        error = float(np.sqrt(p * (1.0 - p) / n))
        checks.append(Check("Monte Carlo error", "info", f"the p-value has a simulation error of about {error:.2g}."))
    if not np.any(np.abs(values[~np.isnan(values)]) > 0):
        raise IdentificationError(
            "The outcome does not vary, so every allocation gives the same statistic. Check the outcome's column."
        )
    return checks, how


def _extras(found: NullDistribution, settings: Settings) -> Extra:
    """Return tails under every rule, the spread of the estimate under the null, and how many allocations were used."""
    values = found.parts.statistic(settings.null, studentised=settings.studentised)
    observed = found.statistic(settings.null, studentised=settings.studentised)
    rules = ["greater", "less", "absolute", "central"] + (["no_more_likely"] if found.weight is not None else [])
    tails = [(f"p_{rule}", tail(values, observed, found.weight, rule=rule)) for rule in rules]
    difference = found.parts.statistic(settings.null, studentised=False)
    seen = found.statistic(settings.null, studentised=False)
    known = difference[np.isfinite(difference)]
    weight = None if found.weight is None else found.weight[np.isfinite(difference)]
    centred = known - np.average(known, weights=weight)
    spread = float(np.sqrt(np.average(centred**2, weights=weight) * known.size / max(known.size - 1, 1)))
    return (
        *tails,
        ("p_equal", probability_of(values, observed, found.weight)),
        ("p_uncentred", tail(difference + settings.null, seen + settings.null, found.weight)),
        ("null_sd", spread),
        ("n_allocations", float(values.size)),
        ("allocations", "listed" if found.weight is not None else "drawn"),
    )


def _sum_test(ready: Prepared, outcome: int, row: Term, settings: Settings, rng: np.random.Generator) -> Comparison:
    """Test the standardised sum of outcomes, or of their midranks, over treated units of assignment."""
    scores, treated, block = _scores(ready, outcome, settings)
    expectation, variance = moments(scores, treated, block)
    if variance <= 0:
        raise IdentificationError("The outcome does not vary inside strata, so every allocation gives the same sum.")
    observed = float(scores[treated].sum())
    z = (observed - expectation) / np.sqrt(variance)
    values, weight, how = _sum_distribution(ready, scores, treated, settings, rng)
    extra: list[tuple[str, float | str | None]] = [("expectation", expectation), ("variance", variance)]
    if values is None:
        p_value = {"greater": normal_upper(z), "less": normal_upper(-z)}.get(settings.rule, 2.0 * normal_upper(abs(z)))
        extra += [("p_greater", normal_upper(z)), ("p_less", normal_upper(-z))]
    else:
        centred = (values - expectation) / np.sqrt(variance)
        p_value = tail(centred, z, weight, rule=settings.rule)
        rules = ["greater", "less", "absolute", "central"] + (["no_more_likely"] if weight is not None else [])
        extra += [(f"p_{rule}", tail(centred, z, weight, rule=rule)) for rule in rules]
        extra += [("p_equal", probability_of(centred, z, weight))]
    check = Check("allocations", "info", f"{ready.assignment.words}; {how}.", f"{ready.assignment.words}.")
    test = _as_test(row, row, float(z), float(p_value))
    test = Term(**{**{f: getattr(test, f) for f in Term.__dataclass_fields__}, "extra": tuple(extra)})
    return Comparison(test, None, (check,), how)


def _scores(
    ready: Prepared, outcome: int, settings: Settings
) -> tuple[FloatArray, NDArray[np.bool_], NDArray[np.intp]]:
    """Return the score of each unit of assignment, whether it was treated, and its block."""
    scheme = ready.assignment.scheme
    if scheme.recorded is not None or scheme.probability is not None or scheme.source is not None:
        raise DesignError("Sums and rank sums are for permuted units; use statistic='difference' with this assignment.")
    y = ready.trial.outcomes[:, outcome] - settings.null * (ready.trial.arm == ready.arm)
    if settings.kind == "rank_sum":
        y = midranks(y)
    scores = group_sums(ready.assignment.unit, y, scheme.labels.size)
    return scores, scheme.labels == ready.arm, scheme.block


def _sum_distribution(
    ready: Prepared, scores: FloatArray, treated: NDArray[np.bool_], settings: Settings, rng: np.random.Generator
) -> tuple[FloatArray | None, FloatArray | None, str]:
    """Return values and probabilities of the sum (None, None for the normal), and how they were found."""
    scheme = ready.assignment.scheme
    if settings.distribution == "asymptotic":
        return None, None, "normal approximation"
    if settings.distribution != "monte_carlo":
        exact = exact_sums(scores, treated, scheme.block)
        if exact is not None:
            return exact.values, exact.probability, "exact distribution of the sum"
        if list_all(ready.assignment.count, settings):
            sums, weights = [], []
            for codes, weight in enumerate_allocations(scheme):
                sums.append((codes == ready.arm) @ scores)
                weights.append(weight)
            return np.concatenate(sums), np.concatenate(weights), f"all {how_many(ready.assignment.count)} listed"
    need_list(settings)
    drawn = [(codes == ready.arm) @ scores for codes in draw_allocations(scheme, settings.n_draws, rng)]
    return np.concatenate(drawn), None, f"{settings.n_draws:,} drawn"


def joint_comparison(data: Trial, settings: Settings, rng: np.random.Generator) -> Comparison:
    """Return the test that no arm has an effect on any outcome, by the largest absolute studentised difference."""
    found = joint_statistics(
        data,
        assignment_of(data, settings.assignment),
        settings,
        rng,
    )
    largest = np.abs(found.values).max(axis=1)
    observed = float(np.abs(found.observed).max())
    everyone = tuple(
        cell
        for outcome in range(len(data.outcome_names))
        for cell in arm_support(data, outcome, data.observed(outcome), range(len(data.arms)))
    )
    term = Term(
        term="all arms and outcomes together",
        estimand=Estimand("ITT", "none"),
        outcome=", ".join(data.outcome_names),
        value=None,
        std_error=None,
        kind="test",
        statistic=observed if np.isfinite(observed) else None,
        p_value=tail(largest, observed, found.weight, rule="greater"),
        n_units=data.n,
        n_clusters=data.n_clusters,
        support=tuple(dict.fromkeys(everyone)),
        reason="a test of all rows together",
    )
    return Comparison(term, None, (), "")


def method_in_words(settings: Settings, found: Sequence[Comparison]) -> Method:
    """Say how the test was made."""
    statistics = {
        "design": "studentised difference" if settings.studentised else "difference",
        "ipw": "difference of inverse-probability-weighted means",
        "sum": "standardised sum over the treated",
        "rank_sum": "standardised rank sum over the treated",
    }
    name = statistics[settings.kind]
    if not settings.fast:
        name = (
            settings.estimator.name
            + ("" if settings.adjusted else ", refitted")
            + (", studentised" if settings.studentised else "")
        )
    how = "; ".join(dict.fromkeys(one.words for one in found if one.words))
    return Method(
        sample="",
        std_error="of the estimator; the test does not rest on it" if settings.kind == "design" else "none",
        small_sample="none is needed: the test is exact",
        reference=f"randomisation distribution of the {name} ({how})",
        inference_for="the units of the trial, under a constant effect",
        assumptions=(
            "units were allocated as the roles say",
            "one unit's assignment does not change another's outcome",
            "assignment did not change which outcomes are missing",
        ),
        source="Fisher 1935; Rosenbaum 2002; Wu and Ding 2021",
    )
