"""Hides what is asked of a sequential plan before and at an interim look: its bounds, its course, its prospects."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.table import Table
from gbveval.design._require import one_of, real, whole
from gbveval.design.cluster import ClusterDesign
from gbveval.design.planned_test import PlannedDesign
from gbveval.design.sequential import SequentialDesign
from gbveval.design.sequential_test import SequentialTest
from gbveval.numerics.group_sequential import begin, crossing
from gbveval.planning._request import against, tails
from gbveval.planning.solver import check_share

BOUNDS, CONDITIONAL = "Bounds of the looks", "Conditional power"
COLUMNS = (
    "information",
    "z",
    "nominal_p",
    "statistic",
    "df",
    "estimate",
    "alpha_spent",
    "lower_z",
    "lower_estimate",
)
# The average over drifts is exact for polynomials of twice this degree; power is a sum of normal tails.
HERMITE_NODES = 100


def boundaries(design: SequentialDesign, *, alpha: float = 0.05, alternative: str | None = None) -> Table:
    """Return the bounds of a sequential plan, look by look.

    Parameters
    ----------
    design : SequentialDesign
        The plan.
    alpha : float
        Size of the test, both tails together when it is two-sided.
    alternative : str, optional
        As in `power`.

    Returns
    -------
    Table
        One row a look: the size reached (its name is the column's), its share of the information, the bound for
        efficacy on the scale of z, its nominal one-sided p-value, the bound as the planned test has it (t with `df`;
        None for the normal), the estimate that it takes there, the size of the test spent so far, and the lower bound
        on z and as an estimate (None where there is none). Bounds are positive in the direction of the alternative;
        the lower ones of a two-sided test are those for an effect in the other direction. Estimates have the sign of
        the effect.

    Notes
    -----
    Compare the p-value of an interim look with `nominal_p` (twice that when the p-value is two-sided); nothing else of
    the table is needed. Bounds on estimates use the planned standard errors, which the data will not have exactly.

    Examples
    --------
    >>> from gbveval.design.efficacy import Pocock
    >>> from gbveval.design.outcomes import Continuous
    >>> from gbveval.design.parallel import ParallelDesign
    >>> plan = ParallelDesign(n_per_arm=500, outcome=Continuous())
    >>> design = SequentialDesign(plan, looks=(0.2, 0.4, 0.6, 0.8, 1.0), boundary=Pocock())
    >>> [round(z, 3) for z in boundaries(design).column("z")]
    [2.413, 2.413, 2.413, 2.413, 2.413]
    """
    size, side, test = _asked(design, alpha, alternative)
    bounds = test.bounds(size, side)
    spent = np.cumsum(_under_null(design, test, size, side))
    sign = -1.0 if side == "less" else 1.0
    last = len(test.tests) - 1
    rows = []
    for k, (reached, share) in enumerate(zip(test.looks.sizes, test.information, strict=True)):
        upper, lower = bounds.upper[k], bounds.lower[k]
        there, df = test.tests[k].std_error, test.tests[k].df
        statistic = test.critical(upper, k)
        stops = math.isfinite(lower) and (k < last or lower < upper)
        rows.append(
            (
                k + 1,
                reached,
                share,
                _finite(upper),
                _tail(upper),
                _finite(statistic),
                _finite(df),
                _finite(sign * statistic * there),
                float(spent[k]),
                lower if stops else None,
                sign * test.critical(lower, k) * there if stops else None,
            )
        )
    notes = [tails(size, side), f"Efficacy: {design.boundary.words}."]
    if design.futility is not None:
        kind = "binding" if design.binding else "not binding: the size holds if the study goes on"
        notes.append(f"Lower bounds: {design.futility.words}; {kind}.")
    if test.tests[0].scale:
        notes.append(f"Estimates are on the scale of the test: {test.tests[0].scale}.")
    return Table(BOUNDS, ("look", test.looks.name, *COLUMNS), tuple(rows), tuple(notes))


def stopping_probabilities(
    design: SequentialDesign, *, effect: float, alpha: float = 0.05, alternative: str | None = None
) -> Table:
    """Return when studies of a sequential plan stop, if the effect is this one.

    Parameters
    ----------
    design : SequentialDesign
        The plan.
    effect : float
        True effect, treated minus control; zero for a programme that does nothing.
    alpha, alternative : float and str
        As in `power`.

    Returns
    -------
    Table
        One row a look: its size, the probability to stop there because the effect is shown, the probability to cross
        the lower bound there (for a two-sided test: to show an effect in the other direction), and the probability that
        it is the last look. Efficacy adds up to power.

    Examples
    --------
    >>> from gbveval.design.efficacy import OBrienFleming
    >>> from gbveval.design.outcomes import Continuous
    >>> from gbveval.design.parallel import ParallelDesign
    >>> plan = ParallelDesign(n_per_arm=64, outcome=Continuous())
    >>> design = SequentialDesign(plan, looks=(0.5, 1.0), boundary=OBrienFleming())
    >>> [round(chance, 3) for chance in stopping_probabilities(design, effect=0.5).column("efficacy")]
    [0.195, 0.603]
    """
    size, side, _ = _asked(design, alpha, alternative)
    test = design.planned_test(effect)
    found = test.stopping(size, side)
    rows = tuple(
        (k + 1, reached, found.efficacy[k], found.lower[k], found.stopped[k])
        for k, reached in enumerate(test.looks.sizes)
    )
    return Table(
        "When studies stop", ("look", test.looks.name, "efficacy", "lower", "last"), rows, (tails(size, side),)
    )


def expected_size(
    design: SequentialDesign, *, effect: float, alpha: float = 0.05, alternative: str | None = None
) -> float:
    """Return the size at which studies of a sequential plan stop on average, if the effect is this one.

    Parameters
    ----------
    design : SequentialDesign
        The plan.
    effect : float
        True effect, treated minus control; zero for a programme that does nothing.
    alpha, alternative : float and str
        As in `power`.

    Returns
    -------
    float
        In the units of the size that grows from look to look (`looks_by`), of one arm where that is.

    Notes
    -----
    Money follows the largest size, not this one: a study that may stop early must be funded to its end.

    Examples
    --------
    >>> from gbveval.design.efficacy import OBrienFleming
    >>> from gbveval.design.outcomes import Continuous
    >>> from gbveval.design.parallel import ParallelDesign
    >>> plan = ParallelDesign(n_per_arm=64, outcome=Continuous())
    >>> design = SequentialDesign(plan, looks=(0.5, 1.0), boundary=OBrienFleming())
    >>> round(expected_size(design, effect=0.5), 1)
    57.8
    """
    size, side, _ = _asked(design, alpha, alternative)
    return design.planned_test(effect).expected(size, side)


def conditional_power(
    design: SequentialDesign,
    *,
    look: int,
    z: float,
    effect: float | None = None,
    information: float | None = None,
    alpha: float = 0.05,
    alternative: str | None = None,
) -> Table:
    """Return the probability that a study which goes on after an interim look will show its effect.

    Parameters
    ----------
    design : SequentialDesign
        The plan.
    look : int
        Which look was taken, from 1; not the last.
    z : float
        What was seen, on the scale of z: the normal quantile of the p-value, positive in the direction of the
        alternative (for a two-sided test, where treated is above control).
    effect : float, optional
        An effect that is assumed for what is to come, treated minus control, such as the planned one.
    information : float, optional
        Share of the information that was there, if not the planned one: see `interim_information`.
    alpha, alternative : float and str
        As in `power`.

    Returns
    -------
    Table
        One row an assumption on what is to come: the assumed effect, if one is given; the trend that was seen;
        "predictive", which averages over all effects in the light of what was seen, from a flat prior.

    Notes
    -----
    The bounds to come are the planned ones, and stopping at lower bounds counts as not showing the effect. Variances
    are taken as known, so that it is rough with few clusters. The trend is a poor guide early: at a third of the
    information its standard error is more than half of the effect for which most studies are planned.

    References
    ----------
    Lan and Wittes (1988), Biometrics 44. Spiegelhalter, Freedman and Blackburn (1986), Controlled Clinical Trials 7,
    for predictive power.

    Examples
    --------
    >>> from gbveval.design.efficacy import EfficacyAtEnd
    >>> from gbveval.design.outcomes import Continuous
    >>> from gbveval.design.parallel import ParallelDesign
    >>> plan = ParallelDesign(n_per_arm=128, outcome=Continuous(), analysis="normal")
    >>> design = SequentialDesign(plan, looks=(0.5, 1.0), boundary=EfficacyAtEnd())
    >>> found = conditional_power(design, look=1, z=1.2, effect=0.35, alpha=0.025, alternative="greater")
    >>> [round(chance, 3) for chance in found.column("power")]
    [0.658, 0.355, 0.396]
    """
    size, side, test = _asked(design, alpha, alternative)
    if whole("look", look, least=1) >= len(test.tests):
        raise DesignError(f"look {look} is the last of {len(test.tests)}: nothing is to come.")
    seen = real("z", z, low=-math.inf, high=math.inf)
    there = test.information[look - 1] if information is None else real("information", information, low=0.0, high=1.0)
    to_come = test.information[look:]
    if there >= to_come[0]:
        raise DesignError(f"information is {there:g}, and the next look is at {to_come[0]:g}; say which look it was.")
    chance = _chance(test, size, side, look, seen, there)
    node, weight = np.polynomial.hermite_e.hermegauss(HERMITE_NODES)
    trend = seen / math.sqrt(there)
    average = sum(w * chance(trend + x / math.sqrt(there)) for x, w in zip(node, weight, strict=True)) / weight.sum()
    rows = [("trend", chance(trend)), ("predictive", float(average))]
    if effect is not None:
        planned = design.planned_test(effect).tests[-1]
        drift = (-1.0 if side == "less" else 1.0) * planned.distance / planned.std_error
        rows.insert(0, ("assumed effect", chance(drift)))
    words = f"After look {look} at {there:.4g} of the information, z = {seen:g}."
    return Table(CONDITIONAL, ("assumption", "power"), tuple(rows), (words, tails(size, side)))


def interim_information(plan: PlannedDesign, **sizes: float) -> float:
    """Return the share of a plan's information that an interim look has, with the clusters and people it has.

    Parameters
    ----------
    plan : PlannedDesign
        The plan without looks, at its full size.
    **sizes : float
        Sizes at the interim look, such as clusters_per_arm=12 and cluster_size=30; those not given are the plan's own.

    Returns
    -------
    float
        The variance of the estimate at the end over that at the look, at no effect.

    Examples
    --------
    >>> from gbveval.design.icc import ICC
    >>> from gbveval.design.outcomes import Continuous
    >>> plan = ClusterDesign(20, 50, ICC(0.05, scale="observed"), Continuous())
    >>> round(interim_information(plan, cluster_size=25), 3), round(interim_information(plan, clusters_per_arm=10), 3)
    (0.784, 0.5)
    """
    against(plan, None)
    if isinstance(plan, SequentialDesign):
        raise DesignError("Give the plan inside the sequential one: its looks do not matter here.")
    if not sizes:
        raise DesignError(f"Give the sizes at the interim look: {' or '.join(plan.least_sizes)}.")
    for name, value in sizes.items():
        one_of("A size", name, tuple(plan.least_sizes))
        real(name, value, low=0.0, high=math.inf)
    whole_plan = plan.planned_test(0.0).unit
    if isinstance(plan, ClusterDesign):
        k = sizes.get("clusters_per_arm")
        arms = (float(plan.clusters_per_arm), float(plan.treated_clusters)) if k is None else (k, k * float(plan.ratio))
        there = plan.test_with(0.0, arms, float(sizes.get("cluster_size", plan.cluster_size))).std_error
    elif len(sizes) == 1:
        there = plan.planned_test(0.0, size=next(iter(sizes.items()))).unit
    else:
        raise DesignError(f"{type(plan).__name__} takes one size at a time here.")
    return (whole_plan / there) ** 2


def _chance(
    test: SequentialTest, alpha: float, side: str, look: int, z: float, there: float
) -> Callable[[float], float]:
    """Return the probability to reject later as a function of the mean of the last statistic."""
    bounds, to_come = test.bounds(alpha, side), test.information[look:]
    upper, lower = np.array(bounds.upper[look:]), np.array(bounds.lower[look:])

    def chance(drift: float) -> float:
        away = drift * np.sqrt(to_come)
        start = begin(there, z - drift * math.sqrt(there))
        found = crossing(list(lower - away), list(upper - away), to_come, start=start)
        return float(found.above.sum() + (found.below.sum() if side == "two_sided" else 0.0))

    return chance


def _asked(design: object, alpha: float, alternative: str | None) -> tuple[float, str, SequentialTest]:
    """Return size, alternative and the test without an effect, or say that this is no sequential plan."""
    if not isinstance(design, SequentialDesign):
        raise DesignError(f"Give a SequentialDesign(...); it is a {type(design).__name__}.")
    return check_share("alpha", alpha), against(design, alternative), design.planned_test(0.0)


def _under_null(design: SequentialDesign, test: SequentialTest, alpha: float, side: str) -> Sequence[float]:
    """Return what each look spends of the size: where lower bounds do not bind, as if nobody stopped there."""
    bounds = test.bounds(alpha, side)
    lower = bounds.lower if side == "two_sided" or design.binding else (-math.inf,) * len(bounds.lower)
    found = crossing(lower, bounds.upper, test.information)
    both = found.above + found.below if side == "two_sided" else found.above
    return [float(value) for value in both]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _tail(bound: float) -> float:
    """Return the one-sided p-value of a bound on z."""
    from scipy.special import ndtr

    return float(ndtr(-bound))
