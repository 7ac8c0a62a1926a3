"""`HierarchicalModel`: people in several sites, partially pooled, at a cost that does not grow with people."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, GbvevalWarning, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.posterior import DrawsPosterior
from gbveval.core.provenance import Provenance, derive_seed, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.trial import Trial
from gbveval.multisite._sampling import SAMPLER, Sampled, SamplerSettings, sample
from gbveval.multisite._site_model import SiteStatistics, compiled_model, data_of
from gbveval.multisite.site_prior import SitePrior
from gbveval.numerics.groups import group_sizes, group_sums

FloatArray = NDArray[np.float64]
RHAT_LIMIT, ESS_LIMIT = 1.01, 400.0


@register("hierarchical_model")
@dataclass(frozen=True, slots=True)
class HierarchicalModel:
    """Bayesian hierarchy of an individually randomised trial in several sites.

    Each site has its own control mean and effect; over sites the two are jointly normal. The likelihood is computed on
    site-by-arm sums, so the posterior is that of the people's data and its cost does not grow with their number.

    Parameters
    ----------
    prior : SitePrior
        Priors, explicit and printed with the answer.
    settings : SamplerSettings
        Draws, warm-up, chains, target acceptance.

    Notes
    -----
    **Identifies** the effect of assignment in each site, on average over sites, and in a new site like them. For a
    binary outcome these are odds ratios conditional on the site; the last row is the average risk difference over
    the people of these sites, which is marginal.

    **Valid when** people were assigned one by one within sites. **Do not use when** clusters were assigned (people of a
    cluster would count as independent) or there are very few sites and no informative prior of `between_site_sd`.

    The first fit of a number of sites compiles the model, which takes some seconds; later fits re-use it.
    Divergences, r-hat above 1.01 or fewer than 400 effective draws fail a check, raise a warning, and keep the
    result from being released.

    References
    ----------
    Gelman and Hill (2007), Data Analysis Using Regression and Multilevel/Hierarchical Models. Vehtari and others
    (2021), Bayesian Analysis 16.

    Examples
    --------
    >>> from gbveval.numerics.priors import HalfNormal, Normal
    >>> model = HierarchicalModel(SitePrior(Normal(-1, 1), Normal(0, 0.5), HalfNormal(0.5), HalfNormal(0.3)))
    >>> model.settings.chains
    4
    """

    prior: SitePrior
    settings: SamplerSettings = field(default_factory=SamplerSettings)
    name: ClassVar[str] = "hierarchical_model"

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the average effect, each site's, a new site's, and the between-site sd.

        Parameters
        ----------
        data : Trial
            With sites, two arms, and one outcome, binary or continuous.
        rng : numpy.random.Generator, optional
            Where the sampler's seed comes from; by default derived from the data and the options.

        Raises
        ------
        DesignError
            If the trial has no sites, more than two arms, clusters or weights.
        IdentificationError
            If a site has an empty arm, or the outcome does not vary.
        """
        statistics = _statistics(data, self.prior)
        if rng is None:
            seed = derive_seed(data.digest, self.name, repr(options_of(self)))
        else:
            seed = int(rng.integers(2**31))
        centred = _prefers_centred(statistics, self.prior)
        compiled = compiled_model(statistics, self.prior, centred=centred)
        names = ["average_effect", "between_site_sd", "effect", "control", "correlation", "control_mean"]
        names += ["between_site_sd_control"] + ([] if statistics.binary else ["residual_sd"])
        drawn = sample(compiled, data_of(statistics), tuple(names), settings=self.settings, seed=seed)
        checks = _checks(drawn, statistics, centred)
        if any(check.status == "fail" for check in checks):
            words = " ".join(check.message for check in checks if check.status == "fail")
            warnings.warn(GbvevalWarning(f"GBV101: the sampler did not converge. {words}"), stacklevel=2)
        return _answer(self, data, statistics, drawn, seed=seed, derived=rng is None, checks=checks)


def native_draws(model: HierarchicalModel, data: Trial, *, seed: int) -> Any:
    """Return ArviZ's own container of a fit, for whoever wants to go on with it.

    Parameters
    ----------
    model : HierarchicalModel
        The model.
    data : Trial
        The trial.
    seed : int
        Seed of the sampler.
    """
    statistics = _statistics(data, model.prior)
    compiled = compiled_model(statistics, model.prior, centred=_prefers_centred(statistics, model.prior))
    return sample(compiled, data_of(statistics), ("average_effect",), settings=model.settings, seed=seed).native


