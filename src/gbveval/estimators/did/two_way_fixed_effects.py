"""`TwoWayFixedEffects`: the regression that most published evaluations ran, for comparison with what it hides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.panel import Panel
from gbveval.estimators.did._regression import (
    check_std_error,
    coefficient_terms,
    explained_words,
    inference_words,
    parallel_words,
    regress,
    regression_checks,
)
from gbveval.estimators.did._rollout import (
    Rows,
    observed_rows,
    refuse_cross_sections,
    require_clusters,
    require_treated_clusters,
    rollout_estimates,
    row_checks,
    sample_words,
)

FloatArray = NDArray[np.float64]
NUISANCE = Estimand("nuisance", "none", "treated", "conditional")


@register("two_way_fixed_effects")
@dataclass(frozen=True, slots=True)
class TwoWayFixedEffects:
    """Regression of the outcome on treatment, with unit and period effects.

    Parameters
    ----------
    std_error : str
        "CR1S" (clustered, Stata's and fixest's factor), "CR1", "CR0", "CR2" or "CR3" (bias-reduced or jackknife, with
        Satterthwaite degrees of freedom, for few clusters), "HC0", "HC1", "classical".

    Notes
    -----
    Treatment is the panel's `treatment` where it is declared (it may end, or be an amount), else being at or after the
    first treated period. The panel's covariates enter linearly; their coefficients are shown as nuisance. Its `effects`
    (region by period, for one) are taken out beside those of unit and period: treatment must vary within them.

    **Identifies** the average effect on the treated only if untreated outcomes would have changed in parallel *and* the
    effect is the same for all cohorts and at all times. With staggered adoption and effects that grow or differ, units
    treated earlier serve as controls for those treated later, and the coefficient can have the wrong sign;
    `goodman_bacon` and `twfe_weights` show how much of it comes from such comparisons.

    **Use it** to reproduce published results, or with a single cohort and a constant effect; otherwise use
    `CallawaySantAnna` and show both.

    CR1S multiplies the clustered variance by G/(G - 1) (n - 1)/(n - K), K without fixed effects nested in clusters
    (Stata's reghdfe and R's fixest; of several others the rank counts). Where the panel names `place`, sums over
    neighbours get the same factor. Clustered in two ways, the sum of two variances less that of the intersection is
    multiplied by the factor of the smaller number of clusters.

    References
    ----------
    Goodman-Bacon (2021), Journal of Econometrics 225(2), 254-277. de Chaisemartin and D'Haultfoeuille (2020), American
    Economic Review 110(9). Cameron, Gelbach and Miller (2011), Journal of Business and Economic Statistics 29.
    Pustejovsky and Tipton (2018), Journal of Business and Economic Statistics 36.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotRollout
    >>> panel = PilotRollout().draw(np.random.default_rng(2))
    >>> len(TwoWayFixedEffects().estimate(panel))
    1
    """

    std_error: str = "CR1S"
    name: ClassVar[str] = "two_way_fixed_effects"

    def __post_init__(self) -> None:
        check_std_error(self.std_error)

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the coefficient of treatment, and those of covariates.

        Parameters
        ----------
        data : Panel
            A panel of units; rows without an outcome are left out and counted.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            For repeated cross-sections.
        IdentificationError
            If treatment does not vary within units and periods, or there are too few clusters.
        """
        refuse_cross_sections("TwoWayFixedEffects", data)
        rows = observed_rows(data)
        treatment, label = treatment_column(rows)
        require_clusters(rows)
        require_treated_clusters(rows)
        columns = np.column_stack([treatment, rows.covariates])
        found = regress(rows, columns, (label, *data.covariate_names), std_error=self.std_error)
        if label not in found.names:
            raise IdentificationError(explained_words(data))
        terms = coefficient_terms(
            data, rows, found, [Estimand("ATT", "mean_difference", "treated"), *[NUISANCE] * (len(found.names) - 1)]
        )
        return rollout_estimates(
            self,
            data,
            terms,
            covariance=found.fit.covariance,
            influence=found.fit.influence,
            method=_method(self, data, rows),
            checks=(*_checks(data), *regression_checks(found), *row_checks(rows)),
        )


def treatment_column(rows: Rows) -> tuple[FloatArray, str]:
    """Return the regressor of treatment and the name of its coefficient; raise where it does not vary."""
    amount = rows.treated.astype(float) if rows.treatment is None else rows.treatment
    if amount.size == 0 or amount.min() == amount.max():
        raise IdentificationError(
            "Treatment does not vary over the rows with an outcome; treated and untreated ones are both needed."
        )
    binary = bool(np.all((amount == 0) | (amount == 1)))
    return amount, "treated vs untreated" if binary else "one unit more of treatment"


def _method(estimator: TwoWayFixedEffects, data: Panel, rows: Rows) -> Method:
    return Method(
        sample=sample_words(data, rows),
        **inference_words(data, estimator.std_error),
        assumptions=(
            parallel_words(data),
            "the effect is the same for all cohorts and at all times",
            "treatment does not act before it begins",
        ),
        source="see Goodman-Bacon 2021 for what it averages",
        comparison="all units in all periods, those treated already among them",
    )


def _checks(data: Panel) -> tuple[Check, ...]:
    cohorts = np.unique(data.cohort[np.isfinite(data.cohort)]).size
    if cohorts < 2:
        return ()
    text = (
        f"{cohorts} cohorts: units treated earlier serve as controls for later ones, which is wrong unless the "
        "effect is constant. Compare with CallawaySantAnna."
    )
    return (Check("staggered adoption", "warn", text),)
