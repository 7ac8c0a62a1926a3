"""Hides how many simulated pilots are pooled and decided at once by the exact hierarchy over estimates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.estimand import Estimand
from gbveval.core.term import link_value
from gbveval.multisite.decisions import ADAPT, GO, STOP, DecisionRule, ProgressionCriteria
from gbveval.multisite.normal_hierarchy import AVERAGE, NEW_SITE, NormalHierarchy
from gbveval.numerics.many_hierarchies import ManyHierarchies, many_hierarchies
from gbveval.numerics.normal_mixture import NormalMixture

FloatArray = NDArray[np.float64]


def can_decide_together(criteria: ProgressionCriteria, estimator: Any, n_sites: int, contrast: str) -> bool:
    """Return whether rules and estimator are those of which many are computed at once."""
    plain = type(estimator) is NormalHierarchy and not estimator.prior.slopes and not estimator.at
    plain = plain and not isinstance(estimator.prior.average_effect, NormalMixture)
    known = {AVERAGE, NEW_SITE, *_site_terms(n_sites)}
    return plain and all(rule.term in known for rule in (*criteria.go, *criteria.stop))


def decide_together(
    criteria: ProgressionCriteria, estimator: NormalHierarchy, seen: FloatArray, errors: FloatArray, contrast: str
) -> tuple[str, ...]:
    """Return the decision on every row of estimates.

    Parameters
    ----------
    criteria : ProgressionCriteria
        The rules.
    estimator : NormalHierarchy
        What pools, without moderators.
    seen : ndarray, shape (pilots, sites)
        Estimates on the scale of inference.
    errors : ndarray, shape (sites,)
        Their standard errors.
    contrast : str
        What the effects are; thresholds of ratios are ratios.
    """
    prior = estimator.prior
    many = many_hierarchies(seen, errors, mu_prior=prior.average_effect, tau_prior=prior.between_site_sd)
    stop = np.any([_holds(many, rule, contrast) for rule in criteria.stop], axis=0)
    go = np.all([_holds(many, rule, contrast) for rule in criteria.go], axis=0)
    return tuple(np.where(stop, STOP, np.where(go, GO, ADAPT)).tolist())


def _holds(many: ManyHierarchies, rule: DecisionRule, contrast: str) -> NDArray[np.bool_]:
    threshold = rule.above if rule.above is not None else rule.below
    point = link_value(_link(contrast), float(threshold or 0.0))
    if rule.term == AVERAGE:
        below = many.average_cdf(point)
    elif rule.term == NEW_SITE:
        below = many.new_site_cdf(point)
    else:
        below = many.site_cdf(_site_terms(many.std_error.size).index(rule.term), point)
    found = below if rule.below is not None else 1.0 - below
    return np.asarray(found >= rule.probability)


def _site_terms(n_sites: int) -> list[str]:
    width = max(2, len(str(n_sites)))
    return [f"effect in site {number + 1:0{width}d}" for number in range(n_sites)]


def _link(contrast: str) -> str:
    return Estimand("site_effect", contrast, "sites").link
