"""How large departures before treatment may still be: the smallest bound that the data support."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.table import Table
from gbveval.estimators.did.event_path import event_path
from gbveval.numerics.inference import t_quantile, t_upper
from gbveval.numerics.trend_restrictions import first_differences

FloatArray = NDArray[np.float64]
COLUMNS = ("departure", "estimate", "bound", "margin", "p_value", "conclusion")


def pretrend_equivalence(study: Estimates, *, margin: float | None = None, alpha: float = 0.05) -> Table:
    """Return the smallest bounds on departures from parallel trends before treatment that the data support.

    Parameters
    ----------
    study : Estimates
        An event study whose effects are all relative to one reference period, as in `HonestDid.assess`.
    margin : float, optional
        The smallest departure that would matter, fixed beforehand, in units of the effects (logarithms for ratios):
        gives the p-value of the hypothesis that the departure is that large.
    alpha : float
        Size of the test.

    Returns
    -------
    Table
        Three rows: the largest coefficient before treatment, the largest change between neighbouring periods before
        it (the yardstick of `HonestDid`), and the average coefficient. `bound` is the smallest margin at which the
        hypothesis that the departure is that large or larger is rejected.

    Raises
    ------
    DesignError
        If it is no event study, or the margin is not above zero.

    Notes
    -----
    The usual test asks whether departures are zero, and calls parallel what it cannot see. Here the burden is turned
    round: departures count as large until the data show that they are small. With noisy data the bound is large.

    A single departure is tested by two one-sided tests, so that its bound is the size of the estimate plus t SE. Of
    several, *each* must pass, which has size alpha at most (intersection-union), and the bound is the largest. The test
    that Dette and Schumann propose, whether the estimate lies below the alpha quantile of a folded normal variable
    around the margin, is more powerful at margins near the standard error; as a bound it is of no use, since it is zero
    where the estimate happens to be near zero, however large the standard error.

    **Valid when** each coefficient is normal, or t with the degrees of freedom of the event study. **Do not use** small
    departures before as proof of small ones after; nothing in the data shows that.

    References
    ----------
    Hartman and Hidalgo (2018), American Journal of Political Science 62(4). Dette and Schumann (2024), Journal of
    Business and Economic Statistics 42(4). Berger and Hsu (1996), Statistical Science 11(4).

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.estimators.did.event_path import event_study_from
    >>> study = event_study_from([0.2, 0.1, 1.0], 0.01 * np.eye(3), [-3, -2, 0])
    >>> [round(x, 3) for x in pretrend_equivalence(study, margin=0.5).column("bound")]
    [0.364, 0.333, 0.266]
    """
    if not 0.0 < alpha < 0.5:
        raise DesignError(f"alpha must lie between 0 and 0.5, such as 0.05; it is {alpha}.")
    if margin is not None and not (np.isfinite(margin) and margin > 0):
        raise DesignError("The margin must be a finite number above zero, in units of the effects.")
    path = event_path(study)
    k = path.n_pre
    before, sigma = path.beta[:k], path.sigma[:k, :k]
    steps = first_differences(k, 1)[:k, :k]
    parts = (
        (f"largest of {k} coefficients before treatment", np.eye(k)),
        (f"largest of {k} changes between neighbouring periods", steps),
        (f"average of {k} coefficients before treatment", np.full((1, k), 1.0 / k)),
    )
    quantile = float(t_quantile(1.0 - alpha, path.df))
    rows = []
    for words, weights in parts:
        size = np.abs(weights @ before)
        error = np.sqrt(np.einsum("ij,jk,ik->i", weights, sigma, weights))
        bound = float(np.max(size + quantile * error))
        p_value, conclusion = None, None
        if margin is not None:
            p_value = max(t_upper(float(x), path.df) for x in (margin - size) / error)
            conclusion = "smaller than the margin" if p_value < alpha else "not shown to be smaller"
        rows.append((words, float(size.max()), bound, margin, p_value, conclusion))
    scale = "Numbers are logarithms of ratios. " if path.link == "log" else ""
    notes = (
        f"{scale}Departures are in absolute size, from event time {path.reference:g}. At size {alpha:g} the data "
        "reject that a departure is as large as its bound or larger.",
        "Two one-sided tests; of several departures, each is tested. Source: Hartman and Hidalgo 2018.",
        *path.notes(exact_df=True),
    )
    title = f"{path.outcome}: how large departures before treatment may be"
    return Table(title, COLUMNS, tuple(rows), notes, path.supports(len(rows)))
