"""Hides the arithmetic of a plan in which several arms start, and stages drop those that do no good."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

from gbveval.core.errors import DesignError
from gbveval.core.table import Table
from gbveval.design._require import asked_size, one_of, real, whole
from gbveval.design.efficacy import EfficacyBoundary, is_efficacy
from gbveval.design.futility import FutilityBounds
from gbveval.design.outcomes import Continuous
from gbveval.design.planned_test import PlainDesign, Rows, wrong_tail
from gbveval.numerics.multi_stage import MOST_STAGES, Stages, best_found, common_factor

# Two arms of equal size that share a control of that size.
CORRELATION = 0.5
# With fewer, taking the variance as known costs more than a fifth of the size.
FEWEST = 10


@lru_cache(maxsize=128)
def solved_stages(
    information: tuple[float, ...],
    shape: tuple[float, ...],
    lower: tuple[float, ...],
    binding: bool,
    arms: int,
    alpha: float,
) -> Stages:
    """Return the stages with bounds that keep the probability of any false finding at alpha."""
    counted = lower if binding else (-math.inf,) * len(lower)
    factor = common_factor(information, shape, counted, arms, alpha, CORRELATION)
    upper = tuple(factor * value for value in shape)
    return Stages(information, upper, tuple(min(low, up) for low, up in zip(lower, upper, strict=True)), CORRELATION)


@dataclass(frozen=True, slots=True)
class MultiStageTest:
    """Comparisons of several arms with one control at several stages; the first arm has the effect."""

    effect: float
    other_effect: float
    std_error: float
    arms: int
    information: tuple[float, ...]
    shape: tuple[float, ...]
    lower: tuple[float, ...]
    binding: bool
    n_per_stage: float
    words: str

    null = 0.0
    near = None

    @property
    def unit(self) -> float:
        """Standard error of one comparison after the last stage."""
        return self.std_error

    @property
    def formula(self) -> str:
        """How power is computed, in words."""
        return (
            "probability that the first arm crosses its upper bound, before any other and with the largest z, from the "
            "joint normal distribution of arms and stages, which share control"
        )

    @property
    def source(self) -> str:
        """Where that is from."""
        return "Magirr, Jaki and Whitehead (2012), Biometrika 99"

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What must hold."""
        stops = "count on dropping arms at the lower ones" if self.binding else "hold whether or not arms are dropped"
        return (
            "the outcome is normal with a known standard deviation, the same in every arm",
            "the study stops as soon as an arm crosses its upper bound; an arm at or below its lower bound is dropped",
            f"upper bounds {stops}",
            f"the other arms have an effect of {self.other_effect:g}",
        )

    def never(self, alternative: str) -> str:
        """Return why no study, however large, finds this effect; nothing if one can."""
        return wrong_tail(self.effect, 0.0, alternative)

    def stages(self, alpha: float) -> Stages:
        """Return the bounds."""
        return solved_stages(self.information, self.shape, self.lower, self.binding, self.arms, alpha)

    def found(self, alpha: float, alternative: str) -> tuple[float, ...]:
        """Return the probability to find the first arm at each stage."""
        sign = -1.0 if alternative == "less" else 1.0
        shifts = (sign * value / self.std_error for value in (self.effect, self.other_effect))
        return best_found(self.stages(alpha), self.arms, *shifts)

    def power(self, alpha: float, alternative: str) -> float:
        """Return the probability that the first arm is found, before any other."""
        return min(1.0, sum(self.found(alpha, alternative)))

    def detail(self, alpha: float, alternative: str) -> Rows:
        """Return what happens at each stage, in words."""
        stages, found = self.stages(alpha), self.found(alpha, alternative)
        rows = [("standard error of each comparison after the last stage", f"{self.std_error:.4g}")]
        for stage, chance in enumerate(found):
            words = f"{(stage + 1) * self.n_per_stage:g} an arm: found above z {stages.upper[stage]:.4g}"
            words += f" (probability {chance:.4f})"
            if stage + 1 < len(found) and math.isfinite(stages.lower[stage]):
                words += f", dropped at or below {stages.lower[stage]:.4g}"
            rows.append((f"stage {stage + 1}", words))
        most = len(found) * self.n_per_stage * (self.arms + 1)
        rows.append(("respondents in all, if no arm is dropped and none found", f"{most:g}"))
        rows.append(("critical value", f"{stages.upper[-1]:.4f} at the last stage ({self.words}), normal"))
        return tuple(rows)


