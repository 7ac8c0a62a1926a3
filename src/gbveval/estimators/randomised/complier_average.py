"""`ComplierAverage`: the effect on those who take the intervention up because they were assigned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import (
    Row,
    all_samples,
    arm_support,
    assemble,
    mean_contrast,
    require_parallel,
)
from gbveval.estimators.randomised._linear import (
    Choice,
    arm_columns,
    check_arms_separate,
    check_options,
    check_sizes,
    choose,
    fit_checks,
    fit_columns,
    separate_outcomes,
    shown_coefficients,
    spread_rows,
    stratum_columns,
    used_rows,
)
from gbveval.numerics.inference import anderson_rubin_interval, check_level, wald_joint
from gbveval.numerics.least_squares import column_names, make_basis
from gbveval.numerics.linear_inference import LinearInference, linear_inference
from gbveval.numerics.two_stage import TwoStage, two_stage_least_squares

FloatArray = NDArray[np.float64]
INTERVALS = ("auto", "wald", "anderson_rubin")
# Staiger and Stock's rule of thumb for one instrument.
WEAK = 10.0


@register("complier_average")
@dataclass(frozen=True, slots=True)
class ComplierAverage:
    """Effect on compliers: two-stage least squares with the assigned arm as the instrument for what was received.

    Parameters
    ----------
    std_error, df : str
        As in `Ancova`, applied to the first-stage fitted regressors.
    cluster_by : str
        "assignment" or "site", as in `Ancova`.
    interval : str
        "wald", "anderson_rubin", or "auto": Anderson-Rubin where the first stage is weak (F below 10). The
        Anderson-Rubin set is valid however weak the first stage is. It can be the whole line, or all but a gap: the
        hull is then the whole line, shown without limits, and a check says which.
    level : float
        Level of the intervals; the Anderson-Rubin set is given at this level only.

    Notes
    -----
    **Identifies** the average effect on those who receive the intervention if assigned and not otherwise, when
    assignment was random, it changes the outcome only through what is received, and nobody does the opposite of what
    they were assigned. For a dose it is a weighted average of effects per unit of dose. With several arms all are
    instruments of the one dose.

    **Valid when** the first stage is strong, or with the Anderson-Rubin set.

    **Do not use when** being assigned can act without take-up (a letter that is read, a class that hears of it), or
    take-up was measured after the outcome could have changed it.

    Rows: the effect on compliers, the first stage (effect of each arm on what was received), coefficients of the
    covariates.

    References
    ----------
    Imbens and Angrist (1994), Econometrica 62. Anderson and Rubin (1949), Annals of Mathematical Statistics 20.
    Pustejovsky and Tipton (2018), Journal of Business and Economic Statistics 36.

    Examples
    --------
    >>> frame = {
    ...     "y": [1.0, 2.0, 3.0, 2.0, 4.0, 6.0, 2.0, 6.0],
    ...     "arm": ["usual"] * 4 + ["new"] * 4,
    ...     "took": [0, 0, 0, 0, 1, 1, 0, 1],
    ... }
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual", received="took")
    >>> round(ComplierAverage().estimate(trial)[0].value, 4)
    3.3333
    """

    std_error: str = "auto"
    df: str = "auto"
    cluster_by: str = "assignment"
    interval: str = "auto"
    level: float = 0.95
    name: ClassVar[str] = "complier_average"

    def __post_init__(self) -> None:
        check_options(self.std_error, self.df, cluster_by=self.cluster_by)
        check_level(self.level)
        if self.interval not in INTERVALS:
            raise DesignError(f"interval must be one of {', '.join(INTERVALS)}, not {self.interval!r}.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the effect on compliers and the first stage for each outcome.

        Parameters
        ----------
        data : Trial
            A trial with the role `received`.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If `received` is not declared, or the standard error does not fit the trial.
        IdentificationError
            If assignment does not change what was received.
        """
        require_parallel("ComplierAverage", data)
        if data.received is None:
            raise DesignError("ComplierAverage needs the role `received`: a column with what was taken up.")
        choice = choose(data, self.std_error, self.df, self.cluster_by)
        rows: list[Row] = []
        checks: list[Check] = []
        blocks: list[FloatArray] = []
        sets: dict[int, tuple[float, float]] = {}
        for outcome in range(len(data.outcome_names)):
            fitted = _fit(data, outcome, choice)
            weak = _first_stage_f(fitted) < WEAK
            if self.interval == "anderson_rubin" or (self.interval == "auto" and weak):
                limits, note = _anderson_rubin(data, fitted, self.level)
                sets[len(rows)] = limits
                checks.append(note)
            checks += [*fitted.notes, *_strength(data, outcome, fitted, weak)]
            found, block = _rows(data, outcome, fitted, choice)
            rows += found
            blocks.append(block)
        joint = None if rows[0].influence is not None else separate_outcomes(blocks)
        answer = assemble(self, data, rows, method=_method(data, choice), checks=checks, covariance=joint)
        terms = tuple(
            replace(term, interval=sets[i], interval_level=self.level) if i in sets else term
            for i, term in enumerate(answer.terms)
        )
        return replace(answer, terms=terms, level=self.level)


