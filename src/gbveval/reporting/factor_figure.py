"""The forest of a table of factors: ratios by level of the ecological model, adjusted and crude on one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gbveval.core.errors import DesignError, DisclosureError
from gbveval.disclosure.released import Released, ReleasedEstimates, ReleasedRow
from gbveval.reporting.axes import ratio_axis, short
from gbveval.reporting.factor_table import Rows, is_factor_table, lines_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CRUDE, ADJUSTED, INK, PALE = "#8c8c8c", "#0072b2", "#1b1b1b", "#8c8c8c"
MAXIMUM_LINES = 45
APART = 0.17


def plot_factors(released: Released, ax: Axes | None = None) -> Axes:
    """Draw the ratios of a released table of factors, by level of the socio-ecological model, and return the axes.

    Parameters
    ----------
    released : Released
        With the result of `RiskFactors`; the first of its tables is drawn.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.

    Raises
    ------
    DisclosureError
        If results were not released.
    DesignError
        If there is no table of factors, or it has no ratios.

    Examples
    --------
    >>> import gbveval as gbv
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotSurvey
    >>> survey = PilotSurvey().draw(np.random.default_rng(1))
    >>> answer = gbv.RiskFactors(["lgbtq", "disability"], behaviour="experience").estimate(survey)
    >>> plot_factors(gbv.release(answer)).get_xlabel()
    'prevalence ratio, 95 % interval (association, not an effect)'
    """
    if not isinstance(released, Released):
        raise DisclosureError("Only released results are drawn: call `release` first.")
    tables = [item for item in released.estimates() if is_factor_table(item)]
    if not tables:
        raise DesignError("There is no table of factors among the results; release what RiskFactors estimates.")
    return factor_forest(tables[0], ax)


def has_ratios(item: ReleasedEstimates) -> bool:
    """Whether a table of factors has ratios to draw."""
    return any(row["contrast"] == "prevalence_ratio" for row in item.rows)


def factor_forest(item: ReleasedEstimates, ax: Axes | None = None) -> Axes:
    """Draw a line for each factor and category under the heading of its level; hidden ones say so."""
    import matplotlib.pyplot as plt

    if not has_ratios(item):
        raise DesignError("The table of factors has no ratios; estimate it with measures that hold 'ratio'.")
    lines = [rows for rows in lines_of(item) if _ratio(rows, "adjusted") or _ratio(rows, "crude")][:MAXIMUM_LINES]
    entries = _with_headings(lines)
    if ax is None:
        _, ax = plt.subplots(figsize=(7.6, 1.3 + 0.34 * len(entries)), layout="constrained")
    several = len({row["outcome"] for row in item.rows}) > 1
    labels: list[tuple[float, str, bool]] = []
    for number, entry in enumerate(entries):
        height = float(len(entries) - 1 - number)
        if isinstance(entry, str):
            labels.append((height, entry, True))
            continue
        labels.append((height, _label(entry, several=several), False))
        _line(ax, entry, height)
    _finish(ax, labels, item)
    return ax


def _with_headings(lines: list[Rows]) -> list[str | Rows]:
    entries: list[str | Rows] = []
    seen = None
    for rows in lines:
        level = str(next(iter(rows.values()))["ecological_level"])
        if level != seen:
            entries.append("level not declared" if level == "not declared" else level)
            seen = level
        entries.append(rows)
    return entries


def _ratio(rows: Rows, kind: str) -> ReleasedRow | None:
    return rows.get(f"{kind} ratio")


def _line(ax: Axes, rows: Rows, height: float) -> None:
    """Draw the crude ratio hollow above the adjusted one; where neither may be shown, say so."""
    pair = [(kind, _ratio(rows, kind)) for kind in ("crude", "adjusted")]
    present = [(kind, row) for kind, row in pair if row is not None]
    drawn = False
    for kind, row in present:
        if row["estimate"] is None or row["conf_low"] is None:
            continue
        shift = 0.0 if len(present) == 1 else (APART if kind == "crude" else -APART)
        colour, face = (CRUDE, "white") if kind == "crude" else (ADJUSTED, ADJUSTED)
        ends = [row["conf_low"], row["conf_high"]]
        ax.plot(ends, [height + shift] * 2, color=colour, linewidth=2.0, solid_capstyle="butt")
        marker = "o" if kind == "crude" else "s"
        ax.plot([row["estimate"]], [height + shift], marker=marker, color=colour, markerfacecolor=face, markersize=6)
        drawn = True
    if not drawn:
        note = "not shown" if any(row.hidden for _, row in present) else "undefined"
        ax.text(0.02, height, note, transform=ax.get_yaxis_transform(), va="center", color=PALE, style="italic")


def _label(rows: Rows, *, several: bool) -> str:
    row = next(iter(rows.values()))
    level = str(row["factor_level"])
    against = "" if level == "each step up" else f" vs {row['reference']}"
    arrow = {"protective": " (protective)", "risk": " (risk)"}.get(str(row["direction"]), "")
    text = f"{row['factor']}: {level}{against}{arrow}"
    text = f"{row['outcome']}, {text}" if several else text
    return short(text)


def _finish(ax: Axes, labels: list[tuple[float, str, bool]], item: ReleasedEstimates) -> None:
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ratio_axis(ax)
    ax.axvline(1.0, color=INK, linewidth=0.8, zorder=0)
    # Labels come from data: a dollar sign in one must not start matplotlib's mathematics.
    ax.set_yticks([height for height, _, _ in labels], [text for _, text, _ in labels], parse_math=False)
    for tick, (_, _, heading) in zip(ax.get_yticklabels(), labels, strict=True):
        if heading:
            tick.set_fontweight("bold")
    ax.set_ylim(-0.7, len(labels) - 0.3)
    ax.tick_params(axis="y", length=0)
    behaviour = str(item.rows[0]["behaviour"])
    ax.set_xlabel(f"prevalence ratio, {100 * item.level:g} % interval (association, not an effect)", parse_math=False)
    handles: list[Any] = []
    rows = [row for row in item.rows if row["contrast"] == "prevalence_ratio" and row["estimate"] is not None]
    for kind, colour, face, marker in (("crude", CRUDE, "white", "o"), ("adjusted", ADJUSTED, ADJUSTED, "s")):
        if any(str(row["model"]).startswith(kind) for row in rows):
            handles += ax.plot([], [], marker=marker, color=colour, markerfacecolor=face, linewidth=2.0, label=kind)
    if handles:
        ax.legend(handles=handles, frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    ax.set_title(f"factors associated with {behaviour}", fontsize="medium", loc="left", parse_math=False)
