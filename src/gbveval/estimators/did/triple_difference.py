"""`TripleDifference`: the change of those whom treatment can reach, less that of others there and elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.panel import Panel
from gbveval.estimators.did._cells import CellContext, cell_estimates
from gbveval.estimators.did._group_time_arrays import GroupTimeArrays, unit_paths, used_units
from gbveval.estimators.did._rollout import FLAT, NEGATIVE, refuse_cross_sections, refuse_switching
from gbveval.estimators.did._rollout_checks import two_way_checks
from gbveval.estimators.did.callaway_santanna import METHODS, WORDS
from gbveval.numerics.doubly_robust import adjusted_change
from gbveval.numerics.effect_cells import EffectCells
from gbveval.numerics.least_squares import make_basis
from gbveval.numerics.two_ways import clustered

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class _Cells:
    """Triple differences by cohort and period.

    Attributes
    ----------
    cells : EffectCells
    sizes : dict of float to int
        Eligible units of each cohort.
    smallest : int
        Units of the smallest group that is compared with.
    reasons : tuple of str
        Why effects are undefined.
    repaired : bool
        Whether negative variances were set to zero.
    """

    cells: EffectCells
    sizes: dict[float, int]
    smallest: int
    reasons: tuple[str, ...]
    repaired: bool


@dataclass(frozen=True, eq=False, slots=True)
class _Units:
    """Units as the comparison takes them: paths, first treated period, eligibility, covariates, weights."""

    paths: FloatArray
    cohort: FloatArray
    eligible: BoolArray
    x: FloatArray
    weight: FloatArray


@register("triple_difference")
@dataclass(frozen=True, slots=True)
class TripleDifference:
    """Effects on eligible units of treated places, with two groups that treatment cannot have reached.

    Parameters
    ----------
    method : str
        How covariates are adjusted for: "dr", "dr_improved", "ipw" or "reg", as in `CallawaySantAnna`.
    unbalanced : str
        What to do with units without an outcome in every period: "error", or "drop", which counts them.

    Notes
    -----
    The panel declares `eligible`: who can be reached where treatment is given (girls where a programme for girls is
    given, say). For cohort g and period t the effect is, with d(a, b) the change of a since the last period before
    treatment less that of b, adjusted for covariates to those of the eligible in g,

        d(eligible in g, not eligible in g) + d(eligible in g, eligible never treated)
            - d(eligible in g, not eligible never treated).

    **Identifies** the average effect on the eligible of each treated cohort, if the *gap* between eligible and not
    would have moved in parallel in treated and never treated places (given the covariates), nothing was anticipated,
    and the not eligible in treated places were not affected. That is weaker than parallel trends of either comparison
    alone.

    With covariates this is not the difference of two differences in differences: each part is brought to the covariates
    of the eligible in g, which pooled or subtracted two-way comparisons do not do (Ortiz-Villavicencio and Sant'Anna).

    **Variance** from influence functions of the three parts together, clustered; no small-sample factor.

    **Do not use when** the not eligible may be affected (spillover: the sign of the bias is that of the spillover), or
    few units of any of the four groups exist.

    References
    ----------
    Ortiz-Villavicencio and Sant'Anna (2025), Better understanding triple differences estimators. Olden and Moen (2022),
    Econometrics Journal 25. Gruber (1994), American Economic Review 84.

    Examples
    --------
    >>> frame = {
    ...     "y": [0.0, 3.0, 0.0, 2.5, 0.0, 1.0, 0.0, 1.5, 1.0, 2.0, 1.0, 2.5, 1.0, 1.5, 1.0, 2.0],
    ...     "person": [p for p in range(8) for _ in range(2)],
    ...     "year": [1, 2] * 8,
    ...     "since": [2.0] * 8 + [None] * 8,
    ...     "girl": [1] * 4 + [0] * 4 + [1] * 4 + [0] * 4,
    ... }
    >>> panel = Panel(frame, outcome="y", unit="person", time="year", cohort="since", eligible="girl")
    >>> round(TripleDifference().estimate(panel)[0].value, 6)
    1.0
    """

    method: str = "dr"
    unbalanced: str = "error"
    name: ClassVar[str] = "triple_difference"

    def __post_init__(self) -> None:
        for option, known in (("method", METHODS), ("unbalanced", ("error", "drop"))):
            if getattr(self, option) not in known:
                raise DesignError(f"{option} must be one of {', '.join(known)}, not {getattr(self, option)!r}.")

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return one row a cohort and period, those before treatment among them.

        Parameters
        ----------
        data : Panel
            A panel of units with `eligible`.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the panel declares no `eligible`, is repeated cross-sections, or treatment ends.
        IdentificationError
            If one of the groups compared is empty, or one eligible unit (cluster) is treated.
        """
        if data.eligible is None:
            raise DesignError(
                "TripleDifference compares with people whom treatment cannot reach: declare eligible (0 or 1) in the "
                "Panel. Without such a group use CallawaySantAnna."
            )
        refuse_cross_sections("TripleDifference", data)
        refuse_switching("TripleDifference", data)
        used = unit_paths("TripleDifference", data, self.unbalanced)
        units = _units(data, used)
        used.refuse_few_treated(used.ever_treated & units.eligible)
        found = self._cells(used, units)
        if not np.isfinite(found.cells.value).any():
            raise IdentificationError(f"No effect is defined: {', '.join(found.reasons)}.")
        context = CellContext(
            data=data,
            sizes=found.sizes,
            comparison=found.smallest,
            df=np.inf,
            n_units=int(units.cohort.size),
            n_clusters=used.n_clusters,
            least=1e-13 * float(np.sqrt(np.mean(units.paths**2))),
            why="; ".join(found.reasons),
            flat=NEGATIVE if found.repaired else FLAT,
        )
        checks = (*_checks(used, found), *two_way_checks(found.repaired))
        return cell_estimates(self, found.cells, context, method=_method(self, data, used), checks=checks)

    def _cells(self, used: GroupTimeArrays, units: _Units) -> _Cells:
        periods = used.periods
        never = np.isinf(units.cohort)
        cohorts = [
            float(g) for g in np.unique(units.cohort[np.isfinite(units.cohort)]) if periods[0] < g <= periods[-1]
        ]
        values, influences, keys, reasons = [], [], [], []
        smallest = units.cohort.size
        for g in cohorts:
            base = int(np.flatnonzero(periods < g)[-1])
            later = np.array([t for t in range(periods.size) if t != base])
            change = units.paths[:, later] - units.paths[:, [base]]
            member = units.cohort == g
            target = member & units.eligible
            others = (member & ~units.eligible, never & units.eligible, never & ~units.eligible)
            counts = [int(group.sum()) for group in (target, *others)]
            if min(counts) == 0:
                raise IdentificationError(
                    "Eligible and not eligible units are needed both in every treated cohort and among those never "
                    f"treated; a group has none (sizes {', '.join(map(str, counts))})."
                )
            smallest = min(smallest, *counts[1:])
            value, influence = np.zeros(later.size), np.zeros((units.cohort.size, later.size))
            for sign, group in zip((1.0, 1.0, -1.0), others, strict=True):
                both = target | group
                basis = make_basis(units.x[both], weights=units.weight[both])
                found = adjusted_change(
                    change[both],
                    target[both],
                    basis.rows(units.x[both], slice(None)),
                    units.weight[both],
                    method=self.method,
                )
                reasons += [found.reason] if found.reason else []
                value = value + sign * found.att
                influence[both] += sign * found.influence
            values.append(value)
            influences.append(influence)
            keys += [(g, float(periods[t])) for t in later]
        influence = np.concatenate(influences, axis=1) if influences else np.zeros((units.cohort.size, 0))
        sizes = {g: int(((units.cohort == g) & units.eligible).sum()) for g in cohorts}
        cells, repaired = _effect_cells(keys, values, influence, units, used.ways)
        return _Cells(cells, sizes, smallest, tuple(dict.fromkeys(reasons)), repaired)


def _effect_cells(
    keys: list[tuple[float, float]],
    values: list[FloatArray],
    influence: FloatArray,
    units: _Units,
    ways: tuple[NDArray[np.intp], ...],
) -> tuple[EffectCells, bool]:
    if not keys:
        raise IdentificationError("No cohort is observed before and after its treatment began.")
    cohort, time = (np.array(part) for part in zip(*keys, strict=True))
    weight = np.array([units.weight[(units.cohort == g) & units.eligible].sum() for g in cohort])
    undefined = np.isnan(influence).any(axis=0)
    joint = clustered(np.where(undefined, 0.0, influence), ways)
    value = np.where(undefined, np.nan, np.concatenate(values))
    return EffectCells(cohort, time, value, weight, joint.covariance, joint.influence), joint.repaired


def _units(data: Panel, used: GroupTimeArrays) -> _Units:
    assert data.unit is not None
    assert data.eligible is not None
    assert used.paths is not None
    eligible = np.asarray(data.of_unit(data.eligible), dtype=bool)
    eligible = eligible[used_units(data)]
    size = used.cohort.size
    x = np.zeros((size, 0)) if used.covariates is None else used.covariates
    # Covariates that change over time enter with their value in the first period, before any treatment.
    x = x[:, 0] if x.ndim == 3 else x
    weight = np.ones(size) if used.weight is None else used.weight
    return _Units(used.paths, used.cohort, eligible, x, weight)


def _method(estimator: TripleDifference, data: Panel, used: GroupTimeArrays) -> Method:
    given = f" among those alike in {', '.join(data.covariate_names)}" if data.covariate_names else ""
    sample = f"{used.cohort.size:,} units in {used.periods.size} periods"
    if used.n_left_out:
        sample += f"; {used.n_left_out:,} with an outcome missing in some period are left out"
    if data.covariate_names:
        sample += f"; covariates (of the first period) by {WORDS[estimator.method]}"
    return Method(
        sample=sample,
        std_error=f"influence functions, clustered by {data.cluster_name}",
        small_sample="none",
        reference="normal",
        inference_for="a superpopulation of units",
        assumptions=(
            f"the gap between eligible and not eligible would have moved in parallel{given}",
            "those not eligible are not affected by treatment of others",
            "treatment does not act before it begins",
        ),
        source="Ortiz-Villavicencio and Sant'Anna 2025",
        comparison="the not eligible of the cohort, and both groups of those never treated, last period before",
    )


def _checks(used: GroupTimeArrays, found: _Cells) -> tuple[Check, ...]:
    checks = []
    if used.n_left_out:
        checks.append(Check("balance", "warn", f"{used.n_left_out:,} units were left out for missing outcomes."))
    if found.smallest < 10:
        text = f"the smallest group compared with has {found.smallest} units; its errors are not to be relied on."
        public = "a group compared with has few units; its errors are not to be relied on."
        checks.append(Check("few in a group", "warn", text, public))
    if found.reasons:
        checks.append(Check("covariates", "warn", f"some effects are undefined: {'; '.join(found.reasons)}."))
    return tuple(checks)
