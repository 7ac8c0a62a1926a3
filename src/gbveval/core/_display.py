"""How an `Estimates` looks: tidy frame, card, forest plot (the one file of `core` with pandas and matplotlib)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.estimand import LEVELS
from gbveval.core.estimates import Estimates
from gbveval.core.table import Table
from gbveval.core.term import SHRUNKEN, TIDY_COLUMNS, inverse_link

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# A card is to be read at a glance; the rest is in tidy().
MAXIMUM_CARD_ROWS = 12
INK, ACCENT, PALE = "#1b1b1b", "#0072b2", "#8c8c8c"
# Colours of several arms that people with any colour vision tell apart (Okabe and Ito).
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")


def tidy(estimates: Estimates, level: float | None) -> pd.DataFrame:
    """Return the rows as a pandas frame with the pinned columns first."""
    import pandas as pd

    records = estimates.records(level)
    own = list(dict.fromkeys(key for record in records for key in record if key not in TIDY_COLUMNS))
    return pd.DataFrame(records, columns=[*TIDY_COLUMNS, *own])


def format_number(value: Any) -> str:
    """Return a number with about three significant digits, never in scientific notation when it is of common size."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    magnitude = abs(value)
    if magnitude >= 1000:
        return f"{value:,.0f}"
    if magnitude >= 100:
        return f"{value:.1f}"
    if magnitude >= 0.1 or magnitude == 0:
        return f"{value:.3f}".rstrip("0").rstrip(".") if magnitude >= 10 else f"{value:.3f}"
    return f"{value:.4f}" if magnitude >= 0.001 else f"{value:.2e}"


def format_p(value: float | None) -> str:
    """Return a p-value as people print it."""
    if value is None:
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _rows(estimates: Estimates) -> tuple[list[str], list[list[str]], int]:
    percent = f"{100 * estimates.level:g} % interval"
    header = ["outcome", "term", "estimate", percent, "p", "units", "clusters"]
    lines = []
    records = estimates.records()
    for record in records[:MAXIMUM_CARD_ROWS]:
        interval = "–"
        if record["conf_low"] is not None:
            interval = f"{format_number(record['conf_low'])} to {format_number(record['conf_high'])}"
        lines.append(
            [
                record["outcome"],
                record["term"],
                format_number(record["estimate"]),
                interval,
                format_p(record["p_value"]),
                "–" if record["n_units"] is None else f"{record['n_units']:,}",
                "–" if record["n_clusters"] is None else f"{record['n_clusters']:,}",
            ]
        )
    return header, lines, len(records) - len(lines)


def _heading(estimates: Estimates) -> str:
    words = list(dict.fromkeys(row.estimand.words() for row in estimates.terms))
    more = f" and {len(words) - 2} more" if len(words) > 2 else ""
    return "; ".join(words[:2]) + more


def _notes(estimates: Estimates) -> list[str]:
    notes = list(estimates.method.sentences())
    kinds = [kind for kind in dict.fromkeys(estimates.interval_kinds()) if kind != "none"]
    if kinds:
        notes.append(f"Intervals: {'; '.join(kinds)}; level {estimates.level:g}.")
    notes += [f"Undefined: {row.term}: {row.reason}." for row in estimates.terms if row.value is None and row.reason][
        :5
    ]
    notes += [f"Check {item.name}: {item.status}: {item.message}" for item in estimates.checks]
    return notes


def summary(estimates: Estimates) -> str:
    """Return the card as text."""
    header, lines, more = _rows(estimates)
    widths = [max(len(row[i]) for row in [header, *lines]) for i in range(len(header))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *lines]]
    if more:
        table.append(f"... and {more} more rows in tidy()")
    return "\n".join([f"{estimates.estimator}: {_heading(estimates)}", "", *table, "", *_notes(estimates)])


def html(estimates: Estimates) -> str:
    """Return the card as HTML; every text is escaped."""
    header, lines, more = _rows(estimates)
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in lines)
    rest = f"<p>and {more} more rows in tidy()</p>" if more else ""
    notes = "".join(f"<li>{escape(note)}</li>" for note in _notes(estimates))
    return (
        f"<div><p><b>{escape(estimates.estimator)}</b>: {escape(_heading(estimates))}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}<ul>{notes}</ul></div>"
    )


