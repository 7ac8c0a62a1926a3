"""`Hajek`: comparison of weighted means, weights one over the known assignment probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators.randomised._inverse_probability import (
    ASSIGNMENTS,
    Units,
    assignment_of,
    estimate_by_probability,
    method_of,
)
from gbveval.numerics.inverse_probability import Assigned, young_variance


@register("hajek")
@dataclass(frozen=True, slots=True)
class Hajek:
    """Difference of two weighted means, each outcome weighted by one over its probability of assignment.

    Parameters
    ----------
    assignment : str
        "auto": independent draws where the trial declares `probability`, else fixed numbers in each arm (in each
        stratum or pair, of clusters where there are clusters). "complete" or "independent" says it outright.

    Notes
    -----
    **Identifies** the intention-to-treat effect over participants; the weights of each arm are divided by their sum, so
    that a constant added to the outcome changes nothing. The bias is of the order of one over the units.

    **Variance.** That of `HorvitzThompson`, of the residuals about each arm's mean (linearisation); conservative.

    **Valid when** the probabilities are those that were used and there are many units of assignment: the reference is
    normal. With 20 clusters of unequal size a test at 5 % rejects 12 % (docs: measured sizes). The joint covariance of
    several arms or outcomes is not given.

    **Do not use when** there are few clusters (`DifferenceInMeans`, with CR2, has honest degrees of freedom) or
    probabilities are all the same (it is then the difference in means).

    References
    ----------
    Hajek (1971), in Foundations of Statistical Inference. Aronow and Samii (2017), Annals of Applied Statistics 11.

    Examples
    --------
    >>> frame = {"y": [1.0, 2.0, 3.0, 5.0], "arm": ["usual", "usual", "new", "new"], "p": [0.25, 0.5, 0.25, 0.5]}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual", probability="p")
    >>> round(Hajek().estimate(trial)[0].value, 4)
    2.0667
    """

    assignment: str = "auto"
    name: ClassVar[str] = "hajek"

    def __post_init__(self) -> None:
        if self.assignment not in ASSIGNMENTS:
            raise DesignError(f"assignment must be one of {', '.join(ASSIGNMENTS)}, not {self.assignment!r}.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the difference between each arm and control for each outcome.

        Parameters
        ----------
        data : Trial
            The checked trial.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If probabilities are needed and absent, or do not fit the assignment.
        IdentificationError
            If an arm has fewer than two units, or a stratum lacks an arm.
        """
        assignment = assignment_of(data, self.assignment)
        words = "Young's bound, of the residuals about each arm's weighted mean (linearised), conservative"
        method = method_of(data, words, "Aronow and Samii 2017", assignment)
        return estimate_by_probability(self, data, assignment=assignment, compare=_compare, method=method)


def _compare(units: Units, pairwise: Assigned) -> tuple[float, float]:
    size = float(units.number.sum())
    residual = np.zeros_like(units.total)
    means = []
    for member, share in ((pairwise.treated, pairwise.p_treated), (pairwise.control, pairwise.p_control)):
        mass = float((units.number[member] / share[member]).sum())
        mean = float((units.total[member] / share[member]).sum()) / mass
        residual[member] = (units.total[member] - mean * units.number[member]) * size / mass
        means.append(mean)
    return means[0] - means[1], young_variance(residual, pairwise, size)
