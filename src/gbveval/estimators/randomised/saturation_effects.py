"""`SaturationEffects`: direct and indirect effects where clusters were assigned to a share, and people inside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, all_samples, assemble, events_of, mean_contrast
from gbveval.numerics.cell_means import Combinations, cell_means, combine
from gbveval.numerics.groups import group_sizes, group_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
POPULATIONS = ("cluster_average", "participant_average")
# A share treated further from the saturation than this is told: those measured are then no plain sample.
SHARE_OFF = 0.1
FEW_DF = 4.0


@register("saturation_effects")
@dataclass(frozen=True, slots=True)
class SaturationEffects:
    """Direct, indirect, total and overall effects of a two-stage design.

    Clusters were assigned to a saturation, the share of their people to be treated, and then people inside them to the
    two arms (roles `cluster` and `saturation`). Saturation 0 is pure control. With Y(a, s) the mean of people in arm a
    (1 treated, 0 not) under saturation s, and r the lowest saturation (0 where there is pure control), the rows are

    ========  =========  =============================================
    row       of         estimates
    ========  =========  =============================================
    direct    each s     Y(1, s) - Y(0, s)
    indirect  s above r  Y(0, s) - Y(0, r), the spillover
    total     s above r  Y(1, s) - Y(0, r)
    overall   s above r  s Y(1, s) + (1 - s) Y(0, s) - the same at r
    ========  =========  =============================================

    as far as both sides exist: nobody is untreated at saturation 1, where the total effect is the overall effect too.

    Parameters
    ----------
    population : str
        "cluster_average": every cluster counts the same (Hudgens and Halloran). "participant_average": every person
        does. They differ when effects go with cluster size.

    Notes
    -----
    **Identifies** these effects when clusters were assigned to saturations at random, people inside a cluster were
    assigned at random with its share, and what happens in one cluster does not reach another. Effects belong to the
    saturations that were tried, and to the way people were chosen: half of a village chosen as whole households is
    another treatment than half of every household.

    **Variance.** Between clusters of one saturation, so it holds whatever people in a cluster have in common: CR2 by
    cluster with Satterthwaite degrees of freedom, jointly for all rows. For the cluster average each cluster gives one
    number for each arm, and the variance of a mean over J clusters is s^2 / J; treated and untreated of the same
    clusters covary. With strata of clusters the means are taken within strata, which count with their clusters (or
    people).

    **Valid when** each saturation has at least two clusters with an outcome in each of its arms (in every stratum), and
    better five. For the clusters of the trial it is conservative.

    **Do not use when** people are reached across clusters, as in markets, on platforms or along roads
    (`ExposureEffects` takes a network); when the share treated was not assigned but came about; or to say which
    saturation is best from the rows that are significant.

    That no saturation has an indirect effect is one hypothesis: test the indirect rows together, with
    `Estimates.with_terms` and `joint_test`.

    References
    ----------
    Hudgens and Halloran (2008), Journal of the American Statistical Association 103. Baird, Bohren, McIntosh and Ozler
    (2018), Review of Economics and Statistics 100. Basse and Feller (2018), Journal of the American Statistical
    Association 113. Bell and McCaffrey (2002), Survey Methodology 28.

    Examples
    --------
    >>> frame = {
    ...     "y": [1.0, 2.0, 3.0, 4.0, 4.0, 7.0, 6.0, 9.0],
    ...     "village": ["a", "a", "b", "b", "c", "c", "d", "d"],
    ...     "saturation": [0, 0, 0, 0, 0.5, 0.5, 0.5, 0.5],
    ...     "arm": ["usual"] * 4 + ["usual", "new"] * 2,
    ... }
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual", cluster="village", saturation="saturation")
    >>> for row in SaturationEffects().estimate(trial).terms:
    ...     print(row.term, row.value)
    direct, saturation 0.5 3.0
    indirect, saturation 0.5 vs 0 2.5
    total, saturation 0.5 vs 0 5.5
    overall, saturation 0.5 vs 0 4.0
    """

    population: str = "cluster_average"
    name: ClassVar[str] = "saturation_effects"

    def __post_init__(self) -> None:
        if self.population not in POPULATIONS:
            raise DesignError(f"population must be one of {', '.join(POPULATIONS)}, not {self.population!r}.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the effects at each saturation for each outcome, with their joint covariance.

        Parameters
        ----------
        data : Trial
            Two arms, with the roles `cluster` and `saturation`; strata of clusters if they were drawn within strata.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the trial declares no saturation, a single one, more than two arms, or weights.
        IdentificationError
            If a saturation has fewer than two clusters with an outcome in one of its arms (in a stratum).
        """
        _check_roles(data)
        cells = _Cells.of(data)
        effects = _effects(cells)
        weights = np.array([effect.weights for effect in effects])
        rows: list[Row] = []
        checks = _design_checks(data, cells)
        for outcome in range(len(data.outcome_names)):
            found, notes = self._combine(data, outcome, cells, weights)
            checks += notes
            rows += [
                _row(data, outcome, cells, effect, found, number, self.population)
                for number, effect in enumerate(effects)
            ]
        blocks = cells.stratum * cells.levels.size + cells.level
        return assemble(self, data, rows, method=_method(data, self.population), checks=checks, blocks=blocks)

    def _combine(
        self, data: Trial, outcome: int, cells: _Cells, weights: FloatArray
    ) -> tuple[Combinations, list[Check]]:
        """Return the effects of one outcome, from the means of all cells of stratum, saturation and arm."""
        used = data.observed(outcome)
        y = data.outcomes[used, outcome]
        # Rows are differences of means, and sums of large numbers would lose the digits of differences.
        sizes, totals = cells.sums(used, y - y.mean() if y.size else y)
        _check_sizes(sizes, cells)
        mass = sizes.sum(axis=(1, 3))
        if self.population == "cluster_average":
            totals = np.divide(totals, sizes, out=np.zeros_like(totals), where=sizes > 0)
            sizes, mass = (sizes > 0).astype(float), (mass > 0).astype(float)
        share = mass.sum(axis=0) / mass.sum()
        # Cells in which nobody was to be have weight zero, and those of strata without an outcome as well.
        filled = (sizes.sum(axis=0) > 0).ravel()
        spread = (weights[:, None, :, :] * share[None, :, None, None]).transpose(0, 2, 1, 3)
        count = sizes.shape[0]
        means = cell_means(totals.reshape(count, -1)[:, filled], sizes.reshape(count, -1)[:, filled])
        found = combine(means, spread.reshape(weights.shape[0], -1)[:, filled])
        return found, _outcome_checks(data, outcome, cells, sizes, found)


