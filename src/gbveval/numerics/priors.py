"""Prior densities as frozen values: what the hierarchy engines need to know about a prior and nothing else.

Every constructor raises ValueError when a parameter is not finite, or not above 0 where it must be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


class Prior(Protocol):
    """What every prior offers: a log density, a readable name, and whether it integrates to one."""

    @property
    def is_proper(self) -> bool:
        """Whether the density integrates to one."""

    def log_density(self, x: ArrayLike) -> FloatArray:
        """Return the log density at `x`, minus infinity outside the support."""

    def describe(self) -> str:
        """Return a short readable description."""


@runtime_checkable
class QuantilePrior(Protocol):
    """A proper prior whose quantiles are known, so that a function can be averaged over it."""

    def quantile(self, probability: ArrayLike) -> FloatArray:
        """Return quantiles."""

    def describe(self) -> str:
        """Return a short readable description."""


class ScalePrior(Prior, Protocol):
    """A prior for a standard deviation, with what a quadrature must know to place its nodes."""

    @property
    def support_upper(self) -> float:
        """The upper end of the support; infinity when there is none."""

    @property
    def tail_exponent(self) -> float:
        """The e in density ~ x^-e for large x; infinity for tails lighter than any power."""

    def log_landmarks(self) -> FloatArray:
        """Return points on the log axis between which the density has its structure."""


def _positive(value: float, what: str) -> None:
    if not (math.isfinite(value) and value > 0.0):
        raise ValueError(f"{what} must be a finite number above 0; it is {value}.")


def _finite(value: float, what: str) -> None:
    if not math.isfinite(value):
        raise ValueError(f"{what} must be a finite number; it is {value}.")


def _log(*scales: float) -> FloatArray:
    result: FloatArray = np.log(np.array(scales))
    return result


def _on_half_line(x: ArrayLike, log_density: FloatArray) -> FloatArray:
    result: FloatArray = np.where(np.asarray(x, float) >= 0.0, log_density, -np.inf)
    return result


class _HalfLine:
    """What most priors for a standard deviation share: proper, unbounded above, a tail lighter than any power."""

    __slots__ = ()

    is_proper: ClassVar[bool] = True

    @property
    def support_upper(self) -> float:
        """The upper end of the support: infinity."""
        return math.inf

    @property
    def tail_exponent(self) -> float:
        """The e in density ~ x^-e for large x: infinity, the tail is lighter than any power."""
        return math.inf


@dataclass(frozen=True, slots=True)
class Normal:
    """Normal prior for an average effect, on the scale of the estimates.

    Parameters
    ----------
    mean, sd : float
        Centre and standard deviation (above 0), in the units of the site estimates. For a standard deviation use
        `HalfNormal`, which has no negative values.

    Examples
    --------
    >>> Normal(0.0, 5.0).describe()
    'normal(mean 0, sd 5)'
    """

    mean: float = 0.0
    sd: float = 1.0
    is_proper: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _finite(self.mean, "The mean of a normal prior")
        _positive(self.sd, "The sd of a normal prior")

    def log_density(self, x: ArrayLike) -> FloatArray:
        """Return the log density at `x`."""
        z = (np.asarray(x, float) - self.mean) / self.sd
        result: FloatArray = -0.5 * z * z - math.log(self.sd) - 0.5 * math.log(2.0 * math.pi)
        return result

    def quantile(self, probability: ArrayLike) -> FloatArray:
        """Return quantiles."""
        from scipy.special import ndtri

        result: FloatArray = self.mean + self.sd * np.asarray(ndtri(np.asarray(probability, float)))
        return result

    def describe(self) -> str:
        """Return for example ``normal(mean 0, sd 5)``."""
        return f"normal(mean {self.mean:g}, sd {self.sd:g})"


@dataclass(frozen=True, slots=True)
class Flat(_HalfLine):
    """Improper prior of constant density 1: on the real line for an average, on x >= 0 for a standard deviation.

    Notes
    -----
    The marginal likelihood is then defined only up to a constant, and with few sites the posterior may not exist:
    the engines refuse such combinations. Prefer a proper prior with fewer than about five sites.

    Examples
    --------
    >>> Flat().is_proper
    False
    """

    is_proper: ClassVar[bool] = False

    @property
    def tail_exponent(self) -> float:
        """Zero: the density does not fall."""
        return 0.0

    def log_landmarks(self) -> FloatArray:
        """Return nothing: a constant has no structure."""
        return np.empty(0)

    def log_density(self, x: ArrayLike) -> FloatArray:
        """Return zeros of the shape of `x`."""
        return np.zeros_like(np.asarray(x, float))

    def describe(self) -> str:
        """Return ``flat (improper)``."""
        return "flat (improper)"


@dataclass(frozen=True, slots=True)
class HalfNormal(_HalfLine):
    """Half-normal prior for a standard deviation: the absolute value of a centred normal.

    Parameters
    ----------
    sd : float
        Standard deviation of the normal that is folded, above 0, in the units of the estimates. The median is
        about 0.67 `sd`.

    Examples
    --------
    >>> HalfNormal(5.0).describe()
    'half-normal(sd 5)'
    """

    sd: float

    def __post_init__(self) -> None:
        _positive(self.sd, "The sd of a half-normal prior")

    def log_landmarks(self) -> FloatArray:
        """Return the log of the scale."""
        return _log(self.sd)

    def log_density(self, x: ArrayLike) -> FloatArray:
        """Return the log density at `x`, minus infinity below 0."""
        z = np.asarray(x, float) / self.sd
        return _on_half_line(x, -0.5 * z * z - math.log(self.sd) + 0.5 * math.log(2.0 / math.pi))

    def quantile(self, probability: ArrayLike) -> FloatArray:
        """Return quantiles."""
        from scipy.special import ndtri

        result: FloatArray = self.sd * np.asarray(ndtri(0.5 + 0.5 * np.asarray(probability, float)))
        return result

    def describe(self) -> str:
        """Return for example ``half-normal(sd 5)``."""
        return f"half-normal(sd {self.sd:g})"


@dataclass(frozen=True, slots=True)
class HalfStudentT(_HalfLine):
    """Half-Student-t prior for a standard deviation: heavier tails than the half-normal.

    Parameters
    ----------
    df : float
        Degrees of freedom, above 0; 1 is the half-Cauchy.
    scale : float
        Scale of the t that is folded, above 0, in the units of the estimates.

    References
    ----------
    Gelman, A. (2006). Prior distributions for variance parameters in hierarchical models. Bayesian Analysis 1.

    Examples
    --------
    >>> HalfStudentT(3.0, 1.0).describe()
    'half-Student-t(df 3, scale 1)'
    """

    df: float
    scale: float

    def __post_init__(self) -> None:
        _positive(self.df, "The df of a half-Student-t prior")
        _positive(self.scale, "The scale of a half-Student-t prior")

    @property
    def tail_exponent(self) -> float:
        """One more than the degrees of freedom."""
        return self.df + 1.0

    def log_landmarks(self) -> FloatArray:
        """Return the log of the scale."""
        return _log(self.scale)

    def log_density(self, x: ArrayLike) -> FloatArray:
        """Return the log density at `x`, minus infinity below 0."""
        z = np.asarray(x, float) / self.scale
        constant = (
            math.log(2.0)
            + math.lgamma(0.5 * (self.df + 1.0))
            - math.lgamma(0.5 * self.df)
            - 0.5 * math.log(self.df * math.pi)
            - math.log(self.scale)
        )
        # hypot form: z * z overflows far in the tail, log(1 + z^2 / df) does not.
        kernel = (self.df + 1.0) * np.log(np.hypot(1.0, z / math.sqrt(self.df)))
        return _on_half_line(x, constant - kernel)

    def quantile(self, probability: ArrayLike) -> FloatArray:
        """Return quantiles."""
        from scipy.special import stdtrit

        upper = 0.5 + 0.5 * np.asarray(probability, float)
        result: FloatArray = self.scale * np.asarray(stdtrit(self.df, upper), float)
        return result

    def describe(self) -> str:
        """Return for example ``half-Student-t(df 3, scale 1)``."""
        return f"half-Student-t(df {self.df:g}, scale {self.scale:g})"


@dataclass(frozen=True, slots=True)
class HalfCauchy(_HalfLine):
    """Half-Cauchy prior for a standard deviation: very heavy tails, median equal to the scale.

    Parameters
    ----------
    scale : float
        Scale, above 0, in the units of the estimates. With one site the posterior has an infinite variance.

    Examples
    --------
    >>> HalfCauchy(5.0).describe()
    'half-Cauchy(scale 5)'
    """

    scale: float

    def __post_init__(self) -> None:
        _positive(self.scale, "The scale of a half-Cauchy prior")

    @property
    def tail_exponent(self) -> float:
        """Two."""
        return 2.0

    def log_landmarks(self) -> FloatArray:
        """Return the log of the scale."""
        return _log(self.scale)

    def log_density(self, x: ArrayLike) -> FloatArray:
        """Return the log density at `x`, minus infinity below 0."""
        return HalfStudentT(1.0, self.scale).log_density(x)

    def quantile(self, probability: ArrayLike) -> FloatArray:
        """Return quantiles."""
        return HalfStudentT(1.0, self.scale).quantile(probability)

    def describe(self) -> str:
        """Return for example ``half-Cauchy(scale 5)``."""
        return f"half-Cauchy(scale {self.scale:g})"


@dataclass(frozen=True, slots=True)
class Uniform(_HalfLine):
    """Uniform prior for a standard deviation on the interval from 0 to `upper`.

    Parameters
    ----------
    upper : float
        Upper end, above 0, in the units of the estimates. The posterior cannot pass it.

    Examples
    --------
    >>> Uniform(50.0).describe()
    'uniform(0 to 50)'
    """

    upper: float

    def __post_init__(self) -> None:
        _positive(self.upper, "The upper end of a uniform prior")

    @property
    def support_upper(self) -> float:
        """The upper end."""
        return self.upper

    def log_landmarks(self) -> FloatArray:
        """Return the log of the upper end."""
        return _log(self.upper)

    def log_density(self, x: ArrayLike) -> FloatArray:
        """Return the log density at `x`, minus infinity outside the interval."""
        value = np.asarray(x, float)
        inside = np.where(value <= self.upper, -math.log(self.upper), -np.inf)
        return _on_half_line(value, inside)

    def quantile(self, probability: ArrayLike) -> FloatArray:
        """Return quantiles."""
        result: FloatArray = self.upper * np.asarray(probability, float)
        return result

    def describe(self) -> str:
        """Return for example ``uniform(0 to 50)``."""
        return f"uniform(0 to {self.upper:g})"


@dataclass(frozen=True, slots=True)
class Exponential(_HalfLine):
    """Exponential prior for a standard deviation, given by its mean.

    Parameters
    ----------
    mean : float
        Mean (one over the rate), above 0, in the units of the estimates.

    Examples
    --------
    >>> Exponential(2.0).describe()
    'exponential(mean 2)'
    """

    mean: float

    def __post_init__(self) -> None:
        _positive(self.mean, "The mean of an exponential prior")

    def log_landmarks(self) -> FloatArray:
        """Return the log of the mean."""
        return _log(self.mean)

    def log_density(self, x: ArrayLike) -> FloatArray:
        """Return the log density at `x`, minus infinity below 0."""
        return _on_half_line(x, -np.asarray(x, float) / self.mean - math.log(self.mean))

    def quantile(self, probability: ArrayLike) -> FloatArray:
        """Return quantiles."""
        result: FloatArray = -self.mean * np.log1p(-np.asarray(probability, float))
        return result

    def describe(self) -> str:
        """Return for example ``exponential(mean 2)``."""
        return f"exponential(mean {self.mean:g})"


@dataclass(frozen=True, slots=True)
class LogNormal(_HalfLine):
    """Log-normal prior for a standard deviation: keeps it away from 0.

    Parameters
    ----------
    mean_log : float
        Mean of the logarithm.
    sd_log : float
        Standard deviation of the logarithm, above 0.

    Notes
    -----
    It gives no weight to complete homogeneity. Not when "the sites do not differ" is a serious possibility.

    Examples
    --------
    >>> LogNormal(-1.0, 0.5).describe()
    'log-normal(mean of log -1, sd of log 0.5)'
    """

    mean_log: float
    sd_log: float

    def __post_init__(self) -> None:
        _finite(self.mean_log, "The mean of the log of a log-normal prior")
        _positive(self.sd_log, "The sd of the log of a log-normal prior")

    def log_landmarks(self) -> FloatArray:
        """Return points from nine standard deviations of the log below to nine above its mean."""
        return self.mean_log + self.sd_log * np.array([-9.0, -6.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 6.0, 9.0])

    def log_density(self, x: ArrayLike) -> FloatArray:
        """Return the log density at `x`, minus infinity at 0 and below."""
        value = np.asarray(x, float)
        log_x = np.log(np.where(value > 0.0, value, 1.0))
        z = (log_x - self.mean_log) / self.sd_log
        inside = -0.5 * z * z - log_x - math.log(self.sd_log) - 0.5 * math.log(2.0 * math.pi)
        result: FloatArray = np.where(value > 0.0, inside, -np.inf)
        return result

    def quantile(self, probability: ArrayLike) -> FloatArray:
        """Return quantiles."""
        from scipy.special import ndtri

        result: FloatArray = np.exp(self.mean_log + self.sd_log * np.asarray(ndtri(np.asarray(probability, float))))
        return result

    def describe(self) -> str:
        """Return for example ``log-normal(mean of log -1, sd of log 0.5)``."""
        return f"log-normal(mean of log {self.mean_log:g}, sd of log {self.sd_log:g})"


@dataclass(frozen=True, slots=True)
class Beta:
    """Beta prior for a share: a risk, an intracluster correlation, a sensitivity.

    Parameters
    ----------
    a, b : float
        Shapes, both above 0: the mean is a / (a + b), and a + b is the size of a sample that would say as much.

    Notes
    -----
    For under-reporting: the counts themselves say next to nothing of how many events are reported, so what is given
    here comes out again. Use a validation study, and show another beside it.

    Examples
    --------
    >>> Beta(2.0, 38.0).describe()
    'beta(2, 38)'
    """

    a: float
    b: float
    is_proper: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _positive(self.a, "The first shape of a beta prior")
        _positive(self.b, "The second shape of a beta prior")

    @classmethod
    def from_mean(cls, mean: float, sd: float) -> Beta:
        """Return the beta prior with this mean and standard deviation.

        Raises
        ------
        ValueError
            If the mean is not strictly between 0 and 1, or the sd is too large for any beta with it.
        """
        _positive(sd, "The sd of a beta prior")
        if not 0.0 < mean < 1.0 or sd**2 >= mean * (1.0 - mean):
            raise ValueError(
                f"No beta prior has mean {mean:g} and sd {sd:g}: the mean lies between 0 and 1, and the sd below "
                "sqrt(mean (1 - mean))."
            )
        size = mean * (1.0 - mean) / sd**2 - 1.0
        return cls(mean * size, (1.0 - mean) * size)

    def log_density(self, x: ArrayLike) -> FloatArray:
        """Return the log density at `x`, minus infinity outside (0, 1)."""
        value = np.asarray(x, float)
        inside = (value > 0.0) & (value < 1.0)
        safe = np.where(inside, value, 0.5)
        constant = math.lgamma(self.a + self.b) - math.lgamma(self.a) - math.lgamma(self.b)
        density = constant + (self.a - 1.0) * np.log(safe) + (self.b - 1.0) * np.log1p(-safe)
        result: FloatArray = np.where(inside, density, -np.inf)
        return result

    def quantile(self, probability: ArrayLike) -> FloatArray:
        """Return quantiles."""
        from scipy.special import betaincinv

        result: FloatArray = np.asarray(betaincinv(self.a, self.b, np.asarray(probability, float)))
        return result

    def nodes(self, count: int) -> tuple[FloatArray, FloatArray]:
        """Return the nodes and weights of its Gauss rule; the weights sum to one."""
        from scipy.special import roots_jacobi

        x, weight = roots_jacobi(count, self.b - 1.0, self.a - 1.0)
        return np.asarray(0.5 * (x + 1.0), dtype=np.float64), np.asarray(weight / weight.sum(), dtype=np.float64)

    def describe(self) -> str:
        """Return for example ``beta(2, 38)``."""
        return f"beta({self.a:g}, {self.b:g})"
