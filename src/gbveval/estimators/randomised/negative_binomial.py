"""`NegativeBinomial`: rate ratios of overdispersed counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, all_samples, require_parallel
from gbveval.estimators._model_design import Design, build_design, check_outcome
from gbveval.estimators._model_rows import (
    CLUSTERED,
    NUISANCE,
    UNCLUSTERED,
    WORDS,
    Coefficients,
    choose_degrees,
    choose_std_error,
    coefficient_rows,
    covariance_checks,
    degrees_of_freedom,
    finish,
    inference_options,
    reference_words,
    spread,
    std_error_words,
    superpopulation,
)
from gbveval.estimators._negative_binomial_fit import NegativeBinomialFit, fit_negative_binomial
from gbveval.numerics.glm import Family, whiten
from gbveval.numerics.glm_covariance import coefficient_covariance
from gbveval.numerics.groups import group_sums
from gbveval.numerics.negative_binomial import theta_information_rows, theta_score_rows

FloatArray = NDArray[np.float64]
STD_ERRORS = ("auto", *UNCLUSTERED, *CLUSTERED)
# With more zeros than this, intervals that are symmetric around the logarithm are known to be poor.
MANY_ZEROS = 0.8


@register("negative_binomial")
@dataclass(frozen=True, slots=True)
class NegativeBinomial:
    """Rate ratio of a count, such as incidents or posts, with variance mean + mean^2 / theta (NB2).

    Coefficients of arm, covariates and strata and theta are fitted jointly by maximum likelihood. With the role
    `exposure` (time or opportunities at risk) its logarithm is an offset, and rates are compared.

    Parameters
    ----------
    std_error : str
        "auto" (CR2 when the trial is clustered, else HC2), "model" (expected information, theta taken as known), "HC0"
        to "HC3", "CR0", "CR1", "CR1S", "CR2" or "CR3".
    df : str
        "auto" (Satterthwaite with CR2 and CR3, clusters minus one with the other CR, else normal), "normal",
        "residual", "clusters_minus_1" or "satterthwaite".
    cluster_by : str
        What errors are clustered by: "assignment" (the role `cluster`, if there is one) or "site".

    Notes
    -----
    **Identifies** the ratio of mean counts (rates) between people alike in the covariates, if the mean is log-linear. A
    ratio of means does not change when covariates are left out, if it is the same for everybody.

    **Valid when** the mean is right; the robust standard errors hold if the variance is not a negative binomial's.

    **Do not use when** most counts are zero or a few are huge: intervals of Wald's kind are then unreliable, and a
    randomisation test of the difference in means is exact. Do not use when the counts vary no more than Poisson counts
    do (refused: theta has no finite maximum), or when cluster size is informative and the average over clusters is
    wanted.

    The last row of each outcome is theta.

    References
    ----------
    Lawless (1987), Canadian Journal of Statistics 15. Venables and Ripley (2002), Modern Applied Statistics with S.

    Examples
    --------
    >>> frame = {"y": [0, 1, 2, 9, 0, 0, 1, 5], "arm": ["usual"] * 4 + ["new"] * 4}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual")
    >>> round(float(np.exp(NegativeBinomial().estimate(trial)[0].value)), 6)
    0.5
    """

    std_error: str = "auto"
    df: str = "auto"
    cluster_by: str = "assignment"
    name: ClassVar[str] = "negative_binomial"

    def __post_init__(self) -> None:
        inference_options(self.std_error, self.df, self.cluster_by, STD_ERRORS)

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the rate ratio of each arm against control for each outcome, the other coefficients and theta.

        Parameters
        ----------
        data : Trial
            The checked trial.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If an outcome is negative.
        DesignError
            If roles and options do not fit each other.
        IdentificationError
            If an arm has no events, or the counts are not overdispersed.
        """
        require_parallel("NegativeBinomial", data)
        kind = choose_std_error("NegativeBinomial", data, self.std_error, self.cluster_by)
        degrees = choose_degrees(self.df, kind)
        rows: list[Row] = []
        checks: list[Check] = []
        covariance = None
        for outcome, name in enumerate(data.outcome_names):
            checks += check_outcome(data, outcome, "negative_binomial", "NegativeBinomial")
            design = build_design(data, outcome, name="NegativeBinomial", log_link=True, cluster_by=self.cluster_by)
            fitted = fit_negative_binomial(design, name)
            fit = _coefficients(design, fitted, (kind, degrees), name)
            checks += [*design.checks, *covariance_checks(kind, fit, design), *_zeros(design, name)]
            adjusted = bool(data.covariate_names) or data.stratum is not None
            scale = "conditional" if adjusted else "marginal"
            found, order = coefficient_rows(
                data, outcome, design, fit, Estimand("ITT", "rate_ratio", "participant_average", scale)
            )
            theta, variance = _theta_row(data, outcome, design, fitted)
            rows += [replace(found[0], extra=(("log_likelihood", fitted.log_likelihood),)), *found[1:], theta]
            if fit.found.influence is None:
                rows[-1] = replace(theta, influence=None)
                covariance = np.zeros((len(order) + 1, len(order) + 1))
                covariance[:-1, :-1] = fit.found.covariance[np.ix_(order, order)]
                covariance[-1, -1] = variance
        return finish(self, data, rows, _method(data, (kind, degrees), self.cluster_by), checks, covariance)


