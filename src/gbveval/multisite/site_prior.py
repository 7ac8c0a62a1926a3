"""The priors of a hierarchy, as one explicit value that is printed with every answer."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from gbveval.core.errors import DesignError
from gbveval.numerics.priors import Flat, HalfNormal, Normal


def describe(prior: Any) -> str:
    """Return every part of a prior in words."""
    parts = []
    for item in fields(prior):
        value = getattr(prior, item.name)
        if value is None:
            continue
        words = value.describe() if hasattr(value, "describe") else str(value)
        parts.append(f"{item.name.replace('_', ' ')} {words}")
    return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class HierarchyPrior:
    """Priors of a normal hierarchy over site effects, on the scale of the effects (log for ratios).

    Parameters
    ----------
    average_effect : Normal or Flat
        Prior of the average effect over sites.
    between_site_sd : HalfNormal, HalfCauchy, HalfStudentT, Uniform, Exponential or LogNormal
        Prior of the standard deviation of effects between sites. With few sites it matters: show another beside it.

    Examples
    --------
    >>> from gbveval.numerics.priors import HalfNormal, Normal
    >>> HierarchyPrior(Normal(0, 1), HalfNormal(0.5)).describe()
    'average effect normal(mean 0, sd 1); between site sd half-normal(sd 0.5)'
    """

    average_effect: Any
    between_site_sd: Any

    def __post_init__(self) -> None:
        if not isinstance(self.average_effect, (Normal, Flat)):
            raise DesignError("average_effect must be a Normal or a Flat prior.")
        if not hasattr(self.between_site_sd, "log_density") or isinstance(self.between_site_sd, Normal):
            raise DesignError("between_site_sd needs a prior on zero and above, such as HalfNormal(0.5).")

    def describe(self) -> str:
        """Return the priors in words."""
        return describe(self)


@dataclass(frozen=True, slots=True)
class SitePrior:
    """Priors of a hierarchy of correlated site intercepts and effects.

    The scale is the log-odds for a binary outcome and the outcome's own for a continuous one, so priors must be given
    for the outcome at hand.

    Parameters
    ----------
    control_mean : Normal
        Mean outcome (log-odds) in control, over sites.
    average_effect : Normal
        Average effect over sites.
    between_site_sd_control, between_site_sd : HalfNormal, HalfCauchy, HalfStudentT, Uniform, Exponential or LogNormal
        Standard deviations between sites of the control mean and of the effect.
    correlation : float
        eta of the LKJ prior of their correlation; 1 is uniform, 2 favours zero.
    residual_sd : HalfNormal, HalfCauchy, HalfStudentT, Uniform, Exponential, LogNormal or None
        Standard deviation of people within a site and arm; for continuous outcomes.
    dispersion : a prior as of residual_sd, or None
        Size of the negative binomial, whose variance is m + m^2 / size; for counts.
    covariate_effect : Normal or None
        Of each covariate's slope; for trials with covariates.
    between_cluster_sd : a prior as of residual_sd, or None
        Standard deviation of clusters within sites; for trials with clusters.
    cutpoint_gap : a prior as of residual_sd, or None
        Distance between neighbouring cutpoints on the scale of log odds; for ordered outcomes. The first cutpoint is
        zero, so that `control_mean` is the log odds of being above the lowest level.
    any_outcome : SitePrior or None
        Priors of the log odds of any at all; for hurdles, where the others are about how many among those with any.

    Examples
    --------
    >>> from gbveval.numerics.priors import HalfNormal, Normal
    >>> prior = SitePrior(Normal(-1, 1), Normal(0, 0.5), HalfNormal(0.5), HalfNormal(0.3))
    >>> prior.correlation
    2.0
    """

    control_mean: Normal
    average_effect: Normal
    between_site_sd_control: Any
    between_site_sd: Any
    correlation: float = 2.0
    residual_sd: Any = None
    dispersion: Any = None
    covariate_effect: Normal | None = None
    between_cluster_sd: Any = None
    cutpoint_gap: Any = None
    any_outcome: SitePrior | None = None

    def __post_init__(self) -> None:
        for name in ("control_mean", "average_effect"):
            if not isinstance(getattr(self, name), Normal):
                raise DesignError(f"{name} must be a Normal prior; a flat one is not proper.")
        if not isinstance(self.covariate_effect, (Normal, type(None))):
            raise DesignError("covariate_effect must be a Normal prior; a flat one is not proper.")
        if not isinstance(self.any_outcome, (SitePrior, type(None))):
            raise DesignError("any_outcome must be a SitePrior of its own, on the scale of log odds.")
        always = ("between_site_sd_control", "between_site_sd")
        for name in (*always, "residual_sd", "dispersion", "between_cluster_sd", "cutpoint_gap"):
            value = getattr(self, name)
            if value is None and name not in always:
                continue
            if not getattr(value, "is_proper", False) or isinstance(value, Normal):
                raise DesignError(f"{name} needs a proper prior on zero and above, such as {HalfNormal(0.5)!r}.")
        if not self.correlation > 0:
            raise DesignError("correlation is the eta of an LKJ prior, above zero; 2 favours no correlation.")

    def describe(self) -> str:
        """Return the priors in words."""
        return describe(self)
