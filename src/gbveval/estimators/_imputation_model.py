"""The models that draw the missing outcomes of a trial, one for each outcome and arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError, IdentificationError
from gbveval.core.method import Check
from gbveval.data.trial import Trial
from gbveval.estimators._glm_fit import fit_glm
from gbveval.numerics.glm import Family, whiten
from gbveval.numerics.imputation import NormalPosterior, draw_binary, draw_matched, draw_normal, normal_posterior
from gbveval.numerics.least_squares import make_basis

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Logistic = tuple[FloatArray, FloatArray, FloatArray]
LOGIT = Family("binomial", "logit")
MODELS = ("auto", "normal", "logistic", "matching")


@dataclass(frozen=True, eq=False, slots=True)
class CellModel:
    """A fitted model of one outcome in one arm.

    Attributes
    ----------
    rows : ndarray of int
        Units whose outcome is drawn.
    outcome, arm : int
        Which.
    kind : str
        "normal", "logistic" or "matching".
    posterior : NormalPosterior or tuple of (gamma, root, z_missing)
        What is drawn from.
    separated : bool
        Whether a logistic model had no maximum and was augmented.
    """

    rows: NDArray[np.intp]
    outcome: int
    arm: int
    kind: str
    posterior: NormalPosterior | Logistic
    separated: bool = False

    def draw(self, rng: np.random.Generator, shift: float) -> FloatArray:
        """Return one draw of the missing outcomes, shifted on the outcome's scale or that of the log odds."""
        if isinstance(self.posterior, tuple):
            return draw_binary(*self.posterior, rng, shift=shift)
        drawn = draw_normal if self.kind == "normal" else draw_matched
        return drawn(self.posterior, rng) + shift


def fit_models(trial: Trial, model: str) -> tuple[list[CellModel], list[Check]]:
    """Return the models of all outcomes and arms with something missing, and what a reader should know of them."""
    columns, names = predictors(trial)
    checks = [*_outcome_checks(trial, model)]
    if names:
        checks.append(Check("imputation model", "info", f"outcomes are imputed from {', '.join(names)}, by arm."))
    else:
        text = "there is nothing but the arm to impute from; this assumes that the missing are like the observed."
        checks.append(Check("imputation model", "warn", text))
    if trial.cluster is not None:
        text = (
            "imputation ignores that members of a cluster are alike, so imputed outcomes vary too little between "
            "clusters; with more than a few per cent missing the errors are somewhat too small."
        )
        checks.append(Check("imputation clusters", "warn", text))
    found = []
    for outcome in range(len(trial.outcome_names)):
        kind = chosen_model(trial, outcome, model)
        for arm in range(len(trial.arms)):
            missing = ~trial.observed(outcome) & (trial.arm == arm)
            if missing.any():
                found.append(_fit(trial, outcome, arm, kind, columns))
    if any(cell.separated for cell in found):
        text = (
            "in an arm the predictors tell the outcome perfectly, or nobody (or everybody) has it; the imputation "
            "model was augmented by rows with either outcome that weigh as much as its coefficients."
        )
        checks.append(Check("imputation separation", "warn", text))
    return found, checks


def chosen_model(trial: Trial, outcome: int, model: str) -> str:
    """Return the model of an outcome; raise where a logistic one does not fit it."""
    binary = trial.is_binary(outcome)
    if model == "logistic" and not binary:
        values = trial.outcomes[trial.observed(outcome), outcome]
        wrong = int(((values != 0) & (values != 1)).sum())
        raise DataError(
            f"Column {trial.outcome_names[outcome]!r} (outcome) is not 0 or 1 in {wrong:,} rows, so a logistic model "
            "cannot impute it. Use model='normal' or 'matching'."
        )
    if model == "auto":
        return "logistic" if binary else "normal"
    return model


def predictors(trial: Trial) -> tuple[FloatArray, list[str]]:
    """Return what outcomes are imputed from: covariates, strata, weight and the baseline, and what they are called."""
    blocks = [trial.covariates]
    names = list(trial.covariate_names)
    groups = trial.stratum or trial.pair
    if trial.stratum is not None and groups is not None:
        blocks.append((groups.codes[:, None] == np.arange(1, groups.count)[None, :]).astype(float))
        names.append("the strata")
    if trial.weight is not None:
        blocks.append(trial.weight[:, None])
        names.append("the weight")
    if trial.baseline is not None:
        unknown = np.isnan(trial.baseline)
        known = trial.baseline[~unknown]
        filled = np.where(unknown, known.mean() if known.size else 0.0, trial.baseline)
        blocks += [filled[:, None], unknown.astype(float)[:, None]]
        names.append("the baseline")
    return np.column_stack(blocks), names


