"""`TwoByTwo`: two groups, before and after: the difference of two differences of means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.panel import Panel
from gbveval.estimators.did._regression import (
    check_std_error,
    coefficient_terms,
    inference_words,
    regress,
)
from gbveval.estimators.did._rollout import (
    Rows,
    observed_rows,
    refuse_switching,
    require_clusters,
    require_treated_clusters,
    rollout_estimates,
    row_checks,
    sample_words,
)
from gbveval.estimators.did.two_way_fixed_effects import NUISANCE

EFFECT = "treated vs untreated"
NAMES = ("before, never treated", "ever treated", "after", EFFECT)


@register("two_by_two")
@dataclass(frozen=True, slots=True)
class TwoByTwo:
    """Change of the treated group's mean less the change of the untreated group's.

    Parameters
    ----------
    std_error : str
        As in `TwoWayFixedEffects`: clustered by the panel's clusters (units where it names none) with "CR1S", "CR2",
        ...; "HC1" and "classical" take every row as independent.

    Notes
    -----
    One cohort and a group that is never treated; periods before and after are averaged (with several of each it is the
    "repeated" two by two). Panels of units and repeated cross-sections. It is the coefficient of *ever treated x after*
    in a regression on both and an intercept; the other coefficients are shown as nuisance. Covariates of the panel
    enter linearly, with one slope for both groups and times.

    **Identifies** the average effect on the treated over the periods after, if the untreated means would have changed
    in parallel. With panels whose units are not all observed in all periods, means of different units are compared.

    **Do not use when** there are several cohorts (`CallawaySantAnna`), or when parallel trends hold only given
    covariates (`DoublyRobust`). With one treated cluster no clustered standard error means anything (`ConleyTaber`).

    References
    ----------
    Bertrand, Duflo and Mullainathan (2004), Quarterly Journal of Economics 119, for why to cluster. Donald and Lang
    (2007), Review of Economics and Statistics 89, for few groups.

    Examples
    --------
    >>> frame = {"y": [1.0, 2.0, 1.0, 4.0, 0.0, 2.0, 2.0, 5.0], "t": [1, 2] * 4, "g": [None] * 4 + [2.0] * 4}
    >>> panel = Panel({**frame, "u": [1, 1, 2, 2, 3, 3, 4, 4]}, outcome="y", unit="u", time="t", cohort="g")
    >>> round(TwoByTwo().estimate(panel)["treated vs untreated"].value, 6)
    0.5
    """

    std_error: str = "CR1S"
    name: ClassVar[str] = "two_by_two"

    def __post_init__(self) -> None:
        check_std_error(self.std_error)

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the effect, then the mean of those never treated before, and the coefficients of group and time.

        Parameters
        ----------
        data : Panel
            Units followed over time, or repeated cross-sections.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If there are several cohorts, nobody is never treated, or treatment ends.
        IdentificationError
            If one of the four cells is empty, or there are too few clusters.
        """
        refuse_switching("TwoByTwo", data)
        rows = observed_rows(data)
        cohorts = np.unique(rows.cohort[np.isfinite(rows.cohort)])
        if cohorts.size != 1 or np.isfinite(rows.cohort).all():
            raise DesignError(
                f"TwoByTwo compares one cohort with units that are never treated; here are {cohorts.size} cohorts and "
                f"{int((~np.isfinite(rows.cohort)).sum()):,} rows of never treated. Use CallawaySantAnna."
            )
        ever, after = np.isfinite(rows.cohort), rows.period >= cohorts[0]
        cells = [int((a & b).sum()) for a in (ever, ~ever) for b in (after, ~after)]
        if min(cells) == 0:
            raise IdentificationError(
                "Treated and untreated rows are needed both before and after; one of the four cells has no outcome."
            )
        require_clusters(rows)
        require_treated_clusters(rows)
        columns = np.column_stack([np.ones(rows.n), ever, after, ever & after, rows.covariates]).astype(float)
        found = regress(
            rows, columns, (*NAMES, *data.covariate_names), std_error=self.std_error, units=False, periods=False
        )
        estimands = [Estimand("ATT", "mean_difference", "treated") if n == EFFECT else NUISANCE for n in found.names]
        terms = coefficient_terms(data, rows, found, estimands)
        order = [3, 0, 1, 2, *range(4, len(terms))]
        influence = found.fit.influence
        return rollout_estimates(
            self,
            data,
            [terms[i] for i in order],
            covariance=found.fit.covariance[np.ix_(order, order)],
            influence=None if influence is None else influence[:, order],
            method=_method(self, data, rows),
            checks=(*_checks(rows), *row_checks(rows)),
        )


def _method(estimator: TwoByTwo, data: Panel, rows: Rows) -> Method:
    return Method(
        sample=sample_words(data, rows),
        **inference_words(data, estimator.std_error),
        assumptions=(
            "untreated means of both groups would have changed in parallel",
            "treatment does not act before it begins",
            "one unit's treatment does not change another's outcome",
        ),
        source="difference of two differences of means",
        comparison="units that are never treated, all periods before",
    )


def _checks(rows: Rows) -> tuple[Check, ...]:
    groups = rows.clusters[0]
    treated = np.unique(groups.codes[rows.treated]).size
    if treated > 3:
        return ()
    text = f"{treated} treated units or clusters: their own shocks are hardly told from the effect."
    public = "few treated units or clusters: their own shocks are hardly told from the effect."
    return (Check("few treated", "warn", text, public),)
