"""`CorrectedEffect`: what a programme did to the outcome, where it also changes who tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError, DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, all_samples, arm_support, assemble, require_parallel
from gbveval.factors.rogan_gladen import ByGroup, RoganGladen
from gbveval.numerics.misclassification import CorrectedShare, Rate, corrected_share

FloatArray = NDArray[np.float64]


@register("corrected_effect")
@dataclass(frozen=True, slots=True)
class CorrectedEffect:
    """Difference and ratio of risks between arms, corrected for answers that are wrong at rates that differ by arm.

    Parameters
    ----------
    sensitivity, specificity : float, Validation, or mapping of arm to one of them
        Share of those with the outcome who report it, and of those without who report none. A programme that makes
        people speak raises the first in its own arm.

    Notes
    -----
    **Estimates** the effect of being assigned on the outcome itself: each arm's reported risk is corrected by the arm's
    own rates (Rogan and Gladen), and then compared with control's.

    **Uncertainty**: between units, or clusters, of each arm (Neyman), and of validation samples by the delta method; a
    validation that arms share counts once. Degrees of freedom are Satterthwaite's over the arms.

    **A corrected risk outside 0 to 1** is shown as it is in `risk` and `risk_control`, with a check; there is no ratio
    of risks of zero or less.

    **Extra columns**: risk and risk_control (corrected), reported_difference.

    **Do not use when** the rates were measured before the programme, or in one arm only: it is their difference that
    decides, and a rate taken for both arms assumes it away. Or with strata, pairs or weights, which are refused.

    References
    ----------
    Rogan and Gladen (1978), American Journal of Epidemiology 107.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"told": [1, 0, 0, 0, 1, 1, 0, 0], "arm": ["usual"] * 4 + ["new"] * 4}
    >>> trial = gbv.Trial(frame, outcome="told", arm="arm", control="usual")
    >>> row = CorrectedEffect({"usual": 0.5, "new": 1.0}).estimate(trial)[0]
    >>> row.value, dict(row.extra)["reported_difference"]
    (0.0, 0.25)
    """

    name: ClassVar[str] = "corrected_effect"

    sensitivity: ByGroup
    specificity: ByGroup = 1.0

    def __post_init__(self) -> None:
        by_arm = any(isinstance(getattr(self, name), (Mapping, tuple)) for name in ("sensitivity", "specificity"))
        # The rates are those of groups, checked in one place.
        rates = RoganGladen(self.sensitivity, self.specificity, by="arm" if by_arm else None)
        object.__setattr__(self, "sensitivity", rates.sensitivity)
        object.__setattr__(self, "specificity", rates.specificity)

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return for each outcome and arm the difference from control, then the ratio.

        Parameters
        ----------
        data : Trial
            With outcomes of 0 and 1.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If an outcome is not 0 or 1, or an arm has no rate.
        DesignError
            If the trial declares strata, pairs or weights.
        IdentificationError
            If an arm has fewer than two units, or clusters.
        """
        require_parallel("CorrectedEffect", data)
        given = [role for role in ("stratum", "pair", "weight") if getattr(data, role) is not None]
        if given:
            raise DesignError(
                f"CorrectedEffect does not take {' and '.join(given)}. Declare the arms alone, with clusters if they "
                "were assigned, and say that the standard error leaves the strata or pairs out (it is conservative)."
            )
        rows: list[Row] = []
        slopes: list[FloatArray] = []
        checks: list[Check] = []
        rates = [self._rates(data, arm) for arm in range(len(data.arms))]
        keys = sorted({key for pair in rates for key, _ in pair})
        for outcome in range(len(data.outcome_names)):
            arms = [_Arm.of(data, outcome, arm, rates[arm], keys) for arm in range(len(data.arms))]
            checks += (*_outside(data.outcome_names[outcome], arms), *_at_ends(data.outcome_names[outcome], arms))
            for arm in range(1, len(arms)):
                for ratio in (False, True):
                    row, slope = _compared(data, outcome, arm, arms, ratio=ratio)
                    rows.append(row)
                    slopes.append(slope)
        variances = np.array([next(rate.variance for pair in rates for k, rate in pair if k == key) for key in keys])
        joint = np.column_stack([row.influence for row in rows if row.influence is not None])
        moved = np.vstack(slopes)
        covariance = joint.T @ joint + (moved * variances) @ moved.T
        if np.any(variances > 0.0):
            # Units of the trial do not hold the variance of the validations.
            rows = [replace(row, influence=None) for row in rows]
        return assemble(self, data, rows, method=self._method(data), checks=checks, covariance=covariance)

    def _rates(self, data: Trial, arm: int) -> tuple[tuple[str, Rate], tuple[str, Rate]]:
        """Return the two rates of an arm, each with its name: arms that share a rate share its name."""
        given = self.sensitivity if isinstance(self.sensitivity, tuple) else self.specificity
        label = data.arms[arm]
        by_arm = isinstance(given, tuple)
        if by_arm and label not in dict(given):  # type: ignore[arg-type]
            raise DataError(
                f"An arm of the trial has no sensitivity or specificity ({len(data.arms)} arms). Give one for each, "
                "as it is written in the data."
            )
        found = RoganGladen(self.sensitivity, self.specificity, by="arm" if by_arm else None).rates(
            label if by_arm else None
        )
        return (found.keys[0], found.sensitivity), (found.keys[1], found.specificity)

    def _method(self, data: Trial) -> Method:
        units = "clusters" if data.cluster is not None else "units"
        return Method(
            sample=all_samples(data),
            std_error=f"Neyman between {units} of each arm, over the slope of the correction, and the binomial "
            "variance of validation samples",
            small_sample="m / (m - 1) within each arm",
            reference="t with Satterthwaite's degrees of freedom over the arms",
            inference_for=f"a superpopulation of {units}",
            assumptions=(
                "arms were assigned at random as declared",
                "sensitivity and specificity hold for the people of their arm, at the time of the outcome",
                "validation samples are independent of the trial and of each other",
                "one unit's assignment does not change another's outcome",
                "outcomes are missing for reasons unrelated to the outcome",
            ),
            source="Rogan and Gladen 1978; Neyman 1923",
        )