def _outcome_checks(trial: Trial, model: str) -> list[Check]:
    found = []
    for outcome, name in enumerate(trial.outcome_names):
        values = trial.outcomes[trial.observed(outcome), outcome]
        missing = trial.n - values.size
        found.append(
            Check(
                f"imputed {name}",
                "info",
                f"{missing:,} of {trial.n:,} values of {name} are imputed ({missing / trial.n:.1%}).",
                f"missing values of {name} are imputed.",
            )
        )
        whole = bool(np.all(values == np.round(values)))
        if missing and chosen_model(trial, outcome, model) == "normal" and whole:
            text = f"{name} holds whole numbers and imputed values do not; model='matching' draws observed values only."
            found.append(Check(f"imputed values {name}", "info", text))
    return found


def _fit(trial: Trial, outcome: int, arm: int, kind: str, columns: FloatArray) -> CellModel:
    member = trial.arm == arm
    seen = trial.observed(outcome) & member
    rows = np.flatnonzero(member & ~seen)
    label, n = trial.arms[arm], int(seen.sum())
    if n < 2:
        raise IdentificationError(
            f"{trial.outcome_names[outcome]} is observed for {n} units of arm {label!r}, which leaves nothing to "
            "impute from. Leave out the arm or the outcome, or use ManskiBounds."
        )
    basis = make_basis(columns[seen])
    z, z_missing = basis.rows(columns[seen], slice(None)), basis.rows(columns[rows], slice(None))
    if n < z.shape[1] + 2:
        raise IdentificationError(
            f"{n} units of arm {label!r} with {trial.outcome_names[outcome]} for {z.shape[1]} coefficients of the "
            "imputation model; at least two more are needed. Use fewer covariates, or merge strata."
        )
    y = trial.outcomes[seen, outcome]
    if kind != "logistic":
        return CellModel(rows, outcome, arm, kind, normal_posterior(z, y, z_missing))
    posterior, separated = _logistic(z, y, z_missing)
    return CellModel(rows, outcome, arm, kind, posterior, separated)


def _logistic(z: FloatArray, y: FloatArray, z_missing: FloatArray) -> tuple[Logistic, bool]:
    """Fit the logistic model, and say whether it had to be augmented because its maximum does not exist.

    Then each column gets rows one standard deviation below and above its mean with either outcome, weighing as much as
    one row a coefficient together, so that the maximum exists (White, Daniel and Royston 2010).
    """
    weight = np.ones(y.size)
    fit = fit_glm(LOGIT, z, y)
    separated = not fit.converged
    if separated:
        width = z.shape[1]
        extra = np.tile(np.eye(1, width), (2 * max(width - 1, 1), 1)) * z[0, 0]
        for column in range(1, width):
            extra[2 * column - 2 : 2 * column, column] = np.array([-1.0, 1.0]) * z[:, column].std()
        count = 2 * extra.shape[0]
        z = np.vstack([z, extra, extra])
        y = np.concatenate([y, np.zeros(extra.shape[0]), np.ones(extra.shape[0])])
        weight = np.concatenate([weight, np.full(count, width / count)])
        fit = fit_glm(LOGIT, z, y, weight=weight)
    white = whiten(LOGIT, z, y, fit.gamma, weight=weight)
    covariance = np.linalg.inv(white.design.T @ white.design)
    root = np.asarray(np.linalg.cholesky((covariance + covariance.T) / 2.0), dtype=np.float64)
    return (fit.gamma, root, z_missing), separated


def completed(trial: Trial, models: Sequence[CellModel], rng: np.random.Generator, shifts: FloatArray) -> FloatArray:
    """Return the outcomes with one draw of what is missing; `shifts` has one number an arm."""
    outcomes = trial.outcomes.copy()
    for model in models:
        outcomes[model.rows, model.outcome] = model.draw(rng, float(shifts[model.arm]))
    return outcomes
