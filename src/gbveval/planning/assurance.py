"""Hides how power is averaged over what is not known about a plan: its effect, risk, ICC, disclosure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.table import Table
from gbveval.datasets.planning_values import PlanningValue
from gbveval.design._require import one_of, real
from gbveval.design.effect_prior import EffectPrior, needs_quantiles
from gbveval.design.icc import ICC
from gbveval.design.planned_test import PlannedDesign
from gbveval.numerics.prior_average import PriorAverage, average
from gbveval.numerics.priors import QuantilePrior
from gbveval.planning._plan_numbers import find, number_owner, replaced, words
from gbveval.planning._request import against, tails
from gbveval.planning.solver import OutOfReach, check_share, solve_increasing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More of the prior than this where the plan is impossible is no rounding: the prior is wrong.
LARGEST_OUTSIDE = 0.01
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LARGEST_SIZE = 1e7


@dataclass(frozen=True, slots=True)
class Assurance:
    """Power averaged over priors, and how it is distributed.

    Attributes
    ----------
    value : float
        Expected power: the probability that the test rejects, before anything is known but the priors.
    error : float
        How far numerical integration may be off.
    power_at_medians : float
        Power where every uncertain number is at the median of its prior.
    share_reaching : float
        Probability that power is at least the target.
    target_power, alpha : float
        What was asked.
    quantiles : tuple of (float, float)
        Quantiles of power over the priors: probability and power.
    ceiling : float
        What `value` tends to as a study without an ICC floor grows without limit: for a one-sided test the probability
        that the effect is on its side, for a two-sided one 1.
    outside : float
        Share of the priors at which the plan is impossible (a risk beyond 1), which was left out.
    evaluations : int
        How often power was computed.
    alternative : str
        Which rejections are counted.
    priors : tuple of (str, str)
        What was uncertain, and how.
    powers : array
        Power at points that represent the priors equally, for pictures.
    """

    value: float
    error: float
    power_at_medians: float
    share_reaching: float
    target_power: float
    alpha: float
    quantiles: tuple[tuple[float, float], ...]
    ceiling: float
    outside: float
    evaluations: int
    alternative: str
    priors: tuple[tuple[str, str], ...]
    powers: NDArray[np.float64] = field(repr=False, compare=False)

    def to_table(self) -> Table:
        """Return what is known of power as a table."""
        rows = (
            ("assurance (expected power)", f"{self.value:.4f}"),
            ("numerical error, at most about", f"{self.error:.1e}"),
            ("power where everything is at its median", f"{self.power_at_medians:.4f}"),
            (f"probability that power is at least {self.target_power:g}", f"{self.share_reaching:.3f}"),
            *((f"power at its {q:.0%} quantile over the priors", f"{p:.3f}") for q, p in self.quantiles),
            ("assurance of a study of unlimited size", f"{self.ceiling:.4f}"),
            *((f"prior of {name}", told) for name, told in self.priors),
        )
        if self.outside > 0.0:
            rows += (("share of the priors that is impossible and was left out", f"{self.outside:.2g}"),)
        return Table("Assurance", ("what", "words"), rows, (tails(self.alpha, self.alternative),))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw how power is distributed over the priors, with its mean and the target."""
        import matplotlib.pyplot as plt

        axis = plt.subplots(figsize=(6.0, 3.2))[1] if ax is None else ax
        axis.hist(
            self.powers, bins=[step / 40.0 for step in range(41)], density=True, color="#9db8d2", edgecolor="white"
        )
        axis.axvline(self.value, color="#1f3b57", label=f"assurance {self.value:.2f}")
        axis.axvline(
            self.target_power,
            color="#1f3b57",
            linestyle=":",
            label=f"target {self.target_power:g}, reached with probability {self.share_reaching:.2f}",
        )
        axis.set_xlim(0.0, 1.0)
        axis.set_yticks([])
        axis.set_xlabel("power, over what may be true")
        axis.legend(frameon=False, fontsize="small", loc="upper left")
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
        return axis


