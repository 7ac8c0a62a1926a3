"""`PlaceboCompliers`: those who take up what they are offered, in the intervention's arm and in the placebo's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data._frame import plural
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import OBSERVED_ONLY, require_parallel
from gbveval.estimators._trials import changed
from gbveval.estimators.randomised._mean_designs import DESIGNS
from gbveval.estimators.randomised.difference_in_means import DifferenceInMeans

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
TAKE_UP = "take-up"
# Take-up that differs at this level is a warning: the arms' compliers are then not alike.
LEVEL = 0.95


@register("placebo_compliers")
@dataclass(frozen=True, slots=True)
class PlaceboCompliers:
    """Difference between compliers of the arms, where control was offered a placebo that is taken up the same way.

    Everybody is offered something: a film about violence or a film about something else, a call with the message or one
    about recycling. Who takes up what is offered (role `received`, 0 or 1, in every arm) is seen in both arms, and as
    nobody knows which it will be, the same kind of people do. They are compared; those who do not take it up only add
    noise and are left out. Compared with `ComplierAverage`, which must divide the effect on everybody by the share who
    comply, the standard error is smaller by far when few do.

    The control arm is the placebo's. Roles of the trial decide the variance, as for `DifferenceInMeans`, whose
    machinery this is.

    Notes
    -----
    **Identifies** the effect of receiving the intervention in place of the placebo on those who take up either, when
    assignment was random, take-up is observed in every arm before anything the intervention could change, it is the
    same with both, and the placebo does not act on the outcome.

    **Spillover.** If outcomes are those of people around compliers (others in the household, friends they named
    beforehand) with `received` that of their complier, the rows are effects on those peers. The complier, household or
    village they share is then the cluster, and peers must have been named without regard to the arm.

    **Valid when** there are enough independent units, or clusters, with compliers: as for `DifferenceInMeans`. Rows
    named take-up compare it between arms, and a check says what came out. Equal rates are necessary and not enough:
    describe the compliers of the arms with `balance` too.

    **Do not use when** the offer told people what they would get, so that different people came; or when control was
    offered nothing, so that nobody can be seen to comply there (`ComplierAverage`).

    References
    ----------
    Nickerson (2008), American Political Science Review 102. Broockman, Kalla and Sekhon (2017), Political Analysis 25.
    Wilke, Green and Cooper (2020), Journal of the Royal Statistical Society A 183.

    Examples
    --------
    >>> frame = {
    ...     "y": [1.0, 2.0, 3.0, 9.0, 4.0, 5.0, 6.0, 0.0],
    ...     "arm": ["placebo"] * 4 + ["film"] * 4,
    ...     "came": [1, 1, 1, 0, 1, 1, 1, 0],
    ... }
    >>> trial = Trial(frame, outcome="y", arm="arm", control="placebo", received="came")
    >>> for row in PlaceboCompliers().estimate(trial).terms:
    ...     print(row.term, row.outcome, row.value)
    film vs placebo y 3.0
    take-up: film vs placebo take-up 0.0
    """

    name: ClassVar[str] = "placebo_compliers"

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the effect on compliers for each outcome and arm, and the difference in take-up for each arm.

        Parameters
        ----------
        data : Trial
            A trial with a placebo as control and the role `received`.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If take-up is not declared, is no yes or no, or is nobody's in control; or roles are combined in a way that
            `DifferenceInMeans` does not cover.
        IdentificationError
            If an arm has no complier, or too few with an outcome.
        """
        complied = _compliers(data)
        among = changed(data, outcomes=np.where(complied[:, None], data.outcomes, np.nan))
        _check_outcomes(data, among)
        effects = DifferenceInMeans().estimate(among)
        rows = [_row(term) for term in effects.terms]
        influence = None if effects.influence is None else np.asarray(effects.influence)
        checks = [*_effect_checks(effects), *_missing(data, complied), *_empty_clusters(data, complied)]
        taken = None
        if not complied.all():
            whole = changed(data, outcome_names=(TAKE_UP,), outcomes=complied.astype(float)[:, None])
            taken = DifferenceInMeans().estimate(whole)
            rows += [_take_up_row(term) for term in taken.terms]
            assert influence is not None
            assert taken.influence is not None
            influence = np.column_stack([influence, taken.influence])
        assert influence is not None
        return Estimates(
            estimator=self.name,
            terms=tuple(rows),
            covariance=_covariance(influence, rows),
            method=_method(data, complied, effects.method),
            checks=(_take_up_check(data, complied, taken), *checks),
            provenance=Provenance(data.digest, tuple(options_of(self).items()), None, versions()),
            flow=data.flow(),
            influence=influence,
            blocks=effects.blocks,
        )


def _compliers(data: Trial) -> BoolArray:
    """Return who took up what was offered, after checking that this can be seen in every arm."""
    require_parallel("PlaceboCompliers", data)
    if data.received is None:
        raise DesignError(
            "PlaceboCompliers needs the role `received`: who took up what was offered, 0 or 1, in every arm."
        )
    other = int(((data.received != 0) & (data.received != 1)).sum())
    if other:
        raise DesignError(
            f"The role `received` is neither 0 nor 1 in {other:,} rows; whether somebody took up what was offered was "
            "expected. Fix beforehand which dose counts as taken up, and code it so."
        )
    roles = tuple(role for role in ("cluster", "pair", "stratum", "weight") if getattr(data, role) is not None)
    if roles not in DESIGNS:
        raise DesignError(
            f"PlaceboCompliers does not cover a trial with {' and '.join(roles)} together. Leave one out."
        )
    complied: BoolArray = data.received == 1
    if not complied[data.arm == 0].any():
        raise DesignError(
            f"Nobody in the control arm {data.arms[0]!r} took anything up, so there was no placebo to take, and who "
            "would have complied there is not known. Use ComplierAverage, which compares everybody."
        )
    for code, label in enumerate(data.arms):
        if not complied[data.arm == code].any():
            raise IdentificationError(
                f"Nobody in arm {label!r} took up what was offered, so there are no compliers to compare. Leave "
                "that arm out, or look whether take-up was recorded there."
            )
    return complied


