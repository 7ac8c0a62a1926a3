"""`ManskiBounds`: what attrition can have done to an effect, assuming nothing about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError, DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators.randomised._bounds import bounds_method, estimate_bounds
from gbveval.numerics.attrition_bounds import Bounds, extreme_bounds

BoolArray = NDArray[np.bool_]


@register("manski_bounds")
@dataclass(frozen=True, slots=True)
class ManskiBounds:
    """Bounds for the effect of being assigned with every missing outcome at its least or largest possible value.

    Parameters
    ----------
    minimum, maximum : float
        Least and largest possible outcome: 0 and 1 for yes or no. A property of the scale, not of the data.

    Notes
    -----
    **Identifies** bounds for the intention-to-treat effect over all participants, with assignment at random and nothing
    else. Their width is (maximum - minimum) times the sum of the shares missing in the two arms, so they say little
    where much is missing; that is what the data say.

    **Interval.** For the effect between the bounds, not for the bounds (Imbens and Manski 2004). Strata are not used;
    the errors are then conservative.

    **Do not use when** the scale has no natural end (counts of posts): a made-up maximum decides the answer.

    References
    ----------
    Manski (1990), American Economic Review 80. Horowitz and Manski (2000), Journal of the American Statistical
    Association 95. Imbens and Manski (2004), Econometrica 72.

    Examples
    --------
    >>> frame = {"y": [0, 1, 1, None, 1, 1, 1, 0], "arm": ["usual"] * 4 + ["new"] * 4}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual")
    >>> [row.value for row in ManskiBounds().estimate(trial).terms]
    [0.0, 0.25]
    """

    minimum: float = 0.0
    maximum: float = 1.0
    name: ClassVar[str] = "manski_bounds"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.minimum) and np.isfinite(self.maximum) and self.minimum < self.maximum):
            raise DesignError("minimum and maximum must be finite, the first below the second.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return a lower and an upper bound for each arm and outcome.

        Parameters
        ----------
        data : Trial
            The checked trial; missing outcomes take the extreme values.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If outcomes lie outside the limits.
        IdentificationError
            If an arm has fewer than two observed units.
        """
        for outcome, name in enumerate(data.outcome_names):
            y = data.outcomes[data.observed(outcome), outcome]
            outside = int(((y < self.minimum) | (y > self.maximum)).sum())
            if outside:
                raise DataError(
                    f"Column {name!r} (outcome) lies outside {self.minimum:g} to {self.maximum:g} in {outside} rows; "
                    "give the least and largest possible outcome as minimum and maximum."
                )
        method = bounds_method(
            data,
            std_error="from influence functions of the means with extreme values filled in",
            whom="the participants of the trial, or a superpopulation",
            assumptions=(
                "arms were assigned at random as declared, with one probability",
                f"outcomes lie between {self.minimum:g} and {self.maximum:g}",
                "one unit's assignment does not change another's outcome",
            ),
            source="Manski 1990; Horowitz and Manski 2000",
        )
        return estimate_bounds(self, data, self._bound, population="participant_average", method=method)

    def _bound(self, data: Trial, outcome: int, rows: BoolArray, arm: int) -> tuple[Bounds, list[Check]]:
        weights = None if data.weight is None else data.weight[rows]
        limits = (self.minimum, self.maximum)
        treated = data.arm[rows] == arm
        observed = data.observed(outcome)[rows]
        return extreme_bounds(data.outcomes[rows, outcome], treated, observed, limits, weights=weights), []
