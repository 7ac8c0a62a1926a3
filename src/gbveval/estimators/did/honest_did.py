"""`HonestDid`: how far trends may depart from parallel before a conclusion changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimand import CONTRASTS
from gbveval.core.estimates import Estimates
from gbveval.core.table import Table
from gbveval.core.term import inverse_link
from gbveval.estimators.did.event_path import EventPath, Target, event_path
from gbveval.numerics import conditional_set as cs
from gbveval.numerics.dual_rays import MOST_RAYS, TooManyRaysError
from gbveval.numerics.fixed_length import fixed_length_interval, frontier
from gbveval.numerics.trend_restrictions import SHAPES, Piece, relative_magnitude, smoothness

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]
Intervals = list[tuple[float, float]]
RESTRICTIONS = ("relative_magnitude", "smoothness")
METHODS = ("auto", "fixed_length", "conditional")
COLUMNS = (
    *("row", "m", "allowed", "estimate", "conf_low", "conf_high", "level"),
    *("contrast", "conclusion", "note"),
)
ORIGINAL, ROBUST, BREAKDOWN = "parallel trends", "robust", "breakdown"
ABOVE, BELOW, NOT_SHOWN = "effect above the null", "effect below the null", "no effect shown"
# The search for the breakdown value ends at this many times the largest m asked for.
FURTHEST = 256.0
INK, ACCENT = "#1b1b1b", "#0072b2"
EMPTY = "every departure within the restriction is rejected, so it does not hold"


@dataclass(frozen=True, slots=True)
class HonestDid:
    """Confidence sets for an effect that allow trends to depart from parallel, more and more (Rambachan and Roth).

    Parameters
    ----------
    restriction : str
        "relative_magnitude": from one period to the next, trends after the reference period depart from parallel by at
        most `m` times the largest departure between neighbouring periods before it. "smoothness": the slope of the
        departure changes by at most `m` from one period to the next, so that m = 0 is a straight line.
    m : sequence of float, optional
        By default 0.5, 1, 1.5, 2; for smoothness 0, a half, one and two standard errors of the effect.
    shape : str, optional
        What else is known of the departure: "positive" or "negative" after the reference period, or "increasing" or
        "decreasing" throughout.
    method : str
        "conditional": the conditional test of Andrews, Roth and Pakes after a first stage of a tenth of its size.
        "fixed_length": the shortest interval of fixed length, for smoothness without a shape. "auto": fixed length
        where there is one, otherwise conditional.
    target : float, or tuple of (event time, weight), optional
        Which effect: an event time, or weights of several. By default the average over event times from 0 on.

    Notes
    -----
    **Identifies** a set: all effects that some departure within the restriction makes compatible with the event study.
    The intervals cover the effect with probability `level` for every such departure. The *breakdown value* is the
    smallest m at which no effect is no longer rejected: how wrong parallel trends would have to be.

    **Valid when** the coefficients are jointly normal with the covariance given, all relative to one reference period,
    and there was no effect before it. **Do not use when** few units or clusters were treated (the covariance is then no
    better known than the trends), or m was chosen after seeing which one gives an effect. Whether trends could have
    departed so much is a question about people and places: m = 1 is a benchmark and no assurance.

    Conditional sets need no grid search over linear programmes. The corners of the dual programme do not depend on the
    data, nor on m, and are listed once; then the test statistic is a maximum and the truncation of the conditional test
    a ratio. Values are tested on a grid and at all corners, and each change of the verdict is bisected: a set can be a
    union of intervals, of which the hull is shown and the number said. A gap narrower than 1/240 of the range would not
    be seen. The sets use the inequalities about periods after the reference period, as R's HonestDiD does by default.

    **Where R's HonestDiD differs.** It tests on a grid and gives its outermost points, so that its limits are up to a
    step inside ours, and stops at the edge of its grid with a warning; ours has no edge, because the first stage bounds
    the set. Its first stage draws 1,000 times, ours 8,000. Its quantile of the folded normal is simulated with a
    million draws, so that its fixed-length intervals can be a thousandth shorter than any that covers; ours is solved.

    References
    ----------
    Rambachan and Roth (2023), Review of Economic Studies 90(5), 2555-2591. Andrews, Roth and Pakes (2023), Review of
    Economic Studies 90(6), 2763-2791. Armstrong and Kolesar (2020), Quantitative Economics 11(1), 1-39.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.estimators.did.event_path import event_study_from
    >>> study = event_study_from([0.1, 0.0, 1.0, 1.2], 0.01 * (np.eye(4) + 1), [-3, -2, 0, 1])
    >>> table = HonestDid(m=(0.5, 1.0)).assess(study)
    >>> table.column("row")
    ('parallel trends', 'robust', 'robust', 'breakdown')
    >>> table.column("conclusion")[2]
    'effect above the null'
    """

    restriction: str = "relative_magnitude"
    m: Sequence[float] | None = None
    shape: str | None = None
    method: str = "auto"
    target: Target = None

    def __post_init__(self) -> None:
        for option, known in (("restriction", RESTRICTIONS), ("method", METHODS), ("shape", (*SHAPES, None))):
            if getattr(self, option) not in known:
                names = ", ".join(str(one) for one in known)
                raise DesignError(f"{option} must be one of {names}, not {getattr(self, option)!r}.")
        if self.method == "fixed_length" and (self.restriction != "smoothness" or self.shape is not None):
            raise DesignError(
                "Fixed-length intervals are for smoothness without a shape: the largest bias under the others is not "
                "the same in both directions. Use method='conditional'."
            )
        if self.m is not None:
            values = tuple(float(x) for x in self.m)
            if not values or not all(np.isfinite(x) and x >= 0 for x in values):
                raise DesignError("m must be one or more finite numbers, zero or more.")
            object.__setattr__(self, "m", values)
        if self.target is not None and not isinstance(self.target, (int, float)):
            object.__setattr__(self, "target", tuple((float(time), float(weight)) for time, weight in self.target))

    def assess(self, study: Estimates, *, level: float = 0.95) -> Table:
        """Return the interval under parallel trends, one for each m, and the breakdown value.

        Parameters
        ----------
        study : Estimates
            An event study whose effects are all relative to one reference period: `CallawaySantAnna(
            base_period="universal")` averaged by event time, or `event_study_from` for other programs' numbers.
        level : float
            Coverage.

        Returns
        -------
        Table
            `allowed` is the departure that m allows, in units of the outcome: for relative magnitudes m times the
            largest *estimated* change before. `conclusion` says on which side of no effect the whole set lies.

        Raises
        ------
        DesignError
            If it is no event study, or a shape needs more combinations of inequalities than can be listed.
        IdentificationError
            If no period lies before the reference period, or the covariance is singular.
        """
        if not 0.0 < level < 1.0:
            raise DesignError(f"The confidence level must be between 0 and 1, such as 0.95; it is {level}.")
        path = event_path(study)
        label, weights = path.target(self.target)
        value, error, *limits = path.estimate_of(weights, level)
        find = self._finder(path, weights, level)
        asked = self._values(error)
        record = _Recorder(path, level)
        scale = self._unit(path)
        rows = [record(ORIGINAL, None, None, [(limits[0], limits[1])], value=value)]
        rows += [record(ROBUST, m, m * scale, find(m, None)) for m in asked]
        usual = error if self.restriction == "smoothness" else 1.0
        m, note = _breakdown(lambda m: bool(find(m, 0.0)), asked, usual)
        rows.append((BREAKDOWN, m, None if m is None else m * scale, *[None] * 3, level, path.contrast, None, note))
        notes = (*self._notes(path, level), *path.notes())
        kind = self.restriction.replace("_", " ")
        title = f"{path.outcome}, {label}: departures from parallel trends by {kind}"
        return Table(title, COLUMNS, tuple(rows), notes, path.supports(len(rows)))

    def _values(self, error: float) -> tuple[float, ...]:
        if self.m is not None:
            return tuple(sorted(set(self.m)))
        return (
            (0.5, 1.0, 1.5, 2.0)
            if self.restriction == "relative_magnitude"
            else tuple(error * np.array([0, 0.5, 1, 2]))
        )

    def _unit(self, path: EventPath) -> float:
        if self.restriction == "smoothness":
            return 1.0
        before = np.append(path.beta[: path.n_pre], 0.0)
        return float(np.abs(np.diff(before)).max())

    def _is_fixed_length(self) -> bool:
        return self.restriction == "smoothness" and self.shape is None and self.method != "conditional"

    def _finder(self, path: EventPath, weights: FloatArray, level: float) -> Callable[[float, float | None], Intervals]:
        """Return a function of m that gives the set, or (for one value) something only if that is not rejected."""
        if self._is_fixed_length():
            front = frontier(path.sigma, path.n_pre, weights)

            def interval(m: float, value: float | None) -> Intervals:
                one = fixed_length_interval(front, path.beta, m, level)
                low, high = one.estimate - one.half_length, one.estimate + one.half_length
                return [(low, high)] if value is None or low <= value <= high else []

            return interval
        study = cs.event_study(path.beta, path.sigma, path.n_pre, weights, seed=path.seed)
        make = relative_magnitude if self.restriction == "relative_magnitude" else smoothness

        def pieces(m: float) -> tuple[Piece, ...]:
            return make(path.n_pre, weights.size, m, shape=self.shape)

        try:
            rays = cs.rays_of(study, pieces(1.0)[0])
        except TooManyRaysError as error:
            raise DesignError(
                f"An average of {np.count_nonzero(weights)} periods under a shape needs more than {MOST_RAYS:,} "
                "combinations of inequalities. Give a single event time as `target`, or fewer periods."
            ) from error

        def found(m: float, value: float | None) -> Intervals:
            if value is not None:
                accepted = cs.is_accepted(study, pieces(m), rays, 1.0 - level, value)
                return [(value, value)] if accepted else []
            return cs.confidence_set(study, pieces(m), rays, 1.0 - level)

        return found

    def _notes(self, path: EventPath, level: float) -> tuple[str, ...]:
        what = (
            "m bounds each change of the departure after the reference period, in multiples of the largest change "
            "between neighbouring periods before it"
            if self.restriction == "relative_magnitude"
            else "m bounds how much the slope of the departure changes from one period to the next"
        )
        if self.shape:
            what += f"; the departure is {self.shape}"
        how = (
            "shortest fixed-length intervals (Armstrong and Kolesar 2020)"
            if self._is_fixed_length()
            else "conditional tests after a least favourable first stage (Andrews, Roth and Pakes 2023), inverted; "
            f"{cs.DRAWS:,} draws and their mirror images, with a seed derived from the periods"
        )
        return (
            f"{what}.",
            f"Reference period: event time {path.reference:g}; {path.n_pre} periods before it, "
            f"{path.beta.size - path.n_pre} after it.",
            f"Level {level:g}, for every departure within the restriction: {how}. Source: Rambachan and Roth 2023.",
            "The row marked breakdown has the smallest m at which no effect is no longer rejected.",
        )


@dataclass(frozen=True, slots=True)
class _Recorder:
    """Writes rows of the table on the scale that people read."""

    path: EventPath
    level: float

    def __call__(
        self, row: str, m: float | None, allowed: float | None, found: Intervals, *, value: float | None = None
    ) -> tuple[Any, ...]:
        low, high = (found[0][0], found[-1][1]) if found else (None, None)
        conclusion = None
        if low is not None and high is not None:
            conclusion = ABOVE if low > 0.0 else BELOW if high < 0.0 else NOT_SHOWN
        several = f"a union of {len(found)} intervals, of which the hull is shown" if len(found) > 1 else None
        note = several if found else EMPTY
        path = self.path
        shown = [None if x is None else float(inverse_link(path.link, x)) for x in (value, low, high)]
        return (row, m, allowed, *shown, self.level, path.contrast, conclusion, note)


def _breakdown(
    accepts: Callable[[float], bool], asked: Sequence[float], usual: float
) -> tuple[float | None, str | None]:
    """Return the smallest m at which no effect is not rejected, to a thousandth, and what there is to say of it."""
    if accepts(0.0):
        return 0.0, "no effect is not rejected even at m = 0"
    low, high = 0.0, 0.0
    further = (max(asked) or usual) * 2.0 ** np.arange(1, np.log2(FURTHEST) + 1)
    for m in [*(x for x in asked if x > 0), *further]:
        if accepts(float(m)):
            high = float(m)
            break
        low = float(m)
    if high == 0.0:
        return None, f"no effect is rejected at every m up to {low:g}"
    while high - low > 1e-3 * high:
        middle = (low + high) / 2.0
        low, high = (low, middle) if accepts(middle) else (middle, high)
    return high, None


def plot_honest_did(table: Table, ax: Axes | None = None) -> Axes:
    """Draw the robust intervals of a sensitivity table against m, the one under parallel trends at the left.

    Parameters
    ----------
    table : Table
        From `HonestDid.assess`.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        A dotted line marks the breakdown value, where it lies within the range drawn.
    """
    import matplotlib.pyplot as plt

    if table.columns != COLUMNS:
        raise DesignError("plot_honest_did draws what HonestDid.assess returned; this is another table.")
    if ax is None:
        _, ax = plt.subplots(figsize=(7.0, 3.6), layout="constrained")
    part = {name: table.column(name) for name in COLUMNS}
    is_ratio = CONTRASTS[part["contrast"][0]] == "log"
    robust = [i for i, row in enumerate(part["row"]) if row == ROBUST]
    m = np.array([part["m"][i] for i in robust], dtype=float)
    step = float(np.diff(m).min()) if m.size > 1 else max(float(m[0]), 1.0)
    left = float(m[0]) - step
    ax.axhline(1.0 if is_ratio else 0.0, color=INK, linewidth=0.8)
    for x, i in zip([left, *m], [part["row"].index(ORIGINAL), *robust], strict=True):
        low, high = part["conf_low"][i], part["conf_high"][i]
        colour = INK if x == left else ACCENT
        if low is None:
            ax.text(x, 0.02, "none", transform=ax.get_xaxis_transform(), ha="center", va="bottom", style="italic")
            continue
        # A robust set has ends and no centre.
        ax.plot([x, x], [low, high], color=colour, linewidth=2.4, marker="_", markersize=9)
        if part["estimate"][i] is not None:
            ax.plot([x], [part["estimate"][i]], color=colour, marker="s", markersize=6)
    _mark_breakdown(ax, part, float(m[-1]) + 0.5 * step)
    ax.set_xlim(left - 0.6 * step, float(m[-1]) + 0.6 * step)
    ax.set_xticks([left, *m], [ORIGINAL.replace(" ", "\n"), *(f"{value:.3g}" for value in m)])
    if is_ratio:
        ax.set_yscale("log")
    ax.set_xlabel("m: departure from parallel trends allowed")
    ax.set_ylabel(f"{part['contrast'][0].replace('_', ' ')}\n({100 * part['level'][0]:g} % interval)")
    return ax


def _mark_breakdown(ax: Axes, part: dict[str, tuple[Any, ...]], furthest: float) -> None:
    value = part["m"][part["row"].index(BREAKDOWN)]
    if value is None or value > furthest:
        return
    ax.axvline(value, color=INK, linewidth=1.0, linestyle=":")
    ax.annotate(
        f"breakdown {value:.3g}", (value, 1.0), xycoords=("data", "axes fraction"), xytext=(4, -4),
        textcoords="offset points", ha="left", va="top",
    )  # fmt: skip
