"""Hides the arithmetic of a plan for clusters of known sizes: the planned analysis and how its error is estimated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.design._clustered import (
    ClusterOutcome,
    beyond_words,
    check_dispersion,
    observed_icc_at,
    split_variance,
)
from gbveval.design._given_sizes import GivenSizesTest
from gbveval.design._require import one_of, whole
from gbveval.design.icc import ICC, BetweenCV
from gbveval.design.planned_test import PlainDesign
from gbveval.design.processes import ClusterProcess
from gbveval.numerics.arm_variance import VarianceForm, cluster_average, participant_average

FloatArray = NDArray[np.float64]
WORDS: Final = {
    "participants_cr2": "the average over participants over its CR2 error, Bell and McCaffrey's df for these sizes",
    "cluster_means": "the difference of cluster means, their variance pooled over arms, with k0 + k1 - 2 df",
    "gls": "clusters weighted by the inverse of their true variance, against the noncentral t with k0 + k1 - 2 df",
}
SOURCES: Final = {
    "participants_cr2": "Bell and McCaffrey (2002), Survey Methodology 28; Imhof (1961), Biometrika 48",
    "cluster_means": "Donner and Klar (2000), Design and Analysis of Cluster Randomization Trials; Imhof (1961), "
    "Biometrika 48",
    "gls": "van Breukelen, Candel and Berger (2007), Statistics in Medicine 26",
}


@dataclass(frozen=True, slots=True)
class GivenClustersDesign(PlainDesign):
    """Two arms of clusters whose sizes are known, such as schools from a register.

    Parameters
    ----------
    control_sizes, treated_sizes : tuple of int
        Respondents in each cluster of an arm, at least 2 clusters.
    icc : ICC or BetweenCV
        As in `ClusterDesign`.
    outcome : Continuous, Binary or Count
        What is measured.
    analysis : str
        "participants_cr2", "cluster_means" or "gls", as in `ClusterDesign`.

    Raises
    ------
    DesignError
        If something is impossible.

    Notes
    -----
    Power is by the planned analysis, exactly for normal cluster means: the test rejects when the estimate exceeds the
    critical value times its *estimated* standard error, and how that varies, and goes with the estimate, follows from
    the sizes and the ICC. Of one-sided tests the two tails together are exact. `explain_power` gives the size that the
    test has. With one dominant cluster the df of CR2 are few, which a coefficient of variation cannot tell. "gls" takes
    the ICC as known. Power is for one allocation; where it is not drawn yet, look at several. There is no size to solve
    for: compare lists.

    References
    ----------
    Bell and McCaffrey (2002), Survey Methodology 28. Imhof (1961), Biometrika 48. van Breukelen, Candel and Berger
    (2007), Statistics in Medicine 26.

    Examples
    --------
    >>> from gbveval.design.outcomes import Continuous
    >>> sizes = (120, 60, 40, 30, 20, 10)
    >>> plan = GivenClustersDesign(sizes, sizes, ICC(0.05, scale="observed"), Continuous())
    >>> test = plan.planned_test(0.5)
    >>> round(test.std_error, 4), round(test.df, 2)
    (0.1832, 5.89)
    """

    control_sizes: tuple[int, ...]
    treated_sizes: tuple[int, ...]
    icc: ICC | BetweenCV
    outcome: ClusterOutcome
    analysis: str = "participants_cr2"

    def __post_init__(self) -> None:
        for name in ("control_sizes", "treated_sizes"):
            sizes = getattr(self, name)
            if not isinstance(sizes, tuple) or len(sizes) < 2:
                raise DesignError(f"{name} must be a tuple of the sizes of at least 2 clusters.")
            for size in sizes:
                whole(f"A size in {name}", size, least=1)
        one_of("analysis", self.analysis, tuple(WORDS))
        check_dispersion(self.outcome, self.icc)

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """No size can be solved for."""
        return MappingProxyType({})

    def resized(self, name: str, value: int) -> GivenClustersDesign:
        """Refuse: the sizes are given."""
        raise DesignError("The sizes of all clusters are given; there is none to change.")

    def icc_at(self, level: float) -> float:
        """Return the ICC on the observed scale in an arm with this mean, risk or rate."""
        return observed_icc_at(self.outcome, self.icc, level)

    @property
    def n_clusters(self) -> int:
        """Clusters in all."""
        return len(self.control_sizes) + len(self.treated_sizes)

    @property
    def sizes_known(self) -> bool:
        """Whether every draw of this plan has the same cluster sizes: always."""
        return True

    def draw_clusters(self, rng: np.random.Generator, n_draws: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the arm (0 or 1) of each cluster, and their sizes in each draw, shape (draws, clusters)."""
        arm = np.repeat(np.array([0, 1], dtype=np.intp), [len(self.control_sizes), len(self.treated_sizes)])
        sizes = np.array((*self.control_sizes, *self.treated_sizes), dtype=np.intp)
        return arm, np.broadcast_to(sizes, (n_draws, arm.size))

    def process(self, effect: float) -> ClusterProcess:
        """Return the process that draws trials of this design with this true effect."""
        return ClusterProcess(self, effect)

    def planned_test(
        self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0
    ) -> GivenSizesTest:
        """Return the planned test of an effect (treated minus control).

        Parameters
        ----------
        effect : float
            Difference in means, risks or rates.
        size : None
            No size can be solved for.
        null : float
            Effect under the null hypothesis: a margin.
        """
        if size is not None:
            raise DesignError("The sizes of all clusters are given; there is none to solve for.")
        levels = self.outcome.levels(effect)
        arms = [np.asarray(sizes, dtype=np.float64) for sizes in (self.control_sizes, self.treated_sizes)]
        split = [split_variance(self.outcome, self.icc, level) for level in levels]
        v = [between + within / n for (between, within), n in zip(split, arms, strict=True)]
        variance, df, estimated = self._analysed(arms, v)
        return GivenSizesTest(
            effect=float(effect),
            null=null,
            std_error=math.sqrt(variance),
            df=df,
            estimated=estimated,
            formula=f"probability that the test rejects at the given sizes: {WORDS[self.analysis]}",
            source=SOURCES[self.analysis],
            assumptions=(
                "cluster means are normal with the planned variances between and within clusters",
                "cluster sizes do not depend on outcomes",
                *(word for level in levels if (word := beyond_words(self.outcome, self.icc, level))),
            ),
        )

    def _analysed(self, arms: list[FloatArray], v: list[FloatArray]) -> tuple[float, float, VarianceForm | None]:
        """Return the true variance, the df of the critical value, and how the variance is estimated."""
        df = float(arms[0].size + arms[1].size - 2)
        if self.analysis == "gls":
            return float(sum(1.0 / np.sum(1.0 / each) for each in v)), df, None
        if self.analysis == "cluster_means":
            estimated = cluster_average(v[0], v[1])
        else:
            estimated = participant_average(arms[0], arms[1], v[0], v[1])
            # The df of CR2 are those under its working model, in which respondents are independent.
            df = participant_average(arms[0], arms[1], 1.0 / arms[0], 1.0 / arms[1]).df
        return estimated.variance, df, estimated