def assurance(
    design: PlannedDesign,
    *,
    effect: float | QuantilePrior | EffectPrior | PlanningValue,
    priors: Mapping[str, float | QuantilePrior | PlanningValue] | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
    alternative: str | None = None,
    seed: int = 1,
) -> Assurance:
    """Return power averaged over priors: what the plan can expect before its assumptions are known to hold.

    Parameters
    ----------
    design : PlannedDesign
        The plan.
    effect : float, prior or EffectPrior
        True effect, treated minus control, or what is known of it. A prior is any with quantiles: `Normal`,
        `LogNormal`, `Beta`, `Uniform`, ...; `EffectPrior` takes ratios and standardised differences; a
        `planning_value` brings its interval and its source.
    priors : mapping, optional
        What is known of other numbers of the plan, by their name: {"icc": Beta(2, 38), "risk": ...}. Any number that is
        not whole will do: "sd", "rate", "control.sensitivity", "take_up_treated", "respondents_lost". Priors are
        independent of each other.
    power : float
        Target, whose probability to be reached is given.
    alpha : float
        Size of the test.
    alternative : str, optional
        As in `power`. A two-sided test counts rejections in both directions, as it makes them; to count only those in
        one direction ask for alpha / 2 on that side.
    seed : int
        Of the points at which power is computed when three or more numbers are uncertain.

    Returns
    -------
    Assurance

    Raises
    ------
    DesignError
        If a name is not in the plan, a prior has no quantiles, or more than 1 % of the priors is impossible.

    Notes
    -----
    Up to two uncertain numbers are integrated by the trapezoidal rule over normal scores, to about 1e-9 for smooth
    power; more of them by scrambled Sobol points. The error is told. Power falls off faster on one side of a plan's
    assumptions than it rises on the other, so assurance is mostly below the power of the best guess, and it cannot pass
    `ceiling`. A prior that is as wide as a confidence interval of one old study is honest; one that is wide because
    nobody looked is not what assurance is for.

    References
    ----------
    Spiegelhalter and Freedman (1986), Statistics in Medicine 5. O'Hagan, Stevens and Campbell (2005), Pharmaceutical
    Statistics 4. Turner, Prevost and Thompson (2004), Statistics in Medicine 23, for the ICC.

    Examples
    --------
    >>> from gbveval.design.outcomes import Continuous
    >>> from gbveval.design.parallel import ParallelDesign
    >>> from gbveval.numerics.priors import Normal
    >>> plan = ParallelDesign(n_per_arm=100, outcome=Continuous(), analysis="normal")
    >>> found = assurance(plan, effect=Normal(0.3, 0.15))
    >>> round(found.value, 4), round(found.power_at_medians, 4)
    (0.5466, 0.5641)
    """
    problem = _Problem.of(design, effect, priors, check_share("alpha", alpha), alternative)
    target = check_share("power", power)
    over = problem.average(None, seed)
    sample = over.sample
    return Assurance(
        value=over.value,
        error=over.error,
        power_at_medians=problem.power_at(np.zeros(len(problem.uncertain)), None),
        share_reaching=float(np.mean(sample >= target)),
        target_power=target,
        alpha=problem.alpha,
        quantiles=tuple((q, float(np.quantile(sample, q))) for q in QUANTILES),
        ceiling=problem.ceiling(),
        outside=over.outside,
        evaluations=over.evaluations,
        alternative=problem.alternative,
        priors=tuple((name, told) for name, _, told in problem.uncertain),
        powers=sample,
    )


def assured_size(
    design: PlannedDesign,
    *,
    effect: float | QuantilePrior | EffectPrior | PlanningValue,
    priors: Mapping[str, float | QuantilePrior | PlanningValue] | None = None,
    assurance: float = 0.8,
    alpha: float = 0.05,
    alternative: str | None = None,
    solve_for: str | None = None,
    seed: int = 1,
) -> float:
    """Return the size at which expected power reaches a target: a real number; plan with it rounded up.

    Parameters
    ----------
    design : PlannedDesign
        The plan; its own value of the size asked for does not matter.
    effect, priors, alpha, alternative, seed
        As in `assurance`.
    assurance : float
        Expected power to be reached.
    solve_for : str, optional
        Which size; by default the first that the design has.

    Raises
    ------
    DesignError
        If no size reaches it: expected power stays below the probability that the effect is on the side tested.

    Examples
    --------
    >>> from gbveval.design.outcomes import Continuous
    >>> from gbveval.design.parallel import ParallelDesign
    >>> from gbveval.numerics.priors import Normal
    >>> plan = ParallelDesign(n_per_arm=100, outcome=Continuous(), analysis="normal")
    >>> round(assured_size(plan, effect=Normal(0.3, 0.15), assurance=0.7))
    182
    """
    problem = _Problem.of(design, effect, priors, check_share("alpha", alpha), alternative)
    target = check_share("assurance", assurance)
    sizes = design.least_sizes
    if not sizes or design.counted:
        raise DesignError("Expected power is solved for designs whose size may be any number; ask assurance instead.")
    name = one_of("solve_for", next(iter(sizes)) if solve_for is None else solve_for, tuple(sizes))
    if (most := problem.ceiling()) <= target:
        raise DesignError(
            f"No size assures {target:g}: by the prior the effect is on the side that is tested with a probability of "
            f"{most:.3f} only. Ask for less, or learn more before."
        )
    try:
        return solve_increasing(
            lambda n: problem.average((name, n), seed).value, target, low=float(sizes[name]), high=LARGEST_SIZE
        )
    except OutOfReach as far:
        raise DesignError(
            f"{name} alone cannot assure {target:g}: with {LARGEST_SIZE:,.0f} expected power is {far.best:.3f}. "
            f"{design.limit_hint(name)}"
        ) from None


