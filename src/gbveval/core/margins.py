"""Equivalence and non-inferiority: tests against a margin that was fixed beforehand."""

from __future__ import annotations

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.table import Table
from gbveval.core.term import Term, inverse_link, link_value
from gbveval.numerics.inference import t_upper, wald

EQUIVALENCE_COLUMNS = (
    "outcome",
    "term",
    "estimate",
    "margin_low",
    "margin_high",
    "t_lower",
    "p_lower",
    "t_upper",
    "p_upper",
    "p_value",
    "df",
    "level",
    "conf_low",
    "conf_high",
    "ruled_out_below",
    "ruled_out_above",
)


def equivalence(
    estimates: Estimates,
    term: str | tuple[str, str],
    *,
    margin_low: float,
    margin_high: float,
    alpha: float = 0.05,
) -> Table:
    """Return two one-sided tests that an effect lies between two margins, and the effects that are ruled out.

    Parameters
    ----------
    estimates : Estimates
        A frequentist result.
    term : str or (outcome, term)
        The row.
    margin_low, margin_high : float
        The smallest effects that would matter, on the scale that is shown (ratios for ratios), fixed beforehand.
    alpha : float
        Size of each one-sided test. The interval has level 1 - 2 alpha; it lies inside the margins exactly when both
        tests reject.

    Returns
    -------
    Table
        One row. `p_value` is the larger of the two one-sided p-values. At size alpha each, effects below
        `ruled_out_below` and above `ruled_out_above` are rejected, whatever margin a reader prefers.

    Raises
    ------
    DesignError
        If the row has no standard error, its interval comes from resampling, or the margins are out of order.

    Notes
    -----
    **Valid when** the row's t or normal reference is. A large p-value of the usual test does not show that there is no
    effect; this does. **Do not use when** the margins were chosen after seeing the estimate.

    References
    ----------
    Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics 15.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"y": [1.0, 2.0, 3.0, 4.0, 1.5, 2.0, 3.0, 4.0], "arm": ["a"] * 4 + ["b"] * 4}
    >>> trial = gbv.Trial(frame, outcome="y", arm="arm", control="a")
    >>> table = equivalence(gbv.DifferenceInMeans().estimate(trial), "b vs a", margin_low=-3, margin_high=3)
    >>> round(table.column("p_value")[0], 4)
    0.0077
    """
    row, value, std_error = _row(estimates, term, alpha)
    link = row.estimand.link
    low, high = link_value(link, margin_low), link_value(link, margin_high)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise DesignError(
            "The margins must be finite numbers, the lower below the upper, on the scale of the estimate."
        )
    t_lower, t_high = (value - low) / std_error, (value - high) / std_error
    p_lower, p_high = t_upper(t_lower, row.df), t_upper(-t_high, row.df)
    limits = wald(value, std_error, df=row.df, level=1.0 - 2.0 * alpha)
    conf = [float(inverse_link(link, x[0])) for x in (limits.conf_low, limits.conf_high)]
    content = (
        row.outcome,
        row.term,
        float(inverse_link(link, value)),
        float(margin_low),
        float(margin_high),
        t_lower,
        p_lower,
        t_high,
        p_high,
        max(p_lower, p_high),
        row.df,
        1.0 - 2.0 * alpha,
        *conf,
        *conf,
    )
    inside = conf[0] > margin_low and conf[1] < margin_high
    verdict = "lies" if inside else "does not lie"
    note = (
        f"The {1 - 2 * alpha:.0%} interval {verdict} inside the margins. At size {alpha:g} each, effects below "
        "ruled_out_below and above ruled_out_above are rejected."
    )
    return Table("Equivalence", EQUIVALENCE_COLUMNS, (content,), (note,), (row.support,))


NONINFERIORITY_COLUMNS = (
    "outcome",
    "term",
    "estimate",
    "std_error",
    "margin",
    "statistic",
    "p_value",
    "df",
    "level",
    "bound",
)


def noninferiority(
    estimates: Estimates,
    term: str | tuple[str, str],
    *,
    margin: float,
    higher_is_worse: bool = True,
    alpha: float = 0.05,
) -> Table:
    """Return a one-sided test that an arm is not worse than control by more than a margin.

    Parameters
    ----------
    estimates : Estimates
        A frequentist result.
    term : str or (outcome, term)
        The row.
    margin : float
        The largest acceptable effect in the bad direction, on the scale that is shown: above zero (above one for
        ratios) when higher is worse, below it otherwise.
    higher_is_worse : bool
        Whether a higher outcome is worse, as with harassment.
    alpha : float
        Size of the test; the bound is one-sided at level 1 - alpha.

    Raises
    ------
    DesignError
        If the row has no standard error, its interval comes from resampling, or the margin has the wrong sign.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"y": [1.0, 2.0, 3.0, 4.0, 1.5, 2.0, 3.0, 4.0], "arm": ["a"] * 4 + ["b"] * 4}
    >>> trial = gbv.Trial(frame, outcome="y", arm="arm", control="a")
    >>> table = noninferiority(gbv.DifferenceInMeans().estimate(trial), "b vs a", margin=3)
    >>> round(table.column("p_value")[0], 4)
    0.0077
    """
    row, value, std_error = _row(estimates, term, alpha)
    return _noninferior(row, (value, std_error), margin, higher_is_worse, alpha)