def _check_outcomes(data: Trial, among: Trial) -> None:
    """Raise where an arm has fewer than two compliers with an outcome."""
    for outcome, name in enumerate(data.outcome_names):
        for code, label in enumerate(data.arms):
            count = int((among.observed(outcome) & (data.arm == code)).sum())
            if count < 2:
                raise IdentificationError(
                    f"Arm {label!r} has {plural(count, 'complier')} with the outcome {name}; at least two are needed. "
                    "Leave that arm out, or describe the data without inference."
                )


def _row(term: Term) -> Term:
    """Return a difference in means as the effect on compliers."""
    support = tuple(
        replace(cell, label=f"{cell.label}, took up", table=f"{term.outcome} by arm and take-up")
        for cell in term.support
    )
    return replace(term, estimand=Estimand("LATE", term.estimand.contrast, "compliers"), support=support)


def _take_up_row(term: Term) -> Term:
    return replace(term, term=f"{TAKE_UP}: {term.term}", estimand=Estimand("nuisance", "risk_difference"))


def _covariance(influence: FloatArray, rows: list[Term]) -> FloatArray:
    covariance: FloatArray = influence.T @ influence
    undefined = [number for number, row in enumerate(rows) if row.std_error is None]
    covariance[undefined, :] = np.nan
    covariance[:, undefined] = np.nan
    return covariance


def _take_up_check(data: Trial, complied: BoolArray, taken: Estimates | None) -> Check:
    """Return whether as many took up in each arm, without which compliers are not alike."""
    if taken is None:
        return Check(TAKE_UP, "info", "everybody took up what was offered, so this compares all participants.")
    rates = [float(complied[data.arm == code].mean()) for code in range(len(data.arms))]
    shown = ", ".join(f"{rate:.1%} in {label!r}" for rate, label in zip(rates, data.arms, strict=True))
    low, high = taken.intervals(LEVEL)
    differs = bool(np.any((low > 0) | (high < 0)))
    gaps = "; ".join(
        f"{row.term}: {100 * row.value:+.1f} points, {LEVEL:.0%} interval {100 * a:.1f} to {100 * b:.1f}"
        for row, a, b in zip(taken.terms, low, high, strict=True)
        if row.value is not None and row.std_error is not None
    )
    says = (
        "take-up differs between arms, so their compliers are not the same kind of people: what was offered was not "
        "taken up blindly."
        if differs
        else "take-up does not differ between arms beyond chance, as it must not if compliers are alike."
    )
    return Check(TAKE_UP, "warn" if differs else "ok", f"{says} Took up: {shown} ({gaps}).", says)


def _effect_checks(effects: Estimates) -> list[Check]:
    """Return what the comparison of means says, in terms of compliers."""
    checks = []
    for check in effects.checks:
        if check.name.startswith("complete pairs"):
            text = f"a pair counts if both sides have a complier with an outcome: {check.message}"
            checks.append(replace(check, message=text))
        elif check.name != "missing outcome":
            checks.append(check)
    return checks


def _missing(data: Trial, complied: BoolArray) -> list[Check]:
    """Return checks on outcomes that compliers lack, by arm."""
    checks = []
    for outcome, name in enumerate(data.outcome_names):
        observed = data.observed(outcome)
        rates = [float(1.0 - observed[complied & (data.arm == code)].mean()) for code in range(len(data.arms))]
        if max(rates) == 0:
            continue
        shown = ", ".join(f"{rate:.1%} in {label!r}" for rate, label in zip(rates, data.arms, strict=True))
        status = "warn" if max(rates) > 0.05 or max(rates) - min(rates) > 0.03 else "info"
        text = f"of compliers {name} is missing for {shown}; {OBSERVED_ONLY}"
        checks.append(Check("missing outcome", status, text, f"{name} is missing for some compliers; {OBSERVED_ONLY}"))
    return checks


def _empty_clusters(data: Trial, complied: BoolArray) -> list[Check]:
    if data.cluster is None:
        return []
    empty = data.cluster.count - np.unique(data.cluster.codes[complied]).size
    if not empty:
        return []
    text = f"in {empty} of {data.cluster.count} clusters nobody took up what was offered; they take no part."
    return [Check("clusters without compliers", "info", text)]


def _method(data: Trial, complied: BoolArray, method: Method) -> Method:
    took = int(complied.sum())
    seen = "; ".join(
        f"{int((complied & data.observed(outcome)).sum()):,} of them have the outcome {name}"
        for outcome, name in enumerate(data.outcome_names)
    )
    return replace(
        method,
        sample=f"{took:,} of {data.n:,} randomised units took up what they were offered; {seen}",
        inference_for=f"the compliers among {method.inference_for}",
        assumptions=(
            "arms were assigned at random as declared",
            "the same people take up the placebo and the intervention, and take-up was not changed by either",
            "the placebo does not change the outcome",
            "outcomes are missing for reasons unrelated to the outcome",
        ),
        source="Nickerson 2008; Broockman, Kalla and Sekhon 2017",
    )
