"""Hides the arithmetic of a plan whose outcome is the time to an event: what counts are the events."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from gbveval.design._require import asked_size, real, whole
from gbveval.design.planned_test import Nearness, OneSize, PlannedTest, zero_only

NEAR = Nearness(0.02, "40 events or more among twice as many people in equal arms")


@dataclass(frozen=True, slots=True)
class LogHazardRatio:
    """What a log-rank test looks for: any real number."""

    def largest_effect(self, direction: str) -> float:
        """Return the size that effects in a direction stay below."""
        return math.inf


@dataclass(frozen=True, slots=True)
class EventsDesign(OneSize):
    """Two arms compared by the log-rank test of the time to an event, such as the next attack or leaving a platform.

    Parameters
    ----------
    n_events : int
        Events in both arms together, not respondents.
    treated_share : float
        Share of the respondents who are treated.

    Raises
    ------
    DesignError
        If something is impossible.

    Notes
    -----
    An effect is the log of the hazard ratio, treated over control. How many respondents it takes to see so many events
    depends on how often these happen and how long one looks. Not for events that people have several times.

    References
    ----------
    Schoenfeld (1981), Biometrika 68.

    Examples
    --------
    >>> import math
    >>> round(EventsDesign(n_events=247).planned_test(math.log(0.7)).power(0.025, "less"), 4)
    0.8003
    """

    n_events: int
    treated_share: float = 0.5
    _size: ClassVar[tuple[str, int]] = ("n_events", 2)

    def __post_init__(self) -> None:
        whole("n_events", self.n_events, least=2)
        real("treated_share", self.treated_share, low=0.0, high=1.0)

    @property
    def outcome(self) -> LogHazardRatio:
        """What is looked for."""
        return LogHazardRatio()

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0) -> PlannedTest:
        """Return the planned log-rank test of a log hazard ratio."""
        events = asked_size(size, self.least_sizes, self.n_events)
        zero_only("A log-rank test", null)
        share = float(self.treated_share)
        return PlannedTest(
            effect=real("An effect (the log hazard ratio)", effect, low=-math.inf, high=math.inf),
            std_error=1.0 / math.sqrt(share * (1.0 - share) * events),
            df=math.inf,
            formula="log hazard ratio times sqrt(p (1 - p) events), against the normal distribution",
            source="Schoenfeld (1981), Biometrika 68",
            assumptions=("the ratio of the hazards is the same all the time", "people leave for unrelated reasons"),
            near=NEAR if share == 0.5 else None,
        )
