"""`ModifiedPoisson`: risk ratios of a binary outcome by a log-linear model with robust standard errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gbveval.core.errors import DataError, DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, all_samples, require_parallel
from gbveval.estimators._glm_coefficients import fit_coefficients
from gbveval.estimators._model_design import build_design
from gbveval.estimators._model_rows import (
    CLUSTERED,
    WORDS,
    check_choice,
    choose_degrees,
    choose_std_error,
    coefficient_rows,
    covariance_checks,
    finish,
    inference_options,
    reference_words,
    std_error_words,
    superpopulation,
)
from gbveval.estimators.randomised._linear import POPULATIONS
from gbveval.numerics.glm import Family

STD_ERRORS = ("auto", "HC0", "HC1", "HC2", "HC3", *CLUSTERED)
ADVICE = "Merge categories, leave such a column out, or use GeneralisedLinear with estimation='firth'."


@register("modified_poisson")
@dataclass(frozen=True, slots=True)
class ModifiedPoisson:
    """Risk ratio of a binary outcome, adjusted for covariates and strata, by Zou's modified Poisson regression.

    Fits risk = exp(linear predictor) by the Poisson score, which needs no fitted risk below one, and takes robust
    standard errors since the variance is not Poisson's.

    Parameters
    ----------
    std_error : str
        "auto" (CR2 when the trial is clustered, else HC2), "HC0" to "HC3", "CR0", "CR1", "CR1S", "CR2" or "CR3".
    df : str
        "auto" (Satterthwaite with CR2 and CR3, clusters minus one with the other CR, else normal), "normal",
        "residual", "clusters_minus_1" or "satterthwaite".
    cluster_by : str
        What errors are clustered by: "assignment" (the role `cluster`, if there is one) or "site".
    population : str
        "participant_average", or "cluster_average", in which every cluster counts the same whatever its size.

    Notes
    -----
    **Identifies** the risk ratio of being assigned. If the ratio is the same for everybody, it is that of the
    population as well: unlike an odds ratio, a risk ratio does not change when covariates are left out. Without
    covariates it is the ratio of the two risks whatever the model.

    **Valid when** the events in the smaller arm are clearly more than the coefficients, and there are about ten
    clusters an arm when clusters were assigned.

    **Do not use when** the ratio is thought to differ between people and the average is wanted (use Standardised), or
    the outcome is a count (use NegativeBinomial).

    References
    ----------
    Zou (2004), American Journal of Epidemiology 159. Zou and Donner (2013), Statistical Methods in Medical Research 22.

    Examples
    --------
    >>> frame = {"y": [0, 0, 0, 1, 0, 0, 1, 1], "arm": ["usual"] * 4 + ["new"] * 4}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual")
    >>> round(float(np.exp(ModifiedPoisson().estimate(trial)[0].value)), 6)
    2.0
    """

    std_error: str = "auto"
    df: str = "auto"
    cluster_by: str = "assignment"
    population: str = "participant_average"
    name: ClassVar[str] = "modified_poisson"

    def __post_init__(self) -> None:
        inference_options(self.std_error, self.df, self.cluster_by, STD_ERRORS)
        check_choice("population", self.population, POPULATIONS)

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the risk ratio of each arm against control for each outcome, and the coefficients behind it.

        Parameters
        ----------
        data : Trial
            The checked trial.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If an outcome is not binary.
        DesignError
            If roles and options do not fit each other.
        IdentificationError
            If an arm has no events, is too small, or is collinear with covariates.
        """
        require_parallel("ModifiedPoisson", data)
        if data.exposure is not None:
            raise DesignError("A risk ratio has no exposure. Leave exposure out, or use NegativeBinomial for rates.")
        kind = choose_std_error("ModifiedPoisson", data, self.std_error, self.cluster_by)
        degrees = choose_degrees(self.df, kind)
        rows: list[Row] = []
        checks: list[Check] = []
        for outcome, name in enumerate(data.outcome_names):
            _check_binary(data, outcome)
            design = build_design(
                data,
                outcome,
                name="ModifiedPoisson",
                log_link=True,
                cluster_by=self.cluster_by,
                population=self.population,
            )
            fit = fit_coefficients(Family("poisson", "log"), design, (kind, degrees), name, advice=ADVICE)
            checks += [*design.checks, *covariance_checks(kind, fit, design)]
            above = int((fit.mu > 1.0 + 1e-9).sum())
            if above:
                text = (
                    f"the model of {name} gives {above:,} units a risk above one; the ratio may not be constant there."
                )
                checks.append(
                    Check("risks above one", "info", text, f"the model of {name} gives some risks above one.")
                )
            rows += coefficient_rows(data, outcome, design, fit, Estimand("ITT", "risk_ratio", self.population))[0]
        return finish(self, data, rows, _method(data, (kind, degrees), self.cluster_by), checks, None)


def _check_binary(data: Trial, outcome: int) -> None:
    if data.is_binary(outcome):
        return
    values = data.outcomes[data.observed(outcome), outcome]
    wrong = int(((values != 0) & (values != 1)).sum())
    raise DataError(
        f"Column {data.outcome_names[outcome]!r} (outcome) is not 0 or 1 in {wrong:,} rows; a risk ratio needs a "
        "binary outcome. Recode it, or use NegativeBinomial or GeneralisedLinear for counts."
    )


def _method(data: Trial, inference: tuple[str, str], cluster_by: str) -> Method:
    kind, degrees = inference
    return Method(
        sample=all_samples(data),
        std_error=std_error_words(kind, cluster_by),
        small_sample=WORDS[kind][1],
        reference=reference_words(degrees),
        inference_for=superpopulation(data, cluster_by),
        assumptions=(
            "arms were assigned at random as declared",
            "the risk ratio is the same for everybody, or there are no covariates",
            "one unit's assignment does not change another's outcome",
            "outcomes are missing for reasons unrelated to the outcome",
        ),
        source="Zou 2004",
    )
