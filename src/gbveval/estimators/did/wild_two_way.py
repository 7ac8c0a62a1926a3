"""`WildTwoWay`: two-way fixed effects tested by the wild cluster bootstrap, for rollouts over few clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.provenance import Provenance, derive_seed, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.panel import Panel
from gbveval.estimators._wild_test import Draws, bootstrap_draws, bootstrap_test, check_bootstrap, singular_checks
from gbveval.estimators.did._regression import Regression, regress, regression_checks
from gbveval.estimators.did._rollout import (
    Rows,
    cohort_support,
    observed_rows,
    refuse_cross_sections,
    refuse_effects,
    require_clusters,
    require_treated_clusters,
    rounding,
    row_checks,
    sample_words,
)
from gbveval.estimators.did._rollout_checks import dose_checks
from gbveval.estimators.did._spatial import refuse_place
from gbveval.estimators.did.two_way_fixed_effects import treatment_column
from gbveval.numerics.cluster_sandwich import cross_products
from gbveval.numerics.groups import compact
from gbveval.numerics.randomisation import join_parts
from gbveval.numerics.wild_bootstrap import WildBootstrap, wild_bootstrap


@register("wild_two_way")
@dataclass(frozen=True, slots=True)
class WildTwoWay:
    """The coefficient of `TwoWayFixedEffects`, tested by resampling the signs of clusters' scores.

    Parameters
    ----------
    variant : str
        As in `WildClusterBootstrap`: "WCR11" (the null imposed), "WCU11" (not), a first digit of 3 for residuals from
        the fit without the cluster, a second digit of 3 for the jackknife variance. "WCR31" and "WCR33" are the most
        reliable when clusters are few or unequal.
    weights : str
        "rademacher" (signs) or "webb" (six points, for eleven clusters and fewer when not all signs are listed).
    n_draws : int
        Bootstrap samples; all 2^G vectors of signs are used instead when there are no more than these.
    null : float
        Effect under test.
    alternative : str
        "two_sided" (absolute t), "central", "greater" or "less".
    level : float
        Level of the interval, which holds at this level only.

    Notes
    -----
    **Identifies** what `TwoWayFixedEffects` does, with the same warning: with several cohorts and effects that differ
    it is no average of effects. The bootstrap mends the inference, not the estimand.

    Unit effects lie within clusters, so that they are swept out once; period effects and covariates stay, and a draw
    costs clusters, not rows. The standard error shown counts unit effects among the coefficients, as a regression with
    all indicators does; the test does not depend on that factor, which belongs to the observed t as much as to the
    bootstrap's. (R's fwildclusterboot puts it on the observed jackknife t only; its p-values for WCR13 and WCR33 are
    too large, by .05 with ten states.)

    **Valid when** clusters are independent and several of them are treated, and several not. **Do not use when** one or
    two clusters are treated (WCR then hardly ever rejects, WCU nearly always): `ConleyTaber` or `RandomisedTiming`.

    References
    ----------
    Cameron, Gelbach and Miller (2008), Review of Economics and Statistics 90. MacKinnon and Webb (2017), Journal of
    Applied Econometrics 32. MacKinnon, Nielsen and Webb (2023), Journal of Applied Econometrics 38.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotRollout
    >>> panel = PilotRollout().draw(np.random.default_rng(2))
    >>> row = WildTwoWay(n_draws=999).estimate(panel)[0]
    >>> 0 <= row.p_value <= 1
    True
    """

    variant: str = "WCR11"
    weights: str = "rademacher"
    n_draws: int = 9_999
    null: float = 0.0
    alternative: str = "two_sided"
    level: float = 0.95
    name: ClassVar[str] = "wild_two_way"

    def __post_init__(self) -> None:
        check_bootstrap(self)

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the coefficient of treatment with its bootstrap test and interval.

        Parameters
        ----------
        data : Panel
            A panel of units; rows without an outcome are left out and counted.
        rng : numpy.random.Generator, optional
            For drawn weights; by default seeded from the data and the options.

        Raises
        ------
        DesignError
            For repeated cross-sections, weights, or clusters in two ways.
        IdentificationError
            If treatment does not vary within units and periods, or there are too few clusters.
        """
        refuse_cross_sections("WildTwoWay", data)
        refuse_effects("WildTwoWay", data)
        refuse_place("WildTwoWay", data, "Leave place out, and name as cluster regions that share no shocks.")
        if data.weight is not None or data.second_cluster is not None:
            raise DesignError("WildTwoWay takes no weights, and clusters in one way. Leave the role out.")
        rows = observed_rows(data)
        treatment, label = treatment_column(rows)
        require_clusters(rows)
        require_treated_clusters(rows)
        columns = np.column_stack([treatment, rows.covariates])
        found = regress(rows, columns, (label, *data.covariate_names), std_error="CR0")
        if label not in found.names:
            raise IdentificationError("Unit and period effects (and covariates) explain treatment completely.")
        ready = self.prepared(rows, found)
        if ready.std_error <= rounding(rows):
            raise IdentificationError("Nothing is left to vary around the fit, so there is no error to bootstrap.")
        seed = derive_seed(data.digest, self.name, repr(options_of(self))) if rng is None else int(rng.integers(2**31))
        weights = bootstrap_draws(self, rows.clusters[0].present, np.random.default_rng(seed))
        row = self._row(data, rows, ready, weights, label)
        return Estimates(
            estimator=self.name,
            terms=(row,),
            covariance=np.array([[ready.std_error**2]]),
            method=_method(self, data, rows, weights),
            level=self.level,
            checks=(*_checks(rows, ready), *regression_checks(found), *row_checks(rows), *dose_checks(data)),
            provenance=Provenance(
                data.digest, tuple(options_of(self).items()), seed, versions(), seed_derived=rng is None
            ),
            flow=data.flow(),
            influence=ready.influence[:, None],
        )

    def prepared(self, rows: Rows, found: Regression) -> WildBootstrap:
        """Return the bootstrap of the coefficient on columns with unit effects swept out."""
        fit, groups = found.fit.fit, rows.clusters[0]
        clusters, codes = compact(groups.codes, groups.count)
        count = clusters.size
        sums = cross_products(fit, found.fit.swept_columns, found.fit.swept_outcome, codes, count)
        k = fit.k + rows.n_units
        return wild_bootstrap(
            fit,
            sums,
            int(found.fit.place[0]),
            restricted=self.variant.startswith("WCR"),
            transformed=self.variant[3] == "3",
            jackknife=self.variant[4] == "3",
            factor=count / (count - 1.0) * (fit.n - 1.0) / (fit.n - k),
        )

    def _row(self, data: Panel, rows: Rows, ready: WildBootstrap, weights: Draws, label: str) -> Term:
        parts = join_parts([ready.parts(block) for block in weights.blocks()])
        tested = bootstrap_test(self, ready, parts, weights.probability, ties=True)
        return Term(
            term=label,
            estimand=Estimand("ATT", "mean_difference", "treated"),
            outcome=data.outcome_name,
            value=ready.estimate,
            std_error=ready.std_error,
            df=float(rows.clusters[0].present - 1),
            interval=tested.interval,
            interval_level=self.level,
            statistic=(ready.estimate - self.null) / ready.std_error,
            p_value=tested.p_value,
            n_units=rows.n_units,
            n_clusters=rows.clusters[0].present,
            support=cohort_support(data, rows.cohort_sizes(), "cohorts of the regression"),
            reason=tested.reason,
            extra=(
                ("n_draws", float(parts.d_y.size)),
                ("draws", "listed" if weights.probability is not None else "drawn"),
            ),
        )