def plot(estimates: Estimates, ax: Axes | None) -> Axes:
    """Draw points with intervals, first row on top; an event study along time, effects by dose along the dose."""
    import matplotlib.pyplot as plt

    along_dose = dose_rows([{**dict(row.extra), "estimand": row.estimand.effect} for row in estimates.terms])
    if len(along_dose) > 1:
        return _dose_plot(estimates, along_dose, ax)
    low, high = estimates.intervals()
    shown = [i for i, row in enumerate(estimates.terms) if row.value is not None and row.kind != "test"]
    # A standard deviation of effects has another axis than the effects.
    effects = [i for i in shown if estimates.terms[i].estimand.contrast != "standard_deviation"]
    shown = effects or shown
    timed = [i for i in shown if dict(estimates.terms[i].extra).get("event_time") is not None]
    shown = timed if len(timed) > 2 else shown
    links = {estimates.terms[i].estimand.link for i in shown}
    link = links.pop() if len(links) == 1 else "identity"
    value = np.array([inverse_link(link, estimates.terms[i].value) for i in shown])
    lower, upper = inverse_link(link, low[shown]), inverse_link(link, high[shown])
    event_times = [dict(estimates.terms[i].extra).get("event_time") for i in shown]
    along_time = len(timed) > 2
    if ax is None:
        lines = len(shown) - len(estimates.bound_pairs()) - len(shrunken_pairs([_label(estimates, i) for i in shown]))
        size = (7.0, 3.6) if along_time else (7.0, 1.2 + 0.34 * max(lines, 1))
        _, ax = plt.subplots(figsize=size, layout="constrained")
    contrast = estimates.terms[shown[0]].estimand.contrast.replace("_", " ") if shown else ""
    null = 1.0 if link == "log" else 0.0
    errors = np.abs(np.nan_to_num(np.vstack([value - lower, upper - value])))
    if along_time:
        times = np.array(event_times, dtype=float)
        ax.axhline(null, color=INK, linewidth=0.8)
        ax.axvline(-0.5, color=INK, linewidth=0.8, linestyle=":")
        ax.errorbar(times, value, yerr=errors, fmt="o", color=ACCENT, ecolor=ACCENT, capsize=3, markersize=5)
        ax.set_xlabel("periods since the intervention began")
        ax.set_ylabel(contrast)
        return ax
    positions, names, joined = _lines(estimates, shown)
    for a, b in joined:
        ax.plot(value[[a, b]], positions[[a, b]], color=ACCENT, linewidth=5.0, alpha=0.35, solid_capstyle="butt")
    first = estimates.terms[shown[0]].estimand if shown else None
    if link != "logit" and first and first.contrast not in ("mean", "proportion") and first.effect not in LEVELS:
        ax.axvline(null, color=INK, linewidth=0.8)
    _intervals(ax, (value, positions, errors), shrunken_pairs([_label(estimates, i) for i in shown]))
    if link == "log":
        ax.set_xscale("log")
    # Labels come from data: a dollar sign in one must not start matplotlib's mathematics.
    ax.set_yticks(list(names), list(names.values()), parse_math=False)
    ax.set_ylim(-0.7, len(names) - 0.3)
    ax.set_xlabel(contrast)
    return ax


