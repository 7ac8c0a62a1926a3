"""Cluster-robust inference for one coefficient in many regressions at once, from cluster cross-products alone.

With S_g = Z_g'Z_g and m_g = Z_g'y_g the rows are not needed: beta = M sum m_g with M = (sum S_g)^-1, and the score of a
cluster is s_g = m_g - S_g beta. `cluster_sandwich` has the adjustment A_g = (I - H_gg)^(-1/2) of Bell and McCaffrey
(2002) in these terms. For one contrast c only the vector l_g = (I + G_g S_g) M c is needed, where
G_g = R Q diag((d - 1)/lambda) Q'R: the influence of a cluster is l_g's_g. It depends on the design alone, so that
regressions which share their columns share it, and each costs the product of scores and l.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.cluster_sandwich import SINGULAR, hat_adjustment

FloatArray = NDArray[np.float64]
# Reciprocal condition number of the columns, each in units of its own length, below which they count as collinear.
COLLINEAR = 1e-10


@dataclass(frozen=True, eq=False, slots=True)
class ManyContrasts:
    """One coefficient of many regressions, and what the degrees of freedom of its variance follow from.

    Attributes
    ----------
    value, variance : ndarray, shape (draws,)
        The coefficient and its cluster-robust variance.
    trace, squares : ndarray, shape (1 or draws,)
        tr(P) and sum of P_gh^2 of the working model; Satterthwaite's degrees of freedom are trace^2 / squares.
    """

    value: FloatArray
    variance: FloatArray
    trace: FloatArray
    squares: FloatArray


def many_contrasts(gram: FloatArray, moment: FloatArray, contrast: FloatArray, *, kind: str = "CR2") -> ManyContrasts:
    """Return a linear combination of coefficients in many regressions, with its cluster-robust variance.

    Parameters
    ----------
    gram : ndarray, shape (1 or draws, clusters, k, k)
        Z_g'Z_g; one for all draws where they share their columns. A cluster that takes no part is all zeros.
    moment : ndarray, shape (draws, clusters, k)
        Z_g'y_g.
    contrast : ndarray, shape (k,)
        Weights of the coefficients.
    kind : str
        "CR0", "CR2" or "CR3".

    Raises
    ------
    numpy.linalg.LinAlgError
        If the columns of a draw are collinear.

    Examples
    --------
    >>> gram = np.array([[[[10.0]], [[10.0]], [[10.0]]]])
    >>> found = many_contrasts(gram, np.array([[[10.0], [20.0], [30.0]]]), np.ones(1))
    >>> float(found.value[0]), round(float(found.variance[0]), 6), round(float((found.trace**2 / found.squares)[0]), 6)
    (2.0, 0.333333, 2.0)
    """
    bread = _inverse(gram.sum(axis=1))
    beta = (bread @ moment.sum(axis=1)[..., None])[..., 0]
    score = moment - (gram @ beta[:, None, :, None])[..., 0]
    lean = bread @ contrast
    pulled = (gram @ lean[:, None, :, None])[..., 0]
    half, first, second = _adjusted(bread, gram, kind)
    turned = (np.swapaxes(half, -1, -2) @ pulled[..., None])[..., 0]
    reach = lean[:, None, :] + (half @ (first * turned)[..., None])[..., 0]
    influence = np.einsum("...gk,...gk->...g", reach, score)
    lifted = (gram @ reach[..., None])[..., 0]
    own = np.einsum("ak,agk->ag", lean, pulled) + (second * turned**2).sum(axis=-1)
    trace, squares = _working_model(lifted, own, bread)
    return ManyContrasts(beta @ contrast, np.einsum("dg,dg->d", influence, influence), trace, squares)


def _inverse(total: FloatArray) -> FloatArray:
    """Return inverses of symmetric matrices, or raise where one is singular to rounding."""
    scale = np.sqrt(np.diagonal(total, axis1=-2, axis2=-1))
    safe = np.where(scale > 0.0, scale, 1.0)
    unit = total / (safe[..., :, None] * safe[..., None, :])
    if total.shape[-1] > 1:
        values = np.linalg.eigvalsh(unit)
        if np.any(values[..., 0] < COLLINEAR * values[..., -1]):
            raise np.linalg.LinAlgError("collinear columns")
    return np.asarray(np.linalg.inv(unit) / (safe[..., :, None] * safe[..., None, :]))


def _adjusted(bread: FloatArray, gram: FloatArray, kind: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return R Q, (d - 1)/lambda and (d^2 - 1)/lambda of every cluster's hat block."""
    if bread.shape[-1] == 1:
        root = np.sqrt(bread)
        lam, half = gram[..., 0] * bread[:, None, :, 0], np.broadcast_to(root[:, None], gram.shape)
    else:
        values, vectors = np.linalg.eigh(bread)
        root = (vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]) @ np.swapaxes(vectors, -1, -2)
        lam, q = np.linalg.eigh(root[:, None] @ gram @ root[:, None])
        half = root[:, None] @ q
    lam = np.clip(lam, 0.0, 1.0)
    first, second = hat_adjustment(kind, lam, lam > 1e-14, 1.0 - lam > SINGULAR)
    return half, first, second