def _statistics(data: Trial, prior: SitePrior) -> SiteStatistics:
    """Return sums by site and arm of the first outcome, after checking that the model fits the trial."""
    if data.site is None:
        raise DesignError("HierarchicalModel needs sites; declare `site` in the Trial.")
    if len(data.arms) != 2:
        raise DesignError(f"HierarchicalModel compares two arms; the trial has {len(data.arms)}.")
    if len(data.outcome_names) != 1:
        raise DesignError(f"HierarchicalModel takes one outcome; the trial has {len(data.outcome_names)}.")
    for role in ("cluster", "weight", "pair", "stratum"):
        if getattr(data, role) is not None:
            raise DesignError(
                f"HierarchicalModel treats people as independent within sites and arms; the trial declares {role!r}. "
                "Estimate each site with its own design and pool with NormalHierarchy."
            )
    seen = data.observed(0)
    y, sites = data.outcomes[seen, 0], data.site.count
    if sites < 2:
        raise IdentificationError("One site tells nothing about how sites differ; at least two are needed.")
    cell = data.site.codes[seen] * 2 + data.arm[seen]
    n = group_sizes(cell, 2 * sites)
    empty = int((n == 0).sum())
    if empty:
        raise IdentificationError(
            f"{empty} combinations of site and arm have no observed outcome; leave those sites out."
        )
    mean = group_sums(cell, y, 2 * sites) / n
    squares = group_sums(cell, (y - mean[cell]) ** 2, 2 * sites)
    binary = data.is_binary(0)
    if np.ptp(y) == 0:
        raise IdentificationError("The outcome is the same for everybody, so no effect can be estimated.")
    if not binary and prior.residual_sd is None:
        raise DesignError("A continuous outcome needs a prior of residual_sd, such as HalfNormal of a plausible sd.")
    shape = (sites, 2)
    return SiteStatistics(n.reshape(shape), mean.reshape(shape), squares.reshape(shape), binary)


def _prefers_centred(statistics: SiteStatistics, prior: SitePrior) -> bool:
    """Return whether sites tell more about their own effect than the prior of the between-site sd does.

    Centred sampling is efficient when a site's standard error is small beside the spread between sites, non-centred
    when it is large; the wrong one is many times slower or misses the tails.
    """
    scale = getattr(prior.between_site_sd, "sd", getattr(prior.between_site_sd, "scale", 1.0))
    return bool(np.median(statistics.effect_errors()) < 0.5 * float(scale))


def _checks(drawn: Sampled, statistics: SiteStatistics, centred: bool) -> tuple[Check, ...]:
    form = "centred" if centred else "non-centred"
    return (
        Check(
            "divergences",
            "fail" if drawn.divergences else "ok",
            f"{drawn.divergences} divergent transitions; none is wanted. If there are some, raise target_accept.",
        ),
        Check(
            "r-hat",
            "ok" if drawn.rhat <= RHAT_LIMIT else "fail",
            f"the largest r-hat is {drawn.rhat:.4f}; at most {RHAT_LIMIT:g} is wanted. If it is larger, draw longer.",
        ),
        Check(
            "effective sample size",
            "ok" if drawn.ess >= ESS_LIMIT else "fail",
            f"the smallest bulk effective sample size is {drawn.ess:.0f}; at least {ESS_LIMIT:g} is wanted. If it is "
            "smaller, draw longer.",
        ),
        Check("parametrisation", "info", f"{form}, chosen by what sites tell beside the prior of the between-site sd."),
        Check("sampler", "info", f"NUTS by {SAMPLER} on {2 * statistics.n_sites} cells of site and arm."),
    )


