"""Hides how a difference of clusters of given sizes is tested, whose error is estimated by a form of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gbveval.design.planned_test import Nearness, Rows, wrong_tail
from gbveval.numerics.arm_variance import VarianceForm
from gbveval.numerics.inference import t_quantile
from gbveval.numerics.noncentral_t import t_power


@dataclass(frozen=True, slots=True, eq=False)
class GivenSizesTest:
    """A t test of clusters of given sizes; the df of its critical value may be others than those of its variance.

    Parameters
    ----------
    effect, null : float
        True effect and that under the null hypothesis.
    std_error : float
        Standard error of the estimate.
    df : float
        Degrees of freedom of the critical value.
    estimated : VarianceForm or None
        How the variance is estimated; None where it is a chi-square with those degrees of freedom.
    formula, source : str
        In words.
    assumptions : tuple of str
        What must hold.
    near : Nearness or None
        How near the formula is to the planned analysis.
    """

    effect: float
    null: float
    std_error: float
    df: float
    estimated: VarianceForm | None
    formula: str
    source: str
    assumptions: tuple[str, ...]
    near: Nearness | None = None

    @property
    def unit(self) -> float:
        """Standard error of the estimate."""
        return self.std_error

    def never(self, alternative: str) -> str:
        """Return why no study, however large, finds this effect; nothing if one can."""
        return wrong_tail(self.effect, self.null, alternative)

    def power(self, alpha: float, alternative: str = "two_sided") -> float:
        """Return the probability that the test rejects; under the null it may differ from alpha a little."""
        far = (self.effect - self.null) / self.std_error
        if self.estimated is None:
            return t_power(far, self.df, alpha, alternative)
        both = self.estimated.rejects(self.effect - self.null, self._critical(alpha, alternative))
        if alternative == "two_sided":
            return both
        # Of the two tails, in which the probability is exact together, each has its share by the moments of the error.
        tails = [self._tail(far, alpha, alternative), self._tail(-far, alpha, alternative)]
        return both * tails[0] / sum(tails)

    def detail(self, alpha: float, alternative: str = "two_sided") -> Rows:
        """Return standard error, how its estimate behaves, and the critical value in words."""
        rows = [("standard error of the estimate", f"{self.std_error:.4g}")]
        if self.estimated is not None:
            size = self.estimated.rejects(0.0, self._critical(alpha, alternative))
            rows += [
                ("degrees of freedom of its estimate, by moments", f"{self.estimated.df:.4g}"),
                ("estimated variance over the true one, on average", f"{self.estimated.ratio:.4g}"),
                ("size that the test has", f"{size if alternative == 'two_sided' else size / 2.0:.4f}"),
            ]
        critical = self._critical(alpha, alternative)
        return (*rows, ("critical value", f"{critical:.4f}, t with {self.df:.4g} degrees of freedom"))

    def _critical(self, alpha: float, alternative: str) -> float:
        return -float(t_quantile(alpha / 2.0 if alternative == "two_sided" else alpha, self.df))

    def _tail(self, far: float, alpha: float, alternative: str) -> float:
        """Return about how often one tail rejects: a noncentral t with the moments of the estimated variance."""
        from scipy.stats import t as student

        assert self.estimated is not None
        reach = self._critical(alpha, alternative) * math.sqrt(self.estimated.ratio)
        own = self.estimated.df
        return t_power(far, own, float(student.sf(reach, own)), alternative)
