"""`SteppedWedge`: clusters cross over to the intervention at random times; trends are always in the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import arm_support, events_of, require_parallel
from gbveval.estimators._mixed_model import (
    Settings,
    build_model,
    check_clusters,
    check_options,
    fit_model,
    refuse_roles,
)
from gbveval.estimators._mixed_rows import assemble_mixed

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]
RANDOM = {"cluster": ("cluster",), "nested_exchangeable": ("cluster", "cluster:time")}
EFFECTS = ("exposure_time", "immediate")
POINTS = 15
PREFIX = "exposure time "


@register("stepped_wedge")
@dataclass(frozen=True, slots=True)
class SteppedWedge:
    """Effect of an intervention that clusters receive one after the other, with an effect for every period.

    Parameters
    ----------
    effect : str
        "exposure_time": an effect for each number of periods since the cluster crossed over, and their average, which
        is the first row. "immediate": one effect, the same from the first period of exposure on.
    random : str
        "nested_exchangeable": random intercepts for clusters and for the periods of a cluster (Hooper et al.), so that
        outcomes of one period are more alike than those of two. "cluster": for clusters only (Hussey and Hughes).
    family : str
        "gaussian", "binomial" (logit; odds ratios conditional on the cluster) or "poisson" (log).
    df : str
        As for `MixedEffects`: by default Kenward and Roger's for gaussian, between-within otherwise.

    Notes
    -----
    **Identifies** effects of having crossed over, when clusters were assigned at random to the time of it, trends
    without the intervention are the same for all clusters, and the model holds. The average over exposure times weights
    each number of periods equally, whatever the number of people seen at it.

    **Valid when** random intercepts describe how outcomes of a cluster are alike. With "cluster" alone, outcomes that
    drift from period to period within clusters make standard errors too small; "nested_exchangeable" with Kenward and
    Roger's inference was checked not to reject too often from 9 clusters on, for a normal outcome.

    **Do not use when** effects grow or fade with exposure and effect is "immediate": the estimate then is a weighted
    sum of the effects in which late ones may count negatively, so that it can have the wrong sign. Nor with clusters
    that return to control.

    References
    ----------
    Hussey and Hughes (2007), Contemporary Clinical Trials 28. Hooper, Teerenstra, de Hoop and Eldridge (2016),
    Statistics in Medicine 35. Kenny, Voldal, Xia, Heagerty and Hughes (2022), Statistics in Medicine 41. Maleyeff, Li,
    Haneuse and Wang (2023), Biometrics 79.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.testing.mixed_processes import SteppedWedgeFrames
    >>> frames = SteppedWedgeFrames()
    >>> frame, _ = frames.frame(np.random.default_rng(1))
    >>> answer = SteppedWedge().estimate(frames.check(frame))
    >>> [row.term for row in answer.terms[:3]]
    ['average over exposure times', 'exposure time 1', 'exposure time 2']
    """

    effect: str = "exposure_time"
    random: str = "nested_exchangeable"
    family: str = "gaussian"
    df: str = "auto"
    name: ClassVar[str] = "stepped_wedge"

    def __post_init__(self) -> None:
        if self.effect not in EFFECTS:
            raise DesignError(f"effect must be one of {', '.join(EFFECTS)}, not {self.effect!r}.")
        if self.random not in RANDOM:
            raise DesignError(f"random must be one of {', '.join(RANDOM)}, not {self.random!r}.")
        check_options(self.family, self.df)

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the effects, the other coefficients and the variances.

        Parameters
        ----------
        data : Trial
            Two arms, with the roles `cluster` and `time`; the arm changes within clusters.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the trial has no periods, no clusters or more than two arms, or a cluster returns to control.
        IdentificationError
            If no cluster crosses over, or an effect cannot be told from the periods.
        ConvergenceError
            If the likelihood has no maximum.
        """
        random = RANDOM[self.random]
        require_parallel("SteppedWedge", data, crossover=True)
        _check_roles(data)
        refuse_roles(data, "SteppedWedge", random)
        used = data.observed(0)
        check_clusters(data, used)
        exposure, checks = exposure_times(data)
        columns, names = self._columns(data, exposure, used)
        model = build_model(data, self.family, random, (columns, names), periods=True)
        points = POINTS if len(random) == 1 else 1
        settings = Settings(self.family, check_options(self.family, self.df), points)
        fitted = fit_model(model, settings, data.outcome_names[0])
        unit = np.eye(fitted.beta.size)
        directions = [unit[fitted.names.index(name)] for name in names]
        effects = [
            (name, direction, _support(data, used, exposure, name))
            for name, direction in zip(names, directions, strict=True)
        ]
        if self.effect == "exposure_time":
            average: FloatArray = np.mean(directions, axis=0)
            effects.insert(0, ("average over exposure times", average, arm_support(data, 0, used, (0, 1))))
        else:
            text = (
                "one effect is assumed from the first period of exposure on; if effects grow or fade the estimate can "
                'have the wrong sign. Compare with effect="exposure_time".'
            )
            checks.append(Check("constant effect", "warn", text))
        return assemble_mixed(self, data, model, fitted, settings=settings, effects=effects, checks=checks)

    def _columns(self, data: Trial, exposure: IntArray, used: BoolArray) -> tuple[FloatArray, tuple[str, ...]]:
        """Return the columns whose coefficients are the effects, and their names."""
        if self.effect == "immediate":
            return (data.arm == 1).astype(float)[:, None], (f"{data.arms[1]} vs {data.arms[0]}",)
        times = np.unique(exposure[used & (exposure > 0)])
        columns = (exposure[:, None] == times).astype(float)
        return columns, tuple(f"{PREFIX}{time}" for time in times)


