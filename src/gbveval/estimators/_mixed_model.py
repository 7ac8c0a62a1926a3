"""From a `Trial` to the columns and random intercepts of a mixed model, and to its fit: one way for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError, DataError, DesignError, IdentificationError
from gbveval.core.method import Check
from gbveval.data.trial import Trial
from gbveval.numerics.least_squares import column_names, make_basis
from gbveval.numerics.mixed_glm import MixedGlm, fit_mixed_glm
from gbveval.numerics.mixed_glm_lme4 import as_lme4
from gbveval.numerics.mixed_inference import MixedInference, kenward_roger, satterthwaite
from gbveval.numerics.mixed_linear import MixedLinear, NoMaximumError, fit_mixed_linear, mixed_sums, pieces
from gbveval.numerics.random_intercepts import crossed, make_batches
from gbveval.numerics.separation import binomial_direction, count_direction

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]

FAMILIES = ("gaussian", "binomial", "poisson")
SMALL_SAMPLES = ("auto", "kenward_roger", "satterthwaite", "between_within", "normal")
ROLES = ("cluster", "time", "site", "stratum", "pair")
# A block of linked levels is a dense matrix; beyond this its inverse takes minutes.
LARGEST_BLOCK = 3_000


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model is fitted: outcome family, small-sample method, quadrature points, and whether as lme4 does."""

    family: str
    small_sample: str
    points: int
    lme4: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class MixedModel:
    """Columns, outcome and random intercepts of one outcome's model.

    Attributes
    ----------
    used : ndarray of bool, shape (units of the trial,)
        Units with the outcome.
    y, size : ndarray, shape (n,)
        Outcome; trials or exposure (ones where none were declared).
    columns : ndarray, shape (n, columns)
        Effects first, then covariates and periods, without the constant.
    names : tuple of str
        Their names.
    effects : int
        How many of the first columns are effects.
    random : tuple of str
        Random intercepts, as asked for.
    codes : ndarray of int, shape (n, components)
        Level of each in each row.
    checks : tuple of Check
        What was found.
    """

    used: BoolArray
    y: FloatArray
    size: FloatArray
    columns: FloatArray
    names: tuple[str, ...]
    effects: int
    random: tuple[str, ...]
    codes: IntArray
    checks: tuple[Check, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Fitted:
    """A fit of either kind, reduced to what rows are made of.

    Attributes
    ----------
    names : tuple of str
        Coefficients: the intercept, then the kept columns.
    beta, df : ndarray, shape (k,)
    covariance : ndarray, shape (k, k)
    variances : tuple of (str, float)
        Variance of each random intercept, the residual's last for a linear model.
    extra : tuple of (str, float)
        The criterion that was optimised.
    checks : tuple of Check
    weights : MixedInference or None
        Gives degrees of freedom of sums of coefficients, for a linear model.
    linear : MixedLinear or None
    """

    names: tuple[str, ...]
    beta: FloatArray
    df: FloatArray
    covariance: FloatArray
    variances: tuple[tuple[str, float], ...]
    extra: tuple[tuple[str, float], ...]
    checks: tuple[Check, ...]
    weights: MixedInference | None = None
    linear: MixedLinear | None = None

    def df_of(self, weights: FloatArray) -> float:
        """Return the degrees of freedom of a weighted sum of coefficients."""
        if self.weights is not None and self.linear is not None:
            return self.weights.df_of(self.linear, weights)
        return float(self.df[weights != 0].min())


def check_random(random: Sequence[str]) -> tuple[str, ...]:
    """Return the random intercepts, or raise where they are not names of roles joined by colons."""
    named = tuple(random)
    if not named or isinstance(random, str):
        raise DesignError(
            'random names one role or more in a tuple, such as ("cluster",) or ("cluster", "cluster:time").'
        )
    for part in named:
        unknown = [role for role in part.split(":") if role not in ROLES]
        if unknown:
            raise DesignError(
                f"A random intercept is one of {', '.join(ROLES)}, or several joined by ':', not {part!r}."
            )
    if len({frozenset(part.split(":")) for part in named}) < len(named):
        raise DesignError("A random intercept is named twice. Name each once.")
    return named


def check_options(family: str, small_sample: str) -> str:
    """Return the small-sample method, chosen where it is "auto"; raise where it does not fit the family."""
    if family not in FAMILIES:
        raise DesignError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}.")
    if small_sample not in SMALL_SAMPLES:
        raise DesignError(f"df must be one of {', '.join(SMALL_SAMPLES)}, not {small_sample!r}.")
    linear = small_sample in ("kenward_roger", "satterthwaite")
    if family == "gaussian":
        if small_sample == "between_within" or small_sample == "normal":
            raise DesignError('For a gaussian outcome df is "kenward_roger" or "satterthwaite".')
        return "kenward_roger" if small_sample == "auto" else small_sample
    if linear:
        raise DesignError(f'{small_sample} is for gaussian outcomes. For {family} use "between_within" or "normal".')
    return "between_within" if small_sample == "auto" else small_sample