@dataclass(frozen=True, eq=False, slots=True)
class _Arm:
    """An arm's reported and corrected risk, influence by independent unit, and slopes in the estimated rates."""

    reported: float
    corrected: CorrectedShare
    influence: FloatArray
    slopes: FloatArray
    df: float

    @staticmethod
    def of(
        data: Trial, outcome: int, arm: int, rates: tuple[tuple[str, Rate], tuple[str, Rate]], keys: list[str]
    ) -> _Arm:
        """Return one arm's."""
        name, y = data.outcome_names[outcome], data.outcomes[:, outcome]
        used = data.observed(outcome) & (data.arm == arm)
        wrong = int((data.observed(outcome) & (y != 0.0) & (y != 1.0)).sum())
        if wrong:
            raise DataError(f"Column {name!r} (outcome) is neither 0 nor 1 in {wrong:,} rows. Code it as 0 and 1.")
        unit = np.arange(data.n) if data.cluster is None else data.cluster.codes
        count = np.unique(unit[used]).size
        if count < 2:
            what = "units" if data.cluster is None else "clusters"
            raise IdentificationError(f"An arm has fewer than two {what} with {name!r}; two are needed for a variance.")
        share = float(y[used].mean())
        total = np.bincount(unit[used], weights=y[used] - share, minlength=int(unit.max()) + 1) / used.sum()
        answer = corrected_share(share, rates[0][1].value, rates[1][1].value)
        influence = total * np.sqrt(count / (count - 1.0)) * answer.by_reported
        slopes = np.zeros(len(keys))
        slopes[keys.index(rates[0][0])] = answer.by_sensitivity
        slopes[keys.index(rates[1][0])] = answer.by_specificity
        return _Arm(share, answer, influence, slopes, count - 1.0)


def _compared(data: Trial, outcome: int, arm: int, arms: list[_Arm], *, ratio: bool) -> tuple[Row, FloatArray]:
    """Return one row and its slopes in the estimated rates."""
    one, base = arms[arm], arms[0]
    risks = (one.corrected.value, base.corrected.value)
    positive = min(risks) > 0.0
    scale = [1.0 / risk if ratio and positive else 1.0 for risk in risks]
    value = risks[0] - risks[1]
    if ratio:
        value = float(np.log(risks[0] / risks[1])) if positive else float("nan")
    parts = [float(s * item.influence @ (s * item.influence)) for s, item in zip(scale, (one, base), strict=True)]
    spread = sum(part**2 / item.df for part, item in zip(parts, (one, base), strict=True))
    used = data.observed(outcome) & np.isin(data.arm, (0, arm))
    row = Row(
        term=f"{data.arms[arm]} vs {data.arms[0]} ({'ratio' if ratio else 'difference'})",
        outcome=data.outcome_names[outcome],
        value=value,
        influence=scale[0] * one.influence - scale[1] * base.influence,
        df=sum(parts) ** 2 / spread if spread > 0 else one.df + base.df,
        estimand=Estimand("ITT", "risk_ratio" if ratio else "risk_difference", "participant_average"),
        n_units=int(used.sum()),
        n_clusters=None if data.cluster is None else int(np.unique(data.cluster.codes[used]).size),
        support=arm_support(data, outcome, used, (0, arm)),
        extra=(
            ("risk", risks[0]),
            ("risk_control", risks[1]),
            ("reported_difference", one.reported - base.reported),
        ),
        reason="" if positive or not ratio else "a corrected risk is zero or less, so there is no ratio",
    )
    return row, scale[0] * one.slopes - scale[1] * base.slopes


def _at_ends(name: str, arms: list[_Arm]) -> tuple[Check, ...]:
    """Return a warning where nobody, or everybody, of an arm said yes: Neyman's variance of it is then zero."""
    still = sum(arm.reported in (0.0, 1.0) for arm in arms)
    if not still:
        return ()
    text = (
        f"{name}: in {still} of {len(arms)} arms nobody, or everybody, said yes. Such an arm adds nothing to the "
        "standard error though its risk is not known exactly: intervals are too short."
    )
    # That nobody in an arm said yes is for `release` to show or hide.
    return (Check("arms that do not vary", "warn", text, f"{name}: whether answers vary in every arm was looked at."),)


def _outside(name: str, arms: list[_Arm]) -> tuple[Check, ...]:
    """Return a warning where a corrected risk leaves 0 to 1."""
    wrong = sum(not 0.0 <= arm.corrected.value <= 1.0 for arm in arms)
    if not wrong:
        return ()
    text = (
        f"{name}: corrected risks outside 0 to 1 in {wrong} of {len(arms)} arms are shown as they are. The rates do "
        "not hold for these people, or chance is at work: doubt the rates."
    )
    return (Check("outside 0 to 1", "warn", text),)
