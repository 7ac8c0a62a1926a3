"""Turns size, alternative and target of a case about power into what gbveval is asked."""

from __future__ import annotations

from typing import Any

import gbveval as gbv

Case = dict[str, Any]
Plan = Any
# The usual minimum detectable effect adds central t quantiles of size and of power. With c the one and z the other, the
# noncentral t that gbveval solves differs to first order by (z c^2 - c - z^3 - z) / (4 df), at most 0.2 / df of their
# sum for sizes of 0.01 to 0.05 and powers of 0.8 to 0.95; terms in 1 / df^2 are allowed half as much again.
CENTRAL_QUANTILES = 0.3


def side(given: Case, effect: float) -> dict[str, Any]:
    """Return size and alternative as gbveval has them.

    Rejections counted in the tail of the effect alone are those of the one-sided test of half the size.
    """
    alpha = float(given["alpha"])
    towards = "greater" if effect > 0 else "less"
    alternative = given.get("alternative", "two.sided")
    if alternative == "two.sided" and given.get("tails_counted", "both") == "both":
        return {"alpha": alpha, "alternative": "two_sided"}
    if alternative == "two.sided":
        return {"alpha": alpha / 2.0, "alternative": towards}
    if alternative == "one.sided":
        return {"alpha": alpha, "alternative": towards}
    return {"alpha": alpha, "alternative": "greater" if alternative == "greater" else "less"}


def size(plan: Plan, effect: float, given: Case, power: float, **options: Any) -> Any:
    return gbv.required_size(plan, effect=effect, power=power, **{**side(given, effect), **options})
