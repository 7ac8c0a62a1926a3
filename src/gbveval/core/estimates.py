"""The one result type: rows of estimates with their joint uncertainty, support, method, checks and provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gbveval.core.band import Band, make_band
from gbveval.core.errors import DesignError
from gbveval.core.estimand import LEVELS
from gbveval.core.flow import Flow
from gbveval.core.lazy import LazyMatrix
from gbveval.core.method import Check, Method
from gbveval.core.posterior import PartialPosterior
from gbveval.core.provenance import Provenance
from gbveval.core.term import TIDY_COLUMNS, Term, inverse_link, link_value
from gbveval.numerics.inference import ALTERNATIVES, Wald, bounded_interval, check_level, wald

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from gbveval.core.posterior import Posterior

FloatArray = NDArray[np.float64]
UNTESTED = ("arm_mean", "new_site_effect", *LEVELS)


class Aggregator(Protocol):
    """Averages the rows of one result, with what only memory holds (influence functions, cohort sizes)."""

    def aggregate(self, estimates: Estimates, by: str, options: Mapping[str, Any]) -> Estimates:
        """Return averages of the rows."""


@dataclass(frozen=True, eq=False)
class Estimates:
    """Estimates of every method, frequentist or Bayesian, one row or a hundred.

    Parameters
    ----------
    estimator : str
        Registered name of the method.
    terms : tuple of Term
        The rows.
    covariance : ndarray, shape (terms, terms)
        Joint covariance on the link scale; NaN where undefined.
    method : Method
        How it was made, in words.
    level : float
        Level of the intervals shown.
    checks : tuple of Check
        What was looked at.
    provenance : Provenance
        Digests, seed, versions.
    flow : Flow or None
        Who was analysed.
    posterior : Posterior or None
        For Bayesian answers: mean, sd, cdf, quantiles and joint draws. A `PartialPosterior` is that of some rows.
    band : Band or None
        Makes the intervals of its members a uniform band.
    influence : ndarray, LazyMatrix or None
        Shape (independent units, terms), made when it is read where it is large; the covariance is its cross-product,
        times any factor that the method names. It gives outcomes away up to shift and scale, so it lives in memory
        only: it is in no JSON and no pickle.
    aggregator : Aggregator or None
        What `aggregate` needs; in memory only, as it holds influence functions.
    blocks : ndarray of int or None
        Shape (independent units,): which variance each belongs to, such as its arm; in memory only.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"y": [1.0, 2.0, 4.0, 5.0], "arm": ["a", "a", "b", "b"]}
    >>> trial = gbv.Trial(frame, outcome="y", arm="arm", control="a")
    >>> answer = gbv.DifferenceInMeans().estimate(trial)
    >>> float(answer.tidy()["estimate"].iloc[0])
    3.0
    """

    estimator: str
    terms: tuple[Term, ...]
    covariance: FloatArray
    method: Method
    level: float = 0.95
    checks: tuple[Check, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)
    flow: Flow | None = None
    posterior: Posterior | None = None
    band: Band | None = None
    influence: FloatArray | LazyMatrix | None = field(default=None, repr=False)
    aggregator: Aggregator | None = field(default=None, repr=False)
    blocks: NDArray[np.intp] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_level(self.level)
        count = len(self.terms)
        if self.covariance.shape != (count, count):
            raise ValueError(f"The covariance must be {count} by {count}, as there are {count} rows.")
        if self.influence is not None and self.influence.shape[1] != count:
            raise ValueError("The influence functions must have one column a row of the estimates.")
        size = None if self.posterior is None else self.posterior.mean().size
        if size is not None and size != count:
            raise ValueError(f"The posterior has {size} quantities for {count} rows.")
        if self.band is not None and (
            len(self.band.members) != len(self.band.scale) or not set(self.band.members) <= set(range(count))
        ):
            raise ValueError("The band must name rows that are there, with one scale each.")
        for array in (self.covariance, self.influence):
            if isinstance(array, np.ndarray):
                array.flags.writeable = False

    # -- reading ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.terms)

    def __getitem__(self, key: str | tuple[str, str] | int) -> Term:
        if isinstance(key, int):
            return self.terms[key]
        return self.terms[self.index(key)]

    def index(self, term: str | tuple[str, str]) -> int:
        """Return the position of a row by its term, or by (outcome, term) where several outcomes share a term."""
        if isinstance(term, tuple):
            found = [i for i, row in enumerate(self.terms) if (row.outcome, row.term) == term]
        else:
            found = [number for number, row in enumerate(self.terms) if row.term == term]
        if len(found) != 1:
            known = ", ".join(dict.fromkeys(row.term for row in self.terms))
            raise DesignError(f"{len(found)} rows are called {term!r}; the terms are: {known}.")
        return found[0]

    @property
    def values(self) -> FloatArray:
        """Estimates on the link scale, NaN where undefined."""
        return np.array([np.nan if row.value is None else row.value for row in self.terms])

    @property
    def std_errors(self) -> FloatArray:
        """Standard errors (posterior standard deviations) on the link scale, NaN where undefined."""
        return np.array([np.nan if row.std_error is None else row.std_error for row in self.terms])

    @property
    def in_posterior(self) -> NDArray[np.bool_]:
        """Which rows are quantities with a posterior, shape (terms,); the others have a sampling distribution."""
        if isinstance(self.posterior, PartialPosterior):
            return self.posterior.covers
        return np.full(len(self.terms), self.posterior is not None)

    def main_rows(self) -> tuple[int, ...]:
        """Return the positions of the rows with a standard error, without arm means and coefficients of a model."""
        aside = ("nuisance", "arm_mean")
        return tuple(i for i, row in enumerate(self.terms) if row.std_error and row.estimand.effect not in aside)

    def check(self, name: str) -> Check:
        """Return a check by name."""
        for item in self.checks:
            if item.name == name:
                return item
        known = ", ".join(item.name for item in self.checks) or "none"
        raise DesignError(f"There is no check {name!r}; there are: {known}.")

    def intervals(self, level: float | None = None) -> tuple[FloatArray, FloatArray]:
        """Return lower and upper limits on the link scale, NaN where undefined."""
        asked = self.level if level is None else self._level(level)
        bayesian = self.in_posterior
        limits = None
        if self.posterior is not None and bayesian.any():
            limits = self.posterior.quantiles([(1.0 - asked) / 2.0, (1.0 + asked) / 2.0])
            if bayesian.all():
                return limits[0], limits[1]
        dfs = np.array([row.df for row in self.terms])
        answer = wald(self.values, self.std_errors, df=dfs, level=asked)
        low, high = answer.conf_low.copy(), answer.conf_high.copy()
        if self.band is not None:
            band = self.band
            if band.level != asked:
                band = self._band_at(asked)
            chosen = np.asarray(band.members)
            half = band.critical * np.asarray(band.scale)
            low[chosen], high[chosen] = self.values[chosen] - half, self.values[chosen] + half
        for number, row in enumerate(self.terms):
            if row.interval is not None:
                known = 0.95 if row.interval_level is None else row.interval_level
                low[number], high[number] = row.interval if asked == known else (np.nan, np.nan)
            elif row.kind == "test":
                low[number] = high[number] = np.nan
        for lower, upper in self.bound_pairs():
            both = [lower, upper]
            low[both], high[both] = bounded_interval(
                (self.values[lower], self.values[upper]), (self.std_errors[lower], self.std_errors[upper]), level=asked
            )
        if limits is not None:
            low, high = np.where(bayesian, limits[0], low), np.where(bayesian, limits[1], high)
        return low, high

    def bound_pairs(self) -> tuple[tuple[int, int], ...]:
        """Return the positions of lower and upper bounds of one quantity: two bounds that follow each other."""
        pairs = []
        last = None
        for number, row in enumerate(self.terms):
            if row.kind != "bound":
                last = None
            elif last is None:
                last = number
            else:
                pairs.append((last, number))
                last = None
        return tuple(pairs)

    def probability(self, term: str, *, above: float | None = None, below: float | None = None) -> float:
        """Return the posterior probability that a quantity lies beyond a threshold, on the scale that is shown.

        Parameters
        ----------
        term : str
            Which row.
        above, below : float
            The threshold; give one of the two. For a ratio, give a ratio.

        Raises
        ------
        DesignError
            If the result has no posterior: a p-value is no such probability.
        """
        if self.posterior is None:
            raise DesignError(f"{self.estimator} has no posterior, and a p-value is not the probability of an effect.")
        if (above is None) == (below is None):
            raise DesignError("Give either `above` or `below`.")
        position = self.index(term)
        threshold = above if above is not None else below
        if threshold is None or not np.isfinite(threshold):
            raise DesignError("The threshold must be a finite number.")
        point = link_value(self.terms[position].estimand.link, float(threshold))
        share = self.posterior.cdf(position, point)
        return 1.0 - share if above is not None else share

    def tests(self, *, null: float = 0.0, alternative: str = "two_sided") -> Wald:
        """Return Wald tests of every row against a value fixed beforehand.

        Parameters
        ----------
        null : float
            Value under the null hypothesis on the link scale (the logarithm, for ratios).
        alternative : str
            "two_sided", "greater" or "less".

        Raises
        ------
        DesignError
            If the result is a posterior, or the alternative is not known.

        Examples
        --------
        >>> import gbveval as gbv
        >>> frame = {"y": [1.0, 2.0, 4.0, 5.0], "arm": ["a", "a", "b", "b"]}
        >>> answer = gbv.DifferenceInMeans().estimate(gbv.Trial(frame, outcome="y", arm="arm", control="a"))
        >>> two, one = (answer.tests(alternative=way).p_value[0] for way in ("two_sided", "greater"))
        >>> bool(abs(two - 2 * one) < 1e-15)
        True
        """
        bayesian = self.in_posterior
        if bayesian.any() and bayesian.all():
            raise DesignError(f"{self.estimator} gives a posterior, which has no p-values; use `probability`.")
        if alternative not in ALTERNATIVES:
            raise DesignError(f"The alternative must be one of {', '.join(ALTERNATIVES)}, not {alternative!r}.")
        dfs = np.array([row.df for row in self.terms])
        errors = np.where(bayesian, np.nan, self.std_errors)
        return wald(self.values, errors, df=dfs, level=self.level, null=null, alternative=alternative)

    def interval_kinds(self) -> tuple[str, ...]:
        """Return for each row what kind of interval is shown."""
        members = () if self.band is None else self.band.members
        bayesian = self.in_posterior
        kinds = []
        for number, row in enumerate(self.terms):
            if row.kind == "test":
                kinds.append("none")
            elif row.kind == "bound":
                kinds.append("confidence, for the quantity between the bounds")
            elif bayesian[number]:
                kinds.append("credible, equal-tailed")
            else:
                predicted = row.estimand.effect == "new_site_effect"
                pointwise = "prediction" if predicted else "confidence, pointwise"
                kinds.append("confidence, uniform" if number in members else pointwise)
        return tuple(kinds)

    def records(self, level: float | None = None) -> list[dict[str, Any]]:
        """Return the rows as plain dictionaries: the content of `tidy` without pandas."""
        asked = self.level if level is None else level
        low, high = self.intervals(asked)
        kinds = self.interval_kinds()
        bayesian = self.in_posterior
        dfs = np.array([row.df for row in self.terms])
        tests = wald(self.values, self.std_errors, df=dfs, level=asked)

        def number_or_none(x: Any) -> float | None:
            return None if x is None or not np.isfinite(x) else float(x)

        rows: list[dict[str, Any]] = []
        for i, row in enumerate(self.terms):
            link = row.estimand.link
            own = row.kind == "test" or row.p_value is not None
            statistic: Any = row.statistic if own else tests.statistic[i]
            p_value: Any = row.p_value if own else tests.p_value[i]
            # Nobody asks whether a level is zero; a win probability of a half, zero on its scale, is no difference.
            # Nor is the effect in one new site tested: its interval says where that effect may lie.
            is_level = row.estimand.effect in UNTESTED or row.estimand.contrast == "proportion"
            compares = not is_level and row.kind != "bound"
            frequentist = compares and not bayesian[i]
            values: tuple[Any, ...] = (
                self.estimator,
                row.outcome,
                row.estimand.effect,
                row.estimand.contrast,
                row.term,
                None if row.value is None else float(inverse_link(link, row.value)),
                number_or_none(row.std_error),
                number_or_none(statistic) if frequentist or row.kind == "test" else None,
                None if bayesian[i] else float(row.df),
                number_or_none(p_value) if frequentist or row.kind == "test" else None,
                number_or_none(inverse_link(link, low[i])),
                number_or_none(inverse_link(link, high[i])),
                asked,
                kinds[i],
                row.n_units,
                row.n_clusters,
            )
            record = dict(zip(TIDY_COLUMNS, values, strict=True))
            record["population"] = row.estimand.population
            if row.df2 is not None:
                record["df2"] = row.df2
            record.update(row.extra)
            record["reason"] = row.reason
            rows.append(record)
        return rows

    def tidy(self, level: float | None = None) -> pd.DataFrame:
        """Return a pandas frame, one row a term, the same columns in the same order for every method.

        Ratios are shown as ratios with `std_error` on the log scale; proportions with `std_error` on the log-odds
        scale. This is for the analyst's eyes; what leaves goes through `release`.
        """
        from gbveval.core import _display

        return _display.tidy(self, level)

    def summary(self) -> str:
        """Return a card in plain text: the estimand in words, the numbers, how they were made, and the checks."""
        from gbveval.core import _display

        return _display.summary(self)

    def __repr__(self) -> str:
        undefined = sum(row.value is None for row in self.terms if row.kind == "point")
        note = f", {undefined} undefined" if undefined else ""
        return f"<Estimates {self.estimator}: {len(self.terms)} rows{note}; summary() and tidy() show them>"

    def _repr_html_(self) -> str:
        from gbveval.core import _display

        return _display.html(self)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the estimates with their intervals, and return the axes."""
        from gbveval.core import _display

        return _display.plot(self, ax)

    # -- deriving -----------------------------------------------------------------------------------------------

    def at_level(self, level: float) -> Estimates:
        """Return the same estimates with intervals at another level."""
        changed = replace(self, level=self._level(level))
        return changed if self.band is None else replace(changed, band=self._band_at(level))

    @staticmethod
    def _level(level: float) -> float:
        try:
            return check_level(level)
        except (TypeError, ValueError) as error:
            raise DesignError(str(error)) from error

    def _band_at(self, level: float) -> Band:
        """Return the band at another level, from the same draws."""
        assert self.band is not None
        errors = self.std_errors[np.asarray(self.band.members)]
        scale = "std_error" if np.allclose(self.band.scale, errors) else "interquartile"
        band = self.band
        return make_band(
            self, n_draws=band.n_draws, seed=band.seed, multiplier=band.multiplier, scale=scale, level=level
        )

    def with_terms(self, keep: Sequence[int]) -> Estimates:
        """Return some of the rows, with their covariance."""
        chosen = np.asarray(keep, dtype=int)
        influence = None if self.influence is None else self.influence[:, chosen].copy()
        covered = self.posterior is not None and self.in_posterior[chosen].any()
        posterior = self.posterior.select(chosen) if self.posterior is not None and covered else None
        return replace(
            self,
            terms=tuple(self.terms[i] for i in chosen),
            covariance=self.covariance[np.ix_(chosen, chosen)].copy(),
            influence=influence,
            posterior=posterior,
            band=None,
            aggregator=None,
        )

    def with_band(
        self,
        *,
        n_draws: int = 20_000,
        seed: int | None = None,
        multiplier: str = "gaussian",
        scale: str = "std_error",
    ) -> Estimates:
        """Return the estimates with a uniform band over all rows that have a standard error.

        A row called "overall" is an average of the others and stays out, with its pointwise interval.

        Parameters
        ----------
        n_draws : int
            Draws; with 20,000 the critical value has a Monte Carlo error of about 0.01.
        seed : int or None
            By default derived from the data and the options.
        multiplier : str
            "gaussian": from the joint covariance, with a t of the smallest df of the rows. "rademacher" or "mammen":
            a multiplier bootstrap of the influence functions, for few units or clusters.
        scale : str
            For a multiplier bootstrap: "std_error", or "interquartile" (the interquartile range of the draws, as in
            R's did).
        """
        from gbveval.core.provenance import derive_seed

        used = derive_seed(self.provenance.data_digest, self.estimator, "band") if seed is None else seed
        band = make_band(self, n_draws=n_draws, seed=used, multiplier=multiplier, scale=scale, level=self.level)
        return replace(self, band=band)

    def contrast(self, weights: Mapping[str | tuple[str, str], float] | Mapping[str, float], *, name: str) -> Estimates:
        """Return a weighted sum of rows as a new single row, on the link scale.

        Parameters
        ----------
        weights : mapping of str (or of outcome and term) to float
            Weight of each term; terms not named have weight zero.
        name : str
            Name of the new row.

        Notes
        -----
        Where the method keeps the variance blocks of its independent units (arms, strata by arm) in memory, the degrees
        of freedom are Satterthwaite's for the contrast itself. Otherwise they are the smallest of the rows used, an
        approximation that can be too large when what the rows share cancels.
        """
        from gbveval.core.derive import contrast

        return contrast(self, weights, name=name)

    def aggregate(self, by: str, **options: Any) -> Estimates:
        """Return averages of the rows, such as an event study of group-time effects.

        Parameters
        ----------
        by : str
            What the method offers: for group-time effects "simple", "event_time", "cohort", "calendar" or "pretest".
        **options
            Of the method; for group-time effects `balance`, `min_event_time`, `max_event_time`.

        Raises
        ------
        DesignError
            If the method has nothing to average, or the result comes from JSON or a pickle, which hold no influence
            functions.
        """
        if self.aggregator is None:
            raise DesignError(
                f"The rows of {self.estimator} cannot be averaged: either the method has no averages, or the result "
                "was read back from a file or has been selected from. Aggregate the result that `estimate` returned."
            )
        return self.aggregator.aggregate(self, by, options)

    def joint_test(self, *, name: str = "all zero") -> Estimates:
        """Return a Wald test that all effects with a standard error are zero (Hotelling's T squared with finite df)."""
        from gbveval.core.derive import joint_test

        return joint_test(self, name=name)

    # -- leaving memory -----------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the influence functions, which would give outcomes away."""
        state = {f.name: getattr(self, f.name) for f in fields(self)}
        state["influence"] = state["aggregator"] = state["blocks"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)
        self.covariance.flags.writeable = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Estimates:
        return self

    def to_json(self) -> str:
        """Return the result as JSON: terms, covariance, posterior, checks, digests; no influence functions.

        This is an analyst's file. It holds the counts behind each row, small ones too; what leaves goes through
        `release`.
        """
        from gbveval.core.serialise import to_json

        return to_json(self)

    @staticmethod
    def from_json(text: str) -> Estimates:
        """Return the result that `to_json` wrote."""
        from gbveval.core.serialise import from_json

        return from_json(text)