@dataclass(frozen=True, slots=True)
class MultiStageDesign(PlainDesign):
    """Several treated arms of single respondents, compared with one control at several stages (MAMS).

    Parameters
    ----------
    n_per_stage : int
        Respondents that each arm recruits in each stage, at least 10.
    n_treated_arms : int
        Treated arms, at least 2.
    n_stages : int
        Stages of equal size, 1 to 3.
    outcome : Continuous
        What is measured.
    boundary : Pocock, OBrienFleming or WangTsiatis
        When an arm is found to be better than control, which ends the study.
    higher_is_worse : bool
        Whether a rise of the outcome harms: True for harassment.
    futility : FutilityBounds, optional
        When an arm is dropped: bounds on z, one for every stage but the last.
    binding : bool
        Whether upper bounds count on dropping arms at the lower ones.
    other_effect : float
        Effect of the arms that are not to be found, treated minus control.

    Raises
    ------
    DesignError
        If something is impossible.

    Notes
    -----
    alpha is the probability that any arm without an effect is found, one-sided. The variance is taken as known. With
    one that is estimated from all arms, the bounds as they are, and 3 arms over 2 stages, simulated size at an alpha
    of 0.05 is 0.054 with `OBrienFleming` and 0.058 with `Pocock` for 10 respondents an arm and stage, 0.052 and 0.055
    for 20: test bounds on z as t at their nominal levels. Dropping an arm for harm that is seen outside the outcome
    leaves the size of the others as it is, or makes it smaller.

    References
    ----------
    Magirr, Jaki and Whitehead (2012), Biometrika 99.

    Examples
    --------
    >>> from gbveval.design.efficacy import OBrienFleming
    >>> plan = MultiStageDesign(
    ...     n_per_stage=40,
    ...     n_treated_arms=3,
    ...     n_stages=2,
    ...     outcome=Continuous(),
    ...     boundary=OBrienFleming(),
    ...     higher_is_worse=False,
    ...     futility=FutilityBounds((0.0,)),
    ...     binding=True,
    ... )
    >>> [round(z, 2) for z in plan.bounds(0.05).column("upper")]
    [2.93, 2.07]
    >>> round(plan.planned_test(0.5).power(0.05, "greater"), 3)
    0.86
    """

    n_per_stage: int
    n_treated_arms: int
    n_stages: int
    outcome: Continuous
    boundary: EfficacyBoundary
    higher_is_worse: bool = True
    futility: FutilityBounds | None = None
    binding: bool = False
    other_effect: float = 0.0

    def __post_init__(self) -> None:
        whole("n_per_stage", self.n_per_stage, least=FEWEST)
        whole("n_treated_arms", self.n_treated_arms, least=2)
        if whole("n_stages", self.n_stages, least=1) > MOST_STAGES:
            raise DesignError(f"n_stages is {self.n_stages}; up to {MOST_STAGES} are planned for.")
        if not isinstance(self.outcome, Continuous):
            raise DesignError("outcome must be Continuous(...).")
        if not is_efficacy(self.boundary) or self._rule_kind() != "factor":
            raise DesignError("boundary must be Pocock(), OBrienFleming() or WangTsiatis(...) for several arms.")
        if self.futility is not None:
            if not isinstance(self.futility, FutilityBounds):
                raise DesignError("futility must be FutilityBounds(...) for several arms.")
            self.futility.rule(self.information, binding=True)
        for name in ("binding", "higher_is_worse"):
            if not isinstance(getattr(self, name), bool):
                raise DesignError(f"{name} must be True or False; it is {getattr(self, name)!r}.")
        if self.binding and self.futility is None:
            raise DesignError("binding is about lower bounds; give futility, or leave it.")
        real("other_effect", self.other_effect, low=-math.inf, high=math.inf)

    def _rule_kind(self) -> str:
        return self.boundary.rule((0.5, 1.0), 0.025).kind

    @property
    def information(self) -> tuple[float, ...]:
        """Share of the information after each stage."""
        return tuple((stage + 1) / int(self.n_stages) for stage in range(int(self.n_stages)))

    @property
    def alternatives(self) -> tuple[str, ...]:
        """That the programme benefits."""
        return ("less",) if self.higher_is_worse else ("greater",)

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be."""
        return MappingProxyType({"n_per_stage": FEWEST})

    def resized(self, name: str, value: int) -> MultiStageDesign:
        """Return the design with another number of respondents."""
        one_of("solve_for", name, tuple(self.least_sizes))
        return replace(self, n_per_stage=value)

    def limit_hint(self, name: str) -> str:
        """Return what holds power down when only this size grows, and what to do."""
        return (
            f"An arm is found only before all others, whose effect is {float(self.other_effect):g} (other_effect): "
            "where that is no worse, no size helps. Plan for a larger effect or a lower power."
        )

    def bounds(self, alpha: float = 0.05) -> Table:
        """Return the bounds on z of each stage; the lower one is None where there is none."""
        size = real("alpha", alpha, low=0.0, high=1.0)
        stages, test = self.planned_test(0.0).stages(size), self.planned_test(0.0)
        last = len(stages.upper) - 1
        rows = tuple(
            (
                k + 1,
                (k + 1) * test.n_per_stage,
                up,
                up if k == last else low if math.isfinite(low) else None,
            )
            for k, (up, low) in enumerate(zip(stages.upper, stages.lower, strict=True))
        )
        notes = (f"One-sided; the probability to find any arm that does nothing is {size:g}.", self.boundary.words)
        return Table("Bounds of the stages", ("stage", "n_per_arm", "upper", "lower"), rows, notes)

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None) -> MultiStageTest:
        """Return the planned comparisons when the first arm has this effect (treated minus control)."""
        n = asked_size(size, self.least_sizes, self.n_per_stage)
        self.outcome.levels(effect)
        stages = int(self.n_stages)
        dropped = (-math.inf,) * (stages - 1) if self.futility is None else tuple(map(float, self.futility.z))
        return MultiStageTest(
            effect=float(effect),
            other_effect=float(self.other_effect),
            std_error=float(self.outcome.sd) * math.sqrt(2.0 / (stages * n)),
            arms=int(self.n_treated_arms),
            information=self.information,
            shape=self.boundary.rule(self.information, 0.025).values,
            lower=(*dropped, -math.inf),
            binding=self.binding,
            n_per_stage=n,
            words=self.boundary.words,
        )
