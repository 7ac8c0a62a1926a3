"""`OneStage`: effects that differ between sites, from their counts in one likelihood, zero cells as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gbveval.core.errors import ConvergenceError, DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.tables import SiteTables
from gbveval.multisite._table_rows import effect_row, everybody, require_events, require_tables
from gbveval.multisite.normal_hierarchy import AVERAGE, NEW_SITE, SPREAD
from gbveval.numerics.inference import f_upper, wald
from gbveval.numerics.one_stage import MODELS, OneStageFit, fit_one_stage


@register("one_stage")
@dataclass(frozen=True, slots=True)
class OneStage:
    """Average log odds (or rate) ratio over sites whose effects differ, by maximum likelihood of their counts.

    Parameters
    ----------
    model : str
        "unconditional" (default; binomial events with an intercept for every site; people only) or "conditional" (those
        events that fall on the treated arm, given the site's events: exact for events over time at risk, and close for
        people when events are rare).

    Raises
    ------
    DesignError
        If the model is not known, or does not fit the tables.

    Notes
    -----
    **Identifies** the average effect over a population of sites, between people of one site, and the effect in a new
    site. **Valid when** people are independent within sites and there are ten sites or more: standard errors are those
    of large samples, the between-site sd is biased downwards, and its uncertainty does not widen the interval. **Do not
    use when** sites are few (`NormalHierarchy` with a prior) or clustered.

    The p-value of the between-site sd halves the chi-squared tail of the likelihood ratio, since an sd of zero lies at
    the edge. Sites without events in both arms, or in which everybody has the outcome, say nothing of a ratio here.

    References
    ----------
    Stijnen, Hamza and Ozdemir (2010), Statistics in Medicine 29. Jackson and others (2018), Statistics in Medicine 37
    (model 4). Self and Liang (1987), JASA 82.

    Examples
    --------
    >>> frame = {"site": list("aabbcc"), "arm": ["usual", "new"] * 3, "events": [10, 5, 8, 0, 9, 9], "n": [100] * 6}
    >>> tables = SiteTables(frame, site="site", arm="arm", control="usual", events="events", n="n")
    >>> [row.term for row in OneStage().estimate(tables).terms]
    ['average effect', 'effect in a new site', 'between-site sd']
    """

    model: str = "unconditional"
    name: ClassVar[str] = "one_stage"

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise DesignError(f"model must be one of {', '.join(MODELS)}, not {self.model!r}.")

    def estimate(self, data: SiteTables, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the average effect, the effect in a new site and the between-site sd.

        Parameters
        ----------
        data : SiteTables
            Events by site and arm.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the unconditional model is asked of time at risk.
        IdentificationError
            If no site has events in an arm, or fewer than two sites say anything.
        ConvergenceError
            If the likelihood has no maximum.
        """
        require_tables(data, "OneStage")
        if data.has_exposure and self.model == "unconditional":
            raise DesignError('Events over time at risk need model="conditional", which is exact for them.')
        require_events(data, ratio=True)
        telling = data.events.sum(axis=1) > 0
        if not data.has_exposure:
            telling &= (data.total - data.events).sum(axis=1) > 0
        if telling.sum() < 2:
            raise IdentificationError(
                f"{int(telling.sum())} site has events to compare; at least two are needed. Report that site alone."
            )
        fit = fit_one_stage(data.events[telling], data.total[telling], model=self.model)
        if not fit.converged:
            raise ConvergenceError(
                "The likelihood of these tables has no maximum that can be found: events are too few. Use "
                "MantelHaenszel, or a model with a prior."
            )
        return self._answer(data, fit, int((~telling).sum()))

    def _answer(self, data: SiteTables, fit: OneStageFit, silent: int) -> Estimates:
        contrast = "rate_ratio" if data.has_exposure else "odds_ratio"
        reach = float(np.hypot(fit.std_error, fit.tau))
        extra = (("log_likelihood", fit.log_likelihood),)
        rows = [
            effect_row(
                data, AVERAGE, "average_effect", contrast, value=fit.estimate, std_error=fit.std_error, extra=extra
            ),
            effect_row(data, NEW_SITE, "new_site_effect", contrast, value=fit.estimate, std_error=reach),
            _spread(data, fit),
        ]
        covariance = np.diag([fit.std_error**2, reach**2, fit.se_tau**2])
        covariance[0, 1] = covariance[1, 0] = fit.std_error**2
        covariance[:2, 2] = covariance[2, :2] = np.nan
        checks = []
        if silent:
            text = f"{silent} of {data.n} sites have no event, or nothing but events, and say nothing of a ratio."
            checks.append(Check("sites without events", "info", text, public="Some sites say nothing of a ratio."))
        if data.n < 10:
            text = f"{data.n} sites: the between-site sd is biased downwards and the interval too narrow."
            checks.append(Check("few sites", "warn", text))
        if not data.has_exposure and self.model == "conditional" and data.events.sum() > 0.1 * data.total.sum():
            text = "more than a tenth of people have the outcome: the conditional model is meant for rare ones."
            checks.append(Check("common events", "warn", text))
        return Estimates(
            estimator=self.name,
            terms=tuple(rows),
            covariance=covariance,
            method=self._words(data),
            checks=tuple(checks),
            provenance=Provenance(data.digest, tuple(options_of(self).items()), None, versions()),
        )

    def _words(self, data: SiteTables) -> Method:
        given = "given the site's events in both arms" if self.model == "conditional" else "with an intercept a site"
        return Method(
            sample=f"{data.n} sites, events by arm",
            std_error=f"observed information of the likelihood of counts, {given}",
            small_sample="none",
            reference="normal",
            inference_for="a population of sites, of which these are exchangeable members",
            assumptions=("people are independent within sites", "log ratios are normal over sites"),
            source="Stijnen, Hamza and Ozdemir 2010; Jackson and others 2018",
        )


def _spread(data: SiteTables, fit: OneStageFit) -> Term:
    statistic = max(0.0, 2.0 * (fit.log_likelihood - fit.no_spread))
    defined = bool(np.isfinite(fit.se_tau))
    interval = None
    if defined:
        # On the log scale: an sd does not go below zero.
        limits = wald(np.log(fit.tau), fit.se_tau / fit.tau)
        with np.errstate(over="ignore"):
            interval = (float(np.exp(limits.conf_low[0])), float(np.exp(limits.conf_high[0])))
    return Term(
        term=SPREAD,
        estimand=Estimand("between_site_sd", "standard_deviation", "sites"),
        outcome=data.outcome,
        value=fit.tau,
        std_error=fit.se_tau if defined else None,
        interval=interval,
        interval_level=0.95,
        statistic=statistic,
        p_value=f_upper(statistic, 1.0, np.inf) / 2.0 if statistic > 0 else 1.0,
        reason="" if defined else "an sd of zero lies at the edge, where no standard error holds",
        support=everybody(data),
    )