def _noninferior(row: Term, found: tuple[float, float], margin: float, higher_is_worse: bool, alpha: float) -> Table:
    value, std_error = found
    link = row.estimand.link
    sign = 1.0 if higher_is_worse else -1.0
    edge = link_value(link, margin)
    if not np.isfinite(edge) or sign * edge <= 0:
        raise DesignError(
            "The margin must lie on the bad side of no effect: above it when higher is worse, below it otherwise."
        )
    statistic = (value - edge) / std_error
    p_value = t_upper(-sign * statistic, row.df)
    limits = wald(value, std_error, df=row.df, level=1.0 - 2.0 * alpha)
    bound = float(inverse_link(link, (limits.conf_high if higher_is_worse else limits.conf_low)[0]))
    content = (
        row.outcome,
        row.term,
        float(inverse_link(link, value)),
        std_error,
        float(margin),
        statistic,
        p_value,
        row.df,
        1.0 - alpha,
        bound,
    )
    word = "is" if p_value < alpha else "is not shown to be"
    note = f"{row.term} {word} non-inferior: the one-sided {1 - alpha:.1%} bound is compared with the margin."
    return Table("Non-inferiority", NONINFERIORITY_COLUMNS, (content,), (note,), (row.support,))


def noninferiority_of_risks(
    *,
    events: tuple[int, int],
    n: tuple[int, int],
    margin: float,
    higher_is_worse: bool = True,
    alpha: float = 0.05,
) -> Table:
    """Return the non-inferiority test of a risk difference from counts, unpooled variance and normal reference.

    Parameters
    ----------
    events, n : tuple of (int, int)
        Events and people in the new arm and in control, in this order.
    margin, higher_is_worse, alpha : float, bool, float
        As in `noninferiority`.

    Raises
    ------
    DesignError
        If counts are impossible, or an arm's risk is 0 or 1 in both arms, so that nothing varies.

    Notes
    -----
    **Valid when** people were assigned one by one and each arm has at least about ten events and ten without; with
    fewer, or clusters, give a `Trial` and use `noninferiority`.

    Examples
    --------
    >>> table = noninferiority_of_risks(events=(30, 28), n=(200, 200), margin=0.1)
    >>> round(table.column("bound")[0], 4)
    0.0679
    """
    from gbveval.core.estimand import Estimand
    from gbveval.core.method import Cell

    if any(not 0 <= e <= k or k < 1 for e, k in zip(events, n, strict=True)):
        raise DesignError("Events must lie between zero and the people of their arm, and each arm needs somebody.")
    _check_alpha(alpha)
    risk = [e / k for e, k in zip(events, n, strict=True)]
    variance = sum(r * (1.0 - r) / k for r, k in zip(risk, n, strict=True))
    if variance <= 0:
        raise DesignError("Both risks are 0 or 1, so the unpooled variance is zero. Use an exact method.")
    support = tuple(Cell(label, k, e, "risk by arm") for label, k, e in zip(("new", "control"), n, events, strict=True))
    row = Term(
        term="new vs control",
        estimand=Estimand("ITT", "risk_difference"),
        outcome="risk",
        value=risk[0] - risk[1],
        std_error=float(np.sqrt(variance)),
        support=support,
    )
    return _noninferior(row, (risk[0] - risk[1], float(np.sqrt(variance))), margin, higher_is_worse, alpha)


def _check_alpha(alpha: float) -> None:
    if not 0.0 < alpha < 0.5:
        raise DesignError(f"alpha must lie between 0 and 0.5, such as 0.05; it is {alpha}.")


def _row(estimates: Estimates, term: str | tuple[str, str], alpha: float) -> tuple[Term, float, float]:
    """Return a row with its value and standard error, or raise."""
    _check_alpha(alpha)
    position = estimates.index(term) if isinstance(term, (str, tuple)) else int(term)
    if estimates.in_posterior[position]:
        raise DesignError(
            "A posterior answers this with `probability(term, above=..., below=...)`; it has no p-values."
        )
    row = estimates[position]
    if row.value is None or row.std_error is None or row.kind != "point":
        raise DesignError(f"The row {row.term!r} has no standard error, so no margin can be tested. {row.reason}")
    if row.interval is not None:
        raise DesignError(
            f"The interval of {row.term!r} comes from resampling and not from a standard error. Test the margin there: "
            "give `null` the margin and `alternative` a side."
        )
    return row, row.value, row.std_error
