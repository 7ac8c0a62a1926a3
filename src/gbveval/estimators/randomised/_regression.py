"""The regression of an outcome on the arms, with covariates, strata, pairs and periods as a trial declares them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.method import Check
from gbveval.data._frame import Labels
from gbveval.data.trial import Trial
from gbveval.numerics.cluster_sandwich import ClusterCrossProducts, cross_products
from gbveval.numerics.least_squares import LeastSquares, column_names, fit_least_squares

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

# One column a stratum: beyond this many the cross-products of a cluster no longer fit in memory.
MOST_COLUMNS = 600


@dataclass(frozen=True, eq=False, slots=True)
class ArmRegression:
    """A fit of one outcome on the arms.

    Attributes
    ----------
    fit : LeastSquares
        Intercept, arms, covariates, indicators.
    sums : ClusterCrossProducts
        By cluster with an outcome.
    clusters : ndarray of int
        Codes of those clusters in the trial.
    place : tuple of int
        Position of each arm's coefficient.
    used : ndarray of bool
        Rows with the outcome.
    """

    fit: LeastSquares
    sums: ClusterCrossProducts
    clusters: NDArray[np.intp]
    place: tuple[int, ...]
    used: BoolArray


def arm_regression(data: Trial, outcome: int) -> tuple[ArmRegression, list[Check]]:
    """Fit one outcome on the arms, covariates, and indicators of strata, pairs and periods.

    Without clusters each unit is a cluster of its own.
    """
    used = data.observed(outcome)
    arms = np.column_stack([(data.arm[used] == a).astype(float) for a in range(1, len(data.arms))])
    blocks: list[FloatArray] = [data.covariates[used]]
    names = list(data.covariate_names)
    for role in ("stratum", "pair", "time"):
        labels: Labels | None = getattr(data, role)
        if labels is not None:
            codes = np.unique(labels.codes[used], return_inverse=True)[1]
            blocks.append((codes[:, None] == np.arange(1, int(codes.max()) + 1)[None, :]).astype(float))
            names += [f"{role} {i}" for i in range(1, int(codes.max()) + 1)]
    if len(names) > MOST_COLUMNS:
        raise DesignError(
            f"The regression would have {len(names):,} columns of covariates and strata, more than {MOST_COLUMNS}. "
            "Merge strata, or use RandomisationInference, which takes any number of them."
        )
    # Arms come last, so that a collinear arm is the one found wanting, and not a stratum.
    design = np.column_stack([*blocks, arms])
    names += [f"arm {a}" for a in range(1, len(data.arms))]
    y = data.outcomes[used, outcome]
    fit = fit_least_squares(design, y)
    kept, dropped = column_names(names, fit.basis)
    lost = [name for name in dropped if name.startswith("arm ")]
    if lost:
        raise IdentificationError(
            "An arm is collinear with covariates, strata or periods, or has no outcome, so its effect cannot be told "
            "from theirs. Leave out what determines the arm."
        )
    checks = []
    covariates = [name for name in dropped if name in data.covariate_names]
    if covariates:
        text = f"collinear columns were dropped and change nothing: {', '.join(covariates)}."
        checks.append(Check("rank", "warn", text))
    groups = np.arange(data.n) if data.cluster is None else data.cluster.codes
    clusters, codes = np.unique(groups[used], return_inverse=True)
    _need_two_an_arm(data, groups, used)
    if fit.n <= fit.k:
        raise IdentificationError(
            f"{fit.n} rows with an outcome for {fit.k} coefficients; more rows than coefficients are needed. Use fewer "
            "covariates."
        )
    sums = cross_products(fit, design, y, codes.astype(np.intp), clusters.size)
    place = tuple(kept.index(f"arm {a}") for a in range(1, len(data.arms)))
    return ArmRegression(fit, sums, clusters.astype(np.intp), place, used), checks


def _need_two_an_arm(data: Trial, groups: NDArray[np.intp], used: BoolArray) -> None:
    """Raise where an arm has a single cluster: its residuals say nothing of how clusters vary."""
    for code, label in enumerate(data.arms):
        count = int(np.unique(groups[used & (data.arm == code)]).size)
        if count < 2:
            what = "unit" if data.cluster is None else "cluster"
            raise IdentificationError(
                f"Arm {label!r} has {count} {what} with an outcome; at least two are needed. With one, "
                "RandomisationInference(statistic='difference') still gives a test."
            )
