"""Hides how regressions of many simulated cluster trials become estimates with errors and degrees of freedom."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.core.batch import BatchEstimates, ClusterBatch
from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.numerics.cluster_sandwich import CLUSTER_KINDS, small_sample_factor
from gbveval.numerics.many_regressions import (
    ManyContrasts,
    arm_columns_gram,
    between_arms,
    centred,
    many_contrasts,
)

FloatArray = NDArray[np.float64]
# Kinds that change the scores of clusters; the others are CR0 times a factor.
ADJUSTED = ("CR2", "CR3")


def can_batch(std_error: str, population: str) -> bool:
    """Return whether errors of this kind follow from cluster cross-products, with people counted alike."""
    return std_error in ("auto", *CLUSTER_KINDS) and population == "participant_average"


def adjusted_batch(batch: ClusterBatch, std_error: str, df: str, *, by_arm: bool) -> BatchEstimates:
    """Return the adjusted difference between the arms of each draw.

    Parameters
    ----------
    batch : ClusterBatch
        Cross-products of the trials.
    std_error, df : str
        As the estimator takes them.
    by_arm : bool
        Whether covariates have slopes in each arm (Lin's regression) or one for both (analysis of covariance).

    Raises
    ------
    DesignError
        If the errors need single people.
    IdentificationError
        If covariates of a draw are collinear, with each other or with treatment.
    """
    if not can_batch(std_error, "participant_average"):
        raise DesignError(f"{std_error} needs every respondent, and a batch holds clusters; simulate with path='data'.")
    kind = "CR2" if std_error == "auto" else std_error
    used = kind if kind in ADJUSTED else "CR0"
    k = batch.gram.shape[-1]
    try:
        if by_arm:
            gram, moment = centred(batch.gram, batch.moment)
            found = between_arms(gram, moment, batch.treated, np.eye(k)[0], kind=used)
        else:
            gram = arm_columns_gram(batch.gram, batch.treated)
            moment = np.concatenate([batch.moment, (batch.treated * batch.totals)[..., None]], axis=-1)
            found = many_contrasts(gram, moment, np.eye(k + 1)[k], kind=used)
    except np.linalg.LinAlgError:
        raise IdentificationError(
            "The covariates of a simulated trial are collinear, with each other or with the arm: fewer covariates, or "
            "more clusters."
        ) from None
    return _inferred(found, batch, kind, df, 2 * k if by_arm else k + 1)


def _inferred(found: ManyContrasts, batch: ClusterBatch, kind: str, df: str, coefficients: int) -> BatchEstimates:
    clusters = batch.moment.shape[1]
    people = batch.sizes.sum(axis=-1)
    chosen = df if df != "auto" else ("satterthwaite" if kind in ADJUSTED else "clusters_minus_1")
    degrees = {
        "satterthwaite": found.trace**2 / found.squares,
        "clusters_minus_1": np.array([clusters - 1.0]),
        "residual": people - coefficients,
        "normal": np.array([np.inf]),
    }[chosen]
    factor = np.array([small_sample_factor(kind, clusters, int(n), coefficients) for n in people])
    return BatchEstimates(
        found.value,
        np.sqrt(factor * found.variance),
        np.broadcast_to(degrees, found.value.shape).astype(np.float64),
        Estimand("ITT", "risk_difference" if batch.binary else "mean_difference"),
    )
