"""`ConleyTaber`: two-way fixed effects with few treated groups, tested by the shocks of the untreated ones."""

from __future__ import annotations

from dataclasses import dataclass
from math import perm
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.provenance import Provenance, derive_seed, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data._frame import plural
from gbveval.data.panel import Panel
from gbveval.estimators.did._rollout import refuse_effects
from gbveval.estimators.did._rollout_checks import dose_checks
from gbveval.estimators.did._spatial import refuse_place
from gbveval.numerics.few_treated import Placements, all_placements, drawn_placements, placements
from gbveval.numerics.groups import compact, group_sizes, group_sums
from gbveval.numerics.inference import check_level
from gbveval.numerics.null_distribution import invert, tail

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
SPREADS = ("equal", "by_size")
ALTERNATIVES = ("two_sided", "greater", "less")
# Fewer untreated groups than this show nothing of the shape of shocks.
FEWEST = 5


@register("conley_taber")
@dataclass(frozen=True, slots=True)
class ConleyTaber:
    """The two-way coefficient of groups, with a test and interval that hold with one treated group or a few.

    Parameters
    ----------
    spread : str
        "equal": shocks of all groups have one distribution (Conley and Taber). "by_size": their variance is a + b /
        size, fitted to the residuals (Ferman and Pinto); size is the people behind a group's means, or the panel's
        exposure where it has one.
    null : float
        Effect under test.
    alternative : str
        "two_sided", "greater" or "less".
    n_draws : int
        Placements drawn; all are used where there are no more than these.
    level : float
        Level of the interval, which holds at this level only.

    Notes
    -----
    Groups are the panel's clusters, or its units where it names none; each counts once, with the means of its rows in
    each period. Units need not be followed over time.

    **Identifies** the average effect on the treated groups if untreated outcomes would have changed in parallel and the
    effect is constant; with several cohorts see `twfe_weights`.

    **Tests** by placement: with the effect under test taken out of the outcome, residuals of other groups (and of the
    treated, under that hypothesis) stand in the places of the treated groups; the p-value is the share of placements
    whose error is as large as the observed one. With `spread="by_size"` residuals are first multiplied by the ratio of
    the fitted standard deviations. The interval holds the effects that are not rejected. The standard error shown is
    the spread of the untreated groups' errors; the test does not rest on it.

    **Valid when** groups are independent, treated ones have shocks like the others (given their size), and there are
    many groups; exact, whatever the number of periods and their correlation, where all have the same distribution and
    there are no covariates. **Do not use when** treated groups were chosen for shocks they had, or are of a kind of
    their own (the capital, say). With many treated groups `CallawaySantAnna` asks less.

    References
    ----------
    Conley and Taber (2011), Review of Economics and Statistics 93(1), 113-125. Ferman and Pinto (2019), Review of
    Economics and Statistics 101(3), 452-467.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.testing.processes import PanelFrames
    >>> source = PanelFrames(n_units=30, cohorts=(3.0, *[np.inf] * 29))
    >>> panel = source.check(source.frame(np.random.default_rng(1))[0])
    >>> ConleyTaber().estimate(panel)[0].extra[0]
    ('treated_groups', 1.0)
    """

    spread: str = "equal"
    null: float = 0.0
    alternative: str = "two_sided"
    n_draws: int = 9_999
    level: float = 0.95
    name: ClassVar[str] = "conley_taber"

    def __post_init__(self) -> None:
        for option, known in (("spread", SPREADS), ("alternative", ALTERNATIVES)):
            if getattr(self, option) not in known:
                raise DesignError(f"{option} must be one of {', '.join(known)}, not {getattr(self, option)!r}.")
        if self.n_draws < 19 or not np.isfinite(self.null):
            raise DesignError("n_draws must be at least 19, so that p can be 0.05, and null a finite number.")
        try:
            check_level(self.level)
        except ValueError as error:
            raise DesignError(str(error)) from error

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the coefficient with its test and interval.

        Parameters
        ----------
        data : Panel
            A panel, or repeated cross-sections with clusters.
        rng : numpy.random.Generator, optional
            For drawn placements; by default seeded from the data and the options.

        Raises
        ------
        DesignError
            For weights, clusters in two ways, rows without unit or cluster, groups without an outcome in some period,
            treatment that varies within a group and period, or sizes that do not vary.
        IdentificationError
            If no treatment changes, or there are too few groups for a test at this level.
        """
        groups = _grouped(self, data)
        found = placements(groups.outcome, groups.treatment, groups.covariates, groups.size)
        if found is None:
            raise IdentificationError(
                "Group and period effects (and covariates) explain treatment completely, so its coefficient is not "
                "identified. Groups that change their treatment, and groups that do not, are needed."
            )
        self._require_groups(found)
        spread = found.spread()
        if not spread > 1e-12 * float(np.sqrt(np.mean(groups.outcome**2))):
            raise IdentificationError("The untreated groups' outcomes do not vary around the fit: no shocks are seen.")
        seed = derive_seed(data.digest, self.name, repr(options_of(self))) if rng is None else int(rng.integers(2**31))
        count, treated = found.outcome.shape
        listed = all_placements(count, treated, self.n_draws)
        chosen = (
            drawn_placements(count, treated, self.n_draws, np.random.default_rng(seed)) if listed is None else listed
        )
        row = self._row(data, groups, found, chosen, listed=listed is not None)
        return Estimates(
            estimator=self.name,
            terms=(row,),
            covariance=np.array([[spread**2]]),
            method=_method(self, data, groups, chosen, listed=listed is not None),
            level=self.level,
            checks=(*_checks(self, groups, found), *dose_checks(data)),
            provenance=Provenance(
                data.digest, tuple(options_of(self).items()), seed, versions(), seed_derived=rng is None
            ),
            flow=data.flow(),
        )

    def _require_groups(self, found: Placements) -> None:
        count, treated = found.outcome.shape
        others = count - treated
        if others < FEWEST:
            raise IdentificationError(
                f"{plural(others, 'group')} whose treatment does not change; at least {FEWEST} are needed to see how "
                "shocks are distributed. Use more comparison groups."
            )
        smallest = 1.0 / perm(count, treated)
        if smallest > (1.0 - self.level) * (1.0 + 1e-9):
            raise IdentificationError(
                f"With {count} groups, {treated} of them treated, no p-value is below {smallest:.3g}, so that no "
                f"interval of level {self.level:g} is finite. Use more comparison groups, or a lower level."
            )

    def _row(self, data: Panel, groups: _Groups, found: Placements, chosen: IntArray, *, listed: bool) -> Term:
        rule = "absolute" if self.alternative == "two_sided" else self.alternative
        weight = np.full(chosen.shape[0], 1.0 / chosen.shape[0]) if listed else None

        def p_value(null: float) -> float:
            return tail(found.statistics(null, chosen), found.observed(null), weight, rule=rule)

        alpha = (1.0 - self.level) * (1.0 + 1e-9)
        low, high = invert(lambda null: p_value(null) > alpha, found.estimate, found.spread())
        low = -np.inf if rule == "less" else low
        high = np.inf if rule == "greater" else high
        treated = int(found.treated.size)
        count = groups.outcome.shape[0]
        return Term(
            term="treated vs untreated",
            estimand=Estimand("ATT", "mean_difference", "treated"),
            outcome=data.outcome_name,
            value=found.estimate,
            std_error=found.spread(),
            df=np.inf,
            interval=(float(low), float(high)),
            interval_level=self.level,
            statistic=found.observed(self.null) / found.spread(),
            p_value=p_value(self.null),
            n_units=groups.n_units,
            n_clusters=count,
            support=(
                Cell("treated", int(groups.members[found.treated].sum()), None, "groups whose treatment changes"),
                Cell(
                    "untreated",
                    int(np.delete(groups.members, found.treated).sum()),
                    None,
                    "groups whose treatment changes",
                ),
            ),
            extra=(("treated_groups", float(treated)), ("placements", float(chosen.shape[0]))),
        )


@dataclass(frozen=True, eq=False, slots=True)
class _Groups:
    """Means of groups in periods.

    Attributes
    ----------
    outcome, treatment : ndarray, shape (groups, periods)
    covariates : ndarray, shape (groups, periods, k)
    size : ndarray, shape (groups,), or None
    members : ndarray of int, shape (groups,)
        Units (rows, for repeated cross-sections) in each group.
    n_units, n_missing : int
        Units with an outcome; rows without one.
    """

    outcome: FloatArray
    treatment: FloatArray
    covariates: FloatArray
    size: FloatArray | None
    members: IntArray
    n_units: int
    n_missing: int


def _grouped(estimator: ConleyTaber, data: Panel) -> _Groups:
    refuse_effects("ConleyTaber", data)
    refuse_place("ConleyTaber", data, "Leave place out, and name as cluster regions that share no shocks.")
    if data.weight is not None or data.second_cluster is not None:
        raise DesignError(
            "ConleyTaber takes no weights, and clusters in one way: each group counts once. Leave the role out; a "
            "group's size can be given as exposure, for spread='by_size'."
        )
    labels = data.cluster or data.unit
    if labels is None:
        raise DesignError("ConleyTaber compares groups: declare cluster, or unit where each is followed over time.")
    seen = ~np.isnan(data.outcome)
    kept, codes = compact(labels.codes[seen], labels.count)
    time = data.time[seen]
    shape = (kept.size, data.periods.size)
    cell = codes * shape[1] + time
    count = group_sizes(cell, shape[0] * shape[1])
    empty = int((count.reshape(shape) == 0).any(axis=1).sum())
    if empty:
        raise DesignError(
            f"{plural(empty, 'group')} have no outcome in some period; ConleyTaber needs every group in every period. "
            "Leave out these groups, or the periods in which they are missing."
        )

    def means(values: FloatArray) -> FloatArray:
        return (group_sums(cell, values[seen], count.size) / count).reshape(shape)

    treatment = data.treated.astype(float) if data.treatment is None else data.treatment
    averaged = means(treatment)
    # A mean of equal amounts may differ from them in the last digit.
    gap = np.abs(treatment[seen] - averaged.ravel()[cell])
    differ = np.unique(cell[gap > 1e-9 * np.abs(treatment).max()]).size
    if differ:
        raise DesignError(
            f"Treatment differs among the rows of {plural(int(differ), 'group and period')}; ConleyTaber is for "
            "treatment of whole groups. Use the units as groups, or CallawaySantAnna."
        )
    exposure = None if data.exposure is None else means(data.exposure).mean(axis=1)
    size = exposure if exposure is not None else count.reshape(shape).mean(axis=1)
    if estimator.spread == "by_size" and np.ptp(size) <= 1e-9 * size.max():
        raise DesignError(
            "All groups have the same size, so that the spread cannot depend on it. Say spread='equal', or give the "
            "people behind each row as exposure."
        )
    members = np.bincount(codes)
    if data.unit is not None:
        of_unit = np.zeros(data.unit.count, dtype=np.intp) - 1
        of_unit[data.unit.codes[seen]] = codes
        members = np.bincount(of_unit[of_unit >= 0], minlength=kept.size)
    columns = [means(data.covariates[:, j]) for j in range(len(data.covariate_names))]
    return _Groups(
        means(data.outcome),
        averaged,
        np.stack(columns, axis=2) if columns else np.zeros((*shape, 0)),
        size if estimator.spread == "by_size" else None,
        members.astype(np.intp),
        int(members.sum()),
        int((~seen).sum()),
    )


def _method(estimator: ConleyTaber, data: Panel, groups: _Groups, chosen: IntArray, *, listed: bool) -> Method:
    count, periods = groups.outcome.shape
    sample = (
        f"means of {plural(count, 'group')} ({data.cluster_name}) in {plural(periods, 'period')}, each counting once"
    )
    if groups.n_missing:
        sample += f"; {plural(groups.n_missing, 'row')} without an outcome are left out"
    by_size = estimator.spread == "by_size"
    like = "the same distribution, but for a variance that falls with size" if by_size else "one distribution"
    return Method(
        sample=sample,
        std_error="spread of the untreated groups' errors; the test does not rest on it",
        small_sample="residuals rescaled to the treated groups' sizes" if by_size else "none",
        reference=f"{'all' if listed else 'drawn'} placements of groups' residuals ({chosen.shape[0]:,})",
        inference_for="a superpopulation of groups' shocks",
        assumptions=(
            "untreated outcomes would have changed in parallel",
            f"shocks of treated and untreated groups have {like}",
            "the effect is constant, and does not begin before treatment",
        ),
        source="Ferman and Pinto 2019" if by_size else "Conley and Taber 2011",
        comparison="all groups in all periods, each once",
    )


def _checks(estimator: ConleyTaber, groups: _Groups, found: Placements) -> tuple[Check, ...]:
    checks = []
    count, treated = found.outcome.shape
    if groups.n_missing:
        text = f"{plural(groups.n_missing, 'row')} without an outcome; means are of the others."
        checks.append(Check("missing outcome", "warn", text))
    if treated > count / 4:
        text = f"{treated} of {count} groups are treated, which are not few; CallawaySantAnna asks less of them."
        checks.append(Check("few treated", "info", text))
    if count < 25:
        text = f"{count} groups: the distribution of shocks is seen through few of them."
        checks.append(Check("few groups", "warn", text))
    if estimator.spread == "equal" and groups.members.size and np.ptp(groups.members) > 0:
        ratio = groups.members.max() / groups.members.min()
        if ratio > 2:
            text = "groups differ in size, and small ones have larger shocks; compare with spread='by_size'."
            checks.append(Check("group sizes", "warn", text))
    return tuple(checks)
