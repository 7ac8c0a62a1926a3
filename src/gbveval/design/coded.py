"""Hides what power is left of an effect on incidents when only a coding of them is analysed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.design._comparison import Comparison
from gbveval.design._diluted import DilutedTest, nearness
from gbveval.design._ordered import plan_ordered
from gbveval.design._rates import plan_rates
from gbveval.design._require import asked_size, one_of, whole
from gbveval.design._risks import plan_risks
from gbveval.design.counts import Count
from gbveval.design.incident_model import IncidentModel
from gbveval.design.outcomes import Binary
from gbveval.design.planned_test import PlainDesign, PowerTest

CODINGS = ("count", "any", "ordered", "prevention", "cessation", "reduction")
# Who is compared, and what is recorded of them; of transitions the share is that which has not changed for the better.
WORDS = {
    "count": ("everybody", "mean incidents"),
    "any": ("everybody", "share with any incident"),
    "ordered": ("everybody", "win probability: that of more incidents, by category, treated against control"),
    "prevention": ("those without incidents at baseline", "share with any incident"),
    "cessation": ("those with incidents at baseline", "share with any incident"),
    "reduction": ("those with incidents at baseline", "share with as many incidents as before, or more"),
}


@dataclass(frozen=True, slots=True)
class _FixedShares:
    """Shares of categories in both arms, as a model of incidents has them."""

    both: tuple[tuple[float, ...], tuple[float, ...]]

    def levels(self, effect: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the shares in control and treated."""
        return self.both


@dataclass(frozen=True, slots=True)
class CodedDesign(PlainDesign):
    """Two arms of single respondents whose incidents are analysed in one coding; effects are on the mean of incidents.

    Parameters
    ----------
    n_per_arm : int
        Respondents in each arm, at least 10.
    outcome : IncidentModel
        How incidents come about.
    coding : str
        What is analysed: "count" (log rate ratio of the counts), "any" (any incident against none), "ordered"
        (categories, by win probability), and among groups by baseline: "prevention" (any among those without),
        "cessation" (any among those with), "reduction" (no fewer than before, among those with).

    Raises
    ------
    DesignError
        If something is out of range.

    Notes
    -----
    All codings are of the same people and the same effect, so their powers can be set beside each other
    (`compare_codings`). The better coding for power need not be the question: stopping all violence and having less of
    it are different aims. Name one coding before the study; analysing several and reporting the best is a test of
    another size. Counts of the model are negative binomial; a few very large values make the log rate ratio worse than
    its formula.

    References
    ----------
    Boyer, Chatterji, Cooper and Heise (2022), arXiv 2204.12385.

    Examples
    --------
    >>> plan = CodedDesign(500, IncidentModel(rate=2.0, dispersion=2.5), coding="any")
    >>> round(plan.planned_test(-0.5).inner.effect, 3)
    -0.048
    """

    n_per_arm: int
    outcome: IncidentModel
    coding: str = "count"

    def __post_init__(self) -> None:
        whole("n_per_arm", self.n_per_arm, least=10)
        if not isinstance(self.outcome, IncidentModel):
            raise DesignError(f"outcome must be IncidentModel(...); it is {self.outcome!r}.")
        one_of("coding", self.coding, CODINGS)

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be."""
        return MappingProxyType({"n_per_arm": 10})

    def resized(self, name: str, value: int) -> CodedDesign:
        """Return the design with another number of respondents."""
        one_of("solve_for", name, tuple(self.least_sizes))
        return replace(self, n_per_arm=value)

    def recorded(self, effect: float) -> tuple[float, float, float]:
        """Return what the coding records in control and in the treated arm, and the share of people it is about."""
        control, treated = self.outcome.levels(effect)
        if self.coding == "count":
            return control, treated, 1.0
        if self.coding == "any":
            return self.outcome.risk(control), self.outcome.risk(treated), 1.0
        if self.coding == "ordered":
            shares = [np.asarray(self.outcome.shares(rate)) for rate in (control, treated)]
            more = float(shares[1] @ (np.cumsum(shares[0]) - shares[0] / 2.0))
            return 0.5, more, 1.0
        group, q = 0.0, []
        for rate in (control, treated):
            group, share = self._transition(rate)
            q.append(share)
        return q[0], q[1], group

    def _transition(self, rate: float) -> tuple[float, float]:
        """Return the share of people in the group by baseline, and the share of it that has not changed for the better.

        The group is the same in both arms: it is known before assignment.
        """
        both = self.outcome.joint(rate)
        without = 1.0 - self.outcome.risk(float(self.outcome.rate))
        if self.coding == "prevention":
            return without, 1.0 - float(both[0, 0]) / without
        if self.coding == "cessation":
            return 1.0 - without, 1.0 - float(both[1:, 0].sum()) / (1.0 - without)
        fewer = float(np.tril(both, -1).sum())
        return 1.0 - without, 1.0 - fewer / (1.0 - without)

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None) -> DilutedTest:
        """Return the planned test of the coding, where this is the effect on mean incidents (treated minus control).

        Parameters
        ----------
        effect : float
            Difference in mean incidents; the programme multiplies everybody's rate by (rate + effect) / rate.
        size : (str, float), optional
            ("n_per_arm", any real number) instead of the design's own.
        """
        n = asked_size(size, self.least_sizes, self.n_per_arm)
        control, treated, share = self.recorded(effect)
        inner = self._inner(effect, n * share)
        near = 1e-6 * float(self.outcome.rate)
        slope = (treated - control) / effect if effect else self._slope(near)
        who, what = WORDS[self.coding]
        assumptions = (
            "everybody's rate changes by the same ratio",
            "incidents are Poisson for a person, and people's rates are gamma distributed",
            *(("groups by baseline have their expected size; power comes out up to 0.01 off",) if share < 1.0 else ()),
        )
        return DilutedTest(
            inner=inner,
            effect=float(effect),
            null=0.0,
            slope=slope,
            rows=(
                ("what is recorded", what),
                ("recorded in control and treated", f"{control:.4g}, {treated:.4g}"),
                ("among", f"{who}: {share:.1%} of respondents, {n * share:.4g} an arm"),
            ),
            formula=f"what the coding records follows from the rate of incidents; then: {inner.formula}",
            source=f"Boyer, Chatterji, Cooper and Heise (2022), arXiv 2204.12385, for codings; {inner.source}",
            assumptions=(*inner.assumptions, *assumptions),
            near=nearness(inner) if self.coding in ("count", "any") else None,
        )

    def _slope(self, near: float) -> float:
        control, treated, _ = self.recorded(-near)
        return (control - treated) / near

    def _inner(self, effect: float, n: float) -> PowerTest:
        """Return the test of the coding with so many respondents an arm."""
        control, treated, _ = self.recorded(effect)
        rates = self.outcome.levels(effect)
        if self.coding == "count":
            outcome = Count(rates[0], dispersion=float(self.outcome.dispersion))
            return plan_rates(Comparison(outcome, effect, 0.0, n, n, "wald"))
        if self.coding == "ordered":
            shares = _FixedShares((self.outcome.shares(rates[0]), self.outcome.shares(rates[1])))
            return plan_ordered(Comparison(shares, treated - control, 0.0, n, n, "win_probability"))
        if not 0.0 < control < 1.0 or math.isclose(control, 1.0):
            raise DesignError(f"Nothing varies in this coding: {control:.3g} of control are recorded.")
        return plan_risks(Comparison(Binary(control), treated - control, 0.0, n, n, "unpooled"))
