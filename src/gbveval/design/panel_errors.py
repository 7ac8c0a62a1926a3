"""Hides how the errors of a unit follow each other over the periods of a planned rollout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.core.errors import DesignError
from gbveval.data.panel import Panel
from gbveval.design._require import real
from gbveval.numerics.two_way_variance import fit_fading, residual_covariance

FloatArray = NDArray[np.float64]
# Eigenvalues below this share of the largest are rounding.
ROUNDING = 1e-9
FEWEST_UNITS, FEWEST_PERIODS = 3, 3


@dataclass(frozen=True, slots=True)
class Autoregressive:
    """Errors that fade: the correlation of two periods is that of neighbours, to the power of the distance.

    Parameters
    ----------
    correlation : float
        Of neighbouring periods, above -1 and below 1.
    sd : float
        Standard deviation of an error, the lasting level of the unit left out.

    Raises
    ------
    DesignError
        If a number is out of range.

    Examples
    --------
    >>> Autoregressive(0.5).covariance(3, None)[0].tolist()
    [1.0, 0.5, 0.25]
    """

    correlation: float
    sd: float = 1.0

    def __post_init__(self) -> None:
        real("The correlation of neighbouring periods", self.correlation, low=-1.0, high=1.0)
        _check_sd(self.sd)

    @classmethod
    def from_array(cls, outcomes: ArrayLike) -> Autoregressive:
        """Return the errors that a pilot without treatment suggests, for a plan of any length.

        Parameters
        ----------
        outcomes : array_like, shape (units, periods)
            A row a unit, a column a period, at least three; no unit is treated and nothing is missing.

        Notes
        -----
        The correlation of neighbouring residuals is too low, as unit levels are estimated from a few periods. Here the
        two numbers are fitted to what such residuals would have, so that they are right on average in large pilots, if
        errors fade by one factor. Where they do not, `ResidualCovariance` does not need it, up to the pilot's length.
        """
        found = _pilot(outcomes)
        if found.shape[1] < FEWEST_PERIODS:
            raise DesignError("A correlation that fades takes a pilot of at least three periods.")
        fitted = fit_fading(residual_covariance(found))
        return cls(fitted.correlation, math.sqrt(fitted.variance))

    @classmethod
    def from_panel(cls, panel: Panel) -> Autoregressive:
        """Return the same from a balanced `Panel` whose units are never treated within it."""
        return cls.from_array(_untreated(panel))

    @property
    def independent(self) -> bool:
        """Whether errors of different periods are taken as unrelated."""
        return float(self.correlation) == 0.0

    def covariance(self, n_periods: int, n_before: int | None) -> FloatArray:
        """Return the covariance over the periods."""
        periods = np.arange(n_periods)
        lag = np.abs(np.subtract.outer(periods, periods))
        found: FloatArray = float(self.sd) ** 2 * float(self.correlation) ** lag
        return found

    def assumptions(self) -> tuple[str, ...]:
        """Return what is assumed about the errors, in words."""
        return ("errors of a unit fade with the same factor from each period to the next (AR(1))",)


@dataclass(frozen=True, slots=True)
class Equicorrelated:
    """Errors that are equally alike however far apart, and so behave as independent ones once unit levels are out.

    Parameters
    ----------
    correlation : float
        Of any two periods: at least 0 and below 1.
    sd : float
        Standard deviation of an outcome between units, lasting levels included.

    Raises
    ------
    DesignError
        If a number is out of range.

    Examples
    --------
    >>> Equicorrelated(0.5).covariance(3, None)[0].tolist()
    [1.0, 0.5, 0.5]
    """

    correlation: float
    sd: float = 1.0

    def __post_init__(self) -> None:
        real("The correlation of two periods", self.correlation, low=0.0, high=1.0, closed=True)
        _check_sd(self.sd)

    @property
    def independent(self) -> bool:
        """Whether errors of different periods are taken as unrelated."""
        return float(self.correlation) == 0.0

    def covariance(self, n_periods: int, n_before: int | None) -> FloatArray:
        """Return the covariance over the periods."""
        r = float(self.correlation)
        found: FloatArray = float(self.sd) ** 2 * (r + (1.0 - r) * np.eye(n_periods))
        return found

    def assumptions(self) -> tuple[str, ...]:
        """Return what is assumed about the errors, in words."""
        return (
            "outcomes of a unit are equally alike however far apart: beside unit levels its errors are independent, "
            "which is wrong in both directions where they fade",
        )


@dataclass(frozen=True, slots=True)
class Independent:
    """Errors that are unrelated from period to period, which a plan over several periods warns of.

    Parameters
    ----------
    sd : float
        Standard deviation of an error, the lasting level of the unit left out.

    Examples
    --------
    >>> Independent(2.0).covariance(2, None).tolist()
    [[4.0, 0.0], [0.0, 4.0]]
    """

    sd: float = 1.0

    def __post_init__(self) -> None:
        _check_sd(self.sd)

    @property
    def independent(self) -> bool:
        """Whether errors of different periods are taken as unrelated."""
        return True

    def covariance(self, n_periods: int, n_before: int | None) -> FloatArray:
        """Return the covariance over the periods."""
        return float(self.sd) ** 2 * np.eye(n_periods)

    def assumptions(self) -> tuple[str, ...]:
        """Return what is assumed about the errors, in words."""
        return ("errors of a unit are unrelated from period to period",)


@dataclass(frozen=True, slots=True)
class AverageCovariances:
    """Errors by the three averages that the variance of a before-after comparison depends on.

    Parameters
    ----------
    sd : float
        Standard deviation of an error.
    before, after : float
        Mean covariance of two different periods before the start, and of two after it.
    across : float
        Mean covariance of a period before and one after.

    Raises
    ------
    DesignError
        If a number is out of range, or all treated units do not start together.

    References
    ----------
    Burlig, Preonas and Woerman (2020), Journal of Development Economics 144: their psi^B, psi^A and psi^X.

    Examples
    --------
    >>> AverageCovariances(sd=1.0, before=0.4, after=0.3, across=0.2).covariance(3, 2).tolist()
    [[1.0, 0.4, 0.2], [0.4, 1.0, 0.2], [0.2, 0.2, 1.0]]
    """

    sd: float
    before: float
    after: float
    across: float

    def __post_init__(self) -> None:
        _check_sd(self.sd)
        limit = float(self.sd) ** 2
        for name, value in (("before", self.before), ("after", self.after), ("across", self.across)):
            real(f"The mean covariance {name}", value, low=-limit, high=limit, hint="It is in units of sd squared.")

    @property
    def independent(self) -> bool:
        """Whether errors of different periods are taken as unrelated."""
        return self.before == self.after == self.across == 0.0

    def covariance(self, n_periods: int, n_before: int | None) -> FloatArray:
        """Return a covariance over the periods with these averages."""
        if n_before is None:
            raise DesignError(
                "Average covariances before, after and across need treated units that start in one period. Give "
                "Autoregressive(...) or ResidualCovariance(...) for a staggered rollout."
            )
        after = np.arange(n_periods) >= n_before
        both, one = np.outer(after, after), np.logical_xor.outer(after, after)
        found: FloatArray = np.where(one, float(self.across), np.where(both, float(self.after), float(self.before)))
        np.fill_diagonal(found, float(self.sd) ** 2)
        return found

    def assumptions(self) -> tuple[str, ...]:
        """Return what is assumed about the errors, in words."""
        return (
            "errors covary on average as given; averages of residuals of a pilot of another length are biased, as its "
            "unit levels took a part of them out (ResidualCovariance has none of that)",
        )


@dataclass(frozen=True, slots=True)
class ResidualCovariance:
    """Errors as a pilot panel without treatment has them, after unit and period effects.

    Parameters
    ----------
    matrix : tuple of tuples
        Covariance of the residuals over the periods of the pilot.
    n_units : int
        Units of the pilot.

    Raises
    ------
    DesignError
        If the matrix is none, or the plan has more periods than the pilot.

    Notes
    -----
    **Bias.** Taking unit levels out of a pilot of a few periods takes a part of every variance and covariance too, so
    that the matrix is not that of the errors: do not read a standard deviation or a correlation from it. But the
    variance of a comparison over time depends on errors only through weights that sum to zero in a unit, and for those
    the matrix is unbiased, in a plan of as many periods as the pilot or fewer; with fewer, windows of the pilot are
    averaged. It cannot be extended to more. **Noise.** A variance from n units has a relative standard error of about
    sqrt(2 / (n - 1)): 20 % with 50 units. Periods of the pilot should be as long, and in the same season, as those of
    the plan.

    References
    ----------
    Burlig, Preonas and Woerman (2020), Journal of Development Economics 144.

    Examples
    --------
    >>> y = np.random.default_rng(1).normal(size=(40, 6))
    >>> ResidualCovariance.from_array(y).covariance(4, 2).shape
    (4, 4)
    """

    matrix: tuple[tuple[float, ...], ...]
    n_units: int

    def __post_init__(self) -> None:
        found = np.asarray(self.matrix, dtype=float)
        if found.ndim != 2 or found.shape[0] != found.shape[1] or found.shape[0] < 2 or not np.all(np.isfinite(found)):
            raise DesignError("matrix must be square, over two periods or more, without gaps.")
        values = np.linalg.eigvalsh(found)
        if not np.allclose(found, found.T) or values[0] < -ROUNDING * abs(values[-1]):
            raise DesignError("matrix is no covariance: it must be symmetric, without negative eigenvalues.")

    @classmethod
    def from_array(cls, outcomes: ArrayLike) -> ResidualCovariance:
        """Return the covariance of a pilot.

        Parameters
        ----------
        outcomes : array_like, shape (units, periods)
            A row a unit, a column a period; no unit is treated and nothing is missing.
        """
        found = _pilot(outcomes)
        return cls(tuple(tuple(map(float, row)) for row in residual_covariance(found)), len(found))

    @classmethod
    def from_panel(cls, panel: Panel) -> ResidualCovariance:
        """Return the covariance of a pilot whose units are never treated within it.

        Parameters
        ----------
        panel : Panel
            Balanced, with the role unit, and before any treatment. Units treated later may be in it.
        """
        return cls.from_array(_untreated(panel))

    @property
    def independent(self) -> bool:
        """Whether errors of different periods are taken as unrelated."""
        return False

    def covariance(self, n_periods: int, n_before: int | None) -> FloatArray:
        """Return the mean covariance over the windows of the pilot that have so many periods."""
        found = np.asarray(self.matrix)
        spare = len(found) - n_periods
        if spare < 0:
            raise DesignError(
                f"The pilot has {len(found)} periods and the plan {n_periods}: what its unit levels took out cannot be "
                "put back for more. Plan for fewer periods, or give Autoregressive(...)."
            )
        windows = [found[start : start + n_periods, start : start + n_periods] for start in range(spare + 1)]
        mean: FloatArray = np.mean(windows, axis=0)
        return mean

    def assumptions(self) -> tuple[str, ...]:
        """Return what is assumed about the errors, in words."""
        noise = math.sqrt(2.0 / (self.n_units - 1.0))
        return (f"errors are as in the pilot of {self.n_units} units, which tells the variance to about {noise:.0%}",)


Errors = Autoregressive | Equicorrelated | Independent | AverageCovariances | ResidualCovariance


def _check_sd(sd: Any) -> None:
    real("The standard deviation of an error (sd)", sd, low=0.0, high=math.inf)


def _pilot(outcomes: ArrayLike) -> FloatArray:
    """Return the outcomes of a pilot as a matrix, or say what it needs."""
    found = np.asarray(outcomes, dtype=float)
    if found.ndim != 2 or found.shape[1] < 2 or found.shape[0] < FEWEST_UNITS or not np.all(np.isfinite(found)):
        raise DesignError(
            "A pilot needs a row for each of at least three units, a column for each of at least two periods, and no "
            "gaps."
        )
    return found


def _untreated(panel: Panel) -> FloatArray:
    """Return the outcomes of a panel, a row a unit."""
    if not isinstance(panel, Panel) or panel.unit is None:
        raise DesignError("Give a Panel whose units are followed over time (the role unit), or use from_array.")
    treated = int(np.sum(panel.periods[panel.time] >= panel.cohort))
    if treated:
        raise DesignError(
            f"{treated} rows of the pilot are under treatment, which would count as noise. Keep the periods before it."
        )
    shape: Sequence[int] = (panel.unit.count, panel.periods.size)
    if panel.n_rows != shape[0] * shape[1] or np.any(np.isnan(panel.outcome)):
        raise DesignError("The pilot must have every unit in every period, with an outcome.")
    found: FloatArray = np.empty(shape)
    found[panel.unit.codes, panel.time] = panel.outcome
    return found
