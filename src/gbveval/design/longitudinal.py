"""Hides the arithmetic of a plan in which clusters are observed over several periods and may change arms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.design._cluster_cells import CellLevels, cell_levels, cells_of
from gbveval.design._require import one_of, real, whole
from gbveval.design.cluster_period_correlation import ClusterPeriodCorrelation
from gbveval.design.cluster_schedule import ClusterSchedule
from gbveval.design.outcomes import Binary, Continuous, Outcome
from gbveval.design.planned_test import Otherwise, PlainDesign, PlannedTest
from gbveval.numerics.cluster_periods import effects_covariance

if TYPE_CHECKING:
    from gbveval.design.longitudinal_process import LongitudinalProcess

FloatArray = NDArray[np.float64]
LINKS: Final = ("identity", "logit", "log")
SCALES: Final = {"logit": "log odds ratio", "log": "log risk ratio"}
COURSES: Final = ("immediate", "exposure_time")
CLUSTER_EFFECTS: Final = ("random", "fixed")
SOURCE: Final = (
    "Hussey and Hughes (2007), Contemporary Clinical Trials 28; Hooper et al. (2016), Statistics in Medicine 35; Kasza "
    "et al. (2019), Statistical Methods in Medical Research 28; Li, Turner and Preisser (2018), Biometrics 74"
)
# A cell of more people than this differs from one of infinitely many in the ninth digit; an infinite one may leave a
# singular covariance.
INFINITE_CELL: Final = 1e10


@dataclass(frozen=True, slots=True)
class LongitudinalClusterDesign(PlainDesign):
    """Clusters observed over several periods: stepped wedge, crossover, parallel arms with or without a baseline.

    Parameters
    ----------
    schedule : ClusterSchedule
        Which sequence is treated when: `ClusterSchedule.stepped_wedge(4)`, `.crossover()`, `.parallel_with_baseline()`.
    clusters_per_sequence : int or tuple of int
        Clusters in every sequence, or in each. Asked for as a size it is the same in all.
    cluster_period_size : int
        Respondents of a cluster in each observed period.
    correlation : ClusterPeriodCorrelation
        How alike they are, within and between periods.
    outcome : Continuous or Binary
        What is measured. `sd` is that between respondents in a period, clusters included; the mean or risk is that in
        control in the last period.
    course : str
        "immediate": one effect from the first period of treatment on. "exposure_time": an effect for every time since
        crossing over, and power is that for their average.
    exposure_time : int, optional
        With "exposure_time": power for the effect at this time since crossing over instead of the average.
    period_effects : bool
        Whether periods are in the model, each with a level of its own. Without them the outcome must not change by
        itself over the whole study, which is rarely believed, and power is far larger.
    cluster_effects : str
        "random": clusters differ at random, and differences between clusters inform too (generalised least squares).
        "fixed": only changes within clusters count; with one period before and one after it is the difference in
        differences of cluster means.
    link : str
        For a risk, the scale on which the effect is constant and is tested: "identity", "logit" or "log".
    effect_sd : float
        Standard deviation of the effect between clusters, in units of a continuous outcome.
    trend : float
        Change of mean or risk in control from the first period to the last, linear on the scale of `link`. It moves
        the variance of a risk; that of a continuous outcome stays.
    reference : str
        "t" with the number of clusters less one and less the effects as degrees of freedom, or "normal".

    Raises
    ------
    DesignError
        If something is impossible, or the schedule does not identify the effect.

    Notes
    -----
    The variance is that of generalised least squares on cluster-period means, with known covariance; for cells of one
    size that is the same as from respondents. With estimated covariance and few clusters the normal rejects too often:
    simulations of feasible generalised least squares find a size of 0.06 to 0.07 with 12 or 10 clusters at a nominal
    0.05. The t is on the safe side: 0.03 to 0.04. `explain_power` gives power by both; the distance between
    them is the price. For "logit" and "log" the model is the marginal one (generalised estimating equations with the
    true correlation), and the effect is still given as a difference of risks, in the last period.

    **Do not use** for cells whose sizes differ much (power is lower), nor "immediate" where effects grow with exposure:
    its estimate is then no average of them.

    References
    ----------
    Hussey and Hughes (2007), Contemporary Clinical Trials 28. Hooper et al. (2016), Statistics in Medicine 35. Kasza et
    al. (2019), Statistical Methods in Medical Research 28. Li, Turner and Preisser (2018), Biometrics 74. Giraudeau,
    Ravaud and Donner (2008), Statistics in Medicine 27, for the crossover. Teerenstra, Eldridge, Graff, de Hoop and
    Borm (2012), Statistics in Medicine 31, for changes from a baseline. Kenny et al. (2022), Statistics in Medicine 41,
    for effects by exposure time.

    Examples
    --------
    >>> from gbveval.design.icc import ICC
    >>> plan = LongitudinalClusterDesign(
    ...     schedule=ClusterSchedule.stepped_wedge(4),
    ...     clusters_per_sequence=3,
    ...     cluster_period_size=20,
    ...     correlation=ClusterPeriodCorrelation(ICC(0.04, scale="observed"), cac=0.8),
    ...     outcome=Continuous(),
    ... )
    >>> round(plan.planned_test(0.3).std_error, 4)
    0.103
    """

    schedule: ClusterSchedule
    clusters_per_sequence: int | tuple[int, ...]
    cluster_period_size: int
    correlation: ClusterPeriodCorrelation
    outcome: Outcome
    course: str = "immediate"
    exposure_time: int | None = None
    period_effects: bool = True
    cluster_effects: str = "random"
    link: str = "identity"
    effect_sd: float = 0.0
    trend: float = 0.0
    reference: str = "t"

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, ClusterSchedule):
            raise DesignError("schedule must be a ClusterSchedule, such as ClusterSchedule.stepped_wedge(4).")
        if not isinstance(self.correlation, ClusterPeriodCorrelation):
            raise DesignError("correlation must be ClusterPeriodCorrelation(icc=ICC(...), cac=...).")
        if not isinstance(self.outcome, Continuous | Binary):
            raise DesignError("outcome must be Continuous(...) or Binary(...).")
        self._check_sizes()
        one_of("course", self.course, COURSES)
        one_of("cluster_effects", self.cluster_effects, CLUSTER_EFFECTS)
        one_of("link", self.link, LINKS)
        one_of("reference", self.reference, ("t", "normal"))
        if not isinstance(self.period_effects, bool):
            raise DesignError(f"period_effects must be True or False; it is {self.period_effects!r}.")
        real("effect_sd", self.effect_sd, low=0.0, high=math.inf, closed=True)
        real("trend", self.trend, low=-math.inf, high=math.inf)
        self._check_scale()
        self._check_exposure()
        if self.reference == "t" and self._df(float(self.n_clusters)) < 1.0:
            raise DesignError(
                f"{self.n_clusters} clusters leave no degree of freedom for {self.n_effects} effects; add clusters."
            )
        if self._variance(0.0, None) is None:
            raise DesignError(
                "This schedule cannot tell the effect from the periods or the clusters: some period needs clusters in "
                "control and clusters under treatment, or clusters must change arms."
            )

    def _check_sizes(self) -> None:
        whole("cluster_period_size", self.cluster_period_size, least=1)
        if not isinstance(self.clusters_per_sequence, tuple):
            whole("clusters_per_sequence", self.clusters_per_sequence, least=1)
            return
        for each in self.clusters_per_sequence:
            whole("clusters_per_sequence", each, least=1)
        if len(self.clusters_per_sequence) != self.schedule.n_sequences:
            raise DesignError(
                f"clusters_per_sequence has {len(self.clusters_per_sequence)} numbers, and the schedule "
                f"{self.schedule.n_sequences} sequences."
            )

    def _check_scale(self) -> None:
        if not isinstance(self.outcome, Binary):
            if self.link != "identity":
                raise DesignError("Links other than the identity are for Binary outcomes.")
            return
        if self.effect_sd:
            raise DesignError("effect_sd is in units of a Continuous outcome; leave it out for a risk.")
        cell_levels(self.schedule, self.outcome, self.link, float(self.trend), 0.0)

    def _check_exposure(self) -> None:
        if self.course == "immediate":
            if self.exposure_time is not None:
                raise DesignError("exposure_time needs course='exposure_time'.")
            return
        if self.schedule.returns_to_control:
            raise DesignError("Effects by exposure time need clusters that stay treated once they have crossed over.")
        asked = self.exposure_time
        if asked is not None and (isinstance(asked, bool) or asked not in self.schedule.exposure_times):
            known = ", ".join(map(str, self.schedule.exposure_times))
            raise DesignError(f"exposure_time must be one of those observed ({known}); it is {self.exposure_time!r}.")

    @property
    def sequence_sizes(self) -> tuple[int, ...]:
        """Clusters in each sequence."""
        given = self.clusters_per_sequence
        return given if isinstance(given, tuple) else (given,) * self.schedule.n_sequences

    @property
    def n_clusters(self) -> int:
        """Clusters in all sequences."""
        return sum(self.sequence_sizes)

    @property
    def n_measurements(self) -> int:
        """Respondents measured, summed over observed cells."""
        cells = [sum(entry is not None for entry in row) for row in self.schedule.rows]
        return self.cluster_period_size * sum(k * c for k, c in zip(self.sequence_sizes, cells, strict=True))

    @property
    def n_effects(self) -> int:
        """Effects in the model."""
        return 1 if self.course == "immediate" else len(self.schedule.exposure_times)

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be."""
        least = 1 if self.reference == "normal" else math.ceil((2.0 + self.n_effects) / self.schedule.n_sequences)
        return MappingProxyType({"clusters_per_sequence": least, "cluster_period_size": 1})

    def resized(self, name: str, value: int) -> LongitudinalClusterDesign:
        """Return the design with another number of clusters in every sequence, or of respondents in a cell."""
        one_of("solve_for", name, tuple(self.least_sizes))
        if name == "cluster_period_size":
            return replace(self, cluster_period_size=value)
        return replace(self, clusters_per_sequence=value)

    def limit_hint(self, name: str) -> str:
        """Return what holds power down when only this size grows, and what to do."""
        if name == "cluster_period_size":
            return (
                f"However many respondents are asked in a cell, {self.n_clusters} clusters with an ICC of "
                f"{self.correlation.icc.value:g} whose correlation falls between periods (cac "
                f"{self.correlation.cac:g}, decay {self.correlation.decay:g}) set a floor under the standard "
                "error. Add clusters instead: solve_for='clusters_per_sequence'."
            )
        return "Plan for a larger effect or a lower power."

    def process(self, effect: float) -> LongitudinalProcess:
        """Return the process that draws trials of this design with this true effect."""
        from gbveval.design.longitudinal_process import LongitudinalProcess

        return LongitudinalProcess(self, effect)

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0) -> PlannedTest:
        """Return the planned test of an effect (treated minus control).

        Parameters
        ----------
        effect : float
            Difference in means; or in risks, in the last period.
        size : (str, float), optional
            ("clusters_per_sequence" or "cluster_period_size", any real number) instead of the design's own.
        null : float
            Effect under the null hypothesis: a margin. With the identity link only.
        """
        if null and self.link != "identity":
            raise DesignError(f"A test on the scale of the {SCALES[self.link]} is against no difference only.")
        variance = self._variance(effect, size)
        if variance is None:
            raise DesignError("This schedule does not identify the effect.")
        clusters = float(self.n_clusters)
        if size is not None and size[0] == "clusters_per_sequence":
            clusters = float(size[1]) * self.schedule.n_sequences
        df = self._df(clusters)
        normal = self.reference == "normal"
        other = (
            Otherwise(f"against t with {df:g} df, safe with few clusters", df)
            if normal
            else Otherwise("against the normal, too large with few clusters", math.inf)
        )
        return PlannedTest(
            effect=effect,
            std_error=math.sqrt(variance),
            df=math.inf if normal else df,
            null=null,
            shift=None if self.link == "identity" else self._shift(effect),
            scale=SCALES.get(self.link, ""),
            formula=self._formula(normal),
            source=SOURCE,
            assumptions=self._assumptions(),
            others=(other,) if df >= 1.0 else (),
        )

    def _df(self, clusters: float) -> float:
        return clusters - 1.0 - self.n_effects

    def _shift(self, effect: float) -> float:
        return self._levels(effect).shift

    def _levels(self, effect: float) -> CellLevels:
        return cell_levels(self.schedule, self.outcome, self.link, float(self.trend), effect)

    def _variance(self, effect: float, size: tuple[str, float] | None) -> float | None:
        """Return the variance of the estimate; None if it is not identified."""
        counts: tuple[float, ...] = tuple(map(float, self.sequence_sizes))
        m = float(self.cluster_period_size)
        if size is not None:
            one_of("solve_for", size[0], tuple(self.least_sizes))
            if size[0] == "cluster_period_size":
                m = float(size[1])
            else:
                counts = (float(size[1]),) * len(counts)
        if math.isinf(counts[0]):
            return 0.0
        sequences = cells_of(self, self._levels(effect), counts, min(m, INFINITE_CELL))
        found = effects_covariance(sequences, fixed_clusters=self.cluster_effects == "fixed")
        if found is None:
            return None
        if self.exposure_time is None:
            return float(found.mean())
        place = self.schedule.exposure_times.index(self.exposure_time)
        return float(found[place, place])

    def _formula(self, normal: bool) -> str:
        reference = "the normal" if normal else "the noncentral t with clusters - 1 - effects df"
        within = ", each cluster with a level of its own" if self.cluster_effects == "fixed" else ""
        what = "the effect"
        if self.course == "exposure_time":
            what = "the average over exposure times"
            if self.exposure_time is not None:
                what = f"the effect at exposure time {self.exposure_time}"
        return (
            f"{what} over its standard error, from the inverse of the information sum X' V^-1 X of cluster-period "
            f"means{within}, against {reference}"
        )

    def _assumptions(self) -> tuple[str, ...]:
        told = [
            "the correlation is as planned, and cells have one size",
            "the covariance is estimated well: with few clusters compare the power by t and by the normal",
        ]
        if self.course == "immediate":
            told.append("the effect is the same from the first treated period on")
        if not self.period_effects:
            told.append(
                "the outcome does not change by itself over the whole study: no period is in the model, as it should be"
            )
        if float(self.correlation.cac) * float(self.correlation.decay) == 1.0 and self.schedule.n_periods > 1:
            told.append("outcomes of a cluster are as alike in different periods as in one (cac 1), which is rare")
        if isinstance(self.outcome, Binary):
            told.append("cluster proportions may be treated as normal, although events are counts")
        return tuple(told)
