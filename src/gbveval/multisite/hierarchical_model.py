"""`HierarchicalModel`: people in several sites, partially pooled, at a cost that does not grow with people."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import GbvevalWarning
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.posterior import DrawsPosterior
from gbveval.core.provenance import Provenance, derive_seed, options_of, versions
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.multisite._sampling import SAMPLER, Sampled, SamplerSettings, build_site_model, sample
from gbveval.multisite._site_answer import rows_of
from gbveval.multisite._site_model import ModelSpec, compiled_model, data_of
from gbveval.multisite._site_people import family_of, read_people
from gbveval.multisite._site_twin import twin_check
from gbveval.multisite.prior_predictive import in_outcome_units
from gbveval.multisite.site_prior import SitePrior
from gbveval.numerics.site_cells import SiteCells

FloatArray = NDArray[np.float64]
RHAT_LIMIT, ESS_LIMIT, BFMI_LIMIT = 1.01, 400.0, 0.3
LIKELIHOODS = {
    "binomial": "binomial (logit)",
    "normal": "normal",
    "negative_binomial": "negative binomial (log)",
    "ordinal": "proportional odds",
    "hurdle": "hurdle: any (logit), and how many, negative binomial above zero (log)",
}


@register("hierarchical_model")
@dataclass(frozen=True, slots=True)
class HierarchicalModel:
    """Bayesian hierarchy of an individually or cluster-randomised trial in several sites.

    Each site has its own level in control and its own effects; over sites they are jointly normal. The likelihood is
    computed on sums by site, arm, cluster and covariate cell, so the posterior is that of the people's data and its
    cost does not grow with their number.

    Parameters
    ----------
    prior : SitePrior
        Priors, explicit and printed with the answer. Covariates, clusters and some families need priors of their own,
        and a prior that nothing would use is refused.
    settings : SamplerSettings
        Draws, warm-up, chains, target acceptance.
    family : str, optional
        "binomial", "normal", "negative_binomial" (counts, with exposure), "ordinal" (proportional odds), or "hurdle"
        (whether any, and how many). By default binomial for an outcome of 0 and 1 and normal for any other.

    Notes
    -----
    **Identifies** the effect of assignment in each site, on average over sites, and in a new site like them: three
    different numbers. For a yes-or-no outcome these are odds ratios conditional on the site; the last row is the
    average risk difference over the people of these sites, which is marginal. For a hurdle the effects on how many
    are ratios of the mean of the untruncated count, and the last row is the ratio of mean counts.

    **Valid when** people, or clusters of them, were assigned within sites. **Do not use when** there are very few
    sites and no informative prior of `between_site_sd`. For families other than the normal, covariates must be
    categories: each combination of values makes cells.

    The first fit of a model of some shape compiles it, which takes some seconds; later fits re-use it with other
    data. Each site is sampled more or less centred by what it tells about itself.

    Divergences, r-hat above 1.01, fewer than 400 effective draws, a fraction of missing information below 0.3, or a
    disagreement with quadrature beyond 6 Monte Carlo errors fail a check, raise a warning, and keep the result from
    being released; beyond 4, which one good fit in a hundred shows, the check warns. The comparison with quadrature
    weights the draws to a normal likelihood, for which the answer is known; it is made for two arms without clusters.

    References
    ----------
    Gelman and Hill (2007), Data Analysis Using Regression and Multilevel/Hierarchical Models. Papaspiliopoulos,
    Roberts and Skoeld (2007), Statistical Science 22, for how sites are sampled. Lewandowski, Kurowicka and Joe (2009),
    Journal of Multivariate Analysis 100, for the prior of correlations. Vehtari and others (2021), Bayesian Analysis
    16, and Betancourt (2016), arXiv:1604.00695, for diagnostics.

    Examples
    --------
    >>> from gbveval.numerics.priors import HalfNormal, Normal
    >>> model = HierarchicalModel(SitePrior(Normal(-1, 1), Normal(0, 0.5), HalfNormal(0.5), HalfNormal(0.3)))
    >>> model.settings.chains
    4
    """

    prior: SitePrior
    settings: SamplerSettings = field(default_factory=SamplerSettings)
    family: str | None = None
    name: ClassVar[str] = "hierarchical_model"

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return, for each arm, the average effect, each site's, a new site's, and the between-site sd.

        Parameters
        ----------
        data : Trial
            With sites and one outcome; clusters, covariates and exposure where it has them.
        rng : numpy.random.Generator, optional
            Where the sampler's seed comes from; by default derived from the data and the options.

        Raises
        ------
        DesignError
            If the trial has no sites, roles that the model has no place for, or a prior is lacking or idle.
        IdentificationError
            If a site has an empty arm, or the outcome does not vary.
        """
        fitted = fit_people(self, data, rng)
        rows = rows_of(data, fitted.cells, fitted.spec, fitted.drawn, fitted.seed)
        return Estimates(
            estimator=self.name,
            terms=rows.terms,
            covariance=np.atleast_2d(np.cov(rows.draws.reshape(-1, len(rows.terms)), rowvar=False)),
            method=method_of(self, data, fitted.spec),
            checks=fitted.checks,
            provenance=Provenance(data.digest, tuple(options_of(self).items()), fitted.seed, versions(), rng is None),
            flow=data.flow(),
            posterior=DrawsPosterior(rows.draws),
        )

    def to_pymc(self, data: Trial) -> Any:
        """Return the PyMC model of these data, not yet sampled, to go on from.

        Parameters
        ----------
        data : Trial
            As for `estimate`.

        Notes
        -----
        The people are in it as sums only. Its likelihood is a potential; `log_likelihood` is its value up to a
        constant. Results of a model that was changed are no results of this estimator.
        """
        cells, spec = _reduced(self, data)
        return build_site_model(data_of(cells, spec), spec)

    def native(self, data: Trial, *, rng: np.random.Generator | None = None) -> Any:
        """Return ArviZ's own container of a fit: `InferenceData` before ArviZ 1, `DataTree` since.

        Parameters
        ----------
        data : Trial
            As for `estimate`.
        rng : numpy.random.Generator, optional
            As for `estimate`; with the same one the draws are the same.
        """
        cells, spec = _reduced(self, data)
        return _sample(self, data_of(cells, spec), spec, _seed(self, data, rng)).native


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A model that was sampled: sums, specification, draws, the seed, and what was found about convergence."""

    cells: SiteCells
    spec: ModelSpec
    drawn: Sampled
    seed: int
    checks: tuple[Check, ...]


def fit_people(model: HierarchicalModel, data: Trial, rng: np.random.Generator | None) -> Fitted:
    """Return the draws of a model of these people; a failed check is a warning."""
    cells, spec = _reduced(model, data)
    seed = _seed(model, data, rng)
    values = data_of(cells, spec)
    drawn = _sample(model, values, spec, seed)
    checks = (*_checks(drawn, cells, spec, values), twin_check(cells, spec, drawn))
    if any(check.status == "fail" for check in checks):
        words = " ".join(check.message for check in checks if check.status == "fail")
        warnings.warn(GbvevalWarning(f"GBV101: the sampler did not converge. {words}"), stacklevel=3)
    return Fitted(cells, spec, drawn, seed, checks)


def _reduced(model: HierarchicalModel, data: Trial) -> tuple[SiteCells, ModelSpec]:
    family = family_of(data, model.family)
    cells = read_people(data, family, model.prior)
    return cells, ModelSpec.of(cells, family, model.prior)


def _seed(model: HierarchicalModel, data: Trial, rng: np.random.Generator | None) -> int:
    if rng is None:
        return derive_seed(data.digest, model.name, repr(options_of(model)))
    return int(rng.integers(2**31))


def _sample(model: HierarchicalModel, values: dict[str, Any], spec: ModelSpec, seed: int) -> Sampled:
    return sample(compiled_model(values, spec), values, spec.parameters, settings=model.settings, seed=seed)


def _checks(drawn: Sampled, cells: SiteCells, spec: ModelSpec, values: dict[str, Any]) -> tuple[Check, ...]:
    """Return what was found about convergence, and how it was sampled."""

    def check(name: str, good: bool, message: str) -> Check:
        return Check(name, "ok" if good else "fail", message)

    weights = np.concatenate([values[name].ravel() for name in spec.centrings])
    return (
        check(
            "divergences",
            drawn.divergences == 0,
            f"{drawn.divergences} divergent transitions; none is wanted. If there are some, raise target_accept.",
        ),
        check(
            "r-hat",
            drawn.rhat <= RHAT_LIMIT,
            f"the largest r-hat is {drawn.rhat:.4f}; at most {RHAT_LIMIT:g} is wanted. If it is larger, draw longer.",
        ),
        check(
            "effective sample size",
            drawn.ess >= ESS_LIMIT,
            f"the smallest effective sample size, bulk or tail, is {drawn.ess:.0f}; at least {ESS_LIMIT:g} is wanted. "
            "If it is smaller, draw longer.",
        ),
        check(
            "missing information",
            drawn.bfmi >= BFMI_LIMIT,
            f"the smallest Bayesian fraction of missing information is {drawn.bfmi:.2f}; at least {BFMI_LIMIT:g} is "
            "wanted. If it is smaller, narrower priors of the sds help.",
        ),
        Check(
            "parametrisation",
            "info",
            f"sites are sampled centred by {weights.min():.2f} to {weights.max():.2f} (1 is wholly), from what "
            "each tells beside the spread between sites.",
        ),
        Check("sampler", "info", f"NUTS by {SAMPLER} on sums of people in {cells.n_cells:,} cells."),
    )


def method_of(model: HierarchicalModel, data: Trial, spec: ModelSpec) -> Method:
    """Return what was done, in words."""
    observed, total = int(data.observed(0).sum()), data.n
    left = "" if observed == total else f"; {total - observed:,} have no outcome and are left out"
    by = ["site", "arm", *(["cluster"] if spec.n_clusters else [])]
    by += ["covariates"] if spec.n_covariates and spec.family != "normal" else []
    assumptions = [
        f"{'clusters' if spec.n_clusters else 'people'} were assigned at random within sites",
        "sites are exchangeable: levels in control and effects are jointly normal over sites",
        "outcomes are missing for reasons unrelated to the outcome",
    ]
    if spec.n_clusters:
        assumptions.append("clusters of all sites vary about their site's level with one normal distribution")
    if spec.n_covariates:
        assumptions.append("covariates act alike in all sites and arms; levels are at their means")
    if spec.family == "ordinal":
        assumptions.append("odds are proportional, with the same cutpoints in all sites")
    return Method(
        sample=f"{observed:,} of {total:,} randomised people in {spec.n_sites} sites{left}",
        std_error=f"posterior standard deviation, {LIKELIHOODS[spec.family]} likelihood on sums by {', '.join(by)}",
        small_sample=f"none; priors: {model.prior.describe()}{in_outcome_units(model, spec.family)}",
        reference="posterior draws, equal-tailed intervals",
        inference_for="these sites and a new one like them",
        assumptions=tuple(assumptions),
        source="Gelman and Hill 2007",
    )
