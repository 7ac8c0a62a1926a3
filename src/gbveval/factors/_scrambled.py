"""The designs of randomised response, and what they make of a truthful answer."""

from __future__ import annotations

from gbveval.core.errors import DesignError


def truthful_share(name: str, value: float) -> float:
    """Return a probability of the design; DesignError when it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
        raise DesignError(f"{name} is a probability of the design, from 0 to 1.")
    return float(value)


def floor_and_span(truth_probability: float, forced_yes: float | None) -> tuple[float, float]:
    """Return the share of yes without the outcome, and by how much it rises with it.

    Parameters
    ----------
    truth_probability : float
        p: of the truthful question (forced design), or of "it happened" as the statement (mirrored design).
    forced_yes : float, optional
        Probability of a forced yes; absent, the design is mirrored.

    Raises
    ------
    DesignError
        If the answers of such a design say nothing.
    """
    p = truthful_share("truth_probability", truth_probability)
    if forced_yes is None:
        if p == 0.5:
            raise DesignError("With a truth_probability of one half mirrored answers say nothing about anybody.")
        return 1.0 - p, 2.0 * p - 1.0
    forced = truthful_share("forced_yes", forced_yes)
    if p == 0.0 or p + forced > 1.0 + 1e-12:
        raise DesignError(
            "truth_probability is above 0, and with forced_yes at most 1; the rest is the probability of a forced no."
        )
    return forced, p