@dataclass(frozen=True, eq=False, slots=True)
class _Fitted:
    stages: TwoStage
    names: tuple[str, ...]
    used: NDArray[np.bool_]
    notes: tuple[Check, ...]


def _fit(data: Trial, outcome: int, choice: Choice) -> _Fitted:
    assert data.received is not None
    used, checks = used_rows(data, outcome)
    arms, _ = arm_columns(data, used)
    groups, group_names = stratum_columns(data, used)
    exogenous = np.column_stack([data.covariates[used], groups])
    check_arms_separate(data, used, exogenous)
    check_sizes(data, used, 2 + exogenous.shape[1] - int(make_basis(exogenous).dropped.size))
    received = data.received[used]
    basis = make_basis(np.column_stack([exogenous, arms, received]))
    if np.ptp(received) == 0:
        raise IdentificationError(
            "Everybody received the same, so nothing can be learned about it. Report the effect of assignment."
        )
    if exogenous.shape[1] + arms.shape[1] in basis.dropped and np.ptp(received) > 0:
        # Perfect compliance: received is a function of the arm, and the effect is that of assignment.
        checks.append(Check("compliance", "info", "what was received follows from the arm and covariates exactly."))
    weights = None if data.weight is None else data.weight[used]
    fit = partial(
        linear_inference,
        std_error=choice.std_error,
        df=choice.df,
        weights=weights,
        cluster=None if choice.group is None else choice.group[used],
        n_clusters=choice.n_groups,
    )
    y = data.outcomes[used, outcome]
    stages = two_stage_least_squares(y, received, arms, exogenous, fit=fit, weights=weights)
    if stages is None:
        raise IdentificationError(
            "Assignment does not change what was received at all, so there are no compliers to speak of. Report the "
            "effect of assignment, and look whether arm and `received` are recorded for the same people."
        )
    names = ("received", *data.covariate_names, *group_names)
    _, dropped = column_names(list(names), stages.second.fit.basis)
    shown = [name for name in dropped if not name.startswith(("stratum #", "pair #"))]
    return _Fitted(stages, names, used, (*checks, *fit_checks(stages.second, 1, shown)))


def _first_stage_f(fitted: _Fitted) -> float:
    """Return the robust F of the arms in the first stage."""
    first = fitted.stages.first
    where = np.arange(1, 1 + fitted.stages.n_instruments)
    statistic, rank, _ = wald_joint(first.beta[where], first.covariance[np.ix_(where, where)])
    return statistic / rank if rank else float("inf")


