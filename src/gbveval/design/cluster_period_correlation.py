"""Hides in which words the correlation of outcomes in clusters over periods is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.design._require import real
from gbveval.design.icc import ICC
from gbveval.numerics.cluster_periods import cluster_period_correlation


@dataclass(frozen=True, slots=True)
class ClusterPeriodCorrelation:
    """How alike outcomes of a cluster are, within a period and between periods.

    Parameters
    ----------
    icc : ICC
        Correlation of two respondents of a cluster in the same period, on the observed scale.
    cac : float
        Cluster autocorrelation: the correlation of two respondents of a cluster in different periods, over `icc`. With
        1 a cluster is as it is throughout (Hussey and Hughes); below it, clusters change from period to period.
    individual_autocorrelation : float
        0 where different people are asked in every period (repeated cross-sections). In a cohort, the share of the
        variance within a cluster that stays with a person.
    decay : float
        What is left of the correlations between periods for each further period between them; 1 for no decay.

    Raises
    ------
    DesignError
        If the ICC is latent, or a number is out of range.

    Notes
    -----
    Total variance is that between respondents in a period. With cluster variance t^2, cluster-period variance g^2,
    person variance p^2 and residual variance s^2, all four of which add up to it, icc = (t^2 + g^2) / total,
    cac = t^2 / (t^2 + g^2) and individual_autocorrelation = p^2 / (p^2 + s^2). Programs that ask for a residual
    standard deviation of 1 together with correlations have a larger total; there is none such here. A cac of 1 is an
    assumption and not a default to fall back on: leaving a decline of correlations out makes plans too small, and more
    respondents a cluster look better than they are.

    References
    ----------
    Hooper, Teerenstra, de Hoop and Eldridge (2016), Statistics in Medicine 35. Kasza, Hemming, Hooper, Matthews and
    Forbes (2019), Statistical Methods in Medical Research 28. Li, Turner and Preisser (2018), Biometrics 74.

    Examples
    --------
    >>> round(ClusterPeriodCorrelation(ICC(0.05, scale="observed"), cac=0.8).between_periods, 3)
    0.04
    """

    icc: ICC
    cac: float
    individual_autocorrelation: float = 0.0
    decay: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.icc, ICC) or self.icc.scale != "observed":
            raise DesignError(
                "A correlation over periods needs an ICC on the observed scale: ICC(0.03, scale='observed'). Convert a "
                "latent one first: icc_convert(icc, to='observed', risk=...)."
            )
        share("cac", self.cac)
        share("decay", self.decay)
        real("individual_autocorrelation", self.individual_autocorrelation, low=0.0, high=1.0, closed=True)

    @classmethod
    def from_alphas(
        cls, within_period: float, between_periods: float, same_person: float | None = None
    ) -> ClusterPeriodCorrelation:
        """Return the correlation from those of two respondents in one period, in two, and of one with herself.

        Parameters
        ----------
        within_period, between_periods : float
            Correlations of two respondents of a cluster, in the same period and in different ones.
        same_person : float, optional
            Correlation of a respondent with herself in two periods; None where people are asked once.
        """
        icc = real("within_period", within_period, low=0.0, high=1.0, closed=True)
        across = real("between_periods", between_periods, low=0.0, high=1.0, closed=True)
        own = across if same_person is None else real("same_person", same_person, low=0.0, high=1.0, closed=True)
        if across > icc or own < across:
            raise DesignError(
                "Two respondents of a cluster are at least as alike in one period as in two, and one is at least as "
                "much like herself as like another: within_period >= between_periods <= same_person was expected."
            )
        personal = (own - across) / (1.0 - icc)
        return cls(ICC(icc, scale="observed"), across / icc if icc else 1.0, personal)

    @property
    def between_periods(self) -> float:
        """Correlation of two respondents of a cluster in neighbouring periods."""
        return float(self.icc.value) * float(self.cac) * float(self.decay)

    @property
    def cohort(self) -> bool:
        """Whether the same people are asked again."""
        return float(self.individual_autocorrelation) > 0.0

    def of_means(self, size: float, periods: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the covariance of a cluster's means in these periods, when one respondent has variance 1."""
        icc = float(self.icc.value)
        person = float(self.individual_autocorrelation) * (1.0 - icc)
        return cluster_period_correlation(icc, icc * float(self.cac), person, float(self.decay), size, periods)


def share(name: str, value: object) -> float:
    """Return a number from 0 to 1, both included."""
    if value == 1.0 and not isinstance(value, bool):
        return 1.0
    return real(name, value, low=0.0, high=1.0, closed=True, hint="1 is possible too.")
