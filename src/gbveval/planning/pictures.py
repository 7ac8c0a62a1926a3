"""Hides how plans are drawn: power along the effect, and the smallest effect over ICC and size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core._display import ACCENT, INK, PALE, SERIES, format_number
from gbveval.core.errors import DesignError
from gbveval.core.table import Table
from gbveval.design._require import one_of, real, whole
from gbveval.design.icc import ICC
from gbveval.planning._request import targets
from gbveval.planning.closed_form import mde

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]
# What is asked of most trials; a line marks it.
USUAL_POWER = 0.8
PLAN, GRID = "plan", "grid"


def plot_power(
    *tables: Table, labels: Sequence[str] | None = None, target: float = USUAL_POWER, ax: Axes | None = None
) -> Axes:
    """Draw power along the true effect, by formula or by simulation, one line a plan or an estimator.

    Parameters
    ----------
    *tables : Table
        From `power_curve` or `simulate_curve`.
    labels : sequence of str, optional
        Names of the tables, for the legend.
    target : float
        Power that is wanted; a line marks it.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Simulated power is drawn with dots and a band of two Monte Carlo standard errors.

    Raises
    ------
    DesignError
        If a table is another one, or labels are not as many as tables.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import gbveval as gbv
    >>> plan = gbv.ParallelDesign(n_per_arm=64, outcome=gbv.Continuous())
    >>> plot_power(gbv.power_curve(plan, [0.1, 0.3, 0.5])).get_ylabel()
    'power'
    """
    import matplotlib.pyplot as plt

    lines = _power_lines(tables, labels)
    if ax is None:
        _, ax = plt.subplots(figsize=(7.0, 4.0), layout="constrained")
    ax.axhline(target, color=PALE, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    for place, (label, effect, power, error) in enumerate(lines):
        colour = SERIES[place % len(SERIES)]
        order = np.argsort(effect)
        x, y = effect[order], power[order]
        ax.plot(x, y, color=colour, linewidth=2.0, label=label, marker="" if error is None else "o", markersize=4)
        if error is not None:
            spread = 2.0 * error[order]
            ax.fill_between(x, np.maximum(y - spread, 0.0), np.minimum(y + spread, 1.0), color=colour, alpha=0.18, lw=0)
    ax.set_ylim(0.0, 1.02)
    ax.margins(x=0.01)
    ax.set_yticks(sorted({0.0, 0.2, 0.4, 0.6, 1.0, round(target, 3)}))
    ax.set_xlabel("true effect (treated minus control)")
    ax.set_ylabel("power")
    ax.spines[["top", "right"]].set_visible(False)
    if len(lines) > 1:
        ax.legend(frameon=False)
    return ax


_Line = tuple[str, FloatArray, FloatArray, FloatArray | None]


def _power_lines(tables: tuple[Table, ...], labels: Sequence[str] | None) -> list[_Line]:
    """Return label, effects, power and Monte Carlo errors of every line."""
    if not tables or not all(
        isinstance(table, Table) and {"effect", "power"} <= set(table.columns) for table in tables
    ):
        raise DesignError("plot_power draws tables from power_curve or simulate_curve; give at least one.")
    if labels is not None and len(labels) != len(tables):
        raise DesignError(f"{len(labels)} labels for {len(tables)} tables; give one for each.")
    lines: list[_Line] = []
    for place, table in enumerate(tables):
        effect, power = (np.asarray(table.column(name), dtype=float) for name in ("effect", "power"))
        own = "" if labels is None else labels[place]
        if "estimator" not in table.columns:
            lines.append((own or "by formula", effect, power, None))
            continue
        names = np.asarray(table.column("estimator"))
        error = np.asarray(table.column("power_mcse"), dtype=float)
        for name in dict.fromkeys(names.tolist()):
            member = names == name
            label = f"{own}: {name}" if own and len(set(names.tolist())) > 1 else own or str(name)
            lines.append((label, effect[member], power[member], error[member]))
    return lines


def mde_by_icc(
    design: Any,
    iccs: Sequence[float],
    sizes: Sequence[int],
    *,
    size: str = "clusters_per_arm",
    power: float = USUAL_POWER,
    alpha: float = 0.05,
    direction: str | None = None,
    alternative: str | None = None,
) -> Table:
    """Return the minimum detectable effect of a plan over values of its ICC and of one of its sizes.

    The ICC is what a plan knows least. The table shows what the smallest detectable effect would be if it were another
    one, and how many clusters would make up for it.

    Parameters
    ----------
    design : design
        A plan with an `icc`, whose scale is kept: its own, that of its correlation over time, or of the plan inside.
    iccs : sequence of float
        Values of the ICC.
    sizes : sequence of int
        Values of the size.
    size : str
        Which size: "clusters_per_arm", "cluster_size" or another that the plan can be solved for.
    power, alpha, direction, alternative
        As `mde` takes them.

    Returns
    -------
    Table
        Columns row ("plan" for the plan itself, then "grid"), icc, scale of the ICC, the size by its name, and mde: no
        value where no possible effect has the power. `plot_mde` draws it.

    Raises
    ------
    DesignError
        If the plan has no ICC or no such size.

    Examples
    --------
    >>> import gbveval as gbv
    >>> icc = gbv.ICC(0.05, scale="observed")
    >>> plan = gbv.ClusterDesign(clusters_per_arm=20, cluster_size=30, icc=icc, outcome=gbv.Continuous())
    >>> [round(value, 3) for value in mde_by_icc(plan, [0.01, 0.1], [10, 20]).column("mde")]
    [0.26, 0.275, 0.189, 0.478, 0.328]
    """
    planned = _icc_of(design)
    if planned is None:
        raise DesignError(
            f"A {type(design).__name__} has no icc, so its minimum detectable effect does not depend on one."
        )
    one_of("size", size, tuple(design.least_sizes))
    targets(power, alpha)
    places = [(float(planned.value), _size_of(design, size))]
    places += [
        (real("An ICC", icc, low=0.0, high=1.0, closed=True), whole(size, count, least=1))
        for icc in _listed("iccs", iccs)
        for count in _listed("sizes", sizes)
    ]
    asked = {"power": power, "alpha": alpha, "direction": direction, "alternative": alternative}
    rows = tuple(
        (GRID if place else PLAN, icc, planned.scale, count, _smallest(design, icc, (size, count), asked))
        for place, (icc, count) in enumerate(places)
    )
    words = f"Smallest effect found with power {power:g} at alpha {alpha:g}"
    return Table("Minimum detectable effect", ("row", "icc", "scale", size, "mde"), rows, (words,))


# Where a plan keeps its ICC, or the value or plan inside that does.
_HOLDERS = ("icc", "correlation", "plan")


def _held(design: Any) -> tuple[str, Any]:
    """Return the field through which a plan has its ICC, and what is in it; an empty name where there is none."""
    if is_dataclass(design) and not isinstance(design, type):
        for name in _HOLDERS:
            if any(item.name == name for item in fields(design)):
                value = getattr(design, name)
                if isinstance(value, ICC) or _held(value)[0]:
                    return name, value
    return "", None


def _icc_of(design: Any) -> ICC | None:
    """Return the ICC of a plan, of its correlation over time or of the plan inside."""
    name, value = _held(design)
    return value if not name or isinstance(value, ICC) else _icc_of(value)


def _with_icc(design: Any, icc: float) -> Any:
    """Return the plan with another value of its ICC."""
    name, value = _held(design)
    changed = replace(value, value=icc) if isinstance(value, ICC) else _with_icc(value, icc)
    return replace(design, **{name: changed})


def _size_of(design: Any, size: str) -> int:
    """Return a size of a plan or of the plan inside; the largest where groups have their own."""
    value = getattr(design, size, None)
    if value is None:
        return _size_of(design.plan, size)
    return int(max(value)) if isinstance(value, tuple) else int(value)


def _smallest(design: Any, icc: float, size: tuple[str, int], asked: dict[str, Any]) -> float | None:
    """Return the minimum detectable effect of a plan with another ICC and size, or None where there is none."""
    try:
        return mde(_with_icc(design, icc).resized(*size), **asked)
    except DesignError:
        return None


def _listed(name: str, values: Any) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable) or not (listed := list(values)):
        raise DesignError(f"{name} must be a list of numbers, at least one.")
    return listed


def plot_mde(table: Table, ax: Axes | None = None) -> Axes:
    """Draw the minimum detectable effect over ICC and size as contours; a dot marks the plan itself.

    Parameters
    ----------
    table : Table
        From `mde_by_icc`, with at least two ICCs and two sizes.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Darker is a larger effect: what a smaller study, or a larger ICC, can still find. White is out of reach.

    Raises
    ------
    DesignError
        If the table is another one, or has one row or column only.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import gbveval as gbv
    >>> icc = gbv.ICC(0.05, scale="observed")
    >>> plan = gbv.ClusterDesign(clusters_per_arm=20, cluster_size=30, icc=icc, outcome=gbv.Continuous())
    >>> plot_mde(gbv.mde_by_icc(plan, [0.01, 0.05, 0.1], [10, 20, 40])).get_xlabel()
    'clusters per arm'
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    if table.columns[:3] != ("row", "icc", "scale") or table.columns[-1] != "mde":
        raise DesignError("plot_mde draws what mde_by_icc returned; this is another table.")
    grid = [row for row in table.rows if row[0] == GRID]
    iccs, sizes = (sorted({row[place] for row in grid}) for place in (1, 3))
    if len(iccs) < 2 or len(sizes) < 2:
        raise DesignError("A contour needs at least two ICCs and two sizes.")
    surface = np.full((len(iccs), len(sizes)), np.nan)
    for _, icc, _, size, value in grid:
        surface[iccs.index(icc), sizes.index(size)] = math.nan if value is None else abs(value)
    masked = np.ma.masked_invalid(surface)
    if masked.count() == 0:
        raise DesignError("No possible effect has the power anywhere in this table: larger sizes, or a lower power.")
    if ax is None:
        _, ax = plt.subplots(figsize=(7.0, 4.4), layout="constrained")
    levels = MaxNLocator(9).tick_values(float(masked.min()), float(masked.max()))
    ax.contourf(sizes, iccs, masked, levels=levels, cmap="Blues", alpha=0.85)
    if float(masked.max()) > float(masked.min()):
        drawn = ax.contour(sizes, iccs, masked, levels=levels, colors=INK, linewidths=0.8)
        # In the middle of each line: by itself a label may fall on the frame and be cut.
        middles = [max(parts, key=len) for parts in drawn.allsegs if parts]
        ax.clabel(drawn, fmt="%g", fontsize=9, manual=[tuple(line[len(line) // 2]) for line in middles if len(line)])
    _mark_plan(ax, table, iccs, sizes)
    ax.set_xlabel(table.columns[3].replace("_", " "))
    ax.set_ylabel(f"ICC ({str(table.rows[0][2]).replace('_', ' ')} scale)")
    ax.set_title(table.notes[0], fontsize=11, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _mark_plan(ax: Axes, table: Table, iccs: list[float], sizes: list[int]) -> None:
    """Draw a dot where the plan is, with its own effect, if it lies within what is drawn."""
    _, icc, _, size, value = table.rows[0]
    if not (iccs[0] <= icc <= iccs[-1] and sizes[0] <= size <= sizes[-1]):
        return
    ax.plot([size], [icc], marker="o", markersize=9, color="white", markeredgecolor=ACCENT, markeredgewidth=2.5)
    words = "the plan" if value is None else f"the plan: {format_number(abs(value))}"
    ax.annotate(words, (size, icc), xytext=(9, 7), textcoords="offset points", color=INK, fontsize=10)
