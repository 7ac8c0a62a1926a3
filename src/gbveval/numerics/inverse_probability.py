"""Horvitz-Thompson and Hajek comparisons of two arms under a known assignment, with conservative variances.

For units of assignment i with totals y_i, assigned to arm a with probability p_ai, the estimate is
(sum_T y_i / p_1i - sum_C y_i / p_0i) / N over N participants. Its variance has a term for every pair of units and arms,
y_i y_j (p_ij - p_i p_j) / (p_i p_j), which is estimated by dividing by the joint probability p_ij where that is above
zero. Where it is zero (a unit in both arms; two units in an arm that holds one), Young's inequality
-y_i y_j <= (y_i^2 + y_j^2) / 2 gives a bound that can be estimated (Aronow and Middleton 2013; Aronow and Samii 2017).

Under complete assignment of m_1 and m_0 of n units in a block, p_11 = m_1 (m_1 - 1) / (n (n - 1)) and
p_10 = m_1 m_0 / (n (n - 1)), so with u_i = y_i / p_i the pair terms need only sums and sums of squares:

    sum_T u^2 + sum_C u^2 + c_1 ((sum_T u)^2 - sum_T u^2) + c_0 (...) - 2 c_10 (sum_T u)(sum_C u),

c_a = 1 - p_a^2 / p_aa, c_10 = 1 - p_1 p_0 / p_10. Under independent draws all c are zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class Assigned:
    """Units of assignment in one of the two arms compared, and how they got there.

    Attributes
    ----------
    treated, control : ndarray of bool, shape (units,)
        Arm; a unit in neither is in another arm.
    p_treated, p_control : ndarray, shape (units,)
        Probabilities of the two arms.
    block : ndarray of int or None
        Blocks within which a fixed number was assigned to each arm, its probability times the block's units; None when
        units were drawn independently.
    """

    treated: BoolArray
    control: BoolArray
    p_treated: FloatArray
    p_control: FloatArray
    block: IntArray | None


def complete_assignment(treated: BoolArray, control: BoolArray, block: IntArray) -> Assigned:
    """Return the assignment in which every block's numbers in each arm were fixed: those observed."""
    count = int(block.max()) + 1
    size = np.bincount(block, minlength=count).astype(float)
    share = [np.bincount(block, weights=member, minlength=count) / size for member in (treated, control)]
    return Assigned(treated, control, share[0][block], share[1][block], block)


def inverse_probability_difference(total: FloatArray, assigned: Assigned, size: float) -> float:
    """Return the Horvitz-Thompson difference of means over `size` participants."""
    t, c = assigned.treated, assigned.control
    return float((total[t] / assigned.p_treated[t]).sum() - (total[c] / assigned.p_control[c]).sum()) / size


def young_variance(total: FloatArray, assigned: Assigned, size: float) -> float:
    """Return the conservative variance of the Horvitz-Thompson difference.

    Parameters
    ----------
    total : ndarray, shape (units,)
        Totals of the units of assignment (or of their residuals).
    assigned : Assigned
        The assignment.
    size : float
        Participants.
    """
    t, c = assigned.treated, assigned.control
    u = np.zeros_like(total)
    u[t] = total[t] / assigned.p_treated[t]
    u[c] = total[c] / assigned.p_control[c]
    squares = float(u @ u)
    if assigned.block is None:
        return squares / size**2
    pairs = 0.0
    for code in np.unique(assigned.block):
        here = assigned.block == code
        pairs += _pairs(u, total, assigned, here)
    return (squares + pairs) / size**2


def _pairs(u: FloatArray, total: FloatArray, assigned: Assigned, here: BoolArray) -> float:
    """Return the terms of the pairs of one block, whose numbers by arm are its probabilities times its units."""
    n = float(here.sum())
    whole = 0.0
    for member, share in ((assigned.treated & here, assigned.p_treated), (assigned.control & here, assigned.p_control)):
        m = n * float(share[here][0])
        if m > 1.0 + 1e-9:
            ratio = m * (n - 1.0) / (n * (m - 1.0))
            whole += (1.0 - ratio) * float(u[member].sum() ** 2 - u[member] @ u[member])
        else:
            whole += (n - 1.0) * float(total[member] @ u[member])
    # p_1 p_0 / p_10 = (n - 1) / n, whatever the numbers in the arms.
    cross = 1.0 / n if n > 1 else 0.0
    return whole - 2.0 * cross * float(u[assigned.treated & here].sum() * u[assigned.control & here].sum())


def constant_effect_variance(total: FloatArray, number: FloatArray, assigned: Assigned, size: float) -> float:
    """Return the variance of the estimate if the effect were the same for everybody.

    The estimated effect then fills in every unit's other outcome, a_i = y_1i / p_1i + y_0i / p_0i is known for all, and
    the estimate is sum_i z_i a_i less a constant: its variance is sum_ij a_i a_j Cov(z_i, z_j).

    Parameters
    ----------
    total, number : ndarray, shape (units,)
        Totals and numbers of participants of the units of assignment, all of them in one of the two arms.
    assigned : Assigned
        The assignment.
    size : float
        Participants.
    """
    effect = inverse_probability_difference(total, assigned, size)
    untreated = total - effect * number * assigned.treated
    a = (untreated + effect * number) / assigned.p_treated + untreated / assigned.p_control
    spread = assigned.p_treated * (1.0 - assigned.p_treated)
    if assigned.block is None:
        return float(np.sum(a**2 * spread)) / size**2
    variance = 0.0
    for code in np.unique(assigned.block):
        here = assigned.block == code
        n = float(here.sum())
        if n > 1:
            centred = a[here] - a[here].mean()
            variance += float(spread[here][0] * n / (n - 1.0) * (centred @ centred))
    return variance / size**2