def _strength(data: Trial, outcome: int, fitted: _Fitted, weak: bool) -> list[Check]:
    if not weak:
        return []
    text = (
        f"the first stage of {data.outcome_names[outcome]} is weak (F {_first_stage_f(fitted):.1f}, below {WEAK:.0f}): "
        "the Wald interval is not to be trusted; use the Anderson-Rubin interval, or report the effect of assignment."
    )
    return [Check("first stage", "warn", text)]


def _anderson_rubin(data: Trial, fitted: _Fitted, level: float) -> tuple[tuple[float, float], Check]:
    """Return the hull of the Anderson-Rubin set, and what it looks like."""
    stages = fitted.stages
    if stages.n_instruments > 1:
        raise DesignError("The Anderson-Rubin interval is given for two arms. Keep two arms, or use interval='wald'.")
    values, covariance, df = stages.reduced()
    low, high, shape = anderson_rubin_interval(values, covariance, df=df, level=level)
    texts = {
        "interval": "the Anderson-Rubin set is an interval.",
        "line": "the Anderson-Rubin set is the whole line: assignment moved take-up too little to say anything.",
        "complement": "the Anderson-Rubin set is all but a gap; its hull, shown, is the whole line.",
    }
    return (low, high), Check("Anderson-Rubin", "info" if shape == "interval" else "warn", texts[shape])


def _rows(data: Trial, outcome: int, fitted: _Fitted, choice: Choice) -> tuple[list[Row], FloatArray]:
    first, second, used = fitted.stages.first, fitted.stages.second, fitted.used
    kept, _ = column_names(list(fitted.names), second.fit.basis)
    main = kept.index("received")
    rest = shown_coefficients(kept, [main])
    name = data.outcome_names[outcome]
    groups = choice.group if choice.group is not None else None if data.cluster is None else data.cluster.codes
    n_clusters = None if groups is None else int(np.unique(groups[used]).size)
    contrast = mean_contrast(data, outcome)
    nuisance = Estimand("nuisance", "mean_difference", "participant_average", "conditional")

    def row(term: str, found: LinearInference, position: int, estimand: Estimand, causal: bool) -> Row:
        influence = found.influence
        return Row(
            term=term,
            outcome=name,
            value=float(found.beta[position]),
            influence=None if influence is None else spread_rows(influence[:, position], data, used, choice),
            df=float(found.df[position]),
            estimand=estimand,
            n_units=int(used.sum()),
            n_clusters=n_clusters,
            support=arm_support(data, outcome, used, range(len(data.arms))) if causal else (),
            extra=(("first_stage_f", _first_stage_f(fitted)), *fit_columns(second)) if causal else (),
        )

    rows = [row("received", second, main, Estimand("LATE", contrast, "compliers"), True)]
    order = [main, *rest]
    rows += [
        row(f"first stage: {label} vs {data.arms[0]}", first, 1 + i, nuisance, False)
        for i, label in enumerate(data.arms[1:])
    ]
    rows += [row(kept[i], second, i, nuisance, False) for i in rest]
    instruments = 1 + np.arange(len(data.arms) - 1)
    size = len(rows)
    block = np.full((size, size), np.nan)
    seconds = [0, *range(1 + instruments.size, size)]
    block[np.ix_(seconds, seconds)] = second.covariance[np.ix_(order, order)]
    inner = range(1, 1 + instruments.size)
    block[np.ix_(inner, inner)] = first.covariance[np.ix_(instruments, instruments)]
    return rows, block


def _method(data: Trial, choice: Choice) -> Method:
    return Method(
        sample=all_samples(data),
        std_error=f"{choice.std_error_words()}, of the first-stage fitted regressors",
        small_sample=choice.small_sample_words(),
        reference=choice.reference_words(),
        inference_for="the compliers among the participants of the trial, or of a superpopulation",
        assumptions=(
            "arms were assigned at random as declared, with one probability",
            "assignment changes the outcome only through what is received",
            "nobody does the opposite of what they were assigned",
            "one unit's assignment does not change another's outcome",
            "outcomes are missing for reasons unrelated to the outcome",
        ),
        source="Imbens and Angrist 1994",
    )
