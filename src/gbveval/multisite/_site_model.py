"""Hides which model a trial in sites gets: its family and sizes, its data, and how each site is sampled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.multisite._sampling import build_site_model, compile_once
from gbveval.multisite.site_prior import SitePrior
from gbveval.numerics.hierarchy import normal_hierarchy
from gbveval.numerics.priors import Normal
from gbveval.numerics.site_approximation import arm_levels
from gbveval.numerics.site_cells import SiteCells

FloatArray = NDArray[np.float64]

# The quantile of the between-site sd that a site's own error is held against, and how many errors are worth it.
LOW, ERRORS = 0.1, 1.5


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """All that decides the structure of a model; two studies with the same value share one compiled model.

    Parameters
    ----------
    family : str
        "binomial", "normal", "negative_binomial", "ordinal" or "hurdle".
    n_sites, n_effects, n_covariates, n_clusters, n_categories : int
        Sizes. Effects are arms besides control; no clusters is zero.
    prior : SitePrior
        The priors.
    """

    family: str
    n_sites: int
    n_effects: int
    n_covariates: int
    n_clusters: int
    n_categories: int
    prior: SitePrior

    @classmethod
    def of(cls, cells: SiteCells, family: str, prior: SitePrior) -> ModelSpec:
        """Return the specification for these sums."""
        columns, levels = cells.covariates.shape[1], cells.categories.shape[1]
        return cls(family, cells.n_sites, cells.n_arms - 1, columns, cells.n_clusters, levels, prior)

    @property
    def blocks(self) -> dict[str, SitePrior]:
        """Prior of each linear predictor, by the prefix of its variables."""
        if self.prior.any_outcome is None or self.family != "hurdle":
            return {"": self.prior}
        return {"": self.prior, "any_": self.prior.any_outcome}

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the variables that are looked at, site effects included."""
        own = {
            "normal": ["residual_sd"],
            "negative_binomial": ["dispersion"],
            "hurdle": ["dispersion"],
            "ordinal": ["cutpoint_gap"] if self.n_categories > 2 else [],
        }
        names = ["average_effect", "between_site_sd", "effect", "control", "correlation", "control_mean"]
        names += ["between_site_sd_control", *(["covariate_effect"] if self.n_covariates else [])]
        names += ["between_cluster_sd", "cluster_effect"] if self.n_clusters else []
        own_names = own.get(self.family, [])
        return (*(f"{prefix}{name}" for prefix in self.blocks for name in names), *own_names, "log_likelihood")

    @property
    def centrings(self) -> tuple[str, ...]:
        """Names of the data that say which sites are sampled centred."""
        return tuple(f"{prefix}centring" for prefix in self.blocks)


def data_of(cells: SiteCells, spec: ModelSpec) -> dict[str, Any]:
    """Return the values of the model's data containers."""
    data: dict[str, Any] = {"log_exposure": cells.log_exposure}
    if spec.family != "ordinal":
        data["n"] = cells.n
    if spec.n_covariates:
        data["covariates"] = cells.covariates
    if spec.n_clusters:
        data["cluster"] = cells.cluster.astype(np.int64)
        for name in ("site", "arm"):
            data[f"cluster_{name}"] = np.zeros(spec.n_clusters, dtype=np.int64)
            data[f"cluster_{name}"][cells.cluster] = getattr(cells, name)
    else:
        data |= {"site": cells.site.astype(np.int64), "arm": cells.arm.astype(np.int64)}
    if spec.family == "normal":
        data |= {"mean": cells.total / cells.n, "within": cells.within}
    elif spec.family == "ordinal":
        data["categories"] = cells.categories
    else:
        data["total"] = cells.total
    if spec.family == "hurdle":
        data["positive"] = cells.positive
    if spec.family in ("negative_binomial", "hurdle"):
        data |= {"values": cells.values, "people": cells.people}
    for prefix, prior in spec.blocks.items():
        family = "binomial" if prefix else spec.family
        level, variance = levels_of(cells, family, bool(prefix))
        if spec.n_clusters:
            weights, spread = cluster_centring(cells, family, level, prior, bool(prefix))
            data[f"{prefix}cluster_centring"] = weights
            # What clusters add to a site's own error.
            variance = variance + cells.cluster_shares() * spread**2
        data[f"{prefix}centring"] = centring(level, variance, prior)
    return data


