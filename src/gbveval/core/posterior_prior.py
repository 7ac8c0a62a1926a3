"""Hides how what was learned of one quantity becomes a prior for the next study."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.core.errors import ConvergenceError, DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.posterior import Posterior

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class PosteriorPrior:
    """The posterior of one quantity, as a prior with quantiles.

    Parameters
    ----------
    posterior : Posterior
        Where it is from.
    term : int
        Which quantity.
    words : str
        What it is, for a protocol.
    """

    posterior: Posterior
    term: int
    words: str

    def quantile(self, probability: ArrayLike) -> FloatArray:
        """Return quantiles on the scale of inference."""
        p = np.asarray(probability, dtype=np.float64)
        found = self.posterior.select(np.array([self.term])).quantiles(np.atleast_1d(p).ravel())
        return np.asarray(found[:, 0].reshape(p.shape), dtype=np.float64)

    def describe(self) -> str:
        """Return what it is, in words."""
        return self.words


def as_prior(estimates: Estimates, term: str) -> PosteriorPrior:
    """Return the posterior of one row as a prior, for the assurance of the trial that follows the pilots.

    Parameters
    ----------
    estimates : Estimates
        A pooled answer with a posterior.
    term : str
        Which row: a trial in a new place has the "effect in a new site", not the "average effect", which is surer.

    Returns
    -------
    PosteriorPrior
        On the scale of inference: differences as they are, ratios as logs.

    Raises
    ------
    ConvergenceError
        If a check of the answer failed.
    DesignError
        If it has no posterior, or no such row.

    Examples
    --------
    >>> import gbveval as gbv
    >>> sites = gbv.SiteEffects({"y": [-0.06, -0.02, -0.05], "se": [0.03] * 3}, estimate="y", std_error="se")
    >>> pooled = gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Normal(0, 0.1), gbv.HalfNormal(0.03))).estimate(sites)
    >>> trial = gbv.ParallelDesign(n_per_arm=3000, outcome=gbv.Binary(0.3))
    >>> terms = ("average effect", "effect in a new site")
    >>> surer, honest = (gbv.assurance(trial, effect=as_prior(pooled, term), alternative="less") for term in terms)
    >>> honest.value < surer.value
    True
    """
    failed = [check.name for check in estimates.checks if check.status == "fail"]
    if failed:
        raise ConvergenceError(
            f"Checks of this answer failed ({', '.join(failed)}), so it is no prior: mend the fit first."
        )
    if estimates.posterior is None:
        raise DesignError(f"{estimates.estimator} has no posterior, so that it cannot be a prior.")
    position = estimates.index(term)
    if not estimates.in_posterior[position]:
        raise DesignError(f"The row {term!r} has no posterior.")
    return PosteriorPrior(estimates.posterior, position, f"posterior of the {term} by {estimates.estimator}")
