"""From a fitted mixed model to `Estimates`: effects first, then the working model's coefficients and variances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.term import Term
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import all_samples, mean_contrast, missing_check
from gbveval.estimators._mixed_model import Fitted, MixedModel, Settings

FloatArray = NDArray[np.float64]
NO_ERROR = "the uncertainty of a variance is not summarised by a standard error: it is far from normal near zero"
SOURCES = {
    "kenward_roger": "Kenward and Roger 1997",
    "satterthwaite": "Giesbrecht and Burns 1985; Fai and Cornelius 1996",
    "between_within": "Pinheiro and Bates 1995; Li and Redden 2015",
    "normal": "Pinheiro and Bates 1995",
}
REFERENCES = {
    "kenward_roger": "t with Kenward and Roger's degrees of freedom",
    "satterthwaite": "t with Satterthwaite degrees of freedom",
    "between_within": "t with between-within degrees of freedom",
    "normal": "normal",
}


def effect_estimand(data: Trial, family: str) -> Estimand:
    """Return what the coefficient of an arm estimates."""
    if family == "binomial":
        return Estimand("ITT", "odds_ratio", "participant_average", "conditional")
    if family == "poisson":
        return Estimand("ITT", "rate_ratio", "participant_average", "marginal")
    return Estimand("ITT", mean_contrast(data, 0), "participant_average")


def assemble_mixed(
    estimator: Any,
    data: Trial,
    model: MixedModel,
    fitted: Fitted,
    *,
    settings: Settings,
    effects: Sequence[tuple[str, FloatArray, tuple[Cell, ...]]],
    checks: Sequence[Check] = (),
) -> Estimates:
    """Return the `Estimates` of a mixed model.

    Parameters
    ----------
    estimator : Estimator
    data : Trial
    model : MixedModel
    fitted : Fitted
    settings : Settings
    effects : sequence of (str, ndarray of shape (k,), tuple of Cell)
        Term, weights of the coefficients and counts of each effect, in the order shown.
    checks : sequence of Check
    """
    estimand = effect_estimand(data, settings.family)
    nuisance = Estimand("nuisance", estimand.contrast, estimand.population, "conditional")
    k = fitted.beta.size
    shown = set(model.names[: model.effects])
    others = [(i, name) for i, name in enumerate(fitted.names) if name not in shown]
    weights = np.vstack([*(row[1] for row in effects), *(np.eye(k)[i] for i, _ in others)])
    n_clusters = None if data.cluster is None else int(np.unique(data.cluster.codes[model.used]).size)
    common: dict[str, Any] = {
        "outcome": data.outcome_names[0],
        "n_units": int(model.used.sum()),
        "n_clusters": n_clusters,
    }
    block = weights @ fitted.covariance @ weights.T
    values, errors = weights @ fitted.beta, np.sqrt(np.diag(block))
    terms = [
        Term(
            term=term,
            estimand=estimand,
            value=float(values[i]),
            std_error=float(errors[i]),
            df=fitted.df_of(direction),
            support=support,
            extra=fitted.extra if i == 0 else (),
            **common,
        )
        for i, (term, direction, support) in enumerate(effects)
    ]
    terms += [
        Term(name, nuisance, value=float(fitted.beta[i]), std_error=float(errors[j]), df=float(fitted.df[i]), **common)
        for j, (i, name) in enumerate(others, len(effects))
    ]
    variance = Estimand("nuisance", "variance", estimand.population, "conditional")
    terms += [
        Term(_variance_name(name), variance, value=value, std_error=None, reason=NO_ERROR, **common)
        for name, value in fitted.variances
    ]
    covariance = np.full((len(terms), len(terms)), np.nan)
    covariance[: len(block), : len(block)] = block
    return Estimates(
        estimator=estimator.name,
        terms=tuple(terms),
        covariance=covariance,
        method=_method(data, settings, model),
        checks=(*checks, *model.checks, *fitted.checks, *_df_check(terms[0]), *missing_check(data)),
        provenance=Provenance(data.digest, tuple(options_of(estimator).items()), None, versions()),
        flow=data.flow(),
    )


def _variance_name(name: str) -> str:
    return "residual variance" if name == "residual" else f"variance of {name}"


def _df_check(row: Term) -> tuple[Check, ...]:
    if row.df >= 4:
        return ()
    text = f"only {row.df:.1f} degrees of freedom are left for the effect; a randomisation test is safer."
    return (Check("degrees of freedom", "warn", text),)


def _method(data: Trial, settings: Settings, model: MixedModel) -> Method:
    family, small_sample, points = settings.family, settings.small_sample, settings.points
    linear = family == "gaussian"
    several = len(model.random) > 1
    if linear:
        error = "restricted maximum likelihood"
    elif several or points == 1:
        error = "maximum likelihood by Laplace's method, from the observed information"
    else:
        error = f"maximum likelihood by adaptive quadrature with {points} points, from the observed information"
    if settings.lme4:
        error += ", the likelihood evaluated as lme4 does, one step short of convergence"
    small = {
        "kenward_roger": "Kenward and Roger's adjusted covariance",
        "satterthwaite": "Satterthwaite degrees of freedom only",
        "between_within": "between-within degrees of freedom only",
        "normal": "none",
    }
    link = {"gaussian": "", "binomial": " on the log-odds scale", "poisson": " on the log scale"}[family]
    return Method(
        sample=all_samples(data),
        std_error=f"{error}; random intercepts for {', '.join(model.random)}",
        small_sample=small[small_sample],
        reference=REFERENCES[small_sample],
        inference_for="a superpopulation of clusters, if the model holds",
        assumptions=(
            "arms were assigned at random as declared",
            f"random intercepts are normal{link}, independent of each other, with one variance in both arms",
            "the effect is the same in all clusters and does not go with their size",
            "outcomes are missing at random given what is in the model",
        ),
        source=SOURCES[small_sample],
    )
