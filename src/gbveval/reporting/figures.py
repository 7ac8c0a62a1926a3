"""Figures of released results: forest, event study and curve along the dose, in colours that all can tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gbveval.core._display import dose_rows, draw_along_dose, shrunken_pairs
from gbveval.core.errors import DisclosureError
from gbveval.core.estimand import LEVELS
from gbveval.disclosure.released import ReleasedEstimates, ReleasedRow
from gbveval.reporting.axes import printable, ratio_axis, short
from gbveval.reporting.factor_figure import factor_forest, has_ratios
from gbveval.reporting.factor_table import is_factor_table
from gbveval.reporting.strata_figure import strata_figure, strata_rows
from gbveval.reporting.strata_table import is_of_strata
from gbveval.reporting.words import has_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Two of the Okabe-Ito colours, which differ for every kind of colour vision; markers differ too.
BEFORE, AFTER, INK, PALE = "#d55e00", "#0072b2", "#1b1b1b", "#8c8c8c"
MAXIMUM_ROWS = 40


def is_event_study(estimates: ReleasedEstimates) -> bool:
    """Whether the rows lie along the time since the intervention began."""
    timed = [row for row in estimates.rows if row["event_time"] is not None]
    return len(timed) > 2


def is_dose_curve(estimates: ReleasedEstimates) -> bool:
    """Whether rows lie along the dose of treatment."""
    return len(dose_rows([dict(row.record) for row in estimates.rows])) > 1


def contrast_words(estimates: ReleasedEstimates) -> str:
    """Return what the horizontal axis measures."""
    contrasts = [
        row["contrast"] for row in estimates.rows if row["contrast"] not in (None, "none", "standard_deviation")
    ]
    return str(contrasts[0]).replace("_", " ") if contrasts else "estimate"


def main_rows(estimates: ReleasedEstimates) -> list[ReleasedRow]:
    """Return the rows that share the first row's contrast: a figure has one axis, and it means one thing."""
    if is_of_strata(estimates) and any(has_numbers(row) for row in strata_rows(estimates)):
        return strata_rows(estimates)
    rows = [row for row in estimates.rows if row["interval_kind"] != "none"]
    return [row for row in rows if row["contrast"] == rows[0]["contrast"]]


def drawable(estimates: ReleasedEstimates) -> bool:
    """Whether there is more than one number to draw; a single one is read more easily than looked at."""
    return sum(has_numbers(row) for row in main_rows(estimates)) > 1


def alternative_text(estimates: ReleasedEstimates) -> str:
    """Return the figure in words, for readers who cannot see it."""
    rows = [row for row in main_rows(estimates) if has_numbers(row)]
    if not rows:
        return "No number may be shown."
    parts = [
        f"{row['term']}: {row['estimate']:.3g} ({row['conf_low']:.3g} to {row['conf_high']:.3g})" for row in rows[:12]
    ]
    more = f"; and {len(rows) - 12} more" if len(rows) > 12 else ""
    return printable(
        f"{contrast_words(estimates)} with {100 * estimates.level:g} % intervals. " + "; ".join(parts) + more
    )


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax


def draw(estimates: ReleasedEstimates, ax: Axes | None = None) -> Axes:
    """Draw released estimates in the way that fits them, and return the axes.

    Parameters
    ----------
    estimates : ReleasedEstimates
        From a `Released`.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.

    Raises
    ------
    DisclosureError
        If anything else than released estimates is given.
    """
    if not isinstance(estimates, ReleasedEstimates):
        raise DisclosureError("Only released results are drawn in reports: call `release` first.")
    if is_factor_table(estimates) and has_ratios(estimates):
        return factor_forest(estimates, ax)
    if is_of_strata(estimates) and any(has_numbers(row) for row in strata_rows(estimates)):
        return strata_figure(estimates, ax)
    if is_event_study(estimates):
        return event_study(estimates, ax)
    return dose_curve(estimates, ax) if is_dose_curve(estimates) else forest(estimates, ax)


