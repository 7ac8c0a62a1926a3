"""`ListRegression`: who has what nobody is asked about directly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError, DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, all_samples, assemble
from gbveval.estimators.randomised._lists import check_items, list_checks, list_support, outside_check, require_lists
from gbveval.estimators.randomised.list_design_test import refuse_roles
from gbveval.numerics.least_squares import make_basis
from gbveval.numerics.list_experiment import ListFit, linear_list, logistic, two_step_list
from gbveval.numerics.list_likelihood import likelihood_list

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Fitter = Callable[[FloatArray, FloatArray, FloatArray, int], ListFit]
FITS: dict[str, tuple[Fitter, str, str]] = {
    "linear": (
        lambda x, y, long, items: linear_list(x, y, long),
        "HC3 of least squares",
        "Holbrook and Krosnick 2010; Imai 2011",
    ),
    "two_step": (two_step_list, "sandwich of the estimating equations of both steps", "Imai 2011"),
    "likelihood": (likelihood_list, "inverse observed information", "Imai 2011; Blair and Imai 2012"),
}


@register("list_regression")
@dataclass(frozen=True, slots=True)
class ListRegression:
    """Regression of the sensitive item of a list experiment on the trial's covariates.

    Parameters
    ----------
    items : int
        Items of the short list, without the sensitive one.
    model : str
        "likelihood": control counts are binomial whatever the answer to the sensitive item, which is logistic; maximum
        likelihood. "two_step": the same two curves by non-linear least squares, short lists first, with no distribution
        of counts. "linear": least squares of counts on covariates, and on covariates times the long list.

    Notes
    -----
    **Data**: a `Trial` as for `ListExperiment`, with covariates.

    **Estimates**, first row: the prevalence, averaged over the respondents in the model. Then the coefficients of the
    sensitive item, log odds ratios (linear: differences in prevalence) that are associations; then those of the control
    count, which have no reading of their own.

    **Which model**: the likelihood is the most precise, and the first to be wrong: counts of items that go together
    are no binomial. The difference in means and "two_step" do not assume it. Show both.

    **Extra column**: log_likelihood, in the first row of "likelihood".

    **Small-sample correction**: none; HC3 for "linear".

    **Do not use when** the trial declares clusters, strata, pairs or weights (refused), or hardly anybody has the
    sensitive item: there is then no finite maximum.

    References
    ----------
    Imai (2011), Journal of the American Statistical Association 106. Blair and Imai (2012), Political Analysis 20.
    Holbrook and Krosnick (2010), Public Opinion Quarterly 74.

    Examples
    --------
    >>> import gbveval as gbv
    >>> from gbveval.testing.reporting_processes import ListFrames
    >>> lists = ListFrames(slope=1.0)
    >>> trial = lists.check(lists.frame(np.random.default_rng(1))[0])
    >>> [row.term for row in ListRegression(items=4).estimate(trial).terms]
    ['prevalence', 'sensitive: x', 'sensitive: intercept', 'control: x', 'control: intercept']
    """

    items: int
    model: str = "likelihood"
    name: ClassVar[str] = "list_regression"

    def __post_init__(self) -> None:
        check_items(self.items)
        if self.model not in FITS:
            raise DesignError(f"model is one of {', '.join(FITS)}, not {self.model!r}.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the prevalence and the coefficients for each outcome.

        Parameters
        ----------
        data : Trial
            The lists.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If a count is not one that its list allows.
        DesignError
            If there are not two lists, or the trial declares clusters, strata, pairs or weights.
        IdentificationError
            If a list is too small for the covariates, or covariates are collinear in it.
        ConvergenceError
            If there is no solution with finite coefficients.
        """
        refuse_roles("ListRegression", data)
        require_lists("ListRegression", data, self.items)
        rows: list[Row] = []
        blocks: list[FloatArray] = []
        checks: list[Check] = []
        for outcome, name in enumerate(data.outcome_names):
            found, block = self._rows(data, outcome, data.observed(outcome))
            rows += found
            blocks.append(block)
            checks += outside_check(name, found[0].value)
        covariance = np.full((len(rows), len(rows)), np.nan)
        start = 0
        for block in blocks:
            covariance[start : start + len(block), start : start + len(block)] = block
            start += len(block)
        checks += list_checks(data, self.items)
        return assemble(self, data, rows, method=self._method(data), checks=checks, covariance=covariance)

    def _rows(self, data: Trial, outcome: int, used: BoolArray) -> tuple[list[Row], FloatArray]:
        """Return the rows of one outcome and their covariance."""
        name = data.outcome_names[outcome]
        y, long = data.outcomes[used, outcome], (data.arm[used] == 1).astype(float)
        covariates = data.covariates[used]
        k = covariates.shape[1] + 1
        for list_, word in ((0.0, "short"), (1.0, "long")):
            part = covariates[long == list_]
            if part.shape[0] <= k + 1:
                raise IdentificationError(
                    f"The {word} list has {part.shape[0]:,} respondents for {k} coefficients of {name!r}; use fewer "
                    "covariates, or ListExperiment."
                )
            if make_basis(part).dropped.size:
                raise IdentificationError(
                    f"Covariates are collinear among the respondents of the {word} list; leave one out."
                )
        basis = make_basis(covariates)
        z = basis.rows(covariates, slice(None))
        fit = FITS[self.model][0](z, y, long, self.items)
        if not fit.converged:
            raise ConvergenceError(
                f"The model of {name!r} has no solution with finite coefficients: too few, or too many, seem to have "
                "the sensitive item, overall or in some group. Use ListExperiment, or fewer covariates."
            )
        values, covariance = self._with_prevalence(fit, z, basis.to_original)
        return self._named(data, outcome, used, values, fit.log_likelihood), covariance

    def _with_prevalence(self, fit: ListFit, z: FloatArray, back: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return prevalence, then slopes and intercept of the sensitive item and of the control count."""
        k = z.shape[1]
        eta = z @ fit.sensitive
        share = eta if self.model == "linear" else logistic(eta)
        slope = z.mean(axis=0) if self.model == "linear" else (share * (1.0 - share)) @ z / len(z)
        # The intercept is last, after the columns by name.
        order = [*range(1, k), 0]
        turn = np.zeros((2 * k + 1, 2 * k))
        turn[0, :k] = slope
        turn[1 : k + 1, :k] = back[order]
        turn[k + 1 :, k:] = back[order]
        values = turn @ np.concatenate([fit.sensitive, fit.control])
        values[0] = share.mean()
        covariance = turn @ fit.covariance @ turn.T
        # Respondents are drawn: what the model gives each varies around the average.
        covariance[0, 0] += float(share.var() / len(z))
        return values, covariance

    def _named(
        self, data: Trial, outcome: int, used: BoolArray, values: FloatArray, log_likelihood: float
    ) -> list[Row]:
        """Return the rows by name."""
        names = (*data.covariate_names, "intercept")
        linear = self.model == "linear"
        effect = Estimand(
            "association", "mean_difference_per_unit" if linear else "odds_ratio", "participant_average", "conditional"
        )
        nuisance = Estimand("nuisance", "none", "participant_average", "conditional")
        kinds = [("prevalence", Estimand("prevalence", "share", "participant_average"))]
        kinds += [(f"sensitive: {name}", nuisance if name == "intercept" else effect) for name in names]
        kinds += [(f"control: {name}", nuisance) for name in names]
        support = list_support(data, outcome, used)
        df = float(used.sum() - 2 * len(names)) if linear else float("inf")
        return [
            Row(
                term=term,
                outcome=data.outcome_names[outcome],
                value=float(value),
                influence=None,
                df=df,
                estimand=estimand,
                n_units=int(used.sum()),
                support=support,
                extra=(("log_likelihood", log_likelihood),)
                if term == "prevalence" and np.isfinite(log_likelihood)
                else (),
            )
            for (term, estimand), value in zip(kinds, values, strict=True)
        ]

    def _method(self, data: Trial) -> Method:
        _, std_error, source = FITS[self.model]
        curve = {
            "linear": "mean count and prevalence are linear in the covariates",
            "two_step": "log odds of the other items, and of the sensitive one, are linear in the covariates",
            "likelihood": "counts of other items are binomial, whatever the answer to the sensitive one; log odds are "
            "linear in the covariates",
        }[self.model]
        return Method(
            sample=all_samples(data),
            std_error=std_error,
            small_sample="HC3" if self.model == "linear" else "none",
            reference="t with rows minus coefficients" if self.model == "linear" else "normal",
            inference_for="the population that respondents are a simple random sample of",
            assumptions=(
                "lists were given at random",
                "nobody counts the other items differently because of the sensitive one (no design effect)",
                "the sensitive item is counted when it applies, and only then (no liars)",
                curve,
                "respondents are independent",
            ),
            source=source,
        )