def _method(estimator: WildTwoWay, data: Panel, rows: Rows, weights: Draws) -> Method:
    imposed = "imposed on" if estimator.variant.startswith("WCR") else "not imposed on"
    jackknife = estimator.variant[4] == "3"
    return Method(
        sample=sample_words(data, rows),
        std_error=f"clustered by {data.cluster_name}, {'jackknife (CV3)' if jackknife else 'CR1S'}",
        small_sample=f"wild cluster bootstrap {estimator.variant}, the null {imposed} the residuals",
        reference=f"bootstrap distribution of t ({weights.words})",
        inference_for="a superpopulation of clusters",
        assumptions=(
            "untreated outcomes would have changed in parallel",
            "the effect is the same for all cohorts and at all times",
            "treatment does not act before it begins",
        ),
        source="Cameron, Gelbach and Miller 2008; MacKinnon, Nielsen and Webb 2023",
        comparison="all units in all periods, those treated already among them",
    )


def _checks(rows: Rows, ready: WildBootstrap) -> tuple[Check, ...]:
    found = []
    groups = rows.clusters[0]
    treated = np.unique(groups.codes[rows.treated]).size
    never = groups.present - treated
    if treated < 3:
        text = f"{treated} treated clusters: the bootstrap is unreliable there. Use ConleyTaber or RandomisedTiming."
        public = "few treated clusters: the bootstrap is unreliable there."
        found.append(Check("few treated", "warn", text, public))
    if 0 < never < 3:
        found.append(Check("few untreated", "warn", "few clusters are never treated: the bootstrap is unreliable."))
    return (*found, *singular_checks(ready))