def _answer(
    model: HierarchicalModel,
    data: Trial,
    statistics: SiteStatistics,
    drawn: Sampled,
    *,
    seed: int,
    derived: bool,
    checks: tuple[Check, ...],
) -> Estimates:
    draws = drawn.draws
    effect, average, spread = draws["effect"], draws["average_effect"], draws["between_site_sd"]
    # A new site's effect: one draw of the hierarchy for each draw of its parameters.
    new = average + spread * np.random.default_rng(seed).standard_normal(average.shape)
    columns = [average, *np.moveaxis(effect, 2, 0), new, spread]
    contrast = "odds_ratio" if statistics.binary else "mean_difference"
    sites = statistics.n_sites
    labels = ["average effect", *(f"effect in site {i + 1:02d}" for i in range(sites)), "effect in a new site"]
    kinds = ["average_effect", *["site_effect"] * sites, "new_site_effect"]
    estimands = [Estimand(kind, contrast, "sites", "conditional") for kind in kinds]
    labels.append("between-site sd")
    estimands.append(Estimand("between_site_sd", "standard_deviation", "sites", "conditional"))
    if statistics.binary:
        columns.append(_risk_difference(draws["control"], effect, statistics))
        labels.append("average risk difference in these sites")
        estimands.append(Estimand("average_effect", "risk_difference", "participant_average"))
    stacked = np.stack(columns, axis=2)
    flat = stacked.reshape(-1, stacked.shape[2])
    errors = statistics.effect_errors()
    terms = []
    for i, label in enumerate(labels):
        site = i - 1 if 1 <= i <= sites else None
        own: tuple[tuple[str, float | str | None], ...] = ()
        if site is not None:
            pooled = float(np.mean(errors[site] ** 2 / (errors[site] ** 2 + spread**2)))
            own = (("pooling_factor", pooled),)
        terms.append(
            Term(
                term=label,
                estimand=estimands[i],
                outcome=data.outcome_names[0],
                value=float(flat[:, i].mean()),
                std_error=float(flat[:, i].std(ddof=1)),
                n_units=int(statistics.n.sum() if site is None else statistics.n[site].sum()),
                support=_support(data, statistics, site),
                extra=own,
            )
        )
    return Estimates(
        estimator=model.name,
        terms=tuple(terms),
        covariance=np.atleast_2d(np.cov(flat, rowvar=False)),
        method=_method(model, data, statistics),
        checks=checks,
        provenance=Provenance(data.digest, tuple(options_of(model).items()), seed, versions(), derived),
        flow=data.flow(),
        posterior=DrawsPosterior(stacked),
    )


def _risk_difference(control: FloatArray, effect: FloatArray, statistics: SiteStatistics) -> FloatArray:
    """Return the risk difference averaged over the people of the sites, for every draw."""
    share = statistics.n.sum(axis=1) / statistics.n.sum()
    treated, untreated = 1.0 / (1.0 + np.exp(-(control + effect))), 1.0 / (1.0 + np.exp(-control))
    result: FloatArray = (treated - untreated) @ share
    return result


def _support(data: Trial, statistics: SiteStatistics, site: int | None) -> tuple[Cell, ...]:
    chosen = slice(None) if site is None else slice(site, site + 1)
    where = "all sites" if site is None else f"site {site + 1:02d}"
    cells = []
    for arm, label in enumerate(data.arms):
        n = statistics.n[chosen, arm]
        events = round(float((n * statistics.mean[chosen, arm]).sum())) if statistics.binary else None
        cells.append(Cell(label, int(n.sum()), events, f"{data.outcome_names[0]} by arm in {where}"))
    return tuple(cells)


def _method(model: HierarchicalModel, data: Trial, statistics: SiteStatistics) -> Method:
    observed, total = int(data.observed(0).sum()), data.n
    left = "" if observed == total else f"; {total - observed:,} have no outcome and are left out"
    likelihood = "binomial (logit)" if statistics.binary else "normal"
    return Method(
        sample=f"{observed:,} of {total:,} randomised people in {statistics.n_sites} sites{left}",
        std_error=f"posterior standard deviation, {likelihood} likelihood on site-by-arm sums",
        small_sample=f"none; priors: {model.prior.describe()}",
        reference="posterior draws, equal-tailed intervals",
        inference_for="these sites and a new one like them",
        assumptions=(
            "people were assigned at random within sites",
            "sites are exchangeable: control means and effects are jointly normal over sites",
            "outcomes are missing for reasons unrelated to the outcome",
        ),
        source="Gelman and Hill 2007",
    )
