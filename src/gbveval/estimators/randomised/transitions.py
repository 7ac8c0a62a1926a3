"""`Transitions`: prevention, cessation, reduction and escalation, by what was there at baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError, DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import OBSERVED_ONLY
from gbveval.estimators._trials import changed
from gbveval.estimators.randomised.difference_in_means import DifferenceInMeans

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
# Who is looked at, what is counted among them (follow-up, baseline, cut), and both in words.
_KINDS: Final[dict[str, tuple[str, Callable[[FloatArray, FloatArray, float], BoolArray], str]]] = {
    "prevention": ("without_at_baseline", lambda y, before, cut: y <= cut, "none at follow-up"),
    "cessation": ("with_at_baseline", lambda y, before, cut: y <= cut, "none at follow-up"),
    "reduction": ("with_at_baseline", lambda y, before, cut: y < before, "less at follow-up than at baseline"),
    "escalation": ("with_at_baseline", lambda y, before, cut: y > before, "more at follow-up than at baseline"),
}


@register("transitions")
@dataclass(frozen=True, slots=True)
class Transitions:
    """Effects on prevention, cessation, reduction and escalation, among those without and those with it at baseline.

    ============  ==============================  ====================================
    transition    among those who at baseline     counts who at follow-up
    ============  ==============================  ====================================
    prevention    had none                        have none
    cessation     had some                        have none
    reduction     had some                        have less (cessation included)
    escalation    had some                        have more
    ============  ==============================  ====================================

    Parameters
    ----------
    transitions : tuple of str
        Which of them, in the order of the rows.
    estimator : Estimator
        Compares the arms within each group: `DifferenceInMeans` (risk differences, the default), or another estimator
        of a yes-or-no outcome such as `ModifiedPoisson` or `Standardised` (risk ratios), `LinAdjusted` (covariates).
    none_up_to : float
        The largest value that counts as none; zero for counts, and for ordered frequencies coded from zero.

    Notes
    -----
    **Identifies** intention-to-treat effects in two groups that are defined before assignment, so that randomisation
    holds inside each. The groups are never defined by what happened at follow-up.

    **Needs** the role `baseline`, on the scale of the outcome: same question, same recall period. Units without a
    baseline belong to neither group and are counted in a check.

    **Inference** is the estimator's, in the group: with the default Neyman's variance, or CR2 by cluster with
    Satterthwaite degrees of freedom. Rows have a joint covariance where the estimator has influence functions. The
    rows overlap (who stops also has less), so tests of all of them are not independent: `joint_test` takes that in.

    **Do not use when** baseline and follow-up differ in recall or mode, since the difference would look like change; or
    to say how many individuals changed *because of* the programme. Change in one arm alone is no effect: reports fall
    without any programme (regression to the mean).

    References
    ----------
    Boyer, Chatterji, Cooper and Heise (2022), arXiv 2204.12385. Frangakis and Rubin (2002), Biometrics 58.

    Examples
    --------
    >>> frame = {
    ...     "before": [0, 0, 2, 3, 1, 0, 0, 2, 2, 1],
    ...     "after": [0, 1, 2, 1, 2, 0, 0, 0, 1, 0],
    ...     "arm": ["usual"] * 5 + ["new"] * 5,
    ... }
    >>> trial = Trial(frame, outcome="after", arm="arm", control="usual", baseline="before")
    >>> answer = Transitions().estimate(trial)
    >>> [(row.term, round(row.value, 3), row.n_units) for row in answer.terms[:2]]
    [('prevention: new vs usual', 0.5, 4), ('cessation: new vs usual', 0.667, 6)]
    """

    transitions: tuple[str, ...] = ("prevention", "cessation", "reduction", "escalation")
    estimator: Any = field(default_factory=DifferenceInMeans)
    none_up_to: float = 0.0
    name: ClassVar[str] = "transitions"

    def __post_init__(self) -> None:
        chosen = self.transitions
        if isinstance(chosen, str) or not chosen or not set(chosen) <= set(_KINDS) or len(set(chosen)) < len(chosen):
            raise DesignError(f"transitions must be a tuple of some of {', '.join(_KINDS)}, each once.")
        if not np.isfinite(self.none_up_to):
            raise DesignError("none_up_to must be a finite number: the largest value that counts as none.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return one row for each transition and arm.

        Parameters
        ----------
        data : Trial
            A trial with one outcome and the role `baseline`.
        rng : numpy.random.Generator, optional
            Handed to the estimator.

        Raises
        ------
        DesignError
            If the trial has no baseline or several outcomes.
        DataError
            If a value is below zero.
        IdentificationError
            If no transition can be estimated.
        """
        _check(data)
        whole = _coded(data, self.transitions, self.none_up_to)
        missing = _no_answer(self.estimator, whole, rng)
        kept = [name for name in self.transitions if name not in missing]
        if not kept:
            raise IdentificationError(f"No transition can be estimated. {next(iter(missing.values()))}")
        found: Estimates = self.estimator.estimate(_only(whole, self.transitions, kept), rng=rng)
        effects = [i for i, row in enumerate(found.terms) if row.estimand.effect == "ITT"]
        found = found.with_terms(effects)
        rows = [_row(term, data.outcome_names[0]) for term in found.terms]
        rows += [_undefined(name, data, reason) for name, reason in missing.items()]
        count = len(rows)
        covariance = np.full((count, count), np.nan)
        covariance[: len(found), : len(found)] = found.covariance
        return replace(
            found,
            estimator=self.name,
            terms=tuple(rows),
            covariance=covariance,
            influence=found.influence if count == len(found) else None,
            method=_method(found.method),
            checks=(*_checks(data, self.none_up_to), *(c for c in found.checks if c.name != "missing outcome")),
            provenance=Provenance(
                data.digest,
                tuple(options_of(self).items()),
                found.provenance.seed,
                versions(),
                found.provenance.seed_derived,
            ),
            flow=data.flow(),
        )


