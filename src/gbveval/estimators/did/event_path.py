"""An event study as sensitivity analyses take it: coefficients before and after the reference period, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.core.errors import DataError, DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Method
from gbveval.core.provenance import Provenance, derive_seed, digest_arrays, versions
from gbveval.core.term import Term
from gbveval.numerics.inference import wald

FloatArray = NDArray[np.float64]
Target = float | tuple[tuple[float, float], ...] | None
# Below this share of the largest root a covariance of correlations counts as singular.
SINGULAR = 1e-10


@dataclass(frozen=True, eq=False, slots=True)
class EventPath:
    """Coefficients of an event study, in order of time, without the reference period.

    Attributes
    ----------
    beta, sigma : ndarray, shape (n_pre + n_post,), (n_pre + n_post, n_pre + n_post)
        Coefficients and their covariance, on the link scale.
    event_time : ndarray, shape (n_pre + n_post,)
    reference : float
        Event time of the reference period.
    n_pre : int
        Coefficients before the reference period.
    df : float
        Smallest degrees of freedom of the rows.
    outcome, contrast, link : str
    support : tuple of Cell
    seed : int
        Derived from the periods.
    """

    beta: FloatArray
    sigma: FloatArray
    event_time: FloatArray
    reference: float
    n_pre: int
    df: float
    outcome: str
    contrast: str
    link: str
    support: tuple[Cell, ...]
    seed: int

    @property
    def steps(self) -> FloatArray:
        """Periods since the reference period."""
        return np.round(self.event_time - self.reference)

    def target(self, asked: Target) -> tuple[str, FloatArray]:
        """Return the words and the weights of a target over the periods after the reference period."""
        after = self.event_time[self.n_pre :]
        weights = np.zeros(after.size)
        if asked is None:
            treated = after >= 0
            if not treated.any():
                raise DesignError("The event study has no event time from 0 on; give `target`.")
            return f"average over event times {after[treated][0]:g} to {after[-1]:g}", treated / float(treated.sum())
        pairs = asked if isinstance(asked, tuple) else ((asked, 1.0),)
        for time, weight in pairs:
            place = np.flatnonzero(after == time)
            if place.size != 1:
                known = ", ".join(f"{t:g}" for t in after)
                raise DesignError(f"There is no event time {time:g} after the reference period; there are: {known}.")
            weights[place[0]] += weight
        if not weights.any() or not np.isfinite(weights).all():
            raise DesignError("The weights of the target must be finite and not all zero.")
        words = f"event time {pairs[0][0]:g}" if len(pairs) == 1 and pairs[0][1] == 1.0 else "weighted event times"
        return words, weights

    def estimate_of(self, weights: FloatArray, level: float) -> tuple[float, float, float, float]:
        """Return estimate, standard error and limits of a target, as the event study itself gives them."""
        value = float(weights @ self.beta[self.n_pre :])
        error = float(np.sqrt(weights @ self.sigma[self.n_pre :, self.n_pre :] @ weights))
        answer = wald(value, error, df=self.df, level=level)
        return value, error, float(answer.conf_low[0]), float(answer.conf_high[0])

    def notes(self, *, exact_df: bool = False) -> tuple[str, ...]:
        """Return what a reader must know of the coefficients, where their degrees of freedom are used or not."""
        said = []
        if np.isfinite(self.df) and not exact_df:
            said.append(
                f"The event study has {self.df:g} degrees of freedom; here its coefficients are taken as normal with "
                "known covariance, which is too sure of itself when there are few."
            )
        if not self.support:
            said.append("The numbers of people behind the event study are not known here, so nobody could judge them.")
        return tuple(said)

    def supports(self, n_rows: int) -> tuple[tuple[Cell, ...], ...]:
        """Return the counts behind each row of a table, every row resting on all of them."""
        return (self.support,) * n_rows if self.support else ()


def event_path(study: Estimates) -> EventPath:
    """Return the path of an event study, or raise with what is missing."""
    if not isinstance(study, Estimates):
        raise DesignError("Give an event study: `Estimates` with event times, or `event_study_from(...)` for arrays.")
    if study.posterior is not None:
        raise DesignError(
            "A posterior has no sampling distribution to be sensitive to; give a frequentist event study."
        )
    times = {i: dict(row.extra).get("event_time") for i, row in enumerate(study.terms)}
    found = {i: float(time) for i, time in times.items() if time is not None}
    outcomes = dict.fromkeys(study.terms[i].outcome for i in found)
    if not found:
        raise DesignError(
            "No row has an event time. Give an event study, such as "
            "CallawaySantAnna(base_period='universal').estimate(panel).aggregate('event_time')."
        )
    if len(outcomes) > 1:
        raise DesignError(f"The rows are of {len(outcomes)} outcomes; select those of one with `with_terms`.")
    order = sorted(found, key=lambda i: found[i])
    reference, rows = _reference(study, order, found)
    time = np.array([found[i] for i in rows])
    _check_steps(np.array(sorted([reference, *time])))
    n_pre = int(np.count_nonzero(time < reference))
    if n_pre == 0 or n_pre == time.size:
        side = "before" if n_pre == 0 else "after"
        raise IdentificationError(
            f"The event study has no coefficient {side} its reference period. Sensitivity to trends compares changes "
            "after it with changes before it; use a longer panel."
        )
    terms = [study.terms[i] for i in rows]
    beta = np.array([float(row.value or 0.0) for row in terms])
    sigma = study.covariance[np.ix_(rows, rows)].copy()
    _check_covariance(sigma)
    support = tuple(dict.fromkeys(cell for row in terms for cell in row.support))
    # Of the periods alone: a study in other units, or mirrored, has the same draws, and on every machine.
    seed = derive_seed(digest_arrays([("time", time), ("reference", np.array([reference]))]), "event_path")
    df = min(row.df for row in terms)
    first = terms[0]
    contrast, link = first.estimand.contrast, first.estimand.link
    return EventPath(beta, sigma, time, reference, n_pre, df, first.outcome, contrast, link, support, seed)


def _reference(study: Estimates, order: Sequence[int], time: dict[int, float]) -> tuple[float, list[int]]:
    """Return the reference period and the rows beside it: the row of zero without an error, or the one gap."""
    blank = [i for i in order if study.terms[i].std_error is None]
    zero = [i for i in blank if study.terms[i].value == 0.0]
    undefined = [study.terms[i].term for i in blank if i not in zero]
    if undefined:
        raise IdentificationError(
            f"{len(undefined)} rows have no standard error ({', '.join(undefined[:4])}). Leave them out with "
            "`aggregate('event_time', min_event_time=..., max_event_time=...)`."
        )
    if len(zero) == 1:
        return time[zero[0]], [i for i in order if i != zero[0]]
    known = np.array([time[i] for i in order])
    step = float(np.min(np.diff(known))) if known.size > 1 else 1.0
    gaps = np.flatnonzero(np.isclose(np.diff(known), 2.0 * step))
    if not zero and gaps.size == 1:
        return float(known[gaps[0]] + step), list(order)
    if not zero and gaps.size == 0:
        raise DesignError(
            "The event study has no reference period: its effects before treatment compare each period with the one "
            "before, and with several cohorts their sums are no event study. Estimate with base_period='universal'."
        )
    raise DesignError(
        f"{len(zero) or gaps.size} periods could be the reference period. Keep one row of zero without a standard "
        "error, and leave no event time out."
    )


def _check_steps(time: FloatArray) -> None:
    gaps = np.diff(time)
    if not np.allclose(gaps, gaps[0]) or gaps[0] <= 0:
        raise DesignError(
            "The event times are not equally spaced. Restrictions on trends compare changes from one period to the "
            "next; keep a run of event times without gaps, with min_event_time and max_event_time."
        )


def _check_covariance(sigma: FloatArray) -> None:
    if not np.isfinite(sigma).all():
        raise IdentificationError("The joint covariance of the event study is not known in full.")
    scale = np.sqrt(np.diag(sigma))
    roots = np.linalg.eigvalsh(sigma / np.outer(scale, scale))
    if roots[0] <= SINGULAR * roots[-1]:
        raise IdentificationError(
            "The joint covariance of the event study is singular: there are too few independent units or clusters for "
            f"its {len(sigma)} periods. Use fewer event times (min_event_time, max_event_time), or a coarser panel."
        )


def event_study_from(
    values: ArrayLike,
    covariance: ArrayLike,
    event_times: Sequence[float],
    *,
    reference: float = -1.0,
    outcome: str = "outcome",
    contrast: str = "mean_difference",
) -> Estimates:
    """Return an event study from numbers of another program, for sensitivity analyses and plots.

    Parameters
    ----------
    values : array_like, shape (periods,)
        Coefficients, all relative to one reference period; logarithms for ratios.
    covariance : array_like, shape (periods, periods)
        Their joint covariance.
    event_times : sequence of float
        Periods since the intervention began, zero for the first, without the reference period.
    reference : float
        Event time of the reference period, whose coefficient is zero.
    outcome : str
        Name of the outcome.
    contrast : str
        "mean_difference", "rate_ratio", "risk_difference", ...

    Returns
    -------
    Estimates
        One row an event time; the reference period is the row of zero.

    Raises
    ------
    DataError
        If shapes do not agree, event times repeat, or the covariance is none.

    Notes
    -----
    The rows know nothing of the people behind them, so `release` does not show them.

    Examples
    --------
    >>> study = event_study_from([0.1, 1.0], [[0.04, 0.01], [0.01, 0.05]], [-2, 0])
    >>> [row.term for row in study.terms]
    ['event time -2', 'event time -1', 'event time 0']
    """
    beta, sigma = np.asarray(values, dtype=float), np.asarray(covariance, dtype=float)
    time = np.asarray(event_times, dtype=float)
    problems = []
    if beta.ndim != 1 or beta.size == 0 or sigma.shape != (beta.size, beta.size) or time.shape != beta.shape:
        problems.append(
            f"{beta.size} values, a covariance of shape {sigma.shape} and {time.size} event times do not go together. "
            "Give one event time a value, and a square covariance."
        )
    elif not (np.isfinite(beta).all() and np.isfinite(sigma).all() and np.isfinite(time).all()):
        problems.append("Values, covariance and event times must be finite. Leave out undefined periods.")
    elif np.unique([*time, reference]).size != time.size + 1:
        problems.append("Event times repeat, or hold the reference period, whose coefficient is zero. Leave it out.")
    elif not np.allclose(sigma, sigma.T, rtol=1e-6, atol=0.0) or np.any(np.diag(sigma) <= 0):
        problems.append("The covariance must be symmetric, with variances above zero.")
    if problems:
        raise DataError(problems)
    estimand = Estimand("ATT", contrast, "treated")
    full = {float(t): (float(b), float(s)) for t, b, s in zip(time, beta, np.sqrt(np.diag(sigma)), strict=True)}
    order = sorted([*full, float(reference)])
    rows = tuple(
        Term(
            term=f"event time {t:+g}" if t else "event time 0",
            estimand=estimand,
            outcome=outcome,
            value=full[t][0] if t in full else 0.0,
            std_error=full[t][1] if t in full else None,
            reason="" if t in full else "base period",
            extra=(("event_time", t),),
        )
        for t in order
    )
    place = [order.index(float(t)) for t in time]
    joint = np.full((len(order), len(order)), np.nan)
    joint[np.ix_(place, place)] = (sigma + sigma.T) / 2.0
    method = Method(
        sample="not known here: the numbers were given",
        std_error="as given",
        small_sample="as given",
        reference="normal",
        inference_for="whatever the numbers were made for",
    )
    origin = Provenance(digest_arrays([("values", beta), ("covariance", sigma), ("time", time)]), (), None, versions())
    return Estimates("event_study", rows, joint, method, provenance=origin)
