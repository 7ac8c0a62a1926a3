"""Which events are seen: sensitivity and specificity by arm, known or with a prior."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.numerics.priors import Beta
from gbveval.numerics.table_likelihood import Reported

# Gauss nodes of a beta prior; one quantity and two.
NODES = {0: 1, 1: 12, 2: 7}


@dataclass(frozen=True, slots=True)
class Reporting:
    """What share of events is reported, and what share of the others is not.

    Under-reporting is the point in this field: an intervention that makes people speak raises sensitivity in its own
    arm and hides what it prevents.

    Parameters
    ----------
    sensitivity : float or Beta
        Share of those with the event who report it.
    specificity : float
        Share of those without who report none.
    sensitivity_intervention : float or Beta, optional
        In the intervention arm; by default the very same as in control, one unknown for both.
    specificity_intervention : float, optional
        In the intervention arm; by default the same.

    Examples
    --------
    >>> from gbveval.numerics.priors import Beta
    >>> Reporting(Beta(14, 7), sensitivity_intervention=Beta(16, 5)).describe()
    'sensitivity beta(14, 7) in control and beta(16, 5) in intervention; specificity 1'
    """

    sensitivity: Any = 1.0
    specificity: float = 1.0
    sensitivity_intervention: Any = None
    specificity_intervention: float | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None or (isinstance(value, Beta) and item.name.startswith("sensitivity")):
                continue
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0.0 < value <= 1.0:
                raise DesignError(f"{item.name} is a share above 0 and at most 1, or (sensitivity) a Beta prior.")
        least = min(_least(self.sensitivity), _least(self.sensitivity_intervention))
        worst = min(self.specificity, self.specificity_intervention or 1.0)
        if least + worst <= 1.0:
            raise DesignError(
                f"Sensitivity {least:g} and specificity {worst:g} add up to one or less: reports would say nothing of "
                "events, or the opposite."
            )

    def unknown(self) -> tuple[str, ...]:
        """Return the names of what has a prior."""
        if self.sensitivity_intervention is None:
            return ("sensitivity",) if isinstance(self.sensitivity, Beta) else ()
        pairs = (("in control", self.sensitivity), ("in intervention", self.sensitivity_intervention))
        return tuple(f"sensitivity {where}" for where, value in pairs if isinstance(value, Beta))

    def priors(self) -> tuple[Beta, ...]:
        """Return the priors of what is not known."""
        values = [self.sensitivity] + ([] if self.sensitivity_intervention is None else [self.sensitivity_intervention])
        return tuple(value for value in values if isinstance(value, Beta))

    def points(self) -> Reported:
        """Return the nodes over what is not known, with their weights."""
        count = NODES[len(self.priors())]
        first, first_weight = _nodes(self.sensitivity, count)
        if self.sensitivity_intervention is None:
            sensitivity, weight = np.stack([first, first], axis=1), first_weight
        else:
            second, second_weight = _nodes(self.sensitivity_intervention, count)
            sensitivity = np.array([(a, b) for a in first for b in second])
            weight = np.outer(first_weight, second_weight).ravel()
        f = self.specificity
        other = f if self.specificity_intervention is None else self.specificity_intervention
        return Reported(sensitivity, np.tile([float(f), float(other)], (len(weight), 1)), weight)

    def describe(self) -> str:
        """Return it in words."""
        parts = [_both("sensitivity", self.sensitivity, self.sensitivity_intervention)]
        parts.append(_both("specificity", self.specificity, self.specificity_intervention))
        return "; ".join(parts)


def _least(value: Any) -> float:
    if value is None or isinstance(value, Beta):
        # A prior may reach down to nothing; what has probability there is weighed, not refused.
        return 1.0 if value is None else value.a / (value.a + value.b)
    return float(value)


def _nodes(value: Any, count: int) -> tuple[Any, Any]:
    return value.nodes(count) if isinstance(value, Beta) else (np.array([float(value)]), np.ones(1))


def _both(name: str, control: Any, other: Any) -> str:
    words = [
        value.describe() if isinstance(value, Beta) else f"{value:g}" for value in (control, other) if value is not None
    ]
    return f"{name} {words[0]}" if len(words) == 1 else f"{name} {words[0]} in control and {words[1]} in intervention"
