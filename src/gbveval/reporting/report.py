"""One self-contained HTML page with its figures and JSON, made of released results only."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gbveval.core.errors import DesignError, DisclosureError
from gbveval.core.provenance import versions
from gbveval.disclosure.released import Released, ReleasedEstimates, ReleasedTable
from gbveval.reporting.figures import alternative_text, has_numbers, is_event_study, picture
from gbveval.reporting.files import slug, write
from gbveval.reporting.words import ABSENT, NOT_SHOWN, cell_text, estimate_text, interval_text, p_text, sentence

# Columns of a method's own that a report leaves to the JSON: keys of the rows, and details for methodologists.
OWN_COLUMNS = (
    *("level", "event_time", "time", "cohort", "population", "reason", "df2", "cells", "treated_by_then", "shrinkage"),
    *("i_squared", "pooling_total", "typical_within_variance", "log_marginal_likelihood"),
)
FOOTER = (
    "Numbers that could show a survivor are withheld, and a withheld number is not a zero. "
    "This page loads nothing from elsewhere and runs no script."
)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report.

    Parameters
    ----------
    title : str
        Heading.
    released : Released
        What `release` returned.
    text : str or sequence of str
        Paragraphs before the results.
    """

    title: str
    released: Released
    text: str | Sequence[str] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.released, Released):
            raise DisclosureError(f"Section {self.title!r} needs a Released; call `release(results, policy)` first.")


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Where a report was written.

    Parameters
    ----------
    page : Path
        The HTML page.
    figures : tuple of Path
        SVG figures, the same that the page shows.
    data : Path
        The released numbers as JSON.
    """

    page: Path
    figures: tuple[Path, ...]
    data: Path


def write_report(
    sections: Sequence[Section],
    *,
    out: str | Path,
    title: str = "Evaluation report",
    lead: str = "",
    progress: Callable[[str], None] | None = None,
) -> ReportFiles:
    """Write a report: one HTML page, its figures, its JSON.

    Parameters
    ----------
    sections : sequence of Section
        In reading order.
    out : str or Path
        Output folder; made if absent. Nothing is written outside it.
    title, lead : str
        Heading and the sentence below it.
    progress : callable, optional
        Called with a line for each step.

    Returns
    -------
    ReportFiles

    Notes
    -----
    The page loads nothing and runs nothing: figures are inline, and its content policy forbids the rest. Every text is
    escaped by the template.
    """
    if not sections:
        raise DesignError("A report needs at least one section.")
    folder = Path(out)
    tell = progress or (lambda _: None)
    figures: list[Path] = []
    shown = []
    for number, section in enumerate(sections, 1):
        tell(f"report: {section.title}")
        parts = []
        for position, item in enumerate(section.released.items, 1):
            if isinstance(item, ReleasedEstimates):
                part, svg = _estimates_part(item)
                if svg is not None:
                    name = f"figures/{number:02d}-{position:02d}-{slug(section.title)}.svg"
                    figures.append(write(folder, name, svg))
                parts.append(part)
            else:
                parts.append(_table_part(item))
        text = (section.text,) if isinstance(section.text, str) else tuple(section.text)
        shown.append({"title": section.title, "text": [line for line in text if line], "parts": parts})
    page = write(folder, "report.html", _render(title, lead, sections, shown))
    content = {
        "title": title,
        "sections": [{"title": section.title, **section.released.to_dict()} for section in sections],
        "versions": dict(versions()),
    }
    data = write(folder, "report.json", json.dumps(content, indent=1, allow_nan=False))
    return ReportFiles(page, tuple(figures), data)


def _render(title: str, lead: str, sections: Sequence[Section], shown: list[dict[str, Any]]) -> str:
    from importlib.resources import files

    from jinja2 import Environment

    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        files("gbveval.reporting").joinpath("page.html").read_text(encoding="utf-8")
    )
    origins = [
        (section.title, dict(item.provenance)["data_digest"] or ABSENT, cell_text(dict(item.provenance)["seed"]))
        for section in sections
        for item in section.released.estimates()
    ]
    page: str = template.render(
        title=title,
        lead=lead,
        sections=shown,
        policies=_policies(sections),
        origins=list(dict.fromkeys(origins)),
        versions=versions(),
        absent=(NOT_SHOWN, ABSENT),
        footer=FOOTER,
    )
    return page


def _policies(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """Group the sections by policy, so that a policy is read once."""
    groups: dict[str, dict[str, Any]] = {}
    for section in sections:
        group = groups.setdefault(
            section.released.policy, {"policy": section.released.policy, "titles": [], "notes": []}
        )
        group["titles"].append(section.title)
        group["notes"] += [f"{section.title}: {note}." for note in section.released.suppressed]
    return [{**group, "titles": ", ".join(group["titles"])} for group in groups.values()]


def _estimates_part(item: ReleasedEstimates) -> tuple[dict[str, Any], str | None]:
    own = list(
        dict.fromkeys(
            key
            for row in item.rows
            for key, value in row.record[16:]
            if key not in OWN_COLUMNS and value not in (None, "")
        )
    )
    counted = any(row["n_clusters"] is not None for row in item.rows)
    tested = any(row["p_value"] is not None for row in item.rows)
    percent = f"{100 * item.level:g} % interval"
    columns = ["result", "outcome", "estimate", percent, *(["p"] if tested else []), "units"]
    columns += ["clusters"] if counted else []
    columns += [name.replace("_", " ") for name in own]
    rows = []
    for row in item.rows:
        cells = [str(row["term"]), str(row["outcome"]), estimate_text(row, row["estimate"]), interval_text(row)]
        cells += [p_text(row)] if tested else []
        cells += [cell_text(row["n_units"])]
        cells += [cell_text(row["n_clusters"])] if counted else []
        cells += [NOT_SHOWN if row.hidden and row[name] is None else cell_text(row[name]) for name in own]
        rows.append(cells)
    text_columns = [0, 1] + [
        len(columns) - len(own) + i
        for i, name in enumerate(own)
        if any(isinstance(row[name], str) for row in item.rows)
    ]
    svg = _svg(item) if any(has_numbers(row) for row in item.rows) else None
    part = {
        "kind": "estimates",
        "title": item.heading[0].upper() + item.heading[1:] if item.heading else item.estimator,
        "sentence": sentence(item),
        "image": None if svg is None else "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode(),
        "alt": alternative_text(item),
        "caption": "Event study." if is_event_study(item) else "Estimates with their intervals.",
        "columns": columns,
        "text_columns": text_columns,
        "rows": rows,
        "notes": list(dict.fromkeys(f"{row['term']}: {row.note}." for row in item.rows if row.note))[:12],
        "warnings": [
            (status, f"{name}: {message}") for name, status, message in item.checks if status in ("warn", "fail")
        ],
        "method": [f"Estimator: {item.estimator}.", *item.method, *_quiet_checks(item)],
    }
    return part, svg


def _quiet_checks(item: ReleasedEstimates) -> list[str]:
    return [f"Check {name}: {status}: {message}" for name, status, message in item.checks if status in ("ok", "info")]


def _table_part(item: ReleasedTable) -> dict[str, Any]:
    text_columns = [i for i in range(len(item.columns)) if any(isinstance(row[i], str) for row in item.rows)]
    return {
        "kind": "table",
        "title": item.title,
        "columns": item.columns,
        "text_columns": text_columns,
        "rows": [[cell_text(value) for value in row] for row in item.rows],
        "notes": list(item.notes),
        "warnings": [],
        "method": [],
    }


def _svg(item: ReleasedEstimates) -> str:
    """Return the figure as SVG, the same bytes each time, with its description inside."""
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "gbveval", "svg.fonttype": "path", "font.size": 10}):
        figure = picture(item)
        figure.savefig(stream, format="svg", metadata={"Date": None, "Description": alternative_text(item)})
    return stream.getvalue()
