"""Many simulated studies at once, as the few numbers that their analysis depends on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.estimand import Estimand

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class ClusterBatch:
    """Sufficient statistics of many simulated two-arm cluster trials that share their allocation.

    Parameters
    ----------
    sizes : ndarray, shape (clusters,)
        Respondents a cluster, the same in every draw.
    treated : ndarray of bool, shape (clusters,)
        Which clusters are in the treated arm.
    totals : ndarray, shape (draws, clusters)
        Sum of the outcome in each cluster.
    outcome : str
        Name of the outcome.
    binary : bool
        Whether the outcome is 0 or 1.
    """

    sizes: FloatArray
    treated: NDArray[np.bool_]
    totals: FloatArray
    outcome: str = "outcome"
    binary: bool = False


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
