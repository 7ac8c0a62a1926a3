"""How often an outcome of one group beats one of another: shares of wins and losses over all pairs, with influence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.groups import group_sizes, group_sums
from gbveval.numerics.linear_inference import linear_inference
from gbveval.numerics.mean_difference import clustered, neyman

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Wins:
    """Shares of pairs in which the treated unit wins, and in which it loses.

    Attributes
    ----------
    win, loss : float
        P(Y1 > Y0) and P(Y1 < Y0) over all pairs of a treated and a control unit; the rest are ties.
    influence : ndarray, shape (independent units, 2)
        Of both; the cross-product is their covariance.
    block : ndarray of int, shape (independent units,)
        Which variance each unit belongs to, from zero; -1 for units that take no part.
    block_df : ndarray, shape (blocks,)
        Degrees of freedom of each block's variance.
    """

    win: float
    loss: float
    influence: FloatArray
    block: IntArray
    block_df: FloatArray

    def inference(self, gradient: FloatArray) -> tuple[FloatArray, float]:
        """Return influence and Satterthwaite degrees of freedom of a function with this gradient in (win, loss)."""
        influence = self.influence @ gradient
        used = self.block >= 0
        parts = np.bincount(self.block[used], weights=influence[used] ** 2, minlength=self.block_df.size)
        bottom = float(np.sum(parts**2 / self.block_df))
        return influence, float(parts.sum() ** 2 / bottom) if bottom > 0 else float("nan")


def placements(
    y: FloatArray, other: FloatArray, other_weight: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Return, for each outcome, the shares of another group's outcomes below it and above it.

    Examples
    --------
    >>> below, above = placements(np.array([1.0, 3.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    >>> below.tolist(), above.tolist()
    ([0.0, 0.5], [0.75, 0.25])
    """
    order = np.argsort(other, kind="stable")
    ranked = other[order]
    mass = np.ones(other.size) if other_weight is None else other_weight[order]
    cumulated = np.concatenate([[0.0], np.cumsum(mass)])
    below = cumulated[np.searchsorted(ranked, y, side="left")] / cumulated[-1]
    above = 1.0 - cumulated[np.searchsorted(ranked, y, side="right")] / cumulated[-1]
    return below, above


def wins(
    y: FloatArray,
    treated: BoolArray,
    *,
    weight: FloatArray | None = None,
    cluster: IntArray | None = None,
) -> Wins:
    """Return win and loss shares of one stratum.

    Each treated unit has the shares of control outcomes below and above its own, each control unit those of treated
    outcomes above and below; both groups average to the share of wins and of losses. To first order the shares vary as
    the differences in means of these placements (Brunner and Munzel 2000 for people; Zou 2021 for clusters), so

        Var = sum over arms of S^2(placements) / n,

    with CR2 of the placements when clusters were assigned. The degrees of freedom are Satterthwaite's.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Outcomes; a higher one wins.
    treated : ndarray of bool, shape (n,)
        Arm. Each arm has two independent units.
    weight : ndarray, shape (n,), optional
        Positive analysis weights.
    cluster : ndarray of int, shape (n,), optional
        Codes 0 .. G - 1, all present, each in one arm.
    """
    first, second = placements(y[treated], y[~treated], None if weight is None else weight[~treated])
    below, above = placements(y[~treated], y[treated], None if weight is None else weight[treated])
    own = np.empty((y.size, 2))
    own[treated] = np.column_stack([first, second])
    # A control unit's placements are those of its opponents; their sign turns a mean into the minuend's partner.
    own[~treated] = -np.column_stack([above, below])
    mean = np.average(own[treated], axis=0, weights=None if weight is None else weight[treated])
    influence, block, block_df = _variance(own, treated, weight, cluster)
    return Wins(float(mean[0]), float(mean[1]), influence, block, block_df)


def _variance(
    own: FloatArray, treated: BoolArray, weight: FloatArray | None, cluster: IntArray | None
) -> tuple[FloatArray, IntArray, FloatArray]:
    """Return influence, blocks and their degrees of freedom of the differences in means of two columns."""
    if weight is not None:
        return _weighted(own, treated, weight, cluster)
    if cluster is None:
        influence = np.column_stack([neyman(column, treated).influence for column in own.T])
        sizes = np.array([(~treated).sum() - 1.0, treated.sum() - 1.0])
        return influence, treated.astype(np.intp), sizes
    count = int(cluster.max()) + 1
    sizes = group_sizes(cluster, count)
    arm = group_sums(cluster, treated.astype(float), count) > 0
    totals = np.vstack([group_sums(cluster, column, count) for column in own.T])
    _, influence, df = clustered(totals, sizes, arm)
    return influence.T, np.zeros(count, dtype=np.intp), np.array([df])


def _weighted(
    own: FloatArray, treated: BoolArray, weight: FloatArray, cluster: IntArray | None
) -> tuple[FloatArray, IntArray, FloatArray]:
    count = own.shape[0] if cluster is None else int(cluster.max()) + 1
    fits = [
        linear_inference(
            treated.astype(float)[:, None],
            column,
            std_error="HC2" if cluster is None else "CR2",
            df="residual" if cluster is None else "satterthwaite",
            weights=weight,
            cluster=cluster,
            n_clusters=0 if cluster is None else count,
        )
        for column in own.T
    ]
    influence = np.column_stack([fit.influence[:, 1] for fit in fits if fit.influence is not None])
    return influence, np.zeros(count, dtype=np.intp), np.array([float(fits[0].df[1])])


def combine(parts: list[Wins], members: list[IntArray], shares: FloatArray, n_units: int) -> Wins:
    """Return shares averaged over strata.

    Parameters
    ----------
    parts : list of Wins
        One a stratum.
    members : list of ndarray of int
        Position of each stratum's independent units among all.
    shares : ndarray, shape (strata,)
        Weights that sum to one.
    n_units : int
        Independent units.
    """
    influence = np.zeros((n_units, 2))
    block = np.full(n_units, -1, dtype=np.intp)
    start = 0
    for part, member, share in zip(parts, members, shares, strict=True):
        influence[member] = share * part.influence
        block[member] = start + part.block
        start += part.block_df.size
    return Wins(
        float(sum(share * part.win for part, share in zip(parts, shares, strict=True))),
        float(sum(share * part.loss for part, share in zip(parts, shares, strict=True))),
        influence,
        block,
        np.concatenate([part.block_df for part in parts]),
    )


def win_contrast(contrast: str, win: float, loss: float) -> tuple[float, FloatArray] | None:
    """Return a contrast on its link scale and its gradient in (win, loss), or None where it is not finite.

    With p = P(Y1 > Y0) + P(Y1 = Y0) / 2: "win_probability" is logit p, "win_difference" is P(win) - P(loss) = 2 p - 1,
    "win_odds" is log p / (1 - p), "win_ratio" is log P(win) / P(loss), which leaves ties out.

    Examples
    --------
    >>> value, _ = win_contrast("win_ratio", 0.5, 0.25)
    >>> round(float(np.exp(value)), 6)
    2.0
    """
    difference = np.array([1.0, -1.0])
    if contrast == "win_difference":
        return win - loss, difference
    if contrast == "win_ratio":
        if min(win, loss) <= 0:
            return None
        return float(np.log(win / loss)), np.array([1.0 / win, -1.0 / loss])
    p = (1.0 + win - loss) / 2.0
    # Sums of shares leave rounding at the ends, where there are no odds.
    if not 1e-12 < p < 1.0 - 1e-12:
        return None
    return float(np.log(p / (1.0 - p))), difference / (2.0 * p * (1.0 - p))
