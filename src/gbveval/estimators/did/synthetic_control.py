"""`SyntheticControl`: a treated unit beside the weighted average of untreated ones that resembles it most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.registry import register
from gbveval.core.table import Table
from gbveval.core.term import Term
from gbveval.data.panel import Panel
from gbveval.estimators.did._balanced import check_unbalanced
from gbveval.estimators.did._rollout_checks import dose_checks
from gbveval.estimators.did._synthetic import (
    Replicates,
    Study,
    SyntheticAggregator,
    check_options,
    check_penalty,
    fit_ratio,
    make_study,
    paths_table,
    replicates,
    synthetic_checks,
    synthetic_rows,
    weights_table,
)
from gbveval.numerics.null_distribution import tail
from gbveval.numerics.synthetic import SyntheticSettings

PLACEBO_TEST = "there is no effect (rank among placebos)"


@register("synthetic_control")
@dataclass(frozen=True, slots=True)
class SyntheticControl:
    """Effect on the treated beyond the weighted average of untreated units that comes closest before treatment.

    Parameters
    ----------
    std_error : str
        "placebo" (treatment given to controls), "bootstrap" (units drawn with replacement, for several treated units)
        or "none".
    n_draws : int
        Placebos or bootstrap samples. All placebos are listed instead when there are no more than these.
    demeaned : bool
        Whether the synthetic path may differ from the treated one by a constant, estimated before treatment.
    unit_penalty : float, optional
        zeta of the weights, in units of the outcome; by default 1e-6 times the standard deviation of the controls'
        first differences, which only makes weights unique.
    unbalanced : str
        "error", or "drop": leave out, and count, units without an outcome in some period.

    Notes
    -----
    **Identifies** the average effect on the treated if a weighted average of untreated units would have gone on to
    follow the treated one, as it does over many periods before treatment. Weights are not negative and sum to one:
    the treated unit must lie within the controls. Only outcomes before treatment are matched, all periods alike. The
    weights are at the optimum; R's synthdid 0.0.9 (`sc_estimate`) stops earlier, with an estimate .5 % off on its
    California data.

    **Inference.** Placebo errors take the spread of the controls' placebo effects for the treated unit's own. With
    one cohort the row "there is no effect (rank among placebos)" ranks the treated unit among the placebos by the
    root mean square of the gap after treatment over that before (Abadie, Diamond and Hainmueller 2010): p = (1 +
    placebos at least as large) / (1 + placebos). It is a randomisation test where any unit was as likely to be
    treated, and a description where not.

    **Do not use when** the fit before treatment is poor (see `checks`; `SyntheticDid` needs parallel paths only),
    there are few periods before treatment, or controls are affected by the treatment. The jackknife is not offered:
    without a unit these sparse weights jump.

    References
    ----------
    Abadie, Diamond and Hainmueller (2010), Journal of the American Statistical Association 105(490). Doudchenko and
    Imbens (2016), NBER Working Paper 22791, for the demeaned one.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.testing.processes import PanelFrames
    >>> source = PanelFrames(n_units=21, n_periods=14, cohorts=(11.0, *[np.inf] * 20))  # one treated unit, effect 0.5
    >>> panel = source.check(source.frame(np.random.default_rng(1))[0])
    >>> result = SyntheticControl().estimate(panel)
    >>> abs(result["overall"].value - 0.5) < 3 * result["overall"].std_error
    True
    """

    std_error: str = "placebo"
    n_draws: int = 500
    demeaned: bool = False
    unit_penalty: float | None = None
    unbalanced: str = "error"
    name: ClassVar[str] = "synthetic_control"

    def __post_init__(self) -> None:
        check_options(self)
        check_unbalanced(self.unbalanced)
        check_penalty("unit_penalty", self.unit_penalty)
        if self.std_error == "jackknife":
            raise DesignError(
                "The jackknife keeps weights that jump when a unit is left out, so it is not for synthetic controls. "
                "Use std_error='placebo' or 'bootstrap', or SyntheticDid."
            )

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the average effect and the placebo test; `aggregate` shows cohorts and event times.

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
        rows, joint = terms[:1], covariance[:1, :1]
        if found.ratios.size:
            rows = (*rows, _placebo_test(study, found, rows[0]))
            joint = np.pad(joint, (0, 1), constant_values=np.nan)
        return Estimates(
            estimator=self.name,
            terms=rows,
            covariance=joint,
            method=_method(study, found),
            checks=(*synthetic_checks(study), *dose_checks(data)),
            provenance=Provenance(
                data.digest, tuple(options_of(self).items()), found.seed, versions(), seed_derived=rng is None
            ),
            flow=data.flow(),
            aggregator=SyntheticAggregator(terms, covariance, study.rollout.cohorts.size),
        )

    def weights(self, data: Panel, *, names: bool = False) -> Table:
        """Return the weights of control units, the largest first.

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
        """Return the treated and the synthetic path, for `plot_synthetic`.

        Parameters
        ----------
        data : Panel
            As in `estimate`.
        cohort : optional
            Which cohort, by its first treated period as it is shown, where there are several.
        """
        return paths_table(self._study(data), cohort)

    def _study(self, data: Panel) -> Study:
        settings = SyntheticSettings(self.demeaned, False, self.unit_penalty)
        return make_study("SyntheticControl", data, self.unbalanced, settings)


def _placebo_test(study: Study, found: Replicates, first: Term) -> Term:
    """Return the rank of the treated among the placebos by the ratio of misfits."""
    own = fit_ratio(next(iter(study.blocks.values())))
    flat = first.std_error is None
    return Term(
        term=PLACEBO_TEST,
        estimand=Estimand("ATT", "none", "treated"),
        outcome=first.outcome,
        value=None,
        std_error=None,
        kind="test",
        statistic=None if flat or np.isinf(own) else own,
        p_value=None if flat else tail(found.ratios, own, rule="greater"),
        n_units=first.n_units,
        support=first.support,
        reason=first.reason if flat else "",
        extra=(("n_draws", float(found.ratios.size)),),
    )


def _method(study: Study, found: Replicates) -> Method:
    level = "raised to the treated level" if study.settings.intercept else "as it is"
    reference = "normal"
    if found.ratios.size:
        reference += "; the placebo test ranks the treated among placebos by misfit after over misfit before"
    return Method(
        sample=f"{study.paths.words()}; synthetic path {level}",
        std_error=found.words,
        small_sample="none",
        reference=reference,
        inference_for="units whose outcomes vary as the controls' do",
        assumptions=(
            "the weighted controls would have gone on to follow the treated as they did before",
            "treatment does not act before it begins",
            "one unit's treatment does not change another's outcome",
        ),
        source="Abadie, Diamond and Hainmueller 2010",
        comparison="a weighted average of untreated units, in levels",
    )