def _check(data: Trial) -> None:
    if data.baseline is None:
        raise DesignError("Transitions needs the role `baseline`: a column with the outcome before assignment.")
    if len(data.outcome_names) > 1:
        raise DesignError("Transitions compares one outcome with its own baseline; give one outcome at a time.")
    for values, role in ((data.outcomes[:, 0], "outcome"), (data.baseline, "baseline")):
        wrong = int((values < 0).sum())
        if wrong:
            raise DataError(
                f"The {role} is below zero in {wrong:,} rows (outcome column {data.outcome_names[0]!r}); transitions "
                "need counts or frequencies from zero up. Recode it, with zero for none."
            )


def _coded(data: Trial, names: tuple[str, ...], cut: float) -> Trial:
    """Return the trial with one yes-or-no outcome a transition, missing outside its group."""
    assert data.baseline is not None
    y, before = data.outcomes[:, 0], data.baseline
    known = ~np.isnan(y) & ~np.isnan(before)
    columns = []
    for name in names:
        group, counts, _ = _KINDS[name]
        inside = known & ((before <= cut) if group == "without_at_baseline" else (before > cut))
        columns.append(np.where(inside, counts(y, before, cut).astype(float), np.nan))
    return changed(data, outcomes=np.column_stack(columns), outcome_names=names, baseline=None)


def _only(whole: Trial, names: tuple[str, ...], kept: list[str]) -> Trial:
    places = [names.index(name) for name in kept]
    return changed(whole, outcomes=whole.outcomes[:, places], outcome_names=tuple(kept))


def _no_answer(estimator: Any, whole: Trial, rng: np.random.Generator | None) -> dict[str, str]:
    """Return the transitions that cannot be estimated, with the reason."""
    missing = {}
    names = whole.outcome_names
    for place, name in enumerate(names):
        group = _KINDS[name][0].replace("_at_baseline", "")
        if np.isnan(whole.outcomes[:, place]).all():
            missing[name] = f"nobody {group} it at baseline has an outcome"
            continue
        try:
            estimator.estimate(_only(whole, names, [name]), rng=rng)
        except IdentificationError as error:
            missing[name] = f"among those {group} it at baseline: {error}"
    return missing


def _row(term: Term, outcome: str) -> Term:
    group = _KINDS[term.outcome][0]
    support = tuple(replace(cell, table=f"{outcome}, {term.outcome} by arm") for cell in term.support)
    return replace(
        term,
        term=f"{term.outcome}: {term.term}",
        outcome=outcome,
        estimand=replace(term.estimand, population=group),
        support=support,
    )


def _undefined(name: str, data: Trial, reason: str) -> Term:
    return Term(
        term=name,
        estimand=Estimand("ITT", "risk_difference", _KINDS[name][0]),
        outcome=data.outcome_names[0],
        value=None,
        std_error=None,
        reason=reason,
    )


def _checks(data: Trial, cut: float) -> list[Check]:
    assert data.baseline is not None
    before, seen = data.baseline, data.observed(0)
    unknown = int(np.isnan(before).sum())
    without, some = ((~np.isnan(before)) & chosen & seen for chosen in (before <= cut, before > cut))
    found = [
        Check(
            "groups",
            "info",
            f"with an outcome, {int(without.sum()):,} had none at baseline (prevention) and {int(some.sum()):,} had "
            "some (cessation, reduction, escalation).",
            "prevention is among those who had none at baseline; cessation, reduction and escalation among those who "
            "had some.",
        )
    ]
    if unknown:
        found.append(
            Check(
                "baseline",
                "warn",
                f"{unknown:,} units have no baseline and belong to neither group.",
                "units without a baseline belong to neither group.",
            )
        )
    lost = [int((chosen & ~seen).sum()) for chosen in (before <= cut, before > cut)]
    if any(lost):
        found.append(
            Check(
                "missing outcome",
                "warn",
                f"the outcome is missing for {lost[0]:,} of those without and {lost[1]:,} of those with it at "
                f"baseline; {OBSERVED_ONLY}",
                f"the outcome is missing for some in either group; {OBSERVED_ONLY}",
            )
        )
    return found


def _method(inner: Method) -> Method:
    return replace(
        inner,
        sample="those with a baseline and an outcome; prevention among those without it at baseline, the others among "
        "those with it",
        assumptions=(*inner.assumptions, "baseline and follow-up ask the same, over the same recall period"),
        source=f"Boyer, Chatterji, Cooper and Heise 2022; {inner.source}",
    )
