"""One self-contained HTML page with its figures and JSON, made of released results only."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gbveval.core.errors import DesignError, DisclosureError
from gbveval.core.provenance import versions
from gbveval.disclosure.released import Released, ReleasedEstimates
from gbveval.reporting.figures import alternative_text, drawable, picture
from gbveval.reporting.files import slug, write
from gbveval.reporting.parts import estimates_part, figure_part, side_by_side, table_part
from gbveval.reporting.words import ABSENT, NOT_SHOWN, cell_text

# How the audit says that a table had nothing to hide.
NOTHING_HIDDEN = "suppressed nothing, because no cell is small"
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
        parts: list[dict[str, Any]] = []
        together = side_by_side(section.released.estimates())
        if together is not None and drawable(together):
            svg = _svg(together)
            figures.append(write(folder, f"figures/{number:02d}-00-{slug(section.title)}.svg", svg))
            parts.append(figure_part(together, svg))
        for position, item in enumerate(section.released.items, 1):
            if isinstance(item, ReleasedEstimates):
                own = _svg(item) if drawable(item) else None
                part = estimates_part(item, own)
                if own is not None:
                    name = f"figures/{number:02d}-{position:02d}-{slug(section.title)}.svg"
                    figures.append(write(folder, name, own))
                parts.append(part)
            else:
                parts.append(table_part(item))
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
        quiet = [note for note in section.released.suppressed if NOTHING_HIDDEN in note]
        group["notes"] += [
            f"{section.title}: {note}." for note in section.released.suppressed if NOTHING_HIDDEN not in note
        ]
        group["quiet"] = group.get("quiet", 0) + len(quiet)
    for group in groups.values():
        if group["notes"] and group["quiet"]:
            group["notes"].append(f"In {group['quiet']} other tables behind these results no cell is small.")
    return [{**group, "titles": ", ".join(group["titles"])} for group in groups.values()]


def _svg(item: ReleasedEstimates) -> str:
    """Return the figure as SVG, the same bytes each time, with its description inside."""
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "gbveval", "svg.fonttype": "path", "font.size": 10}):
        figure = picture(item)
        with warnings.catch_warnings():
            # A script without glyphs in the font is drawn as boxes; the table beside the figure has the text.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            figure.savefig(stream, format="svg", metadata={"Date": None, "Description": alternative_text(item)})
    return stream.getvalue()
