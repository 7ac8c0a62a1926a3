"""Hides which trials in sites can be modelled, with which family and priors, and turns their people into sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.data.trial import Trial
from gbveval.multisite.site_prior import SitePrior
from gbveval.numerics.groups import compact, present
from gbveval.numerics.site_cells import FAMILIES, MOST_LEVELS, SiteCells, site_cells

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

COUNTS = ("negative_binomial", "hurdle")
# Priors that belong to some models only: for which they are needed, and what they are of.
OWN_PRIORS = {
    "residual_sd": (("normal",), "a continuous outcome", "HalfNormal of a plausible sd of people within a site"),
    "dispersion": (COUNTS, "counts", "Exponential(1)"),
    "cutpoint_gap": (("ordinal",), "an ordered outcome", "HalfNormal(2)"),
    "any_outcome": (("hurdle",), "a hurdle", "a SitePrior of the log odds of any at all"),
}
REFUSED_ROLES = ("weight", "pair", "stratum", "time", "sequence", "saturation")


def family_of(data: Trial, chosen: str | None) -> str:
    """Return the family of a model: the chosen one, or what a yes-or-no or any other outcome gets."""
    if chosen is None:
        return "binomial" if data.is_binary(0) else "normal"
    if chosen not in FAMILIES:
        raise DesignError(f"The family must be one of {', '.join(FAMILIES)}; it is {chosen!r}.")
    return chosen


def read_people(data: Trial, family: str, prior: SitePrior) -> SiteCells:
    """Return the sums of the first outcome, after checking that the model fits the trial.

    Parameters
    ----------
    data : Trial
        With sites.
    family : str
        From `family_of`.
    prior : SitePrior
        The priors.

    Raises
    ------
    DesignError
        If the trial has roles that the model has no place for, or a prior is lacking or idle.
    IdentificationError
        If there is one site, a site without people in an arm (of two), or an outcome that does not vary.
    """
    sites = _check_roles(data, family)
    _check_priors(data, family, prior)
    seen = data.observed(0)
    rows: IntArray | slice = slice(None) if seen.all() else np.flatnonzero(seen)
    y, site, arm = data.outcomes[rows, 0], sites[rows], data.arm[rows]
    if np.ptp(y) == 0:
        raise IdentificationError("The outcome is the same for everybody, so no effect can be estimated.")
    cluster = None
    if data.cluster is not None:
        # A name used in two sites is two clusters.
        crossed = site * data.cluster.count + data.cluster.codes[rows]
        cluster = compact(crossed, int(crossed.max()) + 1)[1]
    try:
        cells = site_cells(
            _outcome(y, family),
            site,
            arm,
            family=family,
            n_arms=len(data.arms),
            cluster=cluster,
            covariates=data.covariates[rows] if data.covariate_names else None,
            exposure=None if data.exposure is None else data.exposure[rows],
        )
    except ValueError as error:
        raise DesignError(
            f"{error} Make categories of it, leave it out, or pool the sites' adjusted estimates with NormalHierarchy."
        ) from error
    return _check_cells(cells, data, family)


def _check_roles(data: Trial, family: str) -> IntArray:
    """Return the sites of everybody, after checking that the trial's roles have a place in the model."""
    if data.site is None:
        raise DesignError("HierarchicalModel needs sites; declare `site` in the Trial.")
    if len(data.outcome_names) != 1:
        raise DesignError(f"HierarchicalModel takes one outcome; the trial has {len(data.outcome_names)}.")
    for role in REFUSED_ROLES:
        if getattr(data, role) is not None:
            raise DesignError(
                f"HierarchicalModel treats people as alike within sites and arms; the trial declares {role!r}. "
                "Estimate each site with its own design and pool with NormalHierarchy."
            )
    if data.exposure is not None and family != "negative_binomial":
        raise DesignError(f"Exposure belongs to counts, family='negative_binomial'; the family is {family!r}.")
    seen = data.observed(0)
    occurring = present(data.site.codes[seen], data.site.count)
    if occurring.size < 2:
        raise IdentificationError("One site tells nothing about how sites differ; at least two are needed.")
    if occurring.size < data.site.count:
        raise IdentificationError(
            f"{data.site.count - occurring.size} sites have no observed outcome; leave those sites out."
        )
    return data.site.codes


def _check_priors(data: Trial, family: str, prior: SitePrior) -> None:
    """Refuse priors that are lacking, or that nothing would use."""
    for name, (families, what, example) in OWN_PRIORS.items():
        given, wanted = getattr(prior, name) is not None, family in families
        if wanted and not given:
            raise DesignError(f"For {what} a prior of {name} is needed, such as {example}.")
        if given and not wanted:
            raise DesignError(f"The prior of {name} belongs to {what}; for family {family!r} leave it out.")
    blocks = {"the prior": prior} if prior.any_outcome is None else {"prior": prior, "any_outcome": prior.any_outcome}
    for where, each in blocks.items():
        if data.cluster is not None and each.between_cluster_sd is None:
            raise DesignError(
                f"People of a cluster are not independent: a trial with clusters needs between_cluster_sd in {where}, "
                "such as HalfNormal(0.5)."
            )
        if data.covariate_names and each.covariate_effect is None:
            raise DesignError(f"A trial with covariates needs covariate_effect in {where}, such as Normal(0, 1).")


def _outcome(y: FloatArray, family: str) -> FloatArray:
    """Return outcomes as the family counts them; what it cannot count is refused."""
    if family == "binomial" and not np.all((y == 0) | (y == 1)):
        raise DesignError("The binomial family is for outcomes that are 0 or 1.")
    if family in COUNTS and not (np.all(y >= 0) and np.all(y == np.floor(y))):
        raise DesignError("Counts are whole numbers from zero on; some outcomes are not.")
    if family == "ordinal":
        levels, codes = np.unique(y, return_inverse=True)
        if levels.size > MOST_LEVELS:
            raise DesignError(f"An ordered outcome of {levels.size:,} levels is too fine; at most {MOST_LEVELS}.")
        return codes.astype(np.float64)
    return y


def _check_cells(cells: SiteCells, data: Trial, family: str) -> SiteCells:
    empty = int((cells.by_site_and_arm(cells.n) == 0).sum())
    # With several arms a site may lack one: the others tell what it would have been.
    if empty and cells.n_arms == 2:
        raise IdentificationError(
            f"{empty} combinations of site and arm have no observed outcome; leave those sites out."
        )
    if empty and np.any(cells.by_site_and_arm(cells.n)[:, 0] == 0):
        raise IdentificationError("Some sites have no observed outcome in control; leave those sites out.")
    if family == "hurdle" and cells.positive.sum() == 0:
        raise IdentificationError("All counts are zero, so nothing is known of how many.")
    return cells if data.covariate_names else replace(cells, covariates=np.zeros((cells.n_cells, 0)))
