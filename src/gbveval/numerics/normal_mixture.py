"""A prior that is a mixture of normals: past evidence, and a vague part for the case that it does not apply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.numerics.mixtures import NormalMixtures
from gbveval.numerics.priors import Normal

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NormalMixture:
    """Prior of an average effect as a mixture of normals, on the scale of the estimates.

    Parameters
    ----------
    weights : tuple of float
        Above 0, summing to one.
    means, sds : tuple of float
        Of the components, in the units of the estimates.

    Raises
    ------
    ValueError
        If the lengths differ, the weights do not sum to one, or a component is no normal distribution.

    Notes
    -----
    A single normal that is far from the data gives way slowly: the answer is a compromise that neither supports. A
    mixture changes its mind: the weights of its components are updated too, so that a vague one takes over.

    Examples
    --------
    >>> NormalMixture((0.8, 0.2), (0.3, 0.0), (0.1, 1.0)).describe()
    'mixture: 0.8 of normal(mean 0.3, sd 0.1); 0.2 of normal(mean 0, sd 1)'
    """

    weights: tuple[float, ...]
    means: tuple[float, ...]
    sds: tuple[float, ...]
    is_proper: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("weights", "means", "sds"):
            object.__setattr__(self, name, tuple(float(x) for x in getattr(self, name)))
        sizes = {len(self.weights), len(self.means), len(self.sds)}
        if len(sizes) != 1 or not self.weights:
            raise ValueError("weights, means and sds of a mixture must have one length, at least one.")
        if not all(0.0 < weight <= 1.0 for weight in self.weights) or abs(sum(self.weights) - 1.0) > 1e-9:
            raise ValueError("The weights of a mixture must be above 0 and sum to one.")
        for mean, sd in zip(self.means, self.sds, strict=True):
            Normal(mean, sd)

    @property
    def components(self) -> tuple[Normal, ...]:
        """The normals."""
        return tuple(Normal(mean, sd) for mean, sd in zip(self.means, self.sds, strict=True))

    @property
    def mean(self) -> float:
        """Mean of the mixture."""
        return float(self._as_nodes().mean[0])

    @property
    def sd(self) -> float:
        """Standard deviation of the mixture."""
        return float(self._as_nodes().sd[0])

    def log_density(self, x: ArrayLike) -> FloatArray:
        """Return the log density at `x`."""
        each = [np.log(w) + part.log_density(x) for w, part in zip(self.weights, self.components, strict=True)]
        return np.asarray(np.logaddexp.reduce(each, axis=0), dtype=np.float64)

    def quantile(self, probability: ArrayLike) -> FloatArray:
        """Return quantiles."""
        p = np.asarray(probability, dtype=float)
        found: FloatArray = self._as_nodes().quantile(p.ravel())[:, 0].reshape(p.shape)
        return found

    def cdf(self, x: ArrayLike) -> FloatArray:
        """Return P(effect <= x)."""
        return self._as_nodes().cdf(np.asarray(x, dtype=float)[..., None])[..., 0]

    def robust(self, weight: float, vague: Normal) -> NormalMixture:
        """Return this prior with a vague component beside it, for the case that past evidence does not apply.

        Parameters
        ----------
        weight : float
            Probability, before the data, that it does not apply; 0.1 to 0.5 is customary. Declare it beforehand.
        vague : Normal
            What would be believed then; in general centred at no effect, about as wide as what one person tells.

        Raises
        ------
        ValueError
            If the weight is not strictly between 0 and 1.

        References
        ----------
        Schmidli, Gsteiger, Roychoudhury, O'Hagan, Spiegelhalter and Neuenschwander (2014), Biometrics 70.

        Examples
        --------
        >>> NormalMixture((1.0,), (0.3,), (0.1,)).robust(0.2, Normal(0, 1)).weights
        (0.8, 0.2)
        """
        if not 0.0 < weight < 1.0:
            raise ValueError(f"The weight of the vague component lies strictly between 0 and 1; it is {weight}.")
        kept = tuple((1.0 - weight) * w for w in self.weights)
        return NormalMixture((*kept, weight), (*self.means, vague.mean), (*self.sds, vague.sd))

    def updated(self, estimate: float, std_error: float) -> NormalMixture:
        """Return the posterior given one estimate with a known standard error, again a mixture of normals.

        Parameters
        ----------
        estimate, std_error : float
            Of the effect, on the scale of the prior.

        Notes
        -----
        Each component is updated as a normal, and its weight is multiplied by the density that it predicted for the
        estimate, N(mean, sqrt(sd^2 + std_error^2)).

        Examples
        --------
        >>> prior = NormalMixture((0.8, 0.2), (0.3, 0.0), (0.1, 1.0))
        >>> [[round(w, 2) for w in prior.updated(estimate, 0.1).weights] for estimate in (0.3, -0.5)]
        [[0.97, 0.03], [0.0, 1.0]]
        """
        seen = Normal(estimate, std_error)
        means, sds = np.array(self.means), np.array(self.sds)
        total = np.hypot(sds, seen.sd)
        log_weight = np.log(self.weights) - np.log(total) - 0.5 * ((seen.mean - means) / total) ** 2
        weight = np.exp(log_weight - log_weight.max())
        # A component that the estimate rules out to all digits is gone.
        kept = weight > np.finfo(float).tiny
        weight = weight[kept] / weight[kept].sum()
        gain = (sds / total) ** 2
        moved = means + gain * (seen.mean - means)
        return NormalMixture(tuple(weight), tuple(moved[kept]), tuple((sds * seen.sd / total)[kept]))

    def describe(self) -> str:
        """Return the components in words."""
        parts = [f"{w:.3g} of {part.describe()}" for w, part in zip(self.weights, self.components, strict=True)]
        return "mixture: " + "; ".join(parts)

    def _as_nodes(self) -> NormalMixtures:
        return NormalMixtures(np.array(self.weights), np.array(self.means)[:, None], np.array(self.sds)[:, None])


def information_sample_size(prior: NormalMixture, unit_sd: float) -> float:
    """Return how many people tell as much as a prior: the expected local-information-ratio of Neuenschwander et al.

    With i(p) = -d^2 log p / d theta^2 the information of the prior at theta, and 1 / unit_sd^2 that of one person,

        E_p[i(p(theta))] unit_sd^2 = unit_sd^2 int (p'(theta))^2 / p(theta) d theta,

    by integration by parts. For one normal it is unit_sd^2 / sd^2.

    Parameters
    ----------
    prior : NormalMixture
        The prior.
    unit_sd : float
        Standard deviation of an estimate from one person: an estimate from n people has standard error
        unit_sd / sqrt(n).

    References
    ----------
    Neuenschwander, Weber, Schmidli and O'Hagan (2020), Biometrics 76.
    """
    means, sds = np.array(prior.means), np.array(prior.sds)
    # Panels between points where some component has its structure; each is smooth within a third of the least sd.
    marks = np.unique((means[:, None] + sds[:, None] * np.linspace(-10.0, 10.0, 61)).ravel())
    nodes, weights = np.polynomial.legendre.leggauss(12)
    half = 0.5 * np.diff(marks)
    x = (0.5 * (marks[1:] + marks[:-1]))[:, None] + half[:, None] * nodes
    z = (x[..., None] - means) / sds
    part = np.array(prior.weights) * np.exp(-0.5 * z * z) / (sds * np.sqrt(2.0 * np.pi))
    density, slope = part.sum(axis=-1), (-part * z / sds).sum(axis=-1)
    square = np.divide(slope**2, density, out=np.zeros_like(density), where=density > 0.0)
    return float(unit_sd**2 * (square * weights * half[:, None]).sum())
