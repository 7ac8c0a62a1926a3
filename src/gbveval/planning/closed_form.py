"""Hides the algebra between size, effect and power of a planned two-arm comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gbveval.core.errors import DesignError
from gbveval.core.table import Table
from gbveval.design.planned_test import PlannedDesign, PlannedTest
from gbveval.numerics.inference import normal_quantile, t_quantile
from gbveval.planning._noncentral_t import t_power
from gbveval.planning.solver import OutOfReach, check_share, solve_increasing

# Nobody recruits more than this, and a search has to end somewhere.
LARGEST_SIZE = {"n_per_arm": 1e9, "clusters_per_arm": 1e7, "cluster_size": 1e5}
# How near to a certain outcome (a risk of 0 or 1) an effect may be sought.
MARGIN = 1e-9


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
        The size to plan with: `exact` rounded up.
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


def _power_of(test: PlannedTest, alpha: float) -> float:
    """Return the power of a planned two-sided test, both tails counted."""
    size = abs(test.effect)
    if test.std_error == 0.0:
        return alpha if size == 0.0 else 1.0
    if test.null_std_error is None:
        return t_power(size / test.std_error, test.df, alpha)
    from scipy.special import ndtr

    reach = -float(normal_quantile(alpha / 2.0)) * test.null_std_error
    return float(ndtr((size - reach) / test.std_error) + ndtr((-size - reach) / test.std_error))


def power(design: PlannedDesign, *, effect: float, alpha: float = 0.05) -> float:
    """Return the power of the planned two-sided test, by formula.

    Parameters
    ----------
    design : ParallelDesign or ClusterDesign
        The plan.
    effect : float
        True effect, treated minus control: a difference in means, or in risks. At zero the answer is the test's size.
    alpha : float
        Size of the test, both tails together.

    Returns
    -------
    float
        Rejections in both directions are counted, as a two-sided test makes them; many programmes count one tail.

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
    return _power_of(design.planned_test(effect), check_share("alpha", alpha))


def mde(design: PlannedDesign, *, power: float = 0.8, alpha: float = 0.05, direction: str = "increase") -> float:
    """Return the minimum detectable effect: the smallest true effect with the power asked for.

    Parameters
    ----------
    design : ParallelDesign or ClusterDesign
        The plan.
    power, alpha : float
        Power to be reached and size of the two-sided test.
    direction : str
        "increase" (a positive answer) or "decrease" (a negative one). For a risk they differ in size, because the
        variance depends on the risk: a programme that shall prevent asks for "decrease".

    Returns
    -------
    float
        With its sign, so that `power(design, effect=mde(design))` is the power asked for.

    Raises
    ------
    DesignError
        If even the largest possible effect has less power.

    Examples
    --------
    >>> from gbveval.design.outcomes import Continuous
    >>> from gbveval.design.parallel import ParallelDesign
    >>> round(mde(ParallelDesign(n_per_arm=100, outcome=Continuous())), 4)
    0.3981
    """
    target, size = _targets(power, alpha)
    if direction not in ("increase", "decrease"):
        raise DesignError(f"direction must be 'increase' or 'decrease'; it is {direction!r}.")
    sign = 1.0 if direction == "increase" else -1.0
    largest = design.outcome.largest_effect(direction) * (1.0 - MARGIN)
    unit = design.planned_test(0.0).std_error
    try:
        found = solve_increasing(
            lambda x: _power_of(design.planned_test(sign * x), size),
            target,
            low=0.0,
            high=min(largest, 1e6 * unit),
            start=min(unit, largest),
        )
    except OutOfReach as far:
        raise DesignError(
            f"No {direction} can be detected with power {target:g}: the largest possible one, {largest:.3g}, has power "
            f"{far.best:.3f}. Plan for more respondents or clusters."
        ) from None
    return sign * found


