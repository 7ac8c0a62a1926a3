"""Regressions with unit and period effects: one way to fit them, and to say how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.method import Check
from gbveval.core.term import Term
from gbveval.data._frame import plural
from gbveval.data.panel import Panel
from gbveval.estimators.did._rollout import Rows, cohort_support, point, rounding
from gbveval.estimators.did._rollout_checks import two_way_checks
from gbveval.numerics.fixed_effects import FixedEffectsFit, fixed_effects_fit, split_effects

FloatArray = NDArray[np.float64]
STD_ERRORS = ("CR0", "CR1", "CR1S", "CR2", "CR3", "HC0", "HC1", "classical")
# Numbers in columns of indicators: 800 MB.
MOST_INDICATORS = 100_000_000
FACTORS = {
    "CR1": "G / (G - 1)",
    "CR1S": "G / (G - 1) x (n - 1) / (n - K), K without effects nested in clusters",
    "CR2": "bias-reduced linearisation (CR2)",
    "CR3": "cluster jackknife (CR3), without (G - 1) / G",
    "HC1": "n / (n - K)",
    "classical": "n - K degrees of freedom",
}


def check_std_error(std_error: str) -> None:
    """Raise if the standard error asked for is not known."""
    if std_error not in STD_ERRORS:
        raise DesignError(f"std_error must be one of {', '.join(STD_ERRORS)}, not {std_error!r}.")


@dataclass(frozen=True, eq=False, slots=True)
class Regression:
    """A fitted regression with the names of its columns.

    Attributes
    ----------
    fit : FixedEffectsFit
    names : tuple of str
        Of the kept columns.
    lost : tuple of str
        Columns that the others or the fixed effects explain.
    """

    fit: FixedEffectsFit
    names: tuple[str, ...]
    lost: tuple[str, ...]

    def place(self, name: str) -> int:
        """Return the position of a kept column."""
        return self.names.index(name)


def regress(
    rows: Rows,
    columns: FloatArray,
    names: Sequence[str],
    *,
    std_error: str,
    units: bool = True,
    periods: bool = True,
) -> Regression:
    """Regress the outcome on columns, with unit and period effects, and with unit effects the panel's further ones.

    Parameters
    ----------
    rows : Rows
    columns : ndarray, shape (n, k)
    names : sequence of str
        Names of the columns.
    std_error : str
        One of `STD_ERRORS`.
    units, periods : bool
        Which fixed effects.
    """
    clustered = std_error.startswith("CR")
    if std_error in ("CR2", "CR3") and len(rows.clusters) == 2:
        raise DesignError(f"{std_error} is for clusters in one way; with two ways use CR1S.")
    if std_error == "CR2" and rows.weight is not None:
        raise DesignError("CR2 with swept unit effects is exact without weights only. Use CR1S or CR3.")
    further = rows.effects if units else ()
    _, indicated = split_effects(rows.unit, further, std_error, rows.clusters)
    if rows.n * sum(each.present for each in indicated) > MOST_INDICATORS:
        raise DesignError(
            f"The further effects have {sum(each.present for each in indicated):,} levels as columns, too many for "
            f"{plural(rows.n, 'row')}. Declare one large effect, and use CR1S, CR1 or CR0."
        )
    if columns.shape[1] >= rows.n:
        raise IdentificationError(f"{columns.shape[1]} columns for {rows.n} rows; there is nothing left to vary.")
    fit = fixed_effects_fit(
        rows.y,
        columns,
        absorb=rows.unit if units else None,
        effects=(rows.time,) if periods else (),
        further=further,
        weights=rows.weight,
        std_error=std_error,
        clusters=rows.clusters if clustered else (),
    )
    kept = tuple(names[i] for i in fit.kept)
    return Regression(fit, kept, tuple(names[i] for i in fit.dropped))


def coefficient_terms(
    data: Panel,
    rows: Rows,
    found: Regression,
    estimands: Sequence[Estimand],
    extras: Sequence[tuple[tuple[str, float | str | None], ...]] | None = None,
) -> tuple[Term, ...]:
    """Return a row for each kept coefficient."""
    support = cohort_support(data, rows.cohort_sizes(), "cohorts of the regression")
    errors = np.sqrt(np.maximum(np.diag(found.fit.covariance), 0.0))
    least = rounding(rows)
    return tuple(
        point(
            name,
            estimands[i],
            data.outcome_name,
            (float(found.fit.beta[i]), float(errors[i]) if errors[i] > least else np.nan),
            df=float(found.fit.df[i]),
            n_units=rows.n_units,
            n_clusters=found.fit.n_clusters,
            support=support,
            extra=() if extras is None else extras[i],
        )
        for i, name in enumerate(found.names)
    )


def inference_words(data: Panel, std_error: str) -> dict[str, str]:
    """Return what the standard error allows for, its correction and its reference, as fields of a `Method`."""
    if std_error == "classical":
        error = "classical: errors independent and of one variance, which outcomes followed over time hardly ever are"
    elif std_error.startswith("HC"):
        error = f"robust to unequal variances ({std_error}), and not to dependence over time"
    else:
        error = f"clustered by {data.cluster_name}"
    reference = "t with n - K degrees"
    if std_error in ("CR2", "CR3"):
        reference = "t with Satterthwaite degrees of freedom"
    elif std_error.startswith("CR"):
        reference = "t with clusters minus one degrees of freedom"
    return {
        "std_error": error,
        "small_sample": FACTORS.get(std_error, "none"),
        "reference": reference,
        "inference_for": "a superpopulation of units",
    }


def explained_words(data: Panel) -> str:
    """Say what explains treatment where its coefficient is not identified, and what to do."""
    if not data.effects:
        return (
            "Unit and period effects (and covariates) explain treatment completely, so its coefficient is not "
            "identified. Check that units are observed before and after treatment began."
        )
    every = ", ".join(["unit", "period", *data.effect_names])
    return (
        f"Effects of {every} (and covariates) explain treatment completely, so its coefficient is not identified: "
        "treated and untreated units are needed within the same level and period. Leave out the effect that treatment "
        "does not vary within, or take a coarser one."
    )


def parallel_words(data: Panel) -> str:
    """Say in what untreated outcomes are taken to have moved alike."""
    within = f" within {' and '.join(data.effect_names)}" if data.effects else ""
    return f"untreated outcomes would have changed in parallel{within}"


def regression_checks(found: Regression) -> tuple[Check, ...]:
    """Return what the fit left out, and repairs."""
    checks = []
    if found.lost:
        text = f"explained by the other columns or the fixed effects, and left out: {', '.join(found.lost)}."
        checks.append(Check("collinear columns", "warn", text))
    return (*checks, *two_way_checks(found.fit.repaired))
