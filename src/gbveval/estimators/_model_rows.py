"""From a fitted model to rows: which covariance, degrees of freedom, names and words go with coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError, DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, arm_support, assemble
from gbveval.estimators._model_design import Design, grouping
from gbveval.estimators.randomised._linear import CLUSTER_BY
from gbveval.numerics.glm import Family
from gbveval.numerics.glm_covariance import CoefficientCovariance

FloatArray = NDArray[np.float64]
UNCLUSTERED = ("model", "HC0", "HC1", "HC2", "HC3")
CLUSTERED = ("CR0", "CR1", "CR1S", "CR2", "CR3")
DEGREES = ("auto", "normal", "residual", "clusters_minus_1", "satterthwaite")
CANONICAL = {"gaussian": "identity", "binomial": "logit", "poisson": "log", "quasipoisson": "log"}
LINKS = {
    "gaussian": ("identity", "log"),
    "binomial": ("logit", "probit", "log", "identity"),
    "poisson": ("log", "identity"),
    "quasipoisson": ("log", "identity"),
}
NUISANCE = Estimand("nuisance", "none", "participant_average", "conditional")
FEW_DEGREES = 4.0
WORDS = {
    "model": ("model-based, from the information of the working model", "none"),
    "HC0": ("HC0, robust to a wrong variance function", "none"),
    "HC1": ("HC1, robust to a wrong variance function", "rows over rows minus coefficients"),
    "HC2": ("HC2, robust to a wrong variance function", "HC2 (leverage)"),
    "HC3": ("HC3, robust to a wrong variance function", "HC3 (leverage, jackknife type)"),
    "CR0": ("CR0, clustered by the unit of assignment", "none"),
    "CR1": ("CR1, clustered by the unit of assignment", "clusters over clusters minus one"),
    "CR1S": (
        "CR1S, clustered by the unit of assignment",
        "clusters over clusters minus one, and rows minus one over rows minus coefficients",
    ),
    "CR2": (
        "CR2, clustered by the unit of assignment",
        "CR2 (bias-reduced linearisation, working variances as target)",
    ),
    "CR3": ("CR3, clustered by the unit of assignment", "CR3 (jackknife type)"),
}


@dataclass(frozen=True, eq=False, slots=True)
class Coefficients:
    """Coefficients of one outcome's model on the original columns.

    Attributes
    ----------
    beta : ndarray, shape (k,)
        The intercept first.
    found : CoefficientCovariance
        Their covariance.
    df : ndarray, shape (k,)
        Degrees of freedom.
    mu : ndarray, shape (n,)
        Fitted means.
    """

    beta: FloatArray
    found: CoefficientCovariance
    df: FloatArray
    mu: FloatArray


def model_estimand(data: Trial, outcome: int, family: Family) -> Estimand:
    """Return what the coefficient of an arm estimates."""
    risk = data.is_binary(outcome) or family.family == "binomial"
    contrast = {
        "logit": "odds_ratio",
        "probit": "probit_difference",
        "identity": "risk_difference" if risk else "mean_difference",
        "log": "risk_ratio" if risk else "rate_ratio",
    }[family.link]
    if family.family == "gaussian" and family.link == "log":
        contrast = "mean_ratio"
    if data.exposure is not None:
        contrast = "rate_ratio"
    adjusted = bool(data.covariate_names) or data.stratum is not None
    return Estimand("ITT", contrast, "participant_average", "conditional" if adjusted else "marginal")


def choose_std_error(
    name: str, data: Trial, asked: str, cluster_by: str, *, unclustered: str = "HC2", clustered: str = "CR2"
) -> str:
    """Return the standard error that was asked for or that fits the trial; raise where it does not fit."""
    grouped = grouping(data, cluster_by) is not None
    suited = clustered if grouped else unclustered
    chosen = suited if asked == "auto" else asked
    if grouped and chosen in UNCLUSTERED:
        raise DesignError(f"Errors are clustered; {chosen} would treat people as independent. Let {name} use CR2.")
    if not grouped and chosen in CLUSTERED:
        raise DesignError(f"{chosen} needs clusters; the trial declares none. Use {unclustered} (the default).")
    if chosen == "model" and len(data.outcome_names) > 1:
        raise DesignError(
            "A model-based standard error does not say how several outcomes vary together. Use a robust one, or one "
            "outcome at a time."
        )
    return chosen


def inference_options(std_error: str, df: str, cluster_by: str, known: Sequence[str]) -> None:
    """Raise if an option of inference is not one of those known."""
    check_choice("std_error", std_error, known)
    check_choice("df", df, DEGREES)
    check_choice("cluster_by", cluster_by, CLUSTER_BY)


def choose_degrees(asked: str, kind: str, otherwise: str = "normal") -> str:
    """Return the degrees of freedom that were asked for or that go with a standard error."""
    if asked != "auto":
        return asked
    if kind in ("CR2", "CR3"):
        return "satterthwaite"
    return "clusters_minus_1" if kind in CLUSTERED else otherwise


def std_error_words(kind: str, cluster_by: str) -> str:
    """Say what kind of standard error it is."""
    words = WORDS[kind][0]
    return words.replace("the unit of assignment", "site") if cluster_by == "site" else words


def superpopulation(data: Trial, cluster_by: str) -> str:
    """Say for whom the inference is."""
    if cluster_by == "site":
        return "a superpopulation of sites"
    return f"a superpopulation of {'units' if data.cluster is None else 'clusters'}"


def check_choice(what: str, value: str, known: Sequence[str]) -> None:
    """Raise if an option is not one of those known."""
    if value not in known:
        raise DesignError(f"{what} must be one of {', '.join(known)}, not {value!r}.")


def degrees_of_freedom(
    asked: str, kind: str, design: Design, satterthwaite: FloatArray | None, *, count: int | None = None
) -> FloatArray:
    """Return degrees of freedom for each coefficient.

    Parameters
    ----------
    asked : str
        One of `DEGREES` but "auto".
    kind : str
        The standard error.
    design : Design
        Rows, coefficients and clusters.
    satterthwaite : ndarray, optional
        Those of the clustered covariance.
    count : int, optional
        How many are wanted, where it is not the number of coefficients.
    """
    k = len(design.labels)
    wanted = k if count is None else count
    if asked == "normal":
        return np.full(wanted, np.inf)
    if asked == "residual":
        return np.full(wanted, float(design.y.size - k))
    if design.n_clusters is None:
        raise DesignError(f"Degrees of freedom {asked!r} need clusters; the trial declares none. Use 'normal'.")
    if asked == "clusters_minus_1":
        return np.full(wanted, design.n_clusters - 1.0)
    if satterthwaite is None:
        raise DesignError(f"Satterthwaite degrees of freedom go with a clustered standard error, not with {kind}.")
    return satterthwaite


def spread(found: FloatArray, design: Design) -> FloatArray:
    """Return influence values for all independent units of the trial, zero for those that were not used."""
    whole = np.zeros((design.n_groups, found.shape[1]))
    whole[design.used if design.present is None else design.present] = found
    return whole


def coefficient_rows(
    data: Trial, outcome: int, design: Design, fit: Coefficients, estimand: Estimand
) -> tuple[list[Row], list[int]]:
    """Return a row for each arm and then for each coefficient that is shown, and their positions."""
    order = [*design.arms, *design.shown]
    influence = None if fit.found.influence is None else spread(fit.found.influence, design)
    rows = []
    for number, position in enumerate(order):
        is_arm = number < len(design.arms)
        label = f"{data.arms[number + 1]} vs {data.arms[0]}" if is_arm else design.labels[position]
        rows.append(
            Row(
                term=label,
                outcome=data.outcome_names[outcome],
                value=float(fit.beta[position]),
                influence=None if influence is None else influence[:, position],
                df=float(fit.df[position]),
                estimand=estimand if is_arm else NUISANCE,
                n_units=int(design.y.size),
                n_clusters=design.n_clusters,
                support=arm_support(data, outcome, design.used, (0, number + 1)) if is_arm else (),
            )
        )
    return rows, order


def covariance_checks(kind: str, fit: Coefficients, design: Design) -> list[Check]:
    """Return what a reader should know about a covariance."""
    checks = []
    if fit.found.singular:
        what = "clusters" if kind in CLUSTERED else "units"
        text = f"{fit.found.singular} {what} are fitted exactly in a direction; the pseudo-inverse was taken."
        checks.append(Check("leverage", "info", text))
    least = float(min(fit.df[position] for position in design.arms))
    if least < FEW_DEGREES:
        text = f"only {least:.1f} degrees of freedom are left for an effect; a randomisation test is safer."
        checks.append(Check("degrees of freedom", "warn", text))
    return checks


def finish(
    estimator: Any, data: Trial, rows: list[Row], method: Method, checks: list[Check], covariance: FloatArray | None
) -> Estimates:
    """Return the result; a covariance is given only where there are no influence functions."""
    unique = list({(check.name, check.message): check for check in checks}.values())
    return assemble(estimator, data, rows, method=method, checks=unique, covariance=covariance)


def reference_words(degrees: str) -> str:
    """Say what the reference distribution is."""
    return {
        "normal": "normal",
        "residual": "t with rows minus coefficients degrees of freedom",
        "clusters_minus_1": "t with clusters minus one degrees of freedom",
        "satterthwaite": "t with Satterthwaite degrees of freedom",
    }[degrees]


def raise_unless_converged(design: Design, fitted: Any, outcome: str, advice: str) -> None:
    """Raise where there is no maximum, where it lies on the boundary, or where the search did not end."""
    if fitted.direction is not None:
        raise IdentificationError(
            f"Outcome {outcome!r} is separated: no finite maximum of the likelihood exists, since a combination of "
            f"{', '.join(separated(design, fitted.direction))} tells who has the outcome in some group of units "
            f"without exception. {advice}"
        )
    if fitted.boundary:
        raise ConvergenceError(
            f"The maximum for outcome {outcome!r} lies on the boundary of the model: {fitted.boundary:,} units are "
            "fitted at the end of the range of their mean, where standard errors are not defined. Use ModifiedPoisson "
            "for a risk ratio, or Standardised for a risk difference."
        )
    if not fitted.converged:
        raise ConvergenceError(
            f"The model of outcome {outcome!r} found no solution. Use fewer covariates, merge small categories, or "
            "put large covariates on a smaller scale."
        )


def separated(design: Design, direction: FloatArray) -> tuple[str, ...]:
    """Return the names of the columns with an infinite coefficient."""
    lifted = design.basis.to_original @ direction
    weight = np.abs(lifted) * np.array([1.0, *design.basis.scale[design.basis.kept]])
    names = [label for label, size in zip(design.labels, weight, strict=True) if size > 1e-5 * weight.max()]
    columns = [label for label in names if label != "intercept"]
    return tuple(columns) or ("the intercept",)
