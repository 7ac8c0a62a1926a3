"""Hides what the tests of two arms are told: outcome, true effect, null, sizes, planned analysis, covariates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gbveval.design.planned_test import PowerTest, zero_only


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison of a treated arm with control.

    Parameters
    ----------
    outcome : Continuous, Binary, Count or Ordinal
        What is measured.
    effect, null : float
        True effect and effect under the null hypothesis, treated minus control.
    n0, n1 : float
        Respondents in control and in the treated arm.
    analysis : str
        Name of the planned analysis.
    r_squared : float
        Share of the outcome's variance that covariates explain.
    n_covariates : int
        Covariates in the regression.
    """

    outcome: Any
    effect: float
    null: float
    n0: float
    n1: float
    analysis: str
    r_squared: float = 0.0
    n_covariates: int = 0

    def only_against_zero(self) -> None:
        """Refuse a margin where the analysis tests no difference only."""
        zero_only(f"The analysis {self.analysis!r}", self.null)


Planner = Callable[[Comparison], PowerTest]
