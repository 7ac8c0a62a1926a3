"""`HorvitzThompson`: unbiased comparison of arms by known assignment probabilities."""

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
from gbveval.numerics.inverse_probability import (
    Assigned,
    constant_effect_variance,
    inverse_probability_difference,
    young_variance,
)

VARIANCES = ("young", "constant_effects")


@register("horvitz_thompson")
@dataclass(frozen=True, slots=True)
class HorvitzThompson:
    """Difference in means with every outcome weighted by one over its probability of assignment.

    Parameters
    ----------
    assignment : str
        "auto": independent draws where the trial declares `probability`, else fixed numbers in each arm (in each
        stratum or pair, of clusters where there are clusters). "complete" or "independent" says it outright.
    variance : str
        "young": conservative whatever the effects. "constant_effects": exact if everybody had the same effect, and too
        small otherwise.

    Notes
    -----
    **Identifies** the intention-to-treat effect over participants, without bias whatever the probabilities, as long as
    everybody could have been in either arm.

    **Valid when** the probabilities are those that were used. The reference is normal, so there should be dozens of
    units of assignment. The joint covariance of several arms or outcomes is not given.

    **Do not use when** units are clusters of very different sizes, or probabilities are tiny: the estimate is then
    unbiased and wildly imprecise, and moves when a constant is added to the outcome. `Hajek` trades a little bias for
    much less variance and is the default choice of the two.

    References
    ----------
    Horvitz and Thompson (1952), Journal of the American Statistical Association 47. Aronow and Middleton (2013),
    Journal of Causal Inference 1. Aronow and Samii (2017), Annals of Applied Statistics 11.

    Examples
    --------
    >>> frame = {"y": [1.0, 2.0, 3.0, 5.0], "arm": ["usual", "usual", "new", "new"], "p": [0.5] * 4}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual", probability="p")
    >>> HorvitzThompson().estimate(trial)[0].value
    2.5
    """

    assignment: str = "auto"
    variance: str = "young"
    name: ClassVar[str] = "horvitz_thompson"

    def __post_init__(self) -> None:
        if self.assignment not in ASSIGNMENTS:
            raise DesignError(f"assignment must be one of {', '.join(ASSIGNMENTS)}, not {self.assignment!r}.")
        if self.variance not in VARIANCES:
            raise DesignError(f"variance must be one of {', '.join(VARIANCES)}, not {self.variance!r}.")

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
        if self.variance == "constant_effects" and len(data.arms) > 2:
            raise DesignError("variance='constant_effects' is given for two arms. Use variance='young'.")
        assignment = assignment_of(data, self.assignment)
        words = "Young's bound on the pairs that cannot be observed together, conservative"
        if self.variance == "constant_effects":
            words = "of the assignment alone, as if the effect were the same for everybody"
        method = method_of(data, words, "Aronow and Middleton 2013", assignment)
        return estimate_by_probability(self, data, assignment=assignment, compare=self._compare, method=method)

    def _compare(self, units: Units, pairwise: Assigned) -> tuple[float, float]:
        size = float(units.number.sum())
        value = inverse_probability_difference(units.total, pairwise, size)
        if self.variance == "young":
            return value, young_variance(units.total, pairwise, size)
        return value, constant_effect_variance(units.total, units.number, pairwise, size)
