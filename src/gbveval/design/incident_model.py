"""Hides how incidents before and after come about from one model, whatever is then recorded of them.

A person's incidents in the recall period are Poisson with mean rate x G, G a gamma variable with mean 1 and variance k,
so that counts are negative binomial with dispersion k. At follow-up G is the same as at baseline with a probability
(stability), and otherwise drawn anew; the programme multiplies the rate. Given the same G the counts b before and y
after are jointly negative multinomial (Johnson, Kotz and Balakrishnan 1997, Discrete Multivariate Distributions).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.design._require import real, whole

FloatArray = NDArray[np.float64]
# Counts beyond the largest kept have less than this probability in either distribution.
TAIL = 1e-10
LARGEST = 2000


@dataclass(frozen=True, slots=True)
class IncidentModel:
    """Incidents of a person before and after, of which an outcome records some part.

    Parameters
    ----------
    rate : float
        Mean incidents in the recall period, in control and at baseline. An effect is a difference in it.
    dispersion : float
        k in variance = mean + k mean^2: how unequally incidents are spread over people. Above 0.
    stability : float
        Probability that somebody is at follow-up as exposed as at baseline, which is the correlation of exposures.
    cuts : tuple of int
        Where categories of an ordered coding begin, from the second on: (1, 3) is none, one or two, three and more.

    Raises
    ------
    DesignError
        If something is out of range, or counts may be larger than 2000.

    Notes
    -----
    The programme lowers everybody's rate by the same ratio. One that stops some and leaves others as they are gains
    more by coding any against none than this model says. The rate at baseline is that of control at follow-up.

    References
    ----------
    Boyer, Chatterji, Cooper and Heise (2022), arXiv 2204.12385, for what codings of one outcome show.

    Examples
    --------
    >>> model = IncidentModel(rate=2.0, dispersion=2.5)
    >>> round(model.risk(2.0), 3)
    0.512
    """

    rate: float
    dispersion: float
    stability: float = 0.7
    cuts: tuple[int, ...] = (1, 3)

    def __post_init__(self) -> None:
        real("rate", self.rate, low=0.0, high=math.inf)
        real("dispersion", self.dispersion, low=0.0, high=math.inf)
        if self.stability != 1 or isinstance(self.stability, bool):
            real("stability", self.stability, low=0.0, high=1.0, closed=True, hint="It is a probability.")
        if not isinstance(self.cuts, tuple) or not self.cuts:
            raise DesignError("cuts is a tuple of whole numbers, such as (1, 3): none, one or two, three and more.")
        for cut in self.cuts:
            whole("A cut", cut, least=1)
        if any(later <= earlier for earlier, later in zip(self.cuts, self.cuts[1:], strict=False)):
            raise DesignError(f"cuts must increase; they are {self.cuts}.")
        self._largest(float(self.rate))

    @property
    def binary(self) -> bool:
        """Whether the outcome is 0 or 1."""
        return False

    def levels(self, effect: float) -> tuple[float, float]:
        """Return the mean incidents in control and in the treated arm."""
        real("An effect", effect, low=-math.inf, high=math.inf)
        treated = float(self.rate + effect)
        if treated <= 0.0:
            raise DesignError(
                f"A rate of {self.rate:g} in control and an effect of {effect:g} give a treated rate of {treated:g}, "
                "which is not above 0. An effect is a difference in rates, treated minus control; give a smaller one."
            )
        return float(self.rate), treated

    def largest_effect(self, direction: str) -> float:
        """Return the size that effects in a direction stay below."""
        return 20.0 * float(self.rate) if direction == "increase" else float(self.rate)

    def risk(self, rate: float) -> float:
        """Return the share of people with any incident where this is the mean."""
        return 1.0 - float((1.0 + self.dispersion * rate) ** (-1.0 / self.dispersion))

    def shares(self, rate: float) -> tuple[float, ...]:
        """Return the shares of the categories of the ordered coding where this is the mean."""
        from scipy.stats import nbinom

        law = nbinom(1.0 / self.dispersion, 1.0 / (1.0 + self.dispersion * rate))
        below = [float(law.cdf(cut - 1)) for cut in self.cuts]
        return tuple(float(share) for share in np.diff([0.0, *below, 1.0]))

    def joint(self, rate: float) -> FloatArray:
        """Return the probability of each count before (rows) and after (columns), where the mean after is `rate`."""
        largest = self._largest(max(rate, float(self.rate)))
        return _joint(float(self.rate), float(rate), float(self.dispersion), float(self.stability), largest)

    def _largest(self, rate: float) -> int:
        from scipy.stats import nbinom

        largest = int(nbinom.isf(TAIL, 1.0 / self.dispersion, 1.0 / (1.0 + self.dispersion * rate))) + 1
        if largest > LARGEST:
            raise DesignError(
                f"With a rate of {rate:g} and a dispersion of {self.dispersion:g} counts beyond {LARGEST} matter: take "
                "a shorter recall period, or check the dispersion."
            )
        return largest


@lru_cache(maxsize=256)
def _joint(before: float, after: float, dispersion: float, stability: float, largest: int) -> FloatArray:
    from scipy.special import gammaln
    from scipy.stats import nbinom

    counts = np.arange(largest + 1, dtype=float)
    r = 1.0 / dispersion
    b, y = counts[:, None], counts[None, :]
    total = r + before + after
    same = gammaln(r + b + y) - gammaln(r) - gammaln(b + 1.0) - gammaln(y + 1.0)
    same = same + r * math.log(r / total) + b * math.log(before / total) + y * math.log(after / total)
    alone = [nbinom.pmf(counts, r, r / (r + mean)) for mean in (before, after)]
    found = stability * np.exp(same) + (1.0 - stability) * np.outer(*alone)
    found.flags.writeable = False
    return np.asarray(found, dtype=np.float64)