def levels_of(cells: SiteCells, family: str, any_at_all: bool = False) -> tuple[FloatArray, FloatArray]:
    """Return levels of sites and arms with their variances, of the whole outcome or of whether there is any at all."""
    if any_at_all:
        return arm_levels(replace(cells, total=cells.positive), "binomial")
    if family == "hurdle":
        return arm_levels(replace(cells, n=cells.positive), "negative_binomial")
    return arm_levels(cells, family)


def centring(level: FloatArray, variance: FloatArray, prior: SitePrior) -> FloatArray:
    """Return how far a site is sampled centred, 0 not at all and 1 wholly, for its control level and each effect.

    Centred sampling is efficient where a site's own error is small beside the spread between sites. Where the spread
    may be near zero it gets stuck there, and is silently wrong. Were the spread s known, the best weight would be its
    share s^2 / (s^2 + error^2) (Papaspiliopoulos, Roberts and Skoeld 2007). It is not: s is taken from the low end of
    its posterior given the sites' estimates alone, and the weight falls faster where the error is the larger one. The
    choice changes how well the posterior is sampled, and not what it is.
    """
    known = np.isfinite(variance)
    columns = [(level[:, 0], variance[:, 0], prior.control_mean, prior.between_site_sd_control)]
    for arm in range(1, level.shape[1]):
        effect, error = level[:, arm] - level[:, 0], variance[:, arm] + variance[:, 0]
        columns.append((effect, error, prior.average_effect, prior.between_site_sd))
    chosen = np.zeros(level.shape)
    for j, (y, error, mean, sd) in enumerate(columns):
        seen = known[:, 0] & known[:, j]
        if seen.sum() < 2:
            continue
        fit = normal_hierarchy(y[seen], np.sqrt(error[seen]), mu_prior=mean, tau_prior=sd)
        chosen[seen, j] = _weight(float(fit.tau.quantile(np.array([LOW]))[0]), error[seen])
    return chosen


def _weight(spread: float, variance: FloatArray) -> FloatArray:
    """Return a half where the spread is `ERRORS` errors, near one where it is twice that, near zero at half of it."""
    return np.asarray(1.0 / (1.0 + (ERRORS**2 * variance / spread**2) ** 2), dtype=np.float64)


def cluster_centring(
    cells: SiteCells, family: str, level: FloatArray, prior: SitePrior, any_at_all: bool
) -> tuple[FloatArray, float]:
    """Return how far each cluster is sampled centred, and about how far clusters spread within sites and arms."""
    alone = replace(cells, site=cells.cluster, n_sites=cells.n_clusters, arm=np.zeros_like(cells.arm), n_arms=1)
    own, variance = levels_of(alone, family, any_at_all)
    around = np.zeros(cells.n_clusters)
    around[cells.cluster] = level[cells.site, cells.arm]
    # A cluster where nobody has any says nothing of how many.
    seen, weights = np.isfinite(variance[:, 0]), np.zeros(cells.n_clusters)
    if seen.sum() < 2:
        return weights, float(prior.between_cluster_sd.quantile(0.5))
    y, error = (own[:, 0] - around)[seen], np.sqrt(variance[seen, 0])
    fit = normal_hierarchy(y, error, mu_prior=Normal(0.0, 1.0), tau_prior=prior.between_cluster_sd)
    low, middle = (float(x) for x in fit.tau.quantile(np.array([LOW, 0.5])))
    weights[seen] = _weight(low, error**2)
    return weights, middle


def compiled_model(data: dict[str, Any], spec: ModelSpec) -> Any:
    """Return the compiled model of a specification; only the first one is compiled."""
    return compile_once(spec, lambda: build_site_model(data, spec))
