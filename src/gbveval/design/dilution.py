"""Hides what is left of an effect when the arms do not keep apart: partial take-up, and spillover to controls.

Both let the control arm have a share of the effect and the treated arm not all of it: with shares s and c the means are
apart by (c - s) x effect, and a size grows by 1 / (c - s)^2 where the variance stays (Lachin and Foulkes 1986).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from gbveval.core.errors import DesignError
from gbveval.design._diluted import DilutedPlan, DilutedTest, core, nearness, needs_two_arms, size_row, with_core
from gbveval.design._require import real
from gbveval.design.counts import Count
from gbveval.design.outcomes import Binary, Continuous
from gbveval.design.planned_test import Rows

KINDS = Continuous | Binary | Count


@dataclass(frozen=True, slots=True)
class _Words:
    """What is said of a diluted effect: rows first, what the size is set beside, formula, source, assumptions."""

    rows: Rows
    beside: str
    formula: str
    source: str
    assumptions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoncomplianceDesign(DilutedPlan):
    """A plan in which not everybody takes up what they were assigned; effects are those on people who take it up.

    Parameters
    ----------
    plan : ParallelDesign or ClusterDesign
        The design, with a continuous, binary or count outcome; also an AttritionDesign or another plan of this kind
        around one. Its control level (mean, risk or rate) is that without the programme.
    take_up_treated : float
        Share of the treated arm who take the programme up.
    take_up_control : float
        Share of control who get it all the same; less than in the treated arm.

    Raises
    ------
    DesignError
        If take-up is not larger in the treated arm.

    Notes
    -----
    The analysis is by assignment: its estimate is (c - s) times the effect on those who take it up because they were
    assigned, who are taken to have the same effect as the others who take it up. Dividing by c - s (`ComplierAverage`)
    changes the estimate and not the power. Leaving out those who did not take it up would bias it and is not planned
    for. Who takes it up is independent of outcomes otherwise. The variance is the plan's at the levels of the arms: for
    risks that is right; a continuous outcome's sd is that between respondents of an arm, to which a mixture of people
    with and without the effect adds c (1 - c) x effect^2, mostly little.

    References
    ----------
    Lachin and Foulkes (1986), Biometrics 42. Duflo, Glennerster and Kremer (2007), Handbook of Development Economics 4.

    Examples
    --------
    >>> from gbveval.design.parallel import ParallelDesign
    >>> plan = ParallelDesign(n_per_arm=500, outcome=Continuous(), analysis="normal")
    >>> partial = NoncomplianceDesign(plan, take_up_treated=0.7, take_up_control=0.1)
    >>> round(partial.planned_test(0.3).inner.effect, 2)
    0.18
    """

    take_up_treated: float
    take_up_control: float = 0.0

    def __post_init__(self) -> None:
        _needs_shares(self.plan)
        share("take_up_treated", self.take_up_treated)
        share("take_up_control", self.take_up_control)
        if not self.take_up_treated > self.take_up_control:
            raise DesignError(
                f"take_up_treated ({self.take_up_treated:g}) must be larger than take_up_control "
                f"({self.take_up_control:g}); otherwise assignment changes nothing."
            )

    def process(self, effect: float) -> Any:
        """Refuse: trials are drawn with full take-up."""
        raise DesignError(_drawn("take-up"))

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None) -> DilutedTest:
        """Return the planned test of assignment, where this is the effect on those who take the programme up.

        Parameters
        ----------
        effect : float
            Effect of taking it up, in units of the outcome.
        size : (str, float), optional
            A size, any real number, instead of the plan's own.
        """
        c, s = float(self.take_up_treated), float(self.take_up_control)
        return _diluted(
            self.plan,
            effect,
            (s, c),
            size,
            _Words(
                rows=(
                    ("take-up (control, treated)", f"{s:g}, {c:g}"),
                    ("effect of assignment, which is estimated", f"{(c - s) * effect:.4g}"),
                ),
                beside="size, over that with full take-up",
                formula="effect of assignment, (take-up treated - take-up control) x effect",
                source="Lachin and Foulkes (1986), Biometrics 42",
                assumptions=(
                    "all who take the programme up have the same effect, and taking it up is independent of the "
                    "outcome without it",
                    "the analysis is by assignment",
                ),
            ),
        )


@dataclass(frozen=True, slots=True)
class SpilloverDesign(DilutedPlan):
    """A plan in which the programme reaches beyond those it is for; effects are those on people who are reached.

    Parameters
    ----------
    plan : ParallelDesign or ClusterDesign
        The design, with a continuous, binary or count outcome; also an AttritionDesign or another plan of this kind
        around one. Its control level (mean, risk or rate) is that where the programme is nowhere.
    to_control : float
        Share of the effect that control respondents have, through the treated among them or nearby.
    reached : float
        Share of the treated arm's respondents who are reached themselves; the others of a treated cluster are not.
    to_unreached : float
        Share of the effect that those of the treated arm have who are not reached themselves: the indirect effect over
        the total one.

    Raises
    ------
    DesignError
        If control has as much of the effect as the treated arm.

    Notes
    -----
    The effect is the total one: somebody reached against somebody where the programme is nowhere. The comparison sees
    (reached + (1 - reached) x to_unreached - to_control) of it, and its estimate is biased by as much, which no size
    repairs. Randomising clusters instead of people makes `to_control` smaller and pays with the design effect D: it
    needs fewer people in all when D (1 - s)^2 < 1, s what people among the treated would have of the effect. Neither
    plan tells direct from indirect effects; for that assign saturations and use `SaturationEffects`.

    References
    ----------
    Hudgens and Halloran (2008), Journal of the American Statistical Association 103, for direct, indirect and total
    effects. Torgerson (2001), British Medical Journal 322, for people against clusters.

    Examples
    --------
    >>> from gbveval.design.parallel import ParallelDesign
    >>> plan = ParallelDesign(n_per_arm=500, outcome=Binary(0.3))
    >>> among_friends = SpilloverDesign(plan, to_control=0.25)
    >>> round(among_friends.planned_test(-0.1).inner.effect, 3)
    -0.075
    """

    to_control: float = 0.0
    reached: float = 1.0
    to_unreached: float = 0.0

    def __post_init__(self) -> None:
        _needs_shares(self.plan)
        for name in ("to_control", "reached", "to_unreached"):
            share(name, getattr(self, name))
        if not self._treated > self.to_control:
            raise DesignError(
                f"The treated arm has {self._treated:g} of the effect and control {self.to_control:g}: nothing is left "
                "to compare. Randomise units that are further apart."
            )

    @property
    def _treated(self) -> float:
        return float(self.reached) + (1.0 - float(self.reached)) * float(self.to_unreached)

    def process(self, effect: float) -> Any:
        """Refuse: trials are drawn without spillover."""
        raise DesignError(_drawn("spillover"))

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None) -> DilutedTest:
        """Return the planned test of the arms, where this is the total effect on somebody who is reached.

        Parameters
        ----------
        effect : float
            Total effect, in units of the outcome.
        size : (str, float), optional
            A size, any real number, instead of the plan's own.
        """
        c, s = self._treated, float(self.to_control)
        return _diluted(
            self.plan,
            effect,
            (s, c),
            size,
            _Words(
                rows=(
                    ("shares of the effect (control, treated)", f"{s:.4g}, {c:.4g}"),
                    ("difference between the arms, which is estimated", f"{(c - s) * effect:.4g}"),
                    ("bias (that minus the total effect)", f"{(c - s - 1.0) * effect:.4g}"),
                ),
                beside="size, over that without spillover and with everybody reached",
                formula="difference between arms that share the effect, (share treated - share control) x effect",
                source="Hudgens and Halloran (2008), Journal of the American Statistical Association 103",
                assumptions=(
                    "the shares of the effect are as planned and the same for everybody of an arm",
                    "respondents of different randomised units are independent, although effects pass between them",
                ),
            ),
        )


def share(name: str, value: object) -> float:
    """Return a share between 0 and 1, both of them allowed."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value == 1.0:
        return 1.0
    return real(name, value, low=0.0, high=1.0, closed=True, hint="It is a share, at most 1.")


