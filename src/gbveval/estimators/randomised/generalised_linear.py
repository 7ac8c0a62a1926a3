"""`GeneralisedLinear`: conditional coefficients of a generalised linear model of the outcome on the arm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, all_samples, require_parallel
from gbveval.estimators._glm_coefficients import fit_coefficients
from gbveval.estimators._model_design import build_design, check_outcome
from gbveval.estimators._model_rows import (
    CANONICAL,
    CLUSTERED,
    LINKS,
    UNCLUSTERED,
    WORDS,
    check_choice,
    choose_degrees,
    choose_std_error,
    coefficient_rows,
    covariance_checks,
    finish,
    inference_options,
    model_estimand,
    reference_words,
    std_error_words,
    superpopulation,
)
from gbveval.numerics.glm import Family

STD_ERRORS = ("auto", *UNCLUSTERED, *CLUSTERED)
ESTIMATIONS = ("maximum_likelihood", "firth")


@register("generalised_linear")
@dataclass(frozen=True, slots=True)
class GeneralisedLinear:
    """Coefficients of a generalised linear model of the outcome on arm, covariates and strata.

    The contrast of each arm with control follows from family and link:

    ============  ==========================  ===================================================
    link          contrast                    families
    ============  ==========================  ===================================================
    logit         odds ratio                  binomial
    probit        difference of probits       binomial
    log           risk, rate or mean ratio    binomial, poisson, quasipoisson; gaussian
    identity      risk or mean difference     all
    ============  ==========================  ===================================================

    With a log link the role `exposure` is an offset, so that rates are compared. Several outcomes are several models
    with a joint covariance.

    Parameters
    ----------
    family : str
        "binomial" (0 or 1, or proportions with their denominator as weight), "poisson", "quasipoisson" or "gaussian".
    link : str, optional
        "logit", "probit", "log" or "identity"; the canonical one by default.
    std_error : str
        "auto" (CR2 when the trial is clustered, else HC2; with Firth's estimate CR1 or "model"), "model", "HC0" to
        "HC3", "CR0", "CR1", "CR1S", "CR2" or "CR3".
    estimation : str
        "maximum_likelihood", or "firth" (bias-reduced; binomial and poisson): finite also where an arm has no events.
    df : str
        "auto" (Satterthwaite with CR2 and CR3, clusters minus one with the other CR, normal else, but "residual" for a
        gaussian outcome), "normal", "residual", "clusters_minus_1" or "satterthwaite".
    cluster_by : str
        What errors are clustered by: "assignment" (the role `cluster`, if there is one) or "site".

    Notes
    -----
    **Identifies**, in a randomised trial, the contrast between people alike in the covariates, if the model is right. A
    conditional odds ratio is further from one than the marginal one, although everybody has the same effect. Without
    covariates and strata it is the marginal contrast.

    **Valid when** the events in the smaller arm are clearly more than the coefficients. The robust standard errors hold
    when the variance function is wrong, the model-based ones do not. CR2 with Satterthwaite degrees of freedom keeps
    its size with about ten clusters an arm, less surely with fewer.

    **Do not use when** the report speaks of the effect on a population (use Standardised, or ModifiedPoisson for risk
    ratios), when strata are many and small, or when cluster size is informative and the average over clusters is
    wanted.

    A separated outcome, where no finite maximum exists, is detected by a linear programme and refused. Coefficients
    after the first rows belong to the working model and have no causal reading.

    References
    ----------
    McCullagh and Nelder (1989), Generalized Linear Models. Firth (1993), Biometrika 80. Kosmidis and Firth (2009),
    Biometrika 96. Konis (2007), thesis, University of Oxford. Pustejovsky and Tipton (2018), Journal of Business and
    Economic Statistics 36.

    Examples
    --------
    >>> frame = {"y": [0, 0, 0, 1, 0, 0, 1, 1], "arm": ["usual"] * 4 + ["new"] * 4}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual")
    >>> row = GeneralisedLinear(family="binomial").estimate(trial)[0]
    >>> round(float(np.exp(row.value)), 6)
    3.0
    """

    family: str = "binomial"
    link: str | None = None
    std_error: str = "auto"
    estimation: str = "maximum_likelihood"
    df: str = "auto"
    cluster_by: str = "assignment"
    name: ClassVar[str] = "generalised_linear"

    def __post_init__(self) -> None:
        check_choice("family", self.family, tuple(CANONICAL))
        check_choice(f"link of family {self.family!r}", self._family.link, LINKS[self.family])
        inference_options(self.std_error, self.df, self.cluster_by, STD_ERRORS)
        check_choice("estimation", self.estimation, ESTIMATIONS)
        if self.estimation == "firth" and self.family not in ("binomial", "poisson"):
            raise DesignError("Firth's estimate is given for families 'binomial' and 'poisson'; choose one of them.")

    @property
    def _family(self) -> Family:
        return Family(self.family, CANONICAL[self.family] if self.link is None else self.link)

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return each arm against control for each outcome, and the coefficients behind it.

        Parameters
        ----------
        data : Trial
            The checked trial.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If an outcome is outside the range of the family.
        DesignError
            If roles and options do not fit each other.
        IdentificationError
            If an outcome is separated, an arm too small or collinear with covariates.
        ConvergenceError
            If the maximum lies on the boundary of the model.
        """
        require_parallel("GeneralisedLinear", data)
        firth = self.estimation == "firth"
        kind = choose_std_error(
            "GeneralisedLinear",
            data,
            self.std_error,
            self.cluster_by,
            unclustered="model" if firth else "HC2",
            clustered="CR1" if firth else "CR2",
        )
        degrees = choose_degrees(self.df, kind, "residual" if self.family == "gaussian" else "normal")
        rows: list[Row] = []
        checks: list[Check] = []
        covariance = None
        for outcome in range(len(data.outcome_names)):
            checks += check_outcome(data, outcome, self.family, "GeneralisedLinear")
            design = build_design(
                data,
                outcome,
                name="GeneralisedLinear",
                log_link=self._family.link == "log",
                cluster_by=self.cluster_by,
            )
            checks += design.checks
            fit = fit_coefficients(self._family, design, (kind, degrees), data.outcome_names[outcome], firth=firth)
            checks += covariance_checks(kind, fit, design)
            found, order = coefficient_rows(data, outcome, design, fit, model_estimand(data, outcome, self._family))
            rows += found
            if fit.found.influence is None:
                covariance = fit.found.covariance[np.ix_(order, order)].copy()
        return finish(self, data, rows, self._method(data, kind, degrees), checks, covariance)

    def _method(self, data: Trial, kind: str, degrees: str) -> Method:
        std_error = std_error_words(kind, self.cluster_by)
        if kind == "model" and self._family.has_dispersion:
            std_error += ", with Pearson's dispersion"
        return Method(
            sample=all_samples(data),
            std_error=std_error,
            small_sample=WORDS[kind][1],
            reference=reference_words(degrees),
            inference_for=superpopulation(data, self.cluster_by),
            assumptions=(
                "arms were assigned at random as declared",
                f"the {self._family.link} of the mean is linear in the covariates, with one effect for everybody",
                "one unit's assignment does not change another's outcome",
                "outcomes are missing for reasons unrelated to the outcome",
            ),
            source="Firth 1993; Kosmidis and Firth 2009" if self.estimation == "firth" else "McCullagh and Nelder 1989",
        )
