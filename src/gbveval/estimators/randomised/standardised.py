"""`Standardised`: marginal contrasts from a model, by averaging its predictions over everybody in the trial."""

from __future__ import annotations

from collections.abc import Sequence
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
from gbveval.estimators._assemble import Row, all_samples, arm_support, mean_contrast, require_parallel
from gbveval.estimators._glm_fit import fit_glm
from gbveval.estimators._model_design import Design, build_design, check_outcome
from gbveval.estimators._model_rows import (
    CLUSTERED,
    FEW_DEGREES,
    UNCLUSTERED,
    WORDS,
    check_choice,
    choose_degrees,
    choose_std_error,
    degrees_of_freedom,
    finish,
    inference_options,
    raise_unless_converged,
    reference_words,
    spread,
    std_error_words,
    superpopulation,
)
from gbveval.estimators._negative_binomial_fit import fit_negative_binomial
from gbveval.estimators.randomised._linear import POPULATIONS
from gbveval.numerics.glm import Family, whiten
from gbveval.numerics.glm_covariance import CoefficientCovariance, coefficient_covariance
from gbveval.numerics.groups import group_sums
from gbveval.numerics.standardisation import ArmMean, arm_mean, contrast_of

FloatArray = NDArray[np.float64]
MODELS = {
    "logistic": Family("binomial", "logit"),
    "probit": Family("binomial", "probit"),
    "poisson": Family("poisson", "log"),
    "negative_binomial": Family("negative_binomial", "log"),
    "linear": Family("gaussian", "identity"),
}
CONTRASTS = ("risk_difference", "risk_ratio", "odds_ratio", "rate_ratio", "mean_difference", "mean_ratio")
STD_ERRORS = ("auto", *UNCLUSTERED, *CLUSTERED)
COVARIATES = ("sampled", "fixed")
ADVICE = "Merge categories, leave such a column out, or compare the arms with DifferenceInMeans."


@dataclass(frozen=True, eq=False, slots=True)
class _Contrast:
    """One row before its variance: what it is, its value, and its derivatives by the means of the arms."""

    term: str
    estimand: Estimand
    value: float
    weights: FloatArray
    arms: tuple[int, ...]


