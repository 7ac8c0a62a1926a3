"""Hides the algebra between size, effect and power of a planned two-arm comparison."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gbveval.core.errors import ConvergenceError, DesignError
from gbveval.core.table import Table
from gbveval.design._require import real
from gbveval.design.exact_tests import BinomialTest
from gbveval.design.planned_test import PlannedDesign
from gbveval.planning._request import against, direction_sign, tails, targets
from gbveval.planning.solver import ROUNDING, OutOfReach, check_share, solve_counted, solve_first, solve_increasing

# Nobody recruits more than this, and a search has to end somewhere.
LARGEST_SIZE = {"n_per_arm": 1e9, "clusters_per_arm": 1e7, "cluster_size": 1e5}
LARGEST_OTHER = 1e9
# Summing over tables takes a time that grows with the square of the size.
LARGEST_COUNTED = 2000
# How near to a certain outcome (a risk of 0 or 1) an effect may be sought.
MARGIN = 1e-9
# Standard errors that differ by less than this share are the same.
SAME_UNIT = 1e-3
# An effect, in standard errors, that every outcome can have.
SMALL = 1e-6


@dataclass(frozen=True, slots=True)
class RequiredSize:
    """A size at which power reaches its target.

    Attributes
    ----------
    solve_for : str
        Which size: "clusters_per_arm", "cluster_size" or "n_per_arm".
    exact : float
        The size at which power equals the target, a real number; the least possible size if that already suffices.
    rounded : int
        The size to plan with: `exact` rounded up; with unequal arms less where rounding up the treated arm pays for it.
    achieved_power : float
        Power at the rounded size.
    target_power, effect, alpha : float
        What was asked.
    design : PlannedDesign
        The design with the rounded size.
    """

    solve_for: str
    exact: float
    rounded: int
    achieved_power: float
    target_power: float
    effect: float
    alpha: float
    design: PlannedDesign


def power(design: PlannedDesign, *, effect: float, alpha: float = 0.05, alternative: str | None = None) -> float:
    """Return the power of the planned test, by formula.

    Parameters
    ----------
    design : PlannedDesign
        The plan: `ParallelDesign`, `ClusterDesign` or another.
    effect : float
        True effect, treated minus control, in units of the outcome: a difference in means, risks or rates. At the null
        the answer is the test's size.
    alpha : float
        Size of the test, both tails together when it is two-sided.
    alternative : str, optional
        "two_sided", "greater" or "less" (treated against control); by default the design's own: two-sided, except for
        non-inferiority and equivalence.

    Returns
    -------
    float
        Rejections in both directions are counted, as a two-sided test makes them. Many programmes count the tail of the
        effect alone, which is the one-sided test of size alpha / 2.

    Raises
    ------
    DesignError
        If a risk plus the effect is not between 0 and 1.

    Notes
    -----
    The noncentral t with the degrees of freedom of the plan, or the normal for single respondents' risks.
    `explain_power` says which formula, from where, and how far it is known to be off; `simulate_power` finds out for
    any estimator.

    References
    ----------
    Cohen (1988), Statistical Power Analysis for the Behavioral Sciences. Donner and Klar (2000), Design and Analysis of
    Cluster Randomization Trials.

    Examples
    --------
    >>> from gbveval.design.cluster import ClusterDesign
    >>> from gbveval.design.icc import ICC
    >>> from gbveval.design.outcomes import Binary
    >>> icc = ICC(0.03, scale="observed")
    >>> plan = ClusterDesign(clusters_per_arm=20, cluster_size=50, icc=icc, outcome=Binary(0.35))
    >>> round(power(plan, effect=-0.08), 3)
    0.673
    """
    size, alternative = check_share("alpha", alpha), against(design, alternative)
    return design.planned_test(effect).power(size, alternative)


def mde(
    design: PlannedDesign,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
    direction: str | None = None,
    alternative: str | None = None,
) -> float:
    """Return the minimum detectable effect: the smallest true effect with the power asked for.

    Parameters
    ----------
    design : PlannedDesign
        The plan: `ParallelDesign`, `ClusterDesign` or another.
    power, alpha : float
        Power to be reached and size of the test, both tails together when it is two-sided.
    direction : str, optional
        "increase" (upwards from the null) or "decrease". For a risk they differ in size, because the variance depends
        on the risk: a programme that shall prevent asks for "decrease". By default the direction of a one-sided
        alternative, else "increase".
    alternative : str, optional
        As in `power`.

    Returns
    -------
    float
        With its sign, so that `power(design, effect=mde(design))` is the power asked for.

    Raises
    ------
    DesignError
        If no possible effect has the power. For a count power falls again as the treated rate goes to zero, where
        too few events are left: the answer is the smaller of the two effects with the power, and the error names the
        one with the largest power.

    Examples
    --------
    >>> from gbveval.design.outcomes import Continuous
    >>> from gbveval.design.parallel import ParallelDesign
    >>> round(mde(ParallelDesign(n_per_arm=100, outcome=Continuous())), 4)
    0.3981
    """
    target, size = targets(power, alpha)
    alternative = against(design, alternative)
    sign = direction_sign(direction, alternative)
    direction = "increase" if sign > 0.0 else "decrease"
    start = design.planned_test(0.0)
    if reason := design.planned_test(start.null + sign * start.unit * SMALL).never(alternative):
        raise DesignError(reason)
    bound = design.outcome.largest_effect(direction) - sign * start.null
    largest = bound * (1.0 - MARGIN)

    def power_at(x: float) -> float:
        return design.planned_test(start.null + sign * x).power(size, alternative)

    try:
        try:
            found = solve_increasing(
                power_at, target, low=0.0, high=min(largest, 1e6 * start.unit), start=min(start.unit, largest)
            )
        except (OutOfReach, ConvergenceError):
            if design.counted or math.isinf(bound):
                raise
            found = solve_first(power_at, target, bound=bound)
    except OutOfReach as far:
        if far.best == 0.0:
            raise DesignError(
                f"With so few respondents or pairs no result of this exact test is significant at {size:g}, whatever "
                f"the effect. {design.limit_hint('')} Plan for more of them."
            ) from None
        most = f"the largest possible one, {largest:.3g}, has power {far.best:.3f}"
        if math.isfinite(far.at):
            most = (
                f"power is largest, {far.best:.3f}, at an effect of {start.null + sign * far.at:.3g} and falls beyond"
            )
        raise DesignError(
            f"No {direction} can be detected with power {target:g}: {most}. Plan for more respondents or clusters."
        ) from None
    return start.null + sign * found


def required_size(
    design: PlannedDesign,
    *,
    effect: float,
    power: float = 0.8,
    alpha: float = 0.05,
    solve_for: str | None = None,
    alternative: str | None = None,
) -> RequiredSize:
    """Return how large one size of the design must be for the power asked for.

    Parameters
    ----------
    design : PlannedDesign
        The plan: `ParallelDesign`, `ClusterDesign` or another; its own value of the size asked for does not matter.
    effect : float
        True effect, treated minus control.
    power, alpha : float
        Power to be reached and size of the test, both tails together when it is two-sided.
    solve_for : str, optional
        "clusters_per_arm" or "cluster_size" (respondents a cluster) for clusters, "n_per_arm" for single respondents;
        by default the first that the design has.
    alternative : str, optional
        As in `power`.

    Returns
    -------
    RequiredSize
        For an exact test, whose power goes up and down as the size grows, the least size from which power stays at the
        target within the next tenth of it and twenty more; for one risk within the next 3 / min(risk, 1 - risk), up to
        5000.

    Raises
    ------
    DesignError
        If the effect is at the null or in the tail in which the test does not look, or no size suffices: then the
        message says what sets the floor.

    Examples
    --------
    >>> from gbveval.design.cluster import ClusterDesign
    >>> from gbveval.design.icc import ICC
    >>> from gbveval.design.outcomes import Binary
    >>> icc = ICC(0.03, scale="observed")
    >>> plan = ClusterDesign(clusters_per_arm=20, cluster_size=50, icc=icc, outcome=Binary(0.35))
    >>> needed = required_size(plan, effect=-0.08, solve_for="clusters_per_arm")
    >>> needed.rounded, round(needed.achieved_power, 3)
    (27, 0.804)
    """
    target, size = targets(power, alpha)
    alternative = against(design, alternative)
    if reason := design.planned_test(effect).never(alternative):
        raise DesignError(reason)
    least_sizes = design.least_sizes
    if not least_sizes:
        raise DesignError(f"{type(design).__name__} has no size to solve for: ask power of one list after the other.")
    name = next(iter(least_sizes)) if solve_for is None else solve_for
    if name not in least_sizes:
        raise DesignError(f"This design can be solved for {' or '.join(least_sizes)}, not for {name!r}.")
    least = least_sizes[name]

    def power_at(x: float) -> float:
        return design.planned_test(effect, size=(name, x)).power(size, alternative)

    ceiling = power_at(math.inf) if name == "cluster_size" else 1.0
    floor = f"{name} alone cannot bring power to {target:g}: however large it is, power stays below"
    if ceiling <= target:
        raise DesignError(f"{floor} {ceiling:.3f}. {design.limit_hint(name)}")
    largest = LARGEST_COUNTED if design.counted else LARGEST_SIZE.get(name, LARGEST_OTHER)
    try:
        if design.counted:
            test = design.planned_test(effect)
            look = test.teeth if isinstance(test, BinomialTest) else 0
            exact = float(solve_counted(power_at, target, low=least, high=LARGEST_COUNTED, look=look))
        else:
            exact = solve_increasing(power_at, target, low=float(least), high=largest)
    except OutOfReach as far:
        # Where a hundredth of the size has the same standard error, something else is in the way.
        units = [design.planned_test(effect, size=(name, x)).unit for x in (largest, largest / 100.0)]
        stuck = not design.counted and units[0] > (1.0 - SAME_UNIT) * units[1]
        why = f"{floor} {far.best + 5e-4:.3f}" if stuck else ""
        why = why or f"{name} would have to exceed {largest:,.0f}, where power is {far.best:.3f}"
        raise DesignError(f"{why}. {design.limit_hint(name)}") from None

    def achieved(n: int) -> float:
        return design.resized(name, n).planned_test(effect).power(size, alternative)

    # A root found as 64.0000000001 is 64.
    rounded = max(int(least), math.ceil(exact - 1e-9 * exact))
    if not design.counted:
        rounded = _settled(achieved, rounded, target, least=int(least))
    return RequiredSize(
        name, exact, rounded, achieved(rounded), target, float(effect), size, design.resized(name, rounded)
    )


def _settled(achieved: Callable[[int], float], rounded: int, target: float, *, least: int) -> int:
    """Return a size that reaches the target and is not followed by a smaller one that does.

    The treated arm is rounded up, which the real number before did not know: the next sizes below may do, and where
    arms have variances of their own a whole size may just fall short.
    """
    while achieved(rounded) < target - ROUNDING:
        rounded += 1
    while rounded > least and achieved(rounded - 1) >= target:
        rounded -= 1
    return rounded


def power_curve(
    design: PlannedDesign, effects: Sequence[float], *, alpha: float = 0.05, alternative: str | None = None
) -> Table:
    """Return power by formula at several effects, as a table with columns effect and power.

    Examples
    --------
    >>> from gbveval.design.outcomes import Continuous
    >>> from gbveval.design.parallel import ParallelDesign
    >>> curve = power_curve(ParallelDesign(n_per_arm=64, outcome=Continuous()), [0.0, 0.5])
    >>> [round(value, 3) for value in curve.column("power")]
    [0.05, 0.801]
    """
    alternative = against(design, alternative)
    if isinstance(effects, str) or not isinstance(effects, Iterable):
        raise DesignError(f"effects must be a list of numbers; it is a {type(effects).__name__}.")
    asked = [real("An effect", effect, low=-math.inf, high=math.inf) for effect in effects]
    rows = tuple((effect, power(design, effect=effect, alpha=alpha, alternative=alternative)) for effect in asked)
    if not rows:
        raise DesignError("Give at least one effect.")
    return Table("Power by effect", ("effect", "power"), rows, (tails(alpha, alternative),))


def explain_power(
    design: PlannedDesign, *, effect: float, alpha: float = 0.05, alternative: str | None = None
) -> Table:
    """Return in words how power comes about: formula, source, critical value, assumptions.

    Examples
    --------
    >>> from gbveval.design.outcomes import Continuous
    >>> from gbveval.design.parallel import ParallelDesign
    >>> told = explain_power(ParallelDesign(n_per_arm=64, outcome=Continuous()), effect=0.5)
    >>> dict(told.rows)["power"]
    '0.8015'
    """
    size, alternative = check_share("alpha", alpha), against(design, alternative)
    test = design.planned_test(effect)
    margin = (("null hypothesis", f"{test.null:g}"),) if test.null else ()
    *before, critical = test.detail(size, alternative)
    rows = (
        ("power", f"{test.power(size, alternative):.4f}"),
        ("effect (treated minus control)", f"{effect:g}"),
        *margin,
        *before,
        ("formula", test.formula),
        critical,
        ("tails", tails(size, alternative)),
        ("how near", "no bound is claimed; simulate_power tells" if test.near is None else test.near.words()),
        ("source", test.source),
        *(("assumes", words) for words in test.assumptions),
    )
    return Table("How this power comes about", ("what", "words"), rows)
