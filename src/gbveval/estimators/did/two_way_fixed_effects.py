"""`TwoWayFixedEffects`: the regression that most published evaluations ran, for comparison with what it hides."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.panel import Panel

FloatArray = NDArray[np.float64]


@register("two_way_fixed_effects")
@dataclass(frozen=True, slots=True)
class TwoWayFixedEffects:
    """Regression of the outcome on being treated, with unit and period effects.

    Notes
    -----
    **Identifies** the average effect on the treated only if untreated outcomes would have changed in parallel *and* the
    effect is the same for all cohorts and at all times. With staggered adoption and effects that grow or differ, units
    treated earlier serve as controls for those treated later, and the coefficient can have the wrong sign.

    **Use it** to reproduce published results, or with a single cohort and a constant effect; otherwise use
    `CallawaySantAnna` and show both.

    Standard errors are clustered by the panel's cluster (by unit if there is none), times G / (G - 1), with a t
    reference on clusters minus one degrees of freedom. The regression itself is linearmodels' `PanelOLS`.

    References
    ----------
    Goodman-Bacon (2021), Journal of Econometrics 225(2), 254-277. de Chaisemartin and D'Haultfoeuille (2020), American
    Economic Review 110(9).

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotRollout
    >>> panel = PilotRollout().draw(np.random.default_rng(2))
    >>> len(TwoWayFixedEffects().estimate(panel))
    1
    """

    name: ClassVar[str] = "two_way_fixed_effects"

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the coefficient of being treated.

        Parameters
        ----------
        data : Panel
            A panel of units; rows without an outcome are left out and counted.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            For repeated cross-sections, or weights.
        IdentificationError
            If treatment does not vary within units and periods, or there are too few clusters.
        """
        if data.unit is None:
            raise DesignError("Unit effects need units followed over time; this panel is repeated cross-sections.")
        if data.weight is not None:
            raise DesignError("TwoWayFixedEffects does not take weights; docs/roadmap.md says what is planned.")
        seen = ~np.isnan(data.outcome)
        treated = (data.periods[data.time] >= data.cohort).astype(float)[seen]
        cluster = data.unit.codes[seen] if data.cluster is None else data.cluster.codes[seen]
        n_clusters = int(np.unique(cluster).size)
        _check(treated, n_clusters)
        value, error = _fit(data, seen, treated, cluster)
        factor = n_clusters / (n_clusters - 1.0)
        std_error = error * np.sqrt(factor)
        # Rounding leaves about 1e-16 of the outcome's size where nothing varies.
        flat = not std_error > 1e-13 * float(np.sqrt(np.mean(data.outcome[seen] ** 2)))
        row = Term(
            term="treated vs untreated",
            estimand=Estimand("ATT", "mean_difference", "treated"),
            outcome=data.outcome_name,
            value=value,
            std_error=None if flat else float(std_error),
            df=n_clusters - 1.0,
            n_units=int(np.unique(data.unit.codes[seen]).size),
            n_clusters=n_clusters,
            support=_support(data, seen),
            reason="the outcome does not vary, so there is no standard error" if flat else "",
        )
        return Estimates(
            estimator=self.name,
            terms=(row,),
            covariance=np.array([[np.nan if flat else std_error**2]]),
            method=_method(data, seen),
            checks=_checks(data, seen),
            provenance=Provenance(data.digest, tuple(options_of(self).items()), None, versions()),
            flow=data.flow(),
        )


def _support(data: Panel, seen: NDArray[np.bool_]) -> tuple[Cell, ...]:
    """Return the cohorts, those never treated among them."""
    assert data.unit is not None
    present = np.zeros(data.n_units, dtype=bool)
    present[data.unit.codes[seen]] = True
    cohort = data.cohort_of_unit()[present]
    values, counts = np.unique(cohort, return_counts=True)
    return tuple(
        Cell("never treated" if np.isinf(g) else f"cohort {g:g}", int(n), None, "cohorts of the regression")
        for g, n in zip(values, counts, strict=True)
    )


def _check(treated: FloatArray, n_clusters: int) -> None:
    if treated.size == 0 or treated.min() == treated.max():
        raise IdentificationError(
            "Treatment does not vary over the rows with an outcome; treated and untreated ones are both needed."
        )
    if n_clusters < 3:
        raise IdentificationError(f"{n_clusters} clusters; at least three are needed for a clustered standard error.")


def _fit(data: Panel, seen: NDArray[np.bool_], treated: FloatArray, cluster: NDArray[np.intp]) -> tuple[float, float]:
    """Return coefficient and clustered standard error without a small-sample factor."""
    import pandas as pd
    from linearmodels.panel import PanelOLS
    from linearmodels.panel.utility import AbsorbingEffectError

    assert data.unit is not None
    index = pd.MultiIndex.from_arrays([data.unit.codes[seen], data.periods[data.time[seen]]], names=["unit", "time"])
    # Unit and period effects absorb any constant, and sums of numbers near zero keep more digits.
    y = pd.Series(data.outcome[seen] - data.outcome[seen].mean(), index=index, name="y")
    x = pd.DataFrame({"treated": treated}, index=index)
    groups = pd.DataFrame({"cluster": cluster}, index=index)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model: Any = PanelOLS(y, x, entity_effects=True, time_effects=True, singletons=True)
            # linearmodels would count the absorbed effects in a factor of its own; the one factor is said in `Method`.
            plain = {"debiased": False, "auto_df": False, "count_effects": False, "group_debias": False}
            fitted = model.fit(cov_type="clustered", clusters=groups, **plain)
    except (AbsorbingEffectError, ValueError, ZeroDivisionError) as error:
        raise IdentificationError(
            "Unit and period effects explain treatment completely, so its coefficient is not identified. Check that "
            "units are observed before and after treatment began."
        ) from error
    return float(fitted.params["treated"]), float(fitted.std_errors["treated"])


def _method(data: Panel, seen: NDArray[np.bool_]) -> Method:
    missing = int((~seen).sum())
    sample = f"{int(seen.sum()):,} rows of {data.n_units:,} units in {data.periods.size} periods"
    return Method(
        sample=sample + (f"; {missing:,} rows without an outcome are left out" if missing else ""),
        std_error=f"clustered by {data.cluster_name}",
        small_sample="G / (G - 1)",
        reference="t with clusters minus one degrees of freedom",
        inference_for="a superpopulation of units",
        assumptions=(
            "untreated outcomes would have changed in parallel",
            "the effect is the same for all cohorts and at all times",
            "treatment does not act before it begins",
        ),
        source="PanelOLS of linearmodels; see Goodman-Bacon 2021 for what it averages",
    )


def _checks(data: Panel, seen: NDArray[np.bool_]) -> tuple[Check, ...]:
    cohorts = np.unique(data.cohort[np.isfinite(data.cohort)]).size
    found = []
    if cohorts > 1:
        text = (
            f"{cohorts} cohorts: units treated earlier serve as controls for later ones, which is wrong unless the "
            "effect is constant. Compare with CallawaySantAnna."
        )
        found.append(Check("staggered adoption", "warn", text))
    if not seen.all():
        found.append(Check("missing outcome", "warn", f"{int((~seen).sum()):,} rows have no outcome and are left out."))
    return tuple(found)
