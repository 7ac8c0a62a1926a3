"""The caterpillar of intersectional strata: levels or effects in order, and how far each spoke for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gbveval.core.errors import DesignError, DisclosureError
from gbveval.disclosure.released import Released, ReleasedEstimates, ReleasedRow
from gbveval.reporting.axes import ratio_axis, short
from gbveval.reporting.strata_table import family_of, is_of_strata, is_stratum, stratum_name
from gbveval.reporting.words import has_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OWN, FORESEEN, INK, PALE = "#0072b2", "#8c8c8c", "#1b1b1b", "#8c8c8c"
# More names than this nobody reads; the strata are then drawn by rank.
MOST_NAMES = 45


def plot_strata(released: Released, ax: Axes | None = None) -> Axes:
    """Draw intersectional strata in order of their levels (`Maihda`) or effects (`IntersectionalEffects`).

    Full markers are strata that their own people speak for; hollow ones are mostly what their properties foresee.
    Strata that disclosure control hid are counted and not drawn.

    Parameters
    ----------
    released : Released
        With the result of one of the two; the first outcome and arm of the first such result are drawn.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.

    Raises
    ------
    DisclosureError
        If results were not released.
    DesignError
        If there are no strata among the results, or all are hidden.

    Examples
    --------
    >>> import gbveval as gbv
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> frame = {name: rng.choice(list("abc"), 2000) for name in ("class", "age")}
    >>> frame["harassed"] = (rng.random(2000) < 0.3).astype(int)
    >>> answer = gbv.Maihda(["class", "age"]).estimate(gbv.Survey(frame, outcome="harassed"))
    >>> plot_strata(gbv.release(answer)).get_xlabel()
    'proportion (%), 95 % interval'
    """
    if not isinstance(released, Released):
        raise DisclosureError("Only released results are drawn: call `release` first.")
    found = [item for item in released.estimates() if is_of_strata(item)]
    if not found:
        raise DesignError(
            "There are no strata among the results; release what Maihda or IntersectionalEffects estimates."
        )
    return strata_figure(found[0], ax)


def strata_rows(item: ReleasedEstimates) -> list[ReleasedRow]:
    """Return the rows of levels or effects of the first outcome and arm, hidden ones too."""
    rows = [row for row in item.rows if is_stratum(row)]
    return [row for row in rows if family_of(row) == family_of(rows[0])]


def strata_figure(item: ReleasedEstimates, ax: Axes | None = None) -> Axes:
    """Draw the strata of one result in order, the highest on top."""
    import matplotlib.pyplot as plt

    rows = strata_rows(item)
    shown = sorted((row for row in rows if has_numbers(row)), key=lambda row: float(row["estimate"]))
    if not shown:
        raise DesignError("All strata are hidden, so there is nothing to draw; merge categories.")
    named = len(shown) <= MOST_NAMES
    if ax is None:
        height = 1.2 + (0.3 * len(shown) if named else 5.0)
        _, ax = plt.subplots(figsize=(7.6, height), layout="constrained")
    for place, row in enumerate(shown):
        _mark(ax, row, place, thin=not named)
    _axes(ax, item, rows, shown, named=named)
    return ax


def _mark(ax: Axes, row: ReleasedRow, place: int, *, thin: bool) -> None:
    own = float(row["pooling_factor"]) < 0.5
    colour = OWN if own else FORESEEN
    ends = [row["conf_low"], row["conf_high"]]
    ax.plot(ends, [place, place], color=colour, linewidth=0.8 if thin else 2.0, solid_capstyle="butt")
    size = 2.5 if thin else 6.0
    ax.plot(
        [row["estimate"]],
        [place],
        marker="o",
        color=colour,
        markerfacecolor=colour if own else "white",
        markersize=size,
    )


def _axes(ax: Axes, item: ReleasedEstimates, rows: list[ReleasedRow], shown: list[ReleasedRow], *, named: bool) -> None:
    from matplotlib.ticker import FuncFormatter

    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    contrast = str(rows[0]["contrast"])
    ratio = contrast.endswith("_ratio")
    unit = ""
    if ratio:
        ratio_axis(ax)
    elif contrast in ("proportion", "risk_difference"):
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
        unit = " (%)" if contrast == "proportion" else " (percentage points)"
    if rows[0]["subgroup"] is not None:
        ax.axvline(1.0 if ratio else 0.0, color=INK, linewidth=0.8, zorder=0)
        average = [row for row in item.rows if _is_average(row, rows[0]) and has_numbers(row)]
        for row in average:
            ax.axvline(row["estimate"], color=PALE, linewidth=0.9, linestyle="--", zorder=0)
    ax.set_xlabel(f"{contrast.replace('_', ' ')}{unit}, {100 * item.level:g} % interval", parse_math=False)
    if named:
        labels = [short(stratum_name(row)) for row in shown]
        ax.set_yticks(np.arange(len(shown)), labels, parse_math=False)
    else:
        ax.set_yticks([])
        ax.set_ylabel(f"{len(shown)} strata in order", parse_math=False)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-0.7, len(shown) - 0.3)
    _legend(ax, shown)
    hidden = sum(not has_numbers(row) for row in rows)
    note = f"\n{hidden} of {len(rows)} strata are not shown" if hidden else ""
    ax.set_title(f"{short(_heading(rows[0]))}{note}", fontsize="medium", loc="left", parse_math=False)


def _is_average(row: ReleasedRow, first: ReleasedRow) -> bool:
    return row["estimand"] == "ITT" and row["subgroup"] is None and str(row["term"]).startswith(family_of(first)[1])


def _heading(row: ReleasedRow) -> str:
    if row["subgroup"] is None:
        return f"{row['outcome']} by {row['domain']}"
    return f"{row['outcome']}: {family_of(row)[1].rstrip(', ')}"


def _legend(ax: Axes, shown: list[ReleasedRow]) -> None:
    kinds = {float(row["pooling_factor"]) < 0.5 for row in shown}
    handles: list[Any] = []
    for own, colour, face, word in (
        (True, OWN, OWN, "mostly its own people"),
        (False, FORESEEN, "white", "mostly foreseen"),
    ):
        if own in kinds:
            handles += ax.plot([], [], marker="o", color=colour, markerfacecolor=face, linewidth=2.0, label=word)
    ax.legend(handles=handles, frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