def _check_roles(data: Trial) -> None:
    if data.cluster is None or data.time is None:
        raise DesignError("SteppedWedge needs the roles cluster and time. Declare them, or use MixedEffects.")
    if len(data.arms) != 2:
        raise DesignError(f"SteppedWedge compares two arms; the trial has {len(data.arms)}. Keep two.")
    if not data.crosses_over:
        raise IdentificationError(
            "No cluster changes its arm between periods: this is no stepped wedge. Use MixedEffects, with time."
        )


def period_order(levels: tuple[str, ...]) -> IntArray:
    """Return the place of each period: by number where all are numbers, else as text."""
    try:
        keys = np.array([float(level) for level in levels])
    except ValueError:
        keys = np.arange(float(len(levels)))
    place = np.empty(len(levels), dtype=np.intp)
    place[np.argsort(keys, kind="stable")] = np.arange(len(levels))
    return place


def exposure_times(data: Trial) -> tuple[IntArray, list[Check]]:
    """Return for each row how many periods its cluster has had the intervention, this one included; zero for control.

    Periods are counted in their order, gaps in a cluster's own periods included.
    """
    assert data.cluster is not None
    assert data.time is not None
    period = period_order(data.time.levels)[data.time.codes]
    count = data.cluster.count
    treated = data.arm == 1
    first = np.full(count, np.iinfo(np.intp).max, dtype=np.intp)
    last = np.full(count, -1, dtype=np.intp)
    np.minimum.at(first, data.cluster.codes[treated], period[treated])
    np.maximum.at(last, data.cluster.codes[~treated], period[~treated])
    back = int(((last > first) & (first < np.iinfo(np.intp).max)).sum())
    if back:
        raise DesignError(
            f"{back} clusters are in the control arm again after the intervention; a stepped wedge has no way back. "
            "Check the arm and the order of the periods, or use MixedEffects."
        )
    checks = []
    gap = int(((last >= 0) & (first < np.iinfo(np.intp).max) & (first - last > 1)).sum())
    if gap:
        text = (
            f"{gap} clusters have no rows in the period before their first one with the intervention; they are taken "
            "to have begun in that first one."
        )
        checks.append(Check("crossing over", "warn", text))
    always = int(((last < 0) & (first < np.iinfo(np.intp).max)).sum())
    if always:
        text = (
            f"{always} clusters have no control period; their exposure is counted from their first period in the data."
        )
        checks.append(Check("always treated", "warn", text))
    exposure = np.where(treated, period - first[data.cluster.codes] + 1, 0)
    return exposure.astype(np.intp), checks


def _support(data: Trial, used: BoolArray, exposure: IntArray, name: str) -> tuple[Cell, ...]:
    """Return the counts, and events of a yes-or-no outcome, behind one effect: its exposure time and control."""
    if not name.startswith(PREFIX):
        return arm_support(data, 0, used, (0, 1))
    table = f"{data.outcome_names[0]} by exposure time"
    happened = events_of(data.outcomes[:, 0])
    cells = []
    for label, time in (("control", 0), (name, int(name.removeprefix(PREFIX)))):
        member = used & (exposure == time)
        events = None if happened is None else int(happened[member].sum())
        cells.append(Cell(label, int(member.sum()), events, table))
    return tuple(cells)
