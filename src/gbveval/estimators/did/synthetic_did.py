"""`SyntheticDid`: synthetic difference-in-differences, for one or few treated units beside many untreated ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gbveval.core.estimates import Estimates
from gbveval.core.method import Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.registry import register
from gbveval.core.table import Table
from gbveval.data.panel import Panel
from gbveval.estimators.did._balanced import check_unbalanced
from gbveval.estimators.did._rollout_checks import dose_checks
from gbveval.estimators.did._synthetic import (
    Replicates,
    Study,
    SyntheticAggregator,
    check_options,
    check_penalty,
    make_study,
    paths_table,
    replicates,
    synthetic_checks,
    synthetic_rows,
    weights_table,
)
from gbveval.numerics.synthetic import SyntheticSettings


@register("synthetic_did")
@dataclass(frozen=True, slots=True)
class SyntheticDid:
    """Effect on the treated beyond a weighted average of untreated units, whose level may differ.

    Parameters
    ----------
    std_error : str
        "placebo" (treatment given to controls; the one choice with a single treated unit), "bootstrap" (units drawn
        with replacement), "jackknife" (units left out in turn, weights kept) or "none".
    n_draws : int
        Placebos or bootstrap samples. All placebos are listed instead when there are no more than these.
    unit_penalty : float, optional
        zeta of the unit weights, in units of the outcome: larger is closer to equal weights, infinite is equal
        weights. By default (treated units x periods after)^(1/4) times the standard deviation of the controls' first
        differences.
    time_penalty : float, optional
        The same for the weights of periods; by default 1e-6 times that standard deviation, which only makes them
        unique. With both penalties infinite this is the difference of two differences of means.
    unbalanced : str
        "error", or "drop": leave out, and count, units without an outcome in some period.

    Notes
    -----
    **Identifies** the average effect on the treated if untreated outcomes follow unit and period effects and a few
    common factors, to which the weighted controls respond as the treated do, and nothing was anticipated. The unit
    weights make the weighted controls *parallel* to the treated before treatment, the time weights make those periods
    like the ones after.

    Several treated units of one cohort are averaged. Several cohorts are separate blocks against the units that are
    never treated, weighted by treated units times periods (Clarke et al. 2023); `aggregate("cohort")` shows them, and
    `aggregate("event_time")` the path: effects from event time 0 on, and before it what the weights leave of the gap.

    The weights are those at the optimum, found by non-negative least squares. R's synthdid 0.0.9 stops earlier: on its
    California data its unit weights are off by up to .004 and its estimate by .002 (1 in 10,000).

    **Variance.** Placebo errors take the spread of the controls' placebo effects for that of the treated: they need
    more controls than treated units, as variable as these. Bootstrap samples and placebos choose weights and default
    penalties anew (R keeps the penalties of the whole sample). The jackknife is conservative in large samples. Normal
    reference.

    **Do not use when** units choose treatment because of what just happened to them, or there are few periods before
    treatment: weights then fit noise. With randomly assigned timing `RandomisedTiming` is exact.

    References
    ----------
    Arkhangelsky, Athey, Hirshberg, Imbens and Wager (2021), American Economic Review 111(12). Clarke, Pailanir, Athey
    and Imbens (2023), Synthetic difference-in-differences estimation, arXiv:2301.11859.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.testing.processes import PanelFrames
    >>> source = PanelFrames(n_units=30, n_periods=10, cohorts=(8.0, np.inf, np.inf))  # one constant effect of 0.5
    >>> panel = source.check(source.frame(np.random.default_rng(1))[0])
    >>> row = SyntheticDid(std_error="jackknife").estimate(panel)[0]
    >>> abs(row.value - 0.5) < 3 * row.std_error
    True
    """

    std_error: str = "placebo"
    n_draws: int = 500
    unit_penalty: float | None = None
    time_penalty: float | None = None
    unbalanced: str = "error"
    name: ClassVar[str] = "synthetic_did"

    def __post_init__(self) -> None:
        check_options(self)
        check_unbalanced(self.unbalanced)
        check_penalty("unit_penalty", self.unit_penalty)
        check_penalty("time_penalty", self.time_penalty)

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the average effect; `aggregate` shows cohorts and event times.

        Parameters
        ----------
        data : Panel
            Units followed over time with an outcome in every period, at least two of them never treated.
        rng : numpy.random.Generator, optional
            For placebos and bootstrap samples; by default seeded from the data and the options.

        Raises
        ------
        DesignError
            For repeated cross-sections, gaps, weights, covariates, clusters, or treatment that ends.
        IdentificationError
            If there are too few controls, periods before treatment, or treated units for the standard error.
        """
        study = self._study(data)
        found = replicates(self, study, rng)
        terms, covariance, _ = synthetic_rows(study, found)
        aggregator = SyntheticAggregator(terms, covariance, study.rollout.cohorts.size)
        return Estimates(
            estimator=self.name,
            terms=terms[:1],
            covariance=covariance[:1, :1],
            method=_method(self, study, found),
            checks=(*synthetic_checks(study), *dose_checks(data)),
            provenance=Provenance(
                data.digest, tuple(options_of(self).items()), found.seed, versions(), seed_derived=rng is None
            ),
            flow=data.flow(),
            aggregator=aggregator,
        )

    def weights(self, data: Panel, *, names: bool = False) -> Table:
        """Return the weights of control units and of periods, the largest first.

        Parameters
        ----------
        data : Panel
            As in `estimate`.
        names : bool
            Whether to name the units. Say so only where units are places or platforms that may be named, never where
            they are people or accounts: `release` blanks these rows' weights, since each rests on one unit, but not
            texts.
        """
        return weights_table(self._study(data), names=names)

    def path(self, data: Panel, cohort: Any = None) -> Table:
        """Return the treated and the synthetic path with the time weights, for `plot_synthetic`.

        Parameters
        ----------
        data : Panel
            As in `estimate`.
        cohort : optional
            Which cohort, by its first treated period as it is shown, where there are several.
        """
        return paths_table(self._study(data), cohort)

    def _study(self, data: Panel) -> Study:
        settings = SyntheticSettings(True, True, self.unit_penalty, self.time_penalty)
        return make_study("SyntheticDid", data, self.unbalanced, settings)


def _method(estimator: SyntheticDid, study: Study, found: Replicates) -> Method:
    zeta = ", ".join(f"{each.unit_penalty:.3g}" for each in study.blocks.values())
    return Method(
        sample=f"{study.paths.words()}; penalty of unit weights {zeta}",
        std_error=found.words,
        small_sample="none",
        reference="normal",
        inference_for="units whose outcomes vary as the controls' do",
        assumptions=(
            "untreated outcomes follow unit and period effects and a few common factors that the weights balance",
            "treatment does not act before it begins",
            "one unit's treatment does not change another's outcome",
        ),
        source="Arkhangelsky, Athey, Hirshberg, Imbens and Wager 2021",
        comparison="a weighted average of untreated units, over weighted periods before",
    )