def _coefficients(
    design: Design, fitted: NegativeBinomialFit, inference: tuple[str, str], outcome: str
) -> Coefficients:
    """Return the coefficients with a covariance that takes theta as known, to which they are orthogonal."""
    kind, degrees = inference
    family = Family("negative_binomial", "log", fitted.theta)
    white = whiten(family, design.z, design.y, fitted.gamma, offset=design.offset, weight=design.weight)
    found = coefficient_covariance(white.design, white.residual, design.basis.to_original, kind, cluster=design.cluster)
    if found is None:
        raise ConvergenceError(
            f"The information of the model of outcome {outcome!r} is singular at its solution. Use fewer covariates, "
            "or merge small categories."
        )
    df = degrees_of_freedom(degrees, kind, design, found.df)
    return Coefficients(design.basis.to_original @ fitted.gamma, found, df, white.mu)


def _theta_row(data: Trial, outcome: int, design: Design, fitted: NegativeBinomialFit) -> tuple[Row, float]:
    """Return the row of theta and its variance by the model."""
    weight = np.ones(design.y.size) if design.weight is None else design.weight
    information = float(weight @ theta_information_rows(design.y, fitted.mu, fitted.theta))
    score = weight * theta_score_rows(design.y, fitted.mu, fitted.theta) / information
    if design.cluster is not None:
        score = group_sums(design.cluster, score, int(design.cluster.max()) + 1)
    row = Row(
        term="theta",
        outcome=data.outcome_names[outcome],
        value=fitted.theta,
        influence=spread(score[:, None], design)[:, 0],
        df=float("inf"),
        estimand=NUISANCE,
        n_units=int(design.y.size),
        n_clusters=design.n_clusters,
    )
    return row, 1.0 / information


def _zeros(design: Design, outcome: str) -> list[Check]:
    share = float(np.mean(design.y == 0))
    if share <= MANY_ZEROS:
        return []
    text = f"{share:.0%} of the counts of {outcome} are zero; a randomisation test is safer than this interval."
    return [Check("zeros", "warn", text, f"most counts of {outcome} are zero; a randomisation test is safer.")]


def _method(data: Trial, inference: tuple[str, str], cluster_by: str) -> Method:
    kind, degrees = inference
    return Method(
        sample=all_samples(data),
        std_error=f"{std_error_words(kind, cluster_by)}, theta taken as known",
        small_sample=WORDS[kind][1],
        reference=reference_words(degrees),
        inference_for=superpopulation(data, cluster_by),
        assumptions=(
            "arms were assigned at random as declared",
            "the logarithm of the mean is linear in the covariates, with one ratio for everybody",
            "one unit's assignment does not change another's outcome",
            "outcomes are missing for reasons unrelated to the outcome",
        ),
        source="Lawless 1987",
    )
