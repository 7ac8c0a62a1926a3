"""The priors of a hierarchy, as one explicit value that is printed with every answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from gbveval.core.errors import DesignError
from gbveval.numerics.normal_mixture import NormalMixture
from gbveval.numerics.priors import Flat, HalfNormal, Normal


def describe(prior: Any) -> str:
    """Return every part of a prior in words."""
    parts = []
    for item in fields(prior):
        value = getattr(prior, item.name)
        if value is None or value == ():
            continue
        if item.name == "slopes":
            parts += [f"slope of {name} {slope.describe()}" for name, slope in value]
            continue
        words = value.describe() if hasattr(value, "describe") else str(value)
        parts.append(f"{item.name.replace('_', ' ')} {words}")
    return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class HierarchyPrior:
    """Priors of a normal hierarchy over site effects, on the scale of the effects (log for ratios).

    Parameters
    ----------
    average_effect : Normal, NormalMixture or Flat
        Prior of the average effect over sites; a mixture holds past evidence (`prior_from_evidence`).
    between_site_sd : HalfNormal, HalfCauchy, HalfStudentT, Uniform, Exponential or LogNormal
        Prior of the standard deviation of effects between sites. With few sites it matters: show another beside it.
    slopes : mapping of str to Normal, optional
        For each moderator of the sites, the prior of the change in the effect per unit of it. With moderators
        `average_effect` is the effect where every moderator is at its mean over the sites.

    Examples
    --------
    >>> from gbveval.numerics.priors import HalfNormal, Normal
    >>> HierarchyPrior(Normal(0, 1), HalfNormal(0.5)).describe()
    'average effect normal(mean 0, sd 1); between site sd half-normal(sd 0.5)'
    """

    average_effect: Any
    between_site_sd: Any
    slopes: Any = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "slopes", _slopes(self.slopes))
        if not isinstance(self.average_effect, (Normal, NormalMixture, Flat)):
            raise DesignError("average_effect must be a Normal, a NormalMixture or a Flat prior.")
        if not hasattr(self.between_site_sd, "log_density") or isinstance(self.between_site_sd, Normal):
            raise DesignError("between_site_sd needs a prior on zero and above, such as HalfNormal(0.5).")

    def describe(self) -> str:
        """Return the priors in words."""
        return describe(self)

    def slopes_of(self, moderators: tuple[str, ...]) -> tuple[Normal, ...]:
        """Return the priors of the slopes in the order of the moderators: one for each, and no other."""
        given = dict(self.slopes)
        missing = [name for name in moderators if name not in given]
        if missing:
            raise DesignError(
                f"The prior has no slope for {', '.join(map(repr, missing))}. Give one in units of the effect per unit "
                f"of the moderator: slopes={{{missing[0]!r}: gbv.Normal(0, ...)}}."
            )
        extra = [name for name in given if name not in moderators]
        if extra:
            raise DesignError(f"The prior has a slope for {', '.join(map(repr, extra))}, no moderator of these sites.")
        return tuple(given[name] for name in moderators)


@dataclass(frozen=True, slots=True)
class TablePrior:
    """Priors of a hierarchy over counts by site and arm, on the log odds ratio (log rate ratio).

    Parameters
    ----------
    average_effect : Normal
        Prior of the average log ratio over sites.
    between_site_sd : HalfNormal, HalfCauchy, HalfStudentT, Uniform, Exponential or LogNormal
        Prior of the standard deviation of log ratios between sites; of the scale when effects are Student-t.
    site_control : Normal, Flat or None
        Prior of each site's log odds (log rate) in control, the same for all and not pooled. Say what you know: a
        normal of mean -2 and sd 1 puts most sites between 2 and 50 events per 100. None chooses the likelihood that is
        conditional on each site's total.

    Examples
    --------
    >>> from gbveval.numerics.priors import HalfNormal, Normal
    >>> TablePrior(Normal(0, 1), HalfNormal(0.5), site_control=Normal(-2, 1)).describe()
    'average effect normal(mean 0, sd 1); between site sd half-normal(sd 0.5); site control normal(mean -2, sd 1)'
    """

    average_effect: Normal
    between_site_sd: Any
    site_control: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.average_effect, Normal):
            raise DesignError("average_effect must be a Normal prior: counts may leave a flat one without an end.")
        if not getattr(self.between_site_sd, "is_proper", False) or isinstance(self.between_site_sd, Normal):
            raise DesignError(f"between_site_sd needs a proper prior on zero and above, such as {HalfNormal(0.5)!r}.")
        if not (self.site_control is None or isinstance(self.site_control, (Normal, Flat))):
            raise DesignError("site_control is a Normal or a Flat prior, or None for the conditional likelihood.")

    def describe(self) -> str:
        """Return the priors in words."""
        return describe(self)


def _slopes(given: Any) -> tuple[tuple[str, Normal], ...]:
    """Return slopes as a tuple that can be hashed."""
    items = sorted(given.items()) if isinstance(given, Mapping) else tuple(given)
    if not all(len(item) == 2 and isinstance(item[0], str) and isinstance(item[1], Normal) for item in items):
        raise DesignError("slopes maps the name of each moderator to a Normal prior; a flat one is not proper.")
    return tuple((name, prior) for name, prior in items)


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
