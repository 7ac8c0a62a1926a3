"""Many simulated studies at once, as the few numbers that their analysis depends on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.estimand import Estimand

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class ClusterBatch:
    """Cluster cross-products of many simulated two-arm cluster trials.

    With X_g the constant and the covariates of the people in cluster g, and y_g their outcomes, least squares and its
    cluster-robust errors depend on X_g'X_g and X_g'y_g alone. Draws that share sizes, covariates or allocation hold
    them once.

    Parameters
    ----------
    gram : ndarray, shape (1 or draws, clusters, k, k)
        X_g'X_g, k - 1 covariates; its first entry is the number of respondents.
    moment : ndarray, shape (draws, clusters, k)
        X_g'y_g; its first entry is the sum of the outcome.
    treated : ndarray of bool, shape (1 or draws, clusters)
        Which clusters are in the treated arm.
    outcome : str
        Name of the outcome.
    binary : bool
        Whether the outcome is 0 or 1.
    """

    gram: FloatArray
    moment: FloatArray
    treated: BoolArray
    outcome: str = "outcome"
    binary: bool = False

    @property
    def sizes(self) -> FloatArray:
        """Respondents a cluster, shape (1 or draws, clusters)."""
        return self.gram[..., 0, 0]

    @property
    def totals(self) -> FloatArray:
        """Sum of the outcome in each cluster, shape (draws, clusters)."""
        return self.moment[..., 0]

    @classmethod
    def of_totals(
        cls, sizes: FloatArray, treated: BoolArray, totals: FloatArray, *, binary: bool = False
    ) -> ClusterBatch:
        """Return the batch of trials without covariates.

        Parameters
        ----------
        sizes : ndarray, shape (clusters,) or (draws, clusters)
            Respondents a cluster.
        treated : ndarray of bool, shape (clusters,) or (draws, clusters)
            Which clusters are treated.
        totals : ndarray, shape (draws, clusters)
            Sum of the outcome in each cluster.
        binary : bool
            Whether the outcome is 0 or 1.
        """
        gram = np.atleast_2d(np.asarray(sizes, dtype=np.float64))[..., None, None]
        return cls(gram, totals[..., None], np.atleast_2d(treated), binary=binary)

    @classmethod
    def of_rows(
        cls, outcomes: FloatArray, cluster: NDArray[np.intp], treated: BoolArray, covariates: FloatArray
    ) -> ClusterBatch:
        """Return the batch of trials whose respondents and covariates are the same and whose outcomes differ.

        Parameters
        ----------
        outcomes : ndarray, shape (draws, respondents)
            Outcomes of each draw.
        cluster : ndarray of int, shape (respondents,)
            Codes 0 .. clusters - 1.
        treated : ndarray of bool, shape (clusters,) or (draws, clusters)
            Which clusters are treated, in all draws or in each.
        covariates : ndarray, shape (respondents, covariates)
            They are taken in units of their standard deviation around their mean, which changes no effect.
        """
        order = np.argsort(cluster, kind="stable")
        starts = np.searchsorted(cluster[order], np.arange(int(cluster.max()) + 1))
        x = covariates[order] - covariates.mean(axis=0)
        spread = x.std(axis=0)
        x = np.column_stack([np.ones(cluster.size), x / np.where(spread > 0.0, spread, 1.0)])
        gram = np.add.reduceat(x[:, :, None] * x[:, None, :], starts)
        y = outcomes if np.all(order == np.arange(order.size)) else outcomes[:, order]
        moment = np.stack([np.add.reduceat(y * column, starts, axis=1) for column in x.T], axis=-1)
        return cls(gram[None], moment, np.atleast_2d(treated))


@dataclass(frozen=True, eq=False, slots=True)
class BatchEstimates:
    """One estimate a draw, as arrays.

    Parameters
    ----------
    value, std_error, df : ndarray, shape (draws,)
        On the link scale of `estimand`.
    estimand : Estimand
        What they estimate.
    """

    value: FloatArray
    std_error: FloatArray
    df: FloatArray
    estimand: Estimand
