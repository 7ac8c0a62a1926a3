"""The regression of an outcome on the arms, with covariates, strata, pairs and periods as a trial declares them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.method import Check
from gbveval.data._frame import Labels
from gbveval.data.trial import Trial
from gbveval.numerics.cluster_moments import fit_from_moments, row_moments, with_constants
from gbveval.numerics.cluster_sandwich import ClusterCrossProducts
from gbveval.numerics.groups import compact
from gbveval.numerics.least_squares import LeastSquares, column_names

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.intp]

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
    size : float
        Root mean square of the outcome.
    """

    fit: LeastSquares
    sums: ClusterCrossProducts
    clusters: NDArray[np.intp]
    place: tuple[int, ...]
    used: BoolArray
    size: float


def arm_regression(data: Trial, outcome: int) -> tuple[ArmRegression, list[Check]]:
    """Fit one outcome on the arms, covariates, and indicators of strata, pairs and periods.

    Without clusters each unit is a cluster of its own.
    """
    used = data.observed(outcome)
    everybody = bool(used.all())
    groups = Labels(np.arange(data.n), ()) if data.cluster is None else data.cluster
    count = data.n if data.cluster is None else data.cluster.count
    clusters, codes = compact(groups.codes if everybody else groups.codes[used], count)
    _need_two_an_arm(data, used)
    rows, row_names, constants, constant_names = _columns(data, used, codes, clusters.size)
    names = [*data.covariate_names, *row_names, *constant_names]
    if len(names) > MOST_COLUMNS:
        raise DesignError(
            f"The regression would have {len(names):,} columns of covariates and strata, more than {MOST_COLUMNS}. "
            "Merge strata, or use RandomisationInference, which takes any number of them."
        )
    # Arms come last, so that a collinear arm is the one found wanting, and not a stratum.
    y = data.outcomes[:, outcome] if everybody else data.outcomes[used, outcome]
    moments = row_moments(rows, y, codes, clusters.size)
    fit, sums = fit_from_moments(with_constants(moments, constants))
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
    if fit.n <= fit.k:
        raise IdentificationError(
            f"{fit.n} rows with an outcome for {fit.k} coefficients; more rows than coefficients are needed. Use fewer "
            "covariates."
        )
    place = tuple(kept.index(f"arm {a}") for a in range(1, len(data.arms)))
    return ArmRegression(fit, sums, clusters, place, used, float(np.sqrt(y @ y / y.size))), checks


def _columns(
    data: Trial, used: BoolArray, codes: IntArray, n_clusters: int
) -> tuple[FloatArray, list[str], FloatArray, list[str]]:
    """Return columns that vary within clusters and, one row a cluster, those that do not; the arms last."""
    everybody = bool(used.all())
    varying: list[FloatArray] = [data.covariates if everybody else data.covariates[used]]
    constant: list[FloatArray] = []
    row_names: list[str] = []
    constant_names: list[str] = []
    first = np.zeros(n_clusters, dtype=np.intp)
    # Any row of a cluster says what does not vary in it.
    first[codes] = np.arange(codes.size)
    crosses = data.crosses_over
    for role in ("time", "stratum", "pair"):
        labels: Labels | None = getattr(data, role)
        if labels is None:
            continue
        member = compact(labels.codes[used], labels.count)[1]
        names = [f"{role} {i}" for i in range(1, int(member.max()) + 1)]
        if role == "time":
            varying.append(_indicators(member))
            row_names += names
        else:
            constant.append(_indicators(member[first], int(member.max())))
            constant_names += names
    arm = data.arm if everybody else data.arm[used]
    last = len(data.arms) - 1
    arm_names = [f"arm {a}" for a in range(1, len(data.arms))]
    if crosses:
        # The arm then varies within clusters, and strata go with it, so that it stays last.
        spread = [part[codes] for part in constant]
        columns = np.column_stack([*varying, *spread, _indicators(arm, last)])
        return columns, [*row_names, *constant_names, *arm_names], np.zeros((n_clusters, 0)), []
    rows = varying[0] if len(varying) == 1 else np.column_stack(varying)
    return rows, row_names, np.column_stack([*constant, _indicators(arm[first], last)]), [*constant_names, *arm_names]


def _indicators(codes: IntArray, highest: int | None = None) -> FloatArray:
    """Return a 0/1 column for every code from one on."""
    top = int(codes.max()) if highest is None else highest
    result: FloatArray = (codes[:, None] == np.arange(1, top + 1)[None, :]).astype(float)
    return result


def _need_two_an_arm(data: Trial, used: BoolArray) -> None:
    """Raise where an arm has a single cluster: its residuals say nothing of how clusters vary."""
    units, clusters = data.sizes_by_arm(used)
    for label, count in zip(data.arms, units if clusters is None else clusters, strict=True):
        if count < 2:
            what = "unit" if data.cluster is None else "cluster"
            raise IdentificationError(
                f"Arm {label!r} has {count} {what} with an outcome; at least two are needed. With one, "
                "RandomisationInference(statistic='difference') still gives a test."
            )