@dataclass(frozen=True, eq=False, slots=True)
class _Cells:
    """Saturations and strata of the clusters, and the cells of people that follow.

    Attributes
    ----------
    levels : ndarray
        Saturations, ascending; the first is the reference.
    labels : tuple of str
        As they are shown.
    level, stratum : ndarray of int, shape (clusters,)
        Of each cluster.
    n_strata : int
        One where there are none.
    row : ndarray of int, shape (rows,)
        Cell of each person, in the order of cluster, saturation, stratum and arm.
    """

    levels: FloatArray
    labels: tuple[str, ...]
    level: IntArray
    stratum: IntArray
    n_strata: int
    row: IntArray

    @staticmethod
    def of(data: Trial) -> _Cells:
        """Return the cells of a trial."""
        assert data.cluster is not None
        assert data.saturation is not None
        levels, code = np.unique(data.saturation, return_inverse=True)
        short = tuple(f"{level:.4g}" for level in levels)
        labels = short if len(set(short)) == len(short) else tuple(repr(float(level)) for level in levels)
        strata = np.zeros(data.n, dtype=np.intp) if data.stratum is None else data.stratum.codes
        n_strata = 1 if data.stratum is None else data.stratum.count
        level, stratum = np.zeros((2, data.cluster.count), dtype=np.intp)
        level[data.cluster.codes], stratum[data.cluster.codes] = code, strata
        row = ((data.cluster.codes * levels.size + code) * n_strata + strata) * 2 + data.arm
        return _Cells(levels, labels, level, stratum, n_strata, row)

    def sums(self, used: NDArray[np.bool_], y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return people and sums of the outcome, shape (clusters, saturations, strata, arms)."""
        shape = (self.level.size, self.levels.size, self.n_strata, 2)
        count = int(np.prod(shape))
        return group_sizes(self.row[used], count).reshape(shape), group_sums(self.row[used], y, count).reshape(shape)

    def planned(self) -> NDArray[np.bool_]:
        """Return which arms a saturation has, shape (saturations, arms)."""
        return np.column_stack([self.levels < 1.0, self.levels > 0.0])


@dataclass(frozen=True, eq=False, slots=True)
class _Effect:
    """A row: its name, its kind, and the weights of the means, shape (saturations, arms)."""

    term: str
    kind: str
    weights: FloatArray


def _check_roles(data: Trial) -> None:
    if data.saturation is None:
        raise DesignError(
            "SaturationEffects needs the role `saturation`: the share of each cluster that was assigned to be treated. "
            "Where whole clusters, or people regardless of cluster, were assigned, use DifferenceInMeans."
        )
    if len(data.arms) != 2:
        raise DesignError(f"SaturationEffects compares two arms; the trial has {len(data.arms)}. Keep two.")
    if data.weight is not None:
        raise DesignError("SaturationEffects does not take the role weight. Leave it out.")
    if np.ptp(data.saturation) == 0:
        raise DesignError(
            "Every cluster has the same saturation, so nothing tells what saturation does. For the direct effect "
            "declare the clusters as strata, without cluster and saturation, and use DifferenceInMeans."
        )


def _effects(cells: _Cells) -> list[_Effect]:
    """Return the rows that can be had, saturation by saturation."""
    count = cells.levels.size
    treated, untreated = np.zeros((2, count, count, 2))
    treated[np.arange(count), np.arange(count), 1] = 1.0
    untreated[np.arange(count), np.arange(count), 0] = 1.0
    planned = cells.planned()
    low = cells.levels[0]
    base = low * treated[0] + (1.0 - low) * untreated[0]
    found = []
    for i, (share, label) in enumerate(zip(cells.levels, cells.labels, strict=True)):
        both = bool(planned[i].all())
        if both:
            found.append(_Effect(f"direct, saturation {label}", "direct_effect", treated[i] - untreated[i]))
        if i == 0:
            continue
        against = f"saturation {label} vs {cells.labels[0]}"
        if both:
            found.append(_Effect(f"indirect, {against}", "indirect_effect", untreated[i] - untreated[0]))
        found.append(_Effect(f"total, {against}", "total_effect", treated[i] - untreated[0]))
        if both or low > 0:
            everybody = share * treated[i] + (1.0 - share) * untreated[i]
            found.append(_Effect(f"overall, {against}", "overall_effect", everybody - base))
    return found


def _check_sizes(sizes: FloatArray, cells: _Cells) -> None:
    """Raise where a mean would rest on fewer than two clusters."""
    clusters = (sizes > 0).sum(axis=0)
    seen = clusters.sum(axis=(0, 2)) > 0
    short = (clusters < 2) & seen[None, :, None] & cells.planned()[:, None, :]
    if not seen.any():
        raise IdentificationError("Nobody has an outcome, so there is nothing to compare.")
    if not short.any():
        return
    names = ", ".join(label for label, wrong in zip(cells.labels, short.any(axis=(1, 2)), strict=True) if wrong)
    where = "" if cells.n_strata == 1 else f", in {int(short.any(axis=(0, 2)).sum())} of {int(seen.sum())} strata"
    raise IdentificationError(
        f"Fewer than two clusters have an outcome in an arm at saturation {names}{where}; two are needed to see how "
        "clusters of one saturation differ. Group saturations (or strata) that are alike, or leave those clusters out "
        "and say so."
    )


def _row(
    data: Trial, outcome: int, cells: _Cells, effect: _Effect, found: Combinations, number: int, population: str
) -> Row:
    used = data.observed(outcome)
    happened = events_of(data.outcomes[:, outcome])
    counts = _by_level(cells, used)
    events = None if happened is None else _by_level(cells, used & happened)
    support = []
    for level, arm in zip(*np.nonzero(effect.weights), strict=True):
        label = f"{data.arms[arm]}, saturation {cells.labels[level]}"
        happening = None if events is None else int(events[level, arm])
        table = f"{data.outcome_names[outcome]} by arm and saturation"
        support.append(Cell(label, int(counts[level, arm]), happening, table))
    member = used & (effect.weights[cells.level[_clusters(data)], data.arm] != 0.0)
    return Row(
        term=effect.term,
        outcome=data.outcome_names[outcome],
        value=float(found.value[number]),
        influence=found.influence[:, number],
        df=float(found.df[number]),
        estimand=Estimand(effect.kind, mean_contrast(data, outcome), population),
        n_units=sum(cell.n for cell in support),
        n_clusters=int(np.unique(_clusters(data)[member]).size),
        support=tuple(support),
    )


def _clusters(data: Trial) -> IntArray:
    assert data.cluster is not None
    return data.cluster.codes


def _by_level(cells: _Cells, member: NDArray[np.bool_]) -> FloatArray:
    """Return people by saturation and arm."""
    counts: FloatArray = cells.sums(member, np.zeros(int(member.sum())))[0].sum(axis=(0, 2))
    return counts


def _design_checks(data: Trial, cells: _Cells) -> list[Check]:
    """Return what a reader should know of the design: the reference, and shares treated that are not the saturation."""
    checks = []
    if cells.levels[0] > 0:
        text = (
            f"no cluster is a pure control; effects are against saturation {cells.labels[0]}, at which people not "
            "treated may be reached already."
        )
        checks.append(Check("reference", "warn", text))
    codes = _clusters(data)
    share = group_sums(codes, data.arm.astype(float), cells.level.size) / group_sizes(codes, cells.level.size)
    people = group_sizes(codes, cells.level.size)
    off = int((people * np.abs(share - cells.levels[cells.level]) > np.maximum(1.0, SHARE_OFF * people)).sum())
    if off:
        text = (
            f"in {off} of {cells.level.size} clusters the share treated among the rows is more than {SHARE_OFF:g} from "
            "the saturation, and by more than a person. Where people were sampled by arm that is expected; else "
            "look at the assignment log."
        )
        checks.append(Check("share treated", "info", text))
    return checks


def _outcome_checks(data: Trial, outcome: int, cells: _Cells, sizes: FloatArray, found: Combinations) -> list[Check]:
    """Return what a reader should know of one outcome: clusters without an arm, few degrees of freedom."""
    name, checks = data.outcome_names[outcome], []
    here = (sizes > 0).any(axis=2)
    expected = (cells.level[:, None] == np.arange(cells.levels.size))[:, :, None] & cells.planned()[None, :, :]
    empty = int((expected & ~here).sum())
    if empty:
        text = f"{empty} times a cluster has nobody with an outcome in one of its arms; it takes no part in that mean."
        checks.append(Check(f"clusters without an arm {name}", "warn", text))
    if found.df.min() < FEW_DF:
        text = f"only {found.df.min():.1f} degrees of freedom are left for an effect on {name}: intervals are wide."
        checks.append(Check("degrees of freedom", "warn", text))
    return checks


def _method(data: Trial, population: str) -> Method:
    one = population == "cluster_average"
    within = "" if data.stratum is None else " within strata, weighted by size,"
    return Method(
        sample=all_samples(data),
        std_error=f"CR2{within} clustered by cluster, jointly for all saturations"
        + (", of one mean for each cluster and arm" if one else ""),
        small_sample="CR2 (bias-reduced linearisation, identity working model)",
        reference="t with Satterthwaite degrees of freedom",
        inference_for=("the clusters, each counted once," if one else "the participants")
        + " of the trial (conservative) or a superpopulation of clusters",
        assumptions=(
            "clusters were assigned to saturations at random as declared",
            "people inside a cluster were assigned at random, with its saturation as the share",
            "what is assigned in one cluster does not change outcomes in another",
            "outcomes are missing for reasons unrelated to the outcome",
        ),
        source="Hudgens and Halloran 2008; Baird, Bohren, McIntosh and Ozler 2018",
    )