@dataclass(frozen=True, slots=True)
class _Problem:
    """A plan, what is uncertain about it, and how it is tested."""

    design: Any
    effect: float | EffectPrior
    uncertain: tuple[tuple[str, QuantilePrior, str], ...]
    places: tuple[tuple[str, ...], ...]
    alpha: float
    alternative: str

    @classmethod
    def of(cls, design: Any, effect: object, priors: object, alpha: float, alternative: str | None) -> _Problem:
        side = against(design, alternative)
        if priors is None:
            priors = {}
        if not isinstance(priors, Mapping):
            raise DesignError("priors is a mapping from names of the plan's numbers to priors: {'icc': Beta(2, 38)}.")
        uncertain: list[tuple[str, QuantilePrior, str]] = []
        places = []
        for name, given in priors.items():
            place = find(design, name)
            if isinstance(given, int | float) and not isinstance(given, bool):
                design = replaced(design, place, float(given))
                continue
            if place in places:
                raise DesignError(f"{name!r} is given two priors.")
            uncertain.append((words(place), *_share_prior(name, given, number_owner(design, place))))
            places.append(place)
        if isinstance(effect, int | float) and not isinstance(effect, bool):
            number = real("An effect", effect, low=-math.inf, high=math.inf)
            return cls(design, number, tuple(uncertain), tuple(places), alpha, side)
        known, told = _effect_prior(effect)
        known.difference(known.nothing, design.outcome)
        return cls(design, known, (("effect", known.prior, told), *uncertain), tuple(places), alpha, side)

    def power_at(self, scores: NDArray[np.float64], size: tuple[str, float] | None) -> float:
        """Return power where each uncertain number is at a normal score of its prior; nan where it cannot be."""
        from scipy.special import ndtr

        values = [
            float(prior.quantile(float(ndtr(t)))) for (_, prior, _), t in zip(self.uncertain, scores, strict=True)
        ]
        design = self.design
        others = values if isinstance(self.effect, float) else values[1:]
        try:
            for place, value in zip(self.places, others, strict=True):
                design = replaced(design, place, value)
            effect = self.effect
            if isinstance(effect, EffectPrior):
                effect = effect.difference(values[0], design.outcome)
            found = design.planned_test(effect, size=size).power(self.alpha, self.alternative)
        except DesignError:
            return math.nan
        return float(found)

    def average(self, size: tuple[str, float] | None, seed: int) -> PriorAverage:
        """Return power averaged over the priors, or say that too much of them is impossible."""
        found = average(lambda scores: self.power_at(scores, size), len(self.uncertain), seed=seed)
        if not found.outside <= LARGEST_OUTSIDE or math.isnan(found.value):
            raise DesignError(
                f"At {found.outside:.0%} of the priors this plan is impossible, such as a risk that is not between 0 "
                "and 1. Give narrower priors, or a ratio of risks (EffectPrior) instead of a difference."
            )
        return found

    def ceiling(self) -> float:
        """Return the probability that the effect is on the side that is tested."""
        if isinstance(self.effect, float) or self.alternative not in ("greater", "less"):
            return 1.0
        below = _probability_below(self.effect.prior, self.effect.nothing)
        return below if self.alternative == "less" else 1.0 - below


def _probability_below(prior: QuantilePrior, value: float) -> float:
    """Return the probability of less than a value, from quantiles."""
    from scipy.optimize import brentq

    edge = 1e-15
    if float(prior.quantile(edge)) >= value:
        return 0.0
    if float(prior.quantile(1.0 - edge)) <= value:
        return 1.0
    return float(brentq(lambda u: float(prior.quantile(u)) - value, edge, 1.0 - edge, xtol=1e-15, rtol=1e-14))


def _effect_prior(effect: object) -> tuple[EffectPrior, str]:
    """Return a prior of the effect, and what is said of it."""
    source = ""
    if isinstance(effect, PlanningValue):
        source = f", from {effect.cite()}"
        effect = effect.prior()
    known = effect if isinstance(effect, EffectPrior) else EffectPrior(effect)  # type: ignore[arg-type]
    return known, f"{known.describe()}{source}"


def _share_prior(name: object, given: object, owner: Any) -> tuple[QuantilePrior, str]:
    """Return a prior of a number of the plan, and what is said of it."""
    source = ""
    if isinstance(given, PlanningValue):
        if isinstance(owner, ICC) and given.measure != f"icc_{owner.scale}":
            raise DesignError(
                f"{given.id} is an {given.measure.replace('_', ' ')}, and the plan has ICC(..., "
                f"scale={owner.scale!r}): give the plan an ICC on the scale of the value, or convert it (icc_convert)."
            )
        source = f", from {given.cite()}"
        given = given.prior()
        if isinstance(given, EffectPrior):
            raise DesignError(f"The prior of {name!r} is an effect; give it as effect=.")
    needs_quantiles(f"The prior of {name!r}", given)
    assert isinstance(given, QuantilePrior)
    return given, f"{given.describe()}{source}"