def forest(estimates: ReleasedEstimates, ax: Axes | None = None) -> Axes:
    """Draw one interval a row, the first row on top; hidden rows are named and say that they are not shown."""
    rows = main_rows(estimates)[:MAXIMUM_ROWS]
    outcomes = {row["outcome"] for row in rows}
    names = [f"{row['outcome']}: {row['term']}" for row in rows]
    pairs = shrunken_pairs(names)
    lines = [i for i in range(len(rows)) if i not in pairs]
    height = {row: len(lines) - 1 - number for number, row in enumerate(lines)}
    ax = _axes(ax, (7.2, 1.1 + 0.36 * max(len(lines), 1)))
    for i, row in enumerate(rows):
        position = height[pairs[i]] - 0.16 if i in pairs else height[i] + (0.16 if i in pairs.values() else 0.0)
        if has_numbers(row):
            plain = i in pairs.values()
            colour = PALE if plain else INK if pairs and i not in pairs else AFTER
            _interval(ax, row, position, (colour, "white" if plain else colour))
        elif i not in pairs:
            note = "not shown" if row.hidden else "undefined"
            ax.text(0.02, position, note, transform=ax.get_yaxis_transform(), va="center", color=PALE, style="italic")
    if pairs and any(has_numbers(rows[i]) for i in pairs):
        for colour, face, word in ((PALE, "white", "plain"), (AFTER, AFTER, "shrunken")):
            ax.plot([], [], marker="s", color=colour, markerfacecolor=face, linewidth=2.2, label=word)
        ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    if estimates.link == "log":
        ratio_axis(ax)
    level = bool(rows) and rows[0]["estimand"] in LEVELS
    if estimates.link != "logit" and not level and contrast_words(estimates) not in ("mean", "proportion"):
        ax.axvline(1.0 if estimates.link == "log" else 0.0, color=INK, linewidth=0.8, zorder=0)
    # Labels come from data: a dollar sign in one must not start matplotlib's mathematics.
    labels = [_name(rows[i], several=len(outcomes) > 1) for i in lines]
    ax.set_yticks([height[i] for i in lines], labels, parse_math=False)
    ax.set_ylim(-0.6, len(lines) - 0.4)
    unit = _percent_axis(ax, rows)
    ax.set_xlabel(f"{contrast_words(estimates)}{unit}, {100 * estimates.level:g} % interval", parse_math=False)
    ax.tick_params(axis="y", length=0)
    return ax


def _interval(ax: Axes, row: ReleasedRow, position: float, colours: tuple[str, str]) -> None:
    """Draw one interval with its estimate, in a colour and with a face of the marker."""
    colour, face = colours
    ends = [row["conf_low"], row["conf_high"]]
    ax.plot(ends, [position, position], color=colour, linewidth=2.2, solid_capstyle="butt")
    ax.plot([row["estimate"]], [position], marker="s", color=colour, markerfacecolor=face, markersize=6.5)


def _percent_axis(ax: Axes, rows: list[ReleasedRow]) -> str:
    """Write risks in percent, as the tables do, and return the unit."""
    from matplotlib.ticker import FuncFormatter

    contrast = rows[0]["contrast"] if rows else ""
    if contrast not in ("risk_difference", "prevalence_difference", "proportion", "share"):
        return ""
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    return " (%)" if contrast in ("proportion", "share") else " (percentage points)"


def _name(row: ReleasedRow, *, several: bool) -> str:
    term = str(row["term"])
    return short(f"{row['outcome']}: {term}" if several else term)


def event_study(estimates: ReleasedEstimates, ax: Axes | None = None) -> Axes:
    """Draw estimates along the time since the intervention began, before and after apart."""
    rows = [row for row in estimates.rows if row["event_time"] is not None]
    ax = _axes(ax, (7.2, 3.9))
    ax.axhline(1.0 if estimates.link == "log" else 0.0, color=INK, linewidth=0.8)
    ax.axvline(-0.5, color=PALE, linewidth=0.9, linestyle="--")
    labelled: set[str] = set()
    for row in rows:
        time = float(row["event_time"])
        when = "before the intervention" if time < 0 else "after it began"
        label = None if when in labelled else when
        colour, marker = (BEFORE, "o") if time < 0 else (AFTER, "s")
        if has_numbers(row):
            ax.plot([time, time], [row["conf_low"], row["conf_high"]], color=colour, linewidth=2.0)
            ax.plot([time], [row["estimate"]], marker=marker, color=colour, linestyle="none", label=label)
            labelled.add(when)
        elif row["estimate"] is not None:
            ax.plot([time], [row["estimate"]], marker="o", markerfacecolor="white", color=BEFORE, linestyle="none")
    ax.set_xlabel("periods since the intervention began")
    kinds = {str(row["interval_kind"]).split(", ")[-1] for row in rows if has_numbers(row)}
    kind = " and ".join(sorted(kinds)) or "no"
    ax.set_ylabel(f"{contrast_words(estimates)}\n({100 * estimates.level:g} % {kind} interval)", parse_math=False)
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if labelled:
        ax.legend(frameon=False, fontsize="small", loc="best")
    return ax


def dose_curve(estimates: ReleasedEstimates, ax: Axes | None = None) -> Axes:
    """Draw estimates along the dose; where a row is hidden the curve has a gap."""
    places = dose_rows([dict(row.record) for row in estimates.rows])
    rows = [estimates.rows[i] for i in places]
    ax = _axes(ax, (7.2, 3.9))
    columns = ("dose", "estimate", "conf_low", "conf_high")
    doses, value, low, high = (np.array([row[name] for row in rows], dtype=float) for name in columns)
    kind = str(rows[0]["interval_kind"]).split(", ")[-1]
    draw_along_dose(ax, doses, value, {kind: (low, high)}, joined=rows[0]["curve"] == "spline")
    words = str(rows[0]["contrast"]).replace("_", " ")
    ax.set_ylabel(f"{words}\n({100 * estimates.level:g} % {kind} interval)", parse_math=False)
    return ax


def picture(estimates: ReleasedEstimates) -> Figure:
    """Return a finished figure of released estimates."""
    import matplotlib.pyplot as plt

    ax = draw(estimates)
    figure: Any = ax.get_figure()
    plt.close(figure)
    result: Figure = figure
    return result