def refuse_roles(data: Trial, name: str, random: Sequence[str]) -> None:
    """Raise for roles that the model would ignore in silence."""
    if len(data.outcome_names) > 1:
        raise DesignError(f"{name} takes one outcome at a time: it has no joint covariance of several.")
    hints = {
        "weight": "A mixed model with sampling weights is not implemented; LinAdjusted or DifferenceInMeans may do.",
        "probability": "It does not weight by them. Leave the role out if assignment had one probability for all.",
        "baseline": "Give the baseline as a covariate, complete.",
    }
    for role, hint in hints.items():
        if getattr(data, role) is not None:
            raise DesignError(f"{name} does not take the role {role!r}. {hint}")
    named = {role for part in random for role in part.split(":")}
    for role in ("stratum", "pair"):
        if getattr(data, role) is not None and role not in named:
            raise DesignError(f"{name}: the trial declares a {role}. Name it in `random`, or give it as a covariate.")
    if data.cluster is not None and "cluster" not in random:
        raise DesignError(f'{name}: the trial assigned clusters, so `random` must hold "cluster".')
    for role in named:
        if getattr(data, role) is None:
            raise DesignError(f"{name}: `random` names {role!r}, which the trial does not declare.")


def build_model(
    data: Trial, family: str, random: tuple[str, ...], effects: tuple[FloatArray, tuple[str, ...]], *, periods: bool
) -> MixedModel:
    """Return the model of the trial's outcome.

    Parameters
    ----------
    data : Trial
    family : str
    random : tuple of str
        Random intercepts.
    effects : tuple of (ndarray of shape (units, effects), tuple of str)
        Columns whose coefficients are the effects, for all units, and their names.
    periods : bool
        Whether periods enter as indicators, where the trial has them.
    """
    used = data.observed(0)
    y = data.outcomes[used, 0]
    size = np.ones(y.size) if data.exposure is None else data.exposure[used]
    _check_outcome(data, family, y, size)
    columns = [effects[0][used], data.covariates[used]]
    names = [*effects[1], *data.covariate_names]
    if periods and data.time is not None:
        levels = np.unique(data.time.codes[used])[1:]
        columns.append((data.time.codes[used][:, None] == levels).astype(float))
        names += [f"period {data.time.levels[level]}" for level in levels]
    matrix = np.column_stack(columns)
    codes = np.column_stack([_component(data, part, used) for part in random])
    count = effects[0].shape[1]
    _check_effects(matrix, count, data)
    model = MixedModel(used, y, size, matrix, tuple(names), count, random, codes, ())
    _check_levels(model, family)
    checks = (*_rank_check(model), *_size_check(data, used))
    return MixedModel(used, y, size, matrix, tuple(names), count, random, codes, checks)


def _component(data: Trial, part: str, used: BoolArray) -> IntArray:
    """Return the level of one random intercept in each row."""
    groups = [getattr(data, role) for role in part.split(":")]
    return crossed([labels.codes[used] for labels in groups])


def _check_outcome(data: Trial, family: str, y: FloatArray, size: FloatArray) -> None:
    name = data.outcome_names[0]
    if family == "gaussian":
        if data.exposure is not None:
            raise DesignError(
                'A gaussian outcome has no exposure. Use family="poisson" for counts over a time at risk.'
            )
        return
    whole = (y == np.round(y)) & (y >= 0)
    if not whole.all():
        raise DataError(
            f"Column {name!r} (outcome): {int((~whole).sum()):,} rows are not whole numbers of zero or more, which "
            f'family="{family}" needs. Use family="gaussian" for a score.'
        )
    if family == "binomial":
        over = (y > size) | (size != np.round(size))
        if over.any():
            raise DataError(
                f"Column {name!r} (outcome): {int(over.sum()):,} rows have more events than opportunities, or "
                "opportunities (exposure) that are no whole number. Without exposure a row is one yes (1) or no (0)."
            )