def dose_rows(records: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the rows that lie along the dose after treatment, of one estimand: levels where there are any."""
    found = [i for i, row in enumerate(records) if row.get("dose") is not None and row["treated_by_then"] == "yes"]
    return [i for i in found if records[i]["estimand"] == records[found[0]]["estimand"]]


def _dose_plot(estimates: Estimates, rows: list[int], ax: Axes | None) -> Axes:
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots(figsize=(7.0, 3.6), layout="constrained")
    extra = [dict(estimates.terms[i].extra) for i in rows]
    doses = np.array([own["dose"] for own in extra], dtype=float)
    bands = {"pointwise": replace(estimates, band=None).intervals()}
    if estimates.band is not None:
        bands["uniform"] = estimates.intervals()
    chosen = {name: (low[rows], high[rows]) for name, (low, high) in bands.items()}
    draw_along_dose(ax, doses, estimates.values[rows], chosen, joined=extra[0]["curve"] == "spline")
    ax.set_ylabel(estimates.terms[rows[0]].estimand.contrast.replace("_", " "))
    return ax


def draw_along_dose(
    ax: Axes,
    doses: NDArray[np.float64],
    value: NDArray[np.float64],
    bands: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    *,
    joined: bool,
) -> None:
    """Draw values along the dose with their bands, the narrowest first; a line only where there is a curve between.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    doses, value : ndarray, shape (doses,)
        NaN where there is nothing to show.
    bands : mapping of str to (ndarray, ndarray)
        Lower and upper limits, by the kind of interval.
    joined : bool
        Whether the curve is known between the doses.
    """
    ax.axhline(0.0, color=INK, linewidth=0.8)
    for (name, (low, high)), alpha, width in zip(bands.items(), (0.35, 0.15), (4.0, 1.2), strict=False):
        if joined:
            ax.fill_between(doses, low, high, color=ACCENT, alpha=alpha, linewidth=0, label=name)
        else:
            ax.vlines(doses, low, high, color=ACCENT, linewidth=width, label=name)
    ax.plot(doses, value, color=INK, marker="o", markersize=4, linestyle="-" if joined else "none", zorder=3)
    ax.set_xlabel("dose")
    if len(bands) > 1:
        ax.legend(frameon=False, fontsize="small", title="interval", loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _intervals(
    ax: Axes, drawn: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], pairs: Mapping[int, int]
) -> None:
    """Draw values at their heights with their errors; a plain one pale, above the shrunken one that shares its line."""
    value, height, errors = drawn
    rows = np.arange(value.size)
    plain, shrunken = np.isin(rows, list(pairs.values())), np.isin(rows, list(pairs))
    height = height + 0.14 * plain - 0.14 * shrunken
    alone = INK if pairs else ACCENT
    kinds = ((plain, PALE, "white", "plain"), (shrunken, ACCENT, ACCENT, "shrunken"))
    for which, colour, face, label in (*kinds, (~plain & ~shrunken, alone, alone, None)):
        if which.any():
            ax.errorbar(
                value[which],
                height[which],
                xerr=errors[:, which],
                fmt="o",
                color=colour,
                ecolor=colour,
                markerfacecolor=face,
                capsize=3,
                markersize=5,
                label=label,
            )
    if pairs:
        ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _lines(
    estimates: Estimates, shown: list[int]
) -> tuple[NDArray[np.float64], dict[float, str], list[tuple[int, int]]]:
    """Return where each row shown is drawn, the label of each line, and the pairs of bounds that share one."""
    place = {row: number for number, row in enumerate(shown)}
    bounds = {upper: lower for lower, upper in estimates.bound_pairs() if lower in place and upper in place}
    pairs = shrunken_pairs([_label(estimates, i) for i in shown])
    partner = {**bounds, **{shown[a]: shown[b] for a, b in pairs.items()}}
    lines = [row for row in shown if row not in partner]
    height = {row: float(len(lines) - 1 - number) for number, row in enumerate(lines)}
    positions = np.array([height[partner.get(row, row)] for row in shown])
    several = len({estimates.terms[row].outcome for row in shown}) > 1
    names = {}
    for row in lines:
        term = estimates.terms[row]
        label = term.term.replace(", lower bound", ", bounds") if row in bounds.values() else term.term
        names[height[row]] = f"{term.outcome}: {label}" if several else label
    return positions, names, [(place[lower], place[upper]) for upper, lower in bounds.items()]


def _label(estimates: Estimates, row: int) -> str:
    return f"{estimates.terms[row].outcome}: {estimates.terms[row].term}"


def shrunken_pairs(names: Sequence[str]) -> dict[int, int]:
    """Return the positions of shrunken rows, each with the position of the plain row of the same quantity."""
    place = {name: i for i, name in enumerate(names)}
    found = {i: place.get(name.removesuffix(SHRUNKEN)) for i, name in enumerate(names) if name.endswith(SHRUNKEN)}
    return {i: plain for i, plain in found.items() if plain is not None}


def love_plot(
    labels: Sequence[str], marks: Mapping[str, Sequence[float | None]], control: str, ax: Axes | None
) -> Axes:
    """Draw standardised differences, first row on top; rows without one are left out."""
    import matplotlib.pyplot as plt

    shown = [i for i in range(len(labels)) if any(values[i] is not None for values in marks.values())]
    if ax is None:
        _, ax = plt.subplots(figsize=(7.0, 1.4 + 0.3 * max(len(shown), 1)), layout="constrained")
    positions = np.arange(len(shown))[::-1]
    ax.axvline(0.0, color=INK, linewidth=0.8)
    for guide in (-0.1, 0.1):
        ax.axvline(guide, color=INK, linewidth=0.8, linestyle=":")
    for number, (arm, values) in enumerate(marks.items()):
        drawn = np.array([np.nan if values[i] is None else values[i] for i in shown], dtype=float)
        color = ACCENT if len(marks) == 1 else SERIES[number % len(SERIES)]
        ax.plot(drawn, positions, "osD^vP*"[number % 7], color=color, markersize=6, label=arm.replace("$", "\\$"))
    limit = max([0.2, *(abs(v) for values in marks.values() for v in values if v is not None)])
    ax.set_xlim(-1.15 * limit, 1.15 * limit)
    ax.set_ylim(-0.7, len(shown) - 0.3)
    ax.set_yticks(positions, [labels[i] for i in shown], parse_math=False)
    ax.grid(axis="y", linewidth=0.4, alpha=0.5)
    ax.set_axisbelow(True)
    ax.set_xlabel(f"standardised difference from {control}", parse_math=False)
    if len(marks) > 1:
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return ax


def table_frame(table: Table) -> pd.DataFrame:
    """Return a `Table` as a pandas frame."""
    import pandas as pd

    return pd.DataFrame([list(row) for row in table.rows], columns=list(table.columns))
