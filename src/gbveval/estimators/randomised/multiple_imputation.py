"""`MultipleImputation`: any estimator on outcomes whose missing values are drawn several times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.provenance import Provenance, derive_seed, options_of, versions
from gbveval.core.registry import register
from gbveval.core.replicate import generators
from gbveval.core.term import Term
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import arm_support
from gbveval.estimators._imputation_model import MODELS, completed, fit_models
from gbveval.estimators._pool import pooled_estimates
from gbveval.estimators._trials import changed
from gbveval.estimators.randomised.difference_in_means import DifferenceInMeans

FloatArray = NDArray[np.float64]


@register("multiple_imputation")
@dataclass(frozen=True, slots=True)
class MultipleImputation:
    """An estimator on outcomes whose missing values are imputed several times, pooled by Rubin's rules.

    Parameters
    ----------
    estimator : Estimator
        What is estimated from each completed trial; it must give points with standard errors.
    n_imputations : int
        Completed trials; twenty or more.
    model : str
        "auto" (logistic for 0/1, else normal), "normal" (linear regression, coefficients and variance drawn from their
        posterior), "logistic", or "matching" (predictive mean matching: only observed values are drawn, for counts and
        ordered answers).
    delta : float or mapping of arm to float
        Added to what is imputed: on the scale of the outcome, or of the log odds for a logistic model. With it the
        missing differ from the observed who are alike in the covariates (a pattern-mixture model). Zero by default;
        a single number is for all arms. Say beforehand which values are plausible, or ask `tipping_point`.

    Notes
    -----
    **Imputes** each outcome within each arm from covariates, strata, weight and the baseline, so that effects which
    differ along covariates are kept. Coefficients are drawn anew for every imputation (the imputation is proper).

    **Identifies** what the estimator identifies, for all who were randomised, if outcomes are missing for reasons that
    the imputation model holds, up to `delta`.

    **Valid when** covariates tell who is missing and what they would have said. With the arm alone to impute from, it
    is the analysis of those observed with more noise.

    **Do not use when** the outcome is missing because of itself (survivors leave) and no `delta` says so: use
    `tipping_point`, or bounds that assume nothing (`LeeBounds`, `ManskiBounds`). Not where clusters are few, alike
    inside and much is missing: the imputation model knows no clusters, and a check says so.

    **Draws** come from `rng`, or from a seed derived from data and options, the same for every `delta`.

    References
    ----------
    Rubin (1987), Multiple Imputation for Nonresponse in Surveys. Barnard and Rubin (1999), Biometrika 86.
    Little (1988), Journal of Business and Economic Statistics 6. Little (1993), Journal of the American Statistical
    Association 88. White, Daniel and Royston (2010), Computational Statistics and Data Analysis 54.

    Examples
    --------
    >>> x = np.arange(40) % 5
    >>> y = np.where(np.arange(40) % 7 == 0, np.nan, x + np.tile([0.0, 1.0], 20) + np.arange(40) % 3)
    >>> frame = {"y": y, "x": x, "arm": ["usual", "new"] * 20}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual", covariates=["x"])
    >>> answer = MultipleImputation(n_imputations=20).estimate(trial)
    >>> answer[0].n_units, 0 < dict(answer[0].extra)["missing_information"] < 1
    (40, True)
    """

    estimator: Any = field(default_factory=DifferenceInMeans)
    n_imputations: int = 20
    model: str = "auto"
    delta: float | Mapping[str, float] | tuple[tuple[str, float], ...] = 0.0
    name: ClassVar[str] = "multiple_imputation"

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise DesignError(f"model must be one of {', '.join(MODELS)}, not {self.model!r}.")
        if self.n_imputations < 2:
            raise DesignError("n_imputations must be at least 2, and should be 20 or more.")
        if isinstance(self.delta, Mapping):
            # A tuple, so that the estimator can be hashed.
            object.__setattr__(self, "delta", tuple((str(arm), float(x)) for arm, x in self.delta.items()))
        shifts = [x for _, x in self.delta] if isinstance(self.delta, tuple) else [self.delta]
        if not np.isfinite(np.asarray(shifts, dtype=float)).all():
            raise DesignError("delta must be a finite number, or one for each arm named.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the pooled rows of the estimator.

        Parameters
        ----------
        data : Trial
            The checked trial, with missing outcomes.
        rng : numpy.random.Generator, optional
            For the draws; by default seeded from data and options.

        Raises
        ------
        DesignError
            If `delta` names an arm that does not exist, or the estimator gives bounds, tests or a posterior.
        DataError
            If a logistic model is asked for an outcome that is not 0 or 1.
        IdentificationError
            If an arm has too few observed outcomes to impute from.
        """
        shifts = self._shifts(data)
        models, checks = fit_models(data, self.model)
        seed = self._seed(data) if rng is None else int(rng.integers(2**63 - 1))
        results = []
        for draws in generators(seed, self.n_imputations):
            outcomes = completed(data, models, draws, shifts)
            results.append(self.estimator.estimate(changed(data, outcomes=outcomes), rng=draws))
        words = f"all {data.n:,} randomised units; missing outcomes are imputed {self.n_imputations} times"
        if shifts.any():
            listed = ", ".join(f"{x:+g} in {arm!r}" for arm, x in zip(data.arms, shifts, strict=True))
            words += f", imputed values shifted by {listed} (log odds for 0/1)"
        pooled = pooled_estimates(tuple(results), estimator=self.name, extra_checks=tuple(checks), words=words)
        return replace(
            pooled,
            terms=tuple(_observed_support(data, row) for row in pooled.terms),
            provenance=Provenance(
                data.digest, tuple(options_of(self).items()), seed, versions(), seed_derived=rng is None
            ),
            flow=data.flow(),
        )

    def _seed(self, data: Trial) -> int:
        """Return a seed that does not depend on delta: a shift then moves the same draws."""
        return derive_seed(data.digest, self.name, repr(options_of(replace(self, delta=0.0))))

    def _shifts(self, data: Trial) -> FloatArray:
        if not isinstance(self.delta, tuple):
            assert not isinstance(self.delta, Mapping)
            return np.full(len(data.arms), float(self.delta))
        unknown = [arm for arm, _ in self.delta if arm not in data.arms]
        if unknown:
            raise DesignError(f"delta names {len(unknown)} arms that do not exist; there are: {', '.join(data.arms)}.")
        named = dict(self.delta)
        return np.array([named.get(arm, 0.0) for arm in data.arms])


def _observed_support(data: Trial, row: Term) -> Term:
    """Return the row with the counts of people who answered: an imputed event is nobody's."""
    if row.outcome not in data.outcome_names:
        return row
    outcome = data.outcome_names.index(row.outcome)
    known = {cell.label: cell for cell in arm_support(data, outcome, data.observed(outcome), range(len(data.arms)))}
    table = f"{row.outcome} by arm"
    return replace(
        row, support=tuple(known.get(cell.label, cell) if cell.table == table else cell for cell in row.support)
    )