def _check_effects(matrix: FloatArray, count: int, data: Trial) -> None:
    """Raise where an effect cannot be told from the covariates and periods."""
    order = [*range(count, matrix.shape[1]), *range(count)]
    basis = make_basis(matrix[:, order])
    lost = [order[i] for i in basis.dropped if order[i] < count]
    if lost:
        raise IdentificationError(
            f"{len(lost)} of {count} effects are collinear with the covariates and periods, so they cannot be told "
            "from them. Leave out the covariate that determines the arm, or periods in which all are in one arm."
        )
    if matrix.shape[0] <= basis.gram_inverse.shape[0]:
        raise IdentificationError(
            f"{matrix.shape[0]} rows with an outcome for {basis.gram_inverse.shape[0]} coefficients; more rows are "
            "needed. Use fewer covariates."
        )


def check_clusters(data: Trial, used: BoolArray) -> None:
    """Raise where the clusters with an outcome are too few to tell an effect from a difference between clusters."""
    for code, label in enumerate(data.arms):
        member = used & (data.arm == code)
        what = "unit" if data.cluster is None else "cluster"
        count = int(member.sum()) if data.cluster is None else int(np.unique(data.cluster.codes[member]).size)
        if count < 2:
            raise IdentificationError(
                f"Arm {label!r} has {count} {what} with an outcome; at least two are needed. With one there is nothing "
                "to tell the arm from that one; describe the data without inference."
            )


def _check_levels(model: MixedModel, family: str) -> None:
    n = model.y.size
    found: list[IntArray] = []
    for part, codes in zip(model.random, model.codes.T, strict=True):
        levels = int(codes.max()) + 1
        if levels < 2:
            raise IdentificationError(f"The random intercept {part!r} has a single level. Leave it out.")
        alone = levels == n and (family == "gaussian" or (family == "binomial" and float(model.size.max()) == 1.0))
        if alone:
            raise IdentificationError(
                f"Every level of the random intercept {part!r} has a single row, so it cannot be told from the "
                "residual. Declare no cluster, and use DifferenceInMeans or LinAdjusted."
            )
        if any(int(crossed([codes, other]).max()) == int(codes.max()) == int(other.max()) for other in found):
            raise IdentificationError(
                f"The random intercept {part!r} groups the rows as another one does. Leave one out."
            )
        found.append(codes)
    largest = max(batch.shape[1] for batch in make_batches(model.codes))
    if largest > LARGEST_BLOCK:
        raise DesignError(
            f"The random intercepts link {largest:,} levels to one block; at most {LARGEST_BLOCK:,} are taken. "
            "Nest them (cluster within site), or give the smaller one as a covariate."
        )


def _rank_check(model: MixedModel) -> tuple[Check, ...]:
    basis = make_basis(model.columns)
    _, dropped = column_names(model.names, basis)
    if not dropped:
        return ()
    text = f"collinear columns were dropped and change nothing: {', '.join(dropped)}."
    return (Check("rank", "warn", text),)


def _size_check(data: Trial, used: BoolArray) -> tuple[Check, ...]:
    """Say that weights differ from people's where cluster sizes do."""
    if data.cluster is None:
        return ()
    sizes = np.bincount(data.cluster.codes[used], minlength=data.cluster.count)
    sizes = sizes[sizes > 0]
    if sizes.min() == sizes.max():
        return ()
    text = (
        "cluster sizes differ: the model weights clusters between equally and by size, so if effects go with size "
        "it estimates neither the average over participants nor that over clusters."
    )
    return (Check("cluster size", "info", text),)


# -- fitting ---------------------------------------------------------------------------------------------------


def fit_model(model: MixedModel, settings: Settings, outcome: str) -> Fitted:
    """Return the fit of a model, or say why there is none."""
    family, small_sample = settings.family, settings.small_sample
    if family == "gaussian":
        return _fit_linear(model, small_sample, outcome)
    _check_separation(model, family, outcome)
    try:
        data = (family, model.columns, model.y, model.size, model.codes)
        fit = fit_mixed_glm(*data, points=settings.points)
        fit = as_lme4(fit, *data, settings.points) if settings.lme4 else fit
    except (NoMaximumError, np.linalg.LinAlgError) as reason:
        raise ConvergenceError(
            f"The likelihood of {outcome} has no maximum: {reason}. Where clusters have all of the events or none, "
            "compare cluster summaries instead (DifferenceInMeans)."
        ) from reason
    names = tuple(column_names(model.names, fit.basis)[0])
    df = np.full(fit.beta.size, np.inf) if small_sample == "normal" else _between_within(model, fit)
    checks = []
    zero = [part for part, sd in zip(model.random, fit.sds, strict=True) if sd == 0]
    if zero:
        checks.append(boundary_check(zero))
    return Fitted(
        names=names,
        beta=fit.beta,
        df=df,
        covariance=fit.covariance,
        variances=tuple(zip(model.random, (float(sd**2) for sd in fit.sds), strict=True)),
        extra=(("log_likelihood", fit.log_likelihood), ("deviance", fit.deviance)),
        checks=tuple(checks),
    )


