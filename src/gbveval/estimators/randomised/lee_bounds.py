"""`LeeBounds`: what attrition can have done to an effect, if it goes one way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators.randomised._bounds import bounds_method, estimate_bounds
from gbveval.numerics.attrition_bounds import (
    TRIMMING,
    Bounds,
    NothingLeftError,
    tightened_bounds,
    trimming_bounds,
)

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
MONOTONICITY = ("auto", "treated_observed_more", "control_observed_more")
MAXIMUM_CELLS = 30


@register("lee_bounds")
@dataclass(frozen=True, slots=True)
class LeeBounds:
    """Bounds for the effect on those whose outcome is observed whichever arm they are in.

    In the arm that is observed more, the surplus share is trimmed from below and from above.

    Parameters
    ----------
    trimming : str
        "fractional": exactly the surplus share, a value at the cut in part; the only rule that gives the sharp bounds
        when outcomes are tied, and binary ones always are. "empirical_cdf" keeps values whose cumulated share exceeds
        the surplus, "quantile" those not below the interpolated quantile: what other packages do. With distinct values
        the three differ by at most one value.
    monotonicity : str
        "auto": the arm that is observed more is trimmed. The others say beforehand which one it is, and refuse data
        that contradict it.
    tighten : bool
        Whether to bound within the cells of the covariates (all must be discrete) and average: never wider.

    Notes
    -----
    **Identifies** bounds for the effect of being assigned on the always-observed. They are sharp without covariates.

    **Valid when** assignment was random and attrition goes one way: nobody is lost in one arm who would have been seen
    in the other and also the reverse (monotonicity). It cannot be checked; harassment trials in which some survivors
    leave because of the intervention and others stay because of it violate it.

    **Interval.** For the effect between the bounds, not for the bounds (Imbens and Manski 2004). The standard errors
    are Lee's, from influence functions, summed by cluster. Strata are not used; the errors are then conservative.

    **Do not use when** attrition may go both ways (`ManskiBounds` assumes nothing) or accounts were suspended because
    of treatment: suspension is then an outcome.

    Where packages differ: trimming of ties (above), and direction. The cut itself is one respondent's outcome and is
    never shown.

    References
    ----------
    Lee (2009), Review of Economic Studies 76. Imbens and Manski (2004), Econometrica 72.

    Examples
    --------
    >>> frame = {
    ...     "y": [1.0, 2.0, 3.0, None, 1.0, 2.0, 3.0, 4.0],
    ...     "arm": ["usual"] * 4 + ["new"] * 4,
    ... }
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual")
    >>> [round(row.value, 4) for row in LeeBounds().estimate(trial).terms]
    [0.0, 1.0]
    """

    trimming: str = "fractional"
    monotonicity: str = "auto"
    tighten: bool = False
    name: ClassVar[str] = "lee_bounds"

    def __post_init__(self) -> None:
        for option, value, known in (
            ("trimming", self.trimming, TRIMMING),
            ("monotonicity", self.monotonicity, MONOTONICITY),
        ):
            if value not in known:
                raise DesignError(f"{option} must be one of {', '.join(known)}, not {value!r}.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return a lower and an upper bound for each arm and outcome.

        Parameters
        ----------
        data : Trial
            The checked trial; missing outcomes are those not observed.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If `tighten` is asked for without discrete covariates.
        IdentificationError
            If an arm has fewer than two observed units, or the observed shares contradict `monotonicity`.
        """
        method = bounds_method(
            data,
            std_error="Lee's, from influence functions of trimmed means and observed shares",
            whom="participants observed whichever arm they are in, or a superpopulation of them",
            assumptions=(
                "arms were assigned at random as declared, with one probability",
                "attrition goes one way: one arm loses everybody whom the other would lose",
                "one unit's assignment does not change another's outcome",
            ),
            source="Lee 2009",
        )
        return estimate_bounds(self, data, self._bound, population="always_observed", method=method)

    def _bound(self, data: Trial, outcome: int, rows: BoolArray, arm: int) -> tuple[Bounds, list[Check]]:
        treated = data.arm[rows] == arm
        observed = data.observed(outcome)[rows]
        y = data.outcomes[rows, outcome]
        weights = None if data.weight is None else data.weight[rows]
        notes = self._direction(data, arm, treated, observed, weights)
        try:
            if not self.tighten:
                return trimming_bounds(y, treated, observed, weights=weights, trimming=self.trimming), notes
            cell = _cells(data, rows, treated & observed, ~treated & observed)
            found, turned = tightened_bounds(y, treated, observed, cell, weights=weights, trimming=self.trimming)
        except NothingLeftError as error:
            raise IdentificationError(
                f"Outcomes of {data.outcome_names[outcome]} are tied, and trimming='empirical_cdf', which keeps or "
                "drops ties together, drops them all. Use trimming='fractional'."
            ) from error
        if turned:
            text = (
                f"in {turned} of {int(cell.max()) + 1} cells the other arm is observed more; they are not trimmed. By "
                "chance that happens; if not by chance, monotonicity fails."
            )
            notes.append(Check("monotonicity", "warn", text))
        return found, notes

    def _direction(
        self, data: Trial, arm: int, treated: BoolArray, observed: BoolArray, weights: FloatArray | None
    ) -> list[Check]:
        shares = [
            float(np.average(observed[member], weights=None if weights is None else weights[member]))
            for member in (treated, ~treated)
        ]
        more = "treated_observed_more" if shares[0] >= shares[1] else "control_observed_more"
        if self.monotonicity not in ("auto", more) and shares[0] != shares[1]:
            raise IdentificationError(
                f"{self.monotonicity} was declared, and {data.arms[arm]!r} is observed for {shares[0]:.1%}, control "
                f"for {shares[1]:.1%}. Declare the other direction before looking at outcomes, or use ManskiBounds."
            )
        trimmed = data.arms[arm] if more == "treated_observed_more" else data.arms[0]
        text = f"the arm {trimmed!r} is trimmed: it is observed for {max(shares):.1%}, the other for {min(shares):.1%}."
        return [Check("trimmed arm", "info", text, f"the arm {trimmed!r} is trimmed, being observed more.")]


def _cells(data: Trial, rows: BoolArray, seen_treated: BoolArray, seen_control: BoolArray) -> NDArray[np.intp]:
    """Return the cell of each row: its combination of covariate values."""
    if not data.covariate_names:
        raise DesignError("tighten=True needs covariates; the trial declares none.")
    _, cell = np.unique(data.covariates[rows], axis=0, return_inverse=True)
    cell = np.asarray(cell, dtype=np.intp).ravel()
    count = int(cell.max()) + 1
    if count > MAXIMUM_CELLS:
        raise DesignError(
            f"The covariates form {count:,} cells; at most {MAXIMUM_CELLS} are bounded one by one. Give discrete "
            "covariates, or group them (terciles of a score, for instance)."
        )
    thin = sum(int((np.bincount(cell[seen], minlength=count) < 2).sum()) for seen in (seen_treated, seen_control))
    if thin:
        raise IdentificationError(
            f"{thin} times a cell of covariates has fewer than two observed units in an arm. Merge cells."
        )
    return cell