def required_size(
    design: PlannedDesign,
    *,
    effect: float,
    power: float = 0.8,
    alpha: float = 0.05,
    solve_for: str | None = None,
) -> RequiredSize:
    """Return how large one size of the design must be for the power asked for.

    Parameters
    ----------
    design : ParallelDesign or ClusterDesign
        The plan; its own value of the size asked for does not matter.
    effect : float
        True effect, treated minus control.
    power, alpha : float
        Power to be reached and size of the two-sided test.
    solve_for : str, optional
        "clusters_per_arm" or "cluster_size" (respondents a cluster) for clusters, "n_per_arm" for single respondents;
        by default the first that the design has.

    Returns
    -------
    RequiredSize

    Raises
    ------
    DesignError
        If the effect is zero, or no size suffices: then the message says what sets the floor.

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
    target, size = _targets(power, alpha)
    if effect == 0.0:
        raise DesignError(
            "An effect of zero is found by no study, however large: give the smallest effect that would matter."
        )
    least_sizes = design.least_sizes
    name = next(iter(least_sizes)) if solve_for is None else solve_for
    if name not in least_sizes:
        raise DesignError(f"This design can be solved for {' or '.join(least_sizes)}, not for {name!r}.")
    least = least_sizes[name]

    def power_at(x: float) -> float:
        return _power_of(design.planned_test(effect, size=(name, x)), size)

    ceiling = power_at(math.inf) if name == "cluster_size" else 1.0
    if ceiling <= target:
        raise DesignError(
            f"{name} alone cannot bring power to {target:g}: however large it is, power stays below {ceiling:.3f}. "
            f"{design.limit_hint(name)}"
        )
    try:
        exact = solve_increasing(power_at, target, low=float(least), high=LARGEST_SIZE[name])
    except OutOfReach as far:
        raise DesignError(
            f"{name} would have to exceed {LARGEST_SIZE[name]:,.0f}, where power is {far.best:.3f}. "
            f"{design.limit_hint(name)}"
        ) from None
    # A root found as 64.0000000001 is 64.
    rounded = max(least, math.ceil(exact - 1e-9 * exact))
    chosen = design.resized(name, rounded)
    achieved = _power_of(chosen.planned_test(effect), size)
    return RequiredSize(name, exact, rounded, achieved, target, float(effect), size, chosen)


def power_curve(design: PlannedDesign, effects: Sequence[float], *, alpha: float = 0.05) -> Table:
    """Return power by formula at several effects, as a table with columns effect and power.

    Examples
    --------
    >>> from gbveval.design.outcomes import Continuous
    >>> from gbveval.design.parallel import ParallelDesign
    >>> curve = power_curve(ParallelDesign(n_per_arm=64, outcome=Continuous()), [0.0, 0.5])
    >>> [round(value, 3) for value in curve.column("power")]
    [0.05, 0.801]
    """
    rows = tuple((float(effect), power(design, effect=float(effect), alpha=alpha)) for effect in effects)
    if not rows:
        raise DesignError("Give at least one effect.")
    return Table("Power by effect", ("effect", "power"), rows, (_tails(alpha),))


def explain_power(design: PlannedDesign, *, effect: float, alpha: float = 0.05) -> Table:
    """Return in words how power comes about: formula, source, critical value, assumptions.

    Examples
    --------
    >>> from gbveval.design.outcomes import Continuous
    >>> from gbveval.design.parallel import ParallelDesign
    >>> told = explain_power(ParallelDesign(n_per_arm=64, outcome=Continuous()), effect=0.5)
    >>> dict(told.rows)["power"]
    '0.8015'
    """
    size = check_share("alpha", alpha)
    test = design.planned_test(effect)
    critical = -float(t_quantile(size / 2.0, test.df))
    reference = "normal" if math.isinf(test.df) else f"t with {test.df:g} degrees of freedom"
    errors = [("standard error of the estimate", f"{test.std_error:.4g}")]
    if test.null_std_error is not None:
        errors.append(("standard error that the test divides by", f"{test.null_std_error:.4g}"))
    rows = (
        ("power", f"{_power_of(test, size):.4f}"),
        ("effect (treated minus control)", f"{effect:g}"),
        *errors,
        ("formula", test.formula),
        ("critical value", f"{critical:.4f}, {reference}"),
        ("tails", _tails(size)),
        ("source", test.source),
        *(("assumes", words) for words in test.assumptions),
    )
    return Table("How this power comes about", ("what", "words"), rows)


def _tails(alpha: float) -> str:
    return f"Two-sided test of size {alpha:g}; rejections in both directions are counted."


def _targets(power: float, alpha: float) -> tuple[float, float]:
    target, size = check_share("power", power), check_share("alpha", alpha)
    if target <= size:
        raise DesignError(f"A power of {target:g} is no more than the test's size of {size:g}; ask for 0.8, say.")
    return target, size