def _working_model(lifted: FloatArray, own: FloatArray, bread: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return tr(P) and the sum of P_gh^2, with P_gh = 1{g = h} own_g - lifted_g'M lifted_h."""
    turned = (bread[:, None] @ lifted[..., None])[..., 0]
    overlap = -np.einsum("agk,agk->ag", lifted, turned)
    product = np.swapaxes(turned, -1, -2) @ lifted
    cross = np.einsum("aij,aji->a", product, product)
    squares = (own**2).sum(axis=-1) + 2.0 * (own * overlap).sum(axis=-1) + cross
    return (own + overlap).sum(axis=-1), squares


def arm_columns_gram(gram: FloatArray, treated: NDArray[np.bool_]) -> FloatArray:
    """Return Z_g'Z_g where Z has one more column, treatment, which is constant in a cluster."""
    side = treated[..., None] * gram[..., 0, :]
    shape = (*np.broadcast_shapes(gram.shape[:-2], treated.shape), gram.shape[-1] + 1, gram.shape[-1] + 1)
    wide = np.empty(shape)
    wide[..., :-1, :-1] = gram
    wide[..., :-1, -1] = wide[..., -1, :-1] = side
    wide[..., -1, -1] = side[..., 0]
    return wide


def centred(gram: FloatArray, moment: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return cross-products with the covariates centred at their mean over all rows of the draw."""
    total = gram[..., 0, :].sum(axis=1)
    turn = np.broadcast_to(np.eye(gram.shape[-1]), (gram.shape[0], *gram.shape[-2:])).copy()
    turn[:, 0, 1:] = -total[:, 1:] / total[:, :1]
    back = np.swapaxes(turn, -1, -2)[:, None]
    return back @ gram @ turn[:, None], (back @ moment[..., None])[..., 0]


def between_arms(
    gram: FloatArray, moment: FloatArray, treated: NDArray[np.bool_], contrast: FloatArray, *, kind: str = "CR2"
) -> ManyContrasts:
    """Return the difference, treated minus control, of one contrast in a regression of each arm by itself.

    This is the regression with every column interacted with treatment. The arms share no coefficient, so variances
    add, and so do the traces of which degrees of freedom are made.

    Parameters
    ----------
    gram, moment, contrast, kind
        As `many_contrasts` takes them.
    treated : ndarray of bool, shape (1 or draws, clusters)
        Which clusters are treated.
    """
    arms = [many_contrasts(*_members(gram, moment, side), contrast, kind=kind) for side in (treated, ~treated)]
    one, nil = arms
    return ManyContrasts(
        one.value - nil.value, one.variance + nil.variance, one.trace + nil.trace, one.squares + nil.squares
    )


def _members(gram: FloatArray, moment: FloatArray, member: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """Return the cross-products of some clusters; where they differ between draws the others become zero."""
    if member.shape[0] == 1:
        return gram[:, member[0]], moment[:, member[0]]
    return gram * member[..., None, None], moment * member[..., None]