def _needs_shares(plan: object) -> None:
    needs_two_arms(plan)
    outcome = plan.outcome  # type: ignore[attr-defined]
    if not isinstance(outcome, KINDS):
        raise DesignError(
            "A share of an effect is planned for differences in means, risks or rates: outcome must be "
            "Continuous(...), Binary(...) or Count(...)."
        )


def _drawn(what: str) -> str:
    return (
        f"Trials are drawn without partial {what}: simulate the plan inside with the control level and the difference "
        "that are seen (explain_power has them)."
    )


def _diluted(
    plan: Any,
    effect: float,
    shares: tuple[float, float],
    size: tuple[str, float] | None,
    words: _Words,
) -> DilutedTest:
    """Return the test of arms of which each has a share of the effect."""
    s, c = shares
    without, total = plan.outcome.levels(effect)
    inner_plan = with_core(plan, outcome=_moved(core(plan).outcome, s * (total - without))) if s else plan
    inner = inner_plan.planned_test((c - s) * effect, size=size)
    full = plan.planned_test(effect, size=size)
    return DilutedTest(
        inner=inner,
        effect=float(effect),
        null=inner.null / (c - s),
        slope=c - s,
        rows=(*words.rows, *(size_row(inner, full, words.beside) if effect else ())),
        formula=f"{words.formula}: {inner.formula}",
        source=f"{words.source}; {inner.source}",
        assumptions=(*inner.assumptions, *words.assumptions),
        refusal=inner.refusal if isinstance(inner, DilutedTest) else "",
        # A share of people with another risk is a binary outcome all the same; of a mean it is a mixture.
        near=nearness(inner) if isinstance(plan.outcome, Binary) else None,
    )


def _moved(outcome: Any, by: float) -> Any:
    """Return the outcome with another level in control."""
    if not by:
        return outcome
    name = {Continuous: "mean", Binary: "risk", Count: "rate"}[type(outcome)]
    level = float(getattr(outcome, name)) + by
    if (isinstance(outcome, Binary) and not 0.0 < level < 1.0) or not math.isfinite(level):
        raise DesignError(f"Control would have a level of {level:.3g}; give a smaller effect.")
    return replace(outcome, **{name: level})
