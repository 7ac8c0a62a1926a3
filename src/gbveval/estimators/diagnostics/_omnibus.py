"""The one test of balance: by allocating again, or by the F test of a regression of the arm on the columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.data.trial import Trial
from gbveval.estimators.randomised._assignment import Assignment, RecordedAllocations, assignment_of
from gbveval.estimators.randomised._linear import stratum_columns
from gbveval.estimators.randomised._randomisation_test import LISTED_FOR_EACH_DRAW
from gbveval.numerics.allocations import can_list, how_many
from gbveval.numerics.cluster_sandwich import CLUSTER_KINDS
from gbveval.numerics.covariate_balance import balance_test, unit_totals
from gbveval.numerics.inference import f_upper, wald_joint
from gbveval.numerics.linear_inference import STD_ERRORS, linear_inference

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
DEGREES = ("auto", "residual", "clusters_minus_1", "normal")


@dataclass(frozen=True, slots=True)
class Omnibus:
    """One test of several columns.

    Attributes
    ----------
    statistic, p_value : float or None
        None where nothing could differ.
    df, df2 : float or None
        Numerator and denominator degrees of freedom.
    words : str
        How it was made.
    reason : str
        Why it is undefined.
    """

    statistic: float | None
    df: float | None
    df2: float | None
    p_value: float | None
    words: str
    reason: str = ""


def resolved(trial: Trial, assignment: str | RecordedAllocations) -> Assignment:
    """Return how the units were assigned, refusing clusters that change arm."""
    if trial.crosses_over:
        raise DesignError(
            "Clusters change arm between periods, so arms are not groups to compare at the start. Make a trial of one "
            "row a cluster, with its sequence as the arm."
        )
    return assignment_of(trial, assignment)


def by_allocations(
    trial: Trial, columns: FloatArray, assignment: Assignment, n_draws: int, rng: np.random.Generator
) -> Omnibus:
    """Return the randomisation test of Hansen and Bowers' statistic."""
    if assignment.count < 2:
        raise IdentificationError(
            "Only one allocation was possible, so no other can be compared with it. Declare the strata, pairs or "
            "clusters as they were when units were assigned."
        )
    totals = unit_totals(columns, assignment.unit, assignment.block, trial.weight)
    listed = can_list(assignment.scheme) and assignment.count <= n_draws * LISTED_FOR_EACH_DRAW
    found = balance_test(totals, assignment.scheme, list_all=listed, n_draws=n_draws, rng=rng)
    how = f"all {how_many(assignment.count)} listed" if listed else f"{n_draws:,} drawn of {how_many(assignment.count)}"
    words = f"Hansen and Bowers' d2 over allocations as they could have been ({assignment.words}; {how})"
    if found.rank == 0:
        return Omnibus(None, None, None, None, words, "no column could differ between allocations")
    return Omnibus(found.statistic, float(found.rank), None, found.p_value, words)


def by_regression(trial: Trial, columns: FloatArray, others: FloatArray, vcov: str, df: str) -> Omnibus:
    """Return the F test that no column predicts the arm, given other columns and strata."""
    if len(trial.arms) > 2:
        raise DesignError(
            f"The regression of the arm needs two arms; the trial has {len(trial.arms)}. Use omnibus='randomisation', "
            "which tests all of them together."
        )
    group, unit = _groups(trial, vcov)
    chosen = ("HC1" if group is None else "CR1") if vcov == "auto" else vcov
    used = np.ones(trial.n, dtype=bool) if trial.weight is None else trial.weight > 0
    strata, _ = stratum_columns(trial, used)
    held = np.column_stack([strata, others[used]])
    design = np.column_stack([held, columns[used]])
    degrees = ("residual" if group is None else "clusters_minus_1") if df == "auto" else df
    codes = None if group is None else np.unique(group[used], return_inverse=True)[1]
    fit = linear_inference(
        design,
        (trial.arm[used] == 1).astype(float),
        std_error=chosen,
        df=degrees,
        weights=None if trial.weight is None else trial.weight[used],
        cluster=codes,
        n_clusters=0 if codes is None else int(codes.max()) + 1,
    )
    if fit.fit.n <= fit.fit.k:
        raise IdentificationError(
            f"{fit.fit.n} units for {fit.fit.k} coefficients; more units than coefficients are needed. Describe fewer "
            "columns, or use omnibus='randomisation'."
        )
    tested = [1 + i for i, column in enumerate(fit.fit.basis.kept) if column >= held.shape[1]]
    words = f"F test of a regression of the arm on the columns ({chosen}{unit})"
    if not tested:
        return Omnibus(None, None, None, None, words, "no column varies beside the others")
    beta, covariance = fit.beta[tested], fit.covariance[np.ix_(tested, tested)]
    statistic, rank, _ = wald_joint(beta, covariance)
    if rank < len(tested):
        return Omnibus(None, None, None, None, words, "fewer clusters than columns, so the covariance is singular")
    bottom = {"residual": float(fit.fit.n - fit.fit.k), "normal": float("inf")}.get(degrees, -1.0)
    if bottom < 0:
        bottom = float(fit.df[0])
    return Omnibus(statistic / rank, float(rank), bottom, f_upper(statistic / rank, rank, bottom), words)


def _groups(trial: Trial, vcov: str) -> tuple[IntArray | None, str]:
    """Return what errors are clustered by, and that in words."""
    if vcov not in ("auto", *STD_ERRORS):
        raise DesignError(f"vcov must be auto, {', '.join(STD_ERRORS)}, not {vcov!r}.")
    assigned = trial.pair or trial.cluster
    group = assigned or (trial.site if vcov in CLUSTER_KINDS else None)
    if vcov in CLUSTER_KINDS and group is None:
        raise DesignError(f"{vcov} needs clusters; the trial declares none. Use HC1.")
    if assigned is not None and vcov != "auto" and vcov not in CLUSTER_KINDS:
        raise DesignError(f"Groups were assigned; {vcov} would treat people as independent. Use CR1, or randomisation.")
    if group is None:
        return None, ""
    return group.codes, ", clustered by " + ("pair" if trial.pair else "cluster" if trial.cluster else "site")