@register("standardised")
@dataclass(frozen=True, slots=True)
class Standardised:
    """Marginal contrasts, adjusted for covariates, by standardisation (g-computation).

    Fits a model of the outcome on arm, covariates and strata, predicts everybody's outcome under each arm, averages,
    and contrasts the averages.

    Parameters
    ----------
    model : str
        "logistic" or "probit" (binary outcomes), "poisson" or "negative_binomial" (counts), or "linear".
    contrasts : tuple of str
        Of "risk_difference", "risk_ratio", "odds_ratio", "rate_ratio", "mean_difference", "mean_ratio". By default the
        difference for logistic and linear models and the rate ratio for counts.
    interactions : bool or tuple of str
        Whether covariates have products with the arms: all, none, or those named.
    covariates : str
        "sampled" (inference for the population that people were drawn from) or "fixed" (for people with these
        covariates).
    std_error : str
        Of the coefficients: "auto" (CR2 when the trial is clustered, else HC2), "HC0" to "HC3", "CR0", "CR1", "CR1S",
        "CR2", "CR3", or "model" with fixed covariates. The factor of CR1 and CR1S is that of the whole.
    df : str
        "auto" (Satterthwaite with CR2 and CR3, clusters minus one with the other CR, else normal), "normal",
        "residual", "clusters_minus_1" or "satterthwaite".
    cluster_by : str
        What errors are clustered by: "assignment" (the role `cluster`, if there is one) or "site".
    population : str
        "participant_average", or "cluster_average", in which every cluster counts the same whatever its size.

    Notes
    -----
    **Identifies** the average effect over the participants (or clusters). In a randomised trial the logistic, Poisson
    and linear models (canonical links with a constant) need not be right: the averages are consistent whatever the
    outcome depends on, when everybody was assigned with the same probability (Freedman 2008; Rosenblum and van der Laan
    2010). The others have no such guarantee.

    **Valid when** events are clearly more than coefficients in the smaller arm, and there are about ten clusters an arm
    when clusters were assigned.

    **Do not use when** an arm or category has no events (refused), or covariates were measured after assignment.

    With the role `exposure` predictions are rates for one unit of exposure, averaged over units. The last rows of each
    outcome are the standardised means of the arms.

    References
    ----------
    Freedman (2008), Statistical Science 23. Rosenblum and van der Laan (2010), International Journal of Biostatistics
    6. Stefanski and Boos (2002), The American Statistician 56. Ge et al. (2011), Drug Information Journal 45.

    Examples
    --------
    >>> frame = {"y": [0, 0, 0, 1, 0, 0, 1, 1], "x": [1, 2, 3, 4, 1, 2, 3, 4], "arm": ["usual"] * 4 + ["new"] * 4}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual")
    >>> result = Standardised(contrasts=("risk_difference", "risk_ratio")).estimate(trial)
    >>> [(row.term, round(row.value, 4)) for row in result.terms[:2]]
    [('new vs usual (risk difference)', 0.25), ('new vs usual (risk ratio)', 0.6931)]
    """

    model: str = "logistic"
    contrasts: tuple[str, ...] = ()
    interactions: bool | tuple[str, ...] = False
    covariates: str = "sampled"
    std_error: str = "auto"
    df: str = "auto"
    cluster_by: str = "assignment"
    population: str = "participant_average"
    name: ClassVar[str] = "standardised"

    def __post_init__(self) -> None:
        check_choice("model", self.model, tuple(MODELS))
        check_choice("population", self.population, POPULATIONS)
        if isinstance(self.contrasts, str) or not isinstance(self.contrasts, tuple):
            raise DesignError("contrasts must be a tuple of names, such as ('risk_difference', 'risk_ratio').")
        for contrast in self.contrasts:
            check_choice("a contrast", contrast, CONTRASTS)
        if isinstance(self.interactions, str):
            raise DesignError("interactions must be True, False or a tuple of covariates' names.")
        check_choice("covariates", self.covariates, COVARIATES)
        inference_options(self.std_error, self.df, self.cluster_by, STD_ERRORS)
        if self.std_error == "model" and self.covariates == "sampled":
            raise DesignError(
                "A model-based standard error does not know how covariates were sampled. Use covariates='fixed', or a "
                "robust standard error."
            )

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return each contrast of each arm with control, and the standardised means, for each outcome.

        Parameters
        ----------
        data : Trial
            The checked trial.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If an outcome is outside the range of the model.
        DesignError
            If roles and options do not fit each other.
        IdentificationError
            If an outcome is separated, an arm too small or collinear with covariates, or a ratio not defined.
        """
        require_parallel("Standardised", data)
        kind = choose_std_error("Standardised", data, self.std_error, self.cluster_by)
        degrees = choose_degrees(self.df, kind)
        rows: list[Row] = []
        checks: list[Check] = []
        covariance = None
        for outcome in range(len(data.outcome_names)):
            checks += check_outcome(data, outcome, MODELS[self.model].family, "Standardised")
            design = build_design(
                data,
                outcome,
                name="Standardised",
                products=self._products(data),
                log_link=MODELS[self.model].link == "log",
                cluster_by=self.cluster_by,
                population=self.population,
            )
            found, notes, covariance = self._rows(data, outcome, design, (kind, degrees))
            rows += found
            checks += [*design.checks, *notes]
        return finish(self, data, rows, self._method(data, kind, degrees), checks, covariance)

    def _products(self, data: Trial) -> tuple[int, ...]:
        names = data.covariate_names
        if isinstance(self.interactions, bool):
            return tuple(range(len(names))) if self.interactions else ()
        unknown = [name for name in self.interactions if name not in names]
        if unknown:
            raise DesignError(
                f"Interactions with {', '.join(map(repr, unknown))} are asked for; the covariates of the trial are: "
                f"{', '.join(names) or 'none'}. Add the column to the covariates, or leave it out."
            )
        return tuple(names.index(name) for name in self.interactions)

    def _rows(
        self, data: Trial, outcome: int, design: Design, inference: tuple[str, str]
    ) -> tuple[list[Row], list[Check], FloatArray | None]:
        kind, degrees = inference
        name = data.outcome_names[outcome]
        family, gamma = _fit(MODELS[self.model], design, name)
        means = [
            arm_mean(family, design.under(code, len(data.arms)), gamma, design.weight) for code in range(len(data.arms))
        ]
        asked = self._contrasts(data, outcome, means)
        weights = np.array([item.weights for item in asked])
        lift = weights @ np.array([mean.gradient for mean in means])
        white = whiten(family, design.z, design.y, gamma, offset=design.offset, weight=design.weight)
        dispersion = white.dispersion() if family.has_dispersion else 1.0
        found = coefficient_covariance(
            white.design, white.residual, lift, kind, dispersion=dispersion, cluster=design.cluster
        )
        if found is None:
            raise ConvergenceError(
                f"The information of the model of outcome {name!r} is singular at its solution. Use fewer covariates, "
                "or merge small categories."
            )
        influence = self._influence(design, found, weights @ np.array([mean.sampling for mean in means]), kind)
        df = degrees_of_freedom(degrees, kind, design, found.df, count=len(asked))
        rows = [
            Row(
                term=item.term,
                outcome=name,
                value=item.value,
                influence=None if influence is None else influence[:, number],
                df=float(df[number]),
                estimand=item.estimand,
                n_units=int(design.y.size),
                n_clusters=design.n_clusters,
                support=arm_support(data, outcome, design.used, item.arms),
            )
            for number, item in enumerate(asked)
        ]
        return rows, _few_degrees(rows), None if influence is not None else found.covariance

    def _influence(
        self, design: Design, found: CoefficientCovariance, sampling: FloatArray, kind: str
    ) -> FloatArray | None:
        """Return influence by independent unit: the coefficients' and, unless they are fixed, the covariates'."""
        if found.influence is None:
            return None
        total = found.influence
        if self.covariates == "sampled":
            parts = sampling.T
            if design.cluster is not None:
                count = int(design.cluster.max()) + 1
                parts = np.column_stack([group_sums(design.cluster, part, count) for part in sampling])
            total = total + found.factor * parts
        return spread(total, design)

    def _contrasts(self, data: Trial, outcome: int, means: Sequence[ArmMean]) -> list[_Contrast]:
        chosen = self.contrasts or (self._default(data, outcome),)
        several = len(chosen) > 1
        items = []
        for contrast in chosen:
            for arm in range(1, len(means)):
                found = contrast_of(contrast, means[arm], means[0])
                label = f"{data.arms[arm]} vs {data.arms[0]}"
                if found is None:
                    raise IdentificationError(
                        f"The {contrast.replace('_', ' ')} of outcome {data.outcome_names[outcome]!r}, {label}, is not "
                        "defined: a standardised mean is outside its range. Ask for a difference, or use another model."
                    )
                weights = np.zeros(len(means))
                weights[arm], weights[0] = found[1], found[2]
                term = f"{label} ({contrast.replace('_', ' ')})" if several else label
                items.append(_Contrast(term, Estimand("ITT", contrast, self.population), found[0], weights, (0, arm)))
        for arm, mean in enumerate(means):
            weights = np.zeros(len(means))
            weights[arm] = 1.0
            items.append(
                _Contrast(
                    f"mean under {data.arms[arm]}",
                    Estimand("arm_mean", "mean", self.population),
                    mean.value,
                    weights,
                    (arm,),
                )
            )
        return items

    def _default(self, data: Trial, outcome: int) -> str:
        if self.model in ("poisson", "negative_binomial"):
            return "risk_ratio" if data.is_binary(outcome) and data.exposure is None else "rate_ratio"
        return mean_contrast(data, outcome)

    def _method(self, data: Trial, kind: str, degrees: str) -> Method:
        sampled = self.covariates == "sampled"
        whom = superpopulation(data, self.cluster_by)
        return Method(
            sample=all_samples(data),
            std_error=f"{std_error_words(kind, self.cluster_by)}, delta method"
            + (" with the sampling of covariates" if sampled else ""),
            small_sample=WORDS[kind][1],
            reference=reference_words(degrees),
            inference_for=whom if sampled else f"{whom} with the covariates of this trial",
            assumptions=(
                "arms were assigned at random as declared, with one probability",
                "covariates were measured before assignment",
                "one unit's assignment does not change another's outcome",
                "outcomes are missing for reasons unrelated to the outcome",
            ),
            source="Freedman 2008; Rosenblum and van der Laan 2010",
        )


def _fit(family: Family, design: Design, outcome: str) -> tuple[Family, FloatArray]:
    """Return the family (with theta, where it has one) and the coefficients on the basis."""
    if family.family == "negative_binomial":
        fitted = fit_negative_binomial(design, outcome)
        return Family("negative_binomial", "log", fitted.theta), fitted.gamma
    found = fit_glm(family, design.z, design.y, offset=design.offset, weight=design.weight)
    raise_unless_converged(design, found, outcome, ADVICE)
    return family, found.gamma


def _few_degrees(rows: Sequence[Row]) -> list[Check]:
    least = min(row.df for row in rows if row.estimand.effect == "ITT")
    if least >= FEW_DEGREES:
        return []
    text = f"only {least:.1f} degrees of freedom are left for an effect; a randomisation test is safer."
    return [Check("degrees of freedom", "warn", text)]