def boundary_check(zero: Sequence[str]) -> Check:
    """Say that variances are at the boundary."""
    return Check(
        "variance at zero",
        "warn",
        f"the variance of {', '.join(zero)} is estimated as zero: the data show no more variation between its levels "
        "than chance gives. That is no proof that there is none.",
    )


def _fit_linear(model: MixedModel, small_sample: str, outcome: str) -> Fitted:
    sums = mixed_sums(model.columns, model.y, model.codes)
    size = float(np.sum(model.y**2))
    # Rounding leaves about 1e-16 of the outcome's size, squared, where nothing varies.
    if sums.square <= 1e-26 * size:
        raise IdentificationError(
            f"The outcome {outcome} does not vary around the fit, so there is no standard error. Check its coding."
        )
    start = pieces(sums, np.zeros(sums.components))
    for part, trace in zip(model.random, start.trace[1:], strict=True):
        if trace <= 1e-9 * sums.n:
            raise IdentificationError(
                f"The random intercept {part!r} is explained by covariates, arms and periods, so its variance is not "
                "identified. Leave it out, or the covariates that are constant in its levels."
            )
    try:
        fit = fit_mixed_linear(sums)
        answer = kenward_roger(fit) if small_sample == "kenward_roger" else satterthwaite(fit)
    except (NoMaximumError, np.linalg.LinAlgError) as reason:
        raise ConvergenceError(
            f"The restricted likelihood of {outcome} has no maximum: it does not vary within the levels of a random "
            "intercept, or too little. Analyse one row a cluster instead."
        ) from reason
    checks = []
    zero = [part for part, ratio in zip(model.random, fit.ratios, strict=True) if ratio == 0]
    if zero:
        checks.append(boundary_check(zero))
    variances = [*(fit.ratios * fit.residual_variance), fit.residual_variance]
    return Fitted(
        names=tuple(column_names(model.names, fit.sums.basis)[0]),
        beta=fit.beta,
        df=answer.df,
        covariance=answer.covariance,
        variances=tuple(zip((*model.random, "residual"), (float(v) for v in variances), strict=True)),
        extra=(("reml_criterion", fit.criterion),),
        checks=tuple(checks),
        weights=answer,
        linear=fit,
    )


def _check_separation(model: MixedModel, family: str, outcome: str) -> None:
    """Raise where a coefficient has no finite best value, whatever the random intercepts are."""
    basis = make_basis(model.columns)
    x = basis.rows(model.columns, slice(None))
    if float(model.y.sum()) == 0.0 or (family == "binomial" and float((model.size - model.y).sum()) == 0.0):
        raise IdentificationError(
            f"The outcome {outcome} does not vary: there is nothing to compare. Check its coding."
        )
    finder = binomial_direction if family == "binomial" else count_direction
    direction = finder(x, model.y / model.size)
    if direction is None:
        return
    names, _ = column_names(model.names, basis)
    moved = basis.to_original @ direction
    infinite = [name for name, by in zip(names, moved, strict=True) if abs(by) > 1e-6 and name != "intercept"]
    raise IdentificationError(
        f"The likelihood of {outcome} has no maximum: an arm, period or category has no events (or nothing else), so "
        f"the coefficients of {', '.join(infinite) or 'the intercept'} grow without bound. Merge categories, or "
        "compare risks (DifferenceInMeans)."
    )


def _between_within(model: MixedModel, fit: MixedGlm) -> FloatArray:
    """Return between-within degrees of freedom, by the levels of the first random intercept (Li and Redden 2015).

    Levels minus the coefficients (constant included) of columns that do not vary within levels, for those columns; rows
    minus levels minus the other coefficients, for the others.
    """
    codes = model.codes[:, 0]
    levels = int(codes.max()) + 1
    columns = model.columns[:, fit.basis.kept]
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    spread = np.maximum.reduceat(columns[order], starts) - np.minimum.reduceat(columns[order], starts)
    within = np.concatenate([[False], (spread > 0).any(axis=0)])
    between_df = levels - int((~within).sum())
    within_df = model.y.size - levels - int(within.sum())
    if between_df < 1:
        raise IdentificationError(
            f"{levels} levels of {model.random[0]!r} for {int((~within).sum())} coefficients that are constant in "
            "them; more clusters, or fewer covariates, are needed."
        )
    return np.where(within, float(max(within_df, 1)), float(between_df))
