"""Writes what was measured as a page of the documentation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gbveval.core.replicate import binomial_band
from tests.sizes.record import ROOT
from tests.sizes.studies import CLUSTERS, SIZES

PAGE = ROOT / "docs" / "explanation" / "measured-sizes.md"
# One cell in a hundred lies outside by chance, where the size is 5 %.
FALSE_ALARM = 0.01
OUTCOMES = {"continuous": "A normal outcome", "binary": "A yes-or-no outcome, at 30 %", "count": "A count"}
INTRODUCTION = """# Measured sizes with few clusters

How often does a test at 5 % reject when there is no effect, and how often does the interval hold zero? These
numbers are simulated, not claimed: trials without any effect, half of the clusters treated (drawn anew each time),
20 people a cluster on average, an intracluster correlation of 0.05. "Unequal" cluster sizes have a coefficient of
variation of about one, so that the largest of 20 clusters has about 90 people and the smallest two.

Sizes in **bold** lie above 5 % by more than chance explains (one cell in a hundred would by chance), those in
*italics* below. A cell with a star counts only the trials in which there was an answer, fewer than 99 in 100. Monte
Carlo standard errors at 5 % are 0.5 percentage points with 2,000 draws, 0.7 with 1,000, 1.0 with 500, 1.3 with 300.
"""
ENDING = """## How this page is made

`python -m tests.sizes` measures the rows that are missing from `tests/sizes/measured.json`, so it can be stopped
and resumed, and writes this page. `--only TEXT` takes some rows, `--again` measures them anew. The trials of a cell
are the same for all estimators that need the same roles. Covariates (correlation 0.4 with the outcome) enter
`LinAdjusted`, `Ancova`, `JointTest`, `AttritionWeighted` and `Standardised`; four in five of those assigned take up
the intervention in `ComplierAverage`; stepped wedges have four periods. In `SubgroupEffects` everybody belongs to
one of three subgroups, with shares of 50, 30 and 20 %, that cut across clusters. Rows with two outcomes show how
often any adjusted p-value is below 0.05.
"""


def write(measured: dict[str, Any]) -> Path:
    """Write the page and return its path."""
    parts = [INTRODUCTION]
    for outcome, title in OUTCOMES.items():
        parts += [f"## {title}\n", "### Size, in percent\n", _table(measured, outcome, _size)]
        parts += ["### Coverage of zero, in percent\n", _table(measured, outcome, _coverage)]
        parts += ["### Bias, in standard deviations of the estimate\n", _table(measured, outcome, _bias)]
    parts += [ENDING, _provenance(measured)]
    PAGE.write_text("\n".join(parts), encoding="utf-8")
    return PAGE


def _table(measured: dict[str, Any], outcome: str, show: Callable[[dict[str, Any]], str]) -> str:
    order = [(sizes, clusters) for sizes in SIZES for clusters in CLUSTERS]
    heads = [f"{clusters} {sizes}" for sizes, clusters in order]
    lines = [f"| estimator | draws | {' | '.join(heads)} |", "| --- " * (2 + len(order)) + "|"]
    for label, found in measured.items():
        cells = {(c["sizes"], c["clusters"]): c for c in found["cells"] if c["outcome"] == outcome}
        shown = [show(cells[key]) if key in cells else "" for key in order]
        if any(shown):
            lines.append(f"| {label} | {found['description']['draws']} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def _size(cell: dict[str, Any]) -> str:
    low, high = binomial_band(0.05, cell["defined"], false_alarm=FALSE_ALARM)
    mark = "**" if cell["size"] > high else "*" if cell["size"] < low else ""
    star = "\\*" if cell["defined"] < 0.99 * cell["draws"] else ""
    return f"{mark}{100.0 * cell['size']:.1f}{mark}{star}"


def _coverage(cell: dict[str, Any]) -> str:
    return "" if cell["coverage"] is None else f"{100.0 * cell['coverage']:.1f}"


def _bias(cell: dict[str, Any]) -> str:
    return "" if cell["bias"] is None else f"{cell['bias']:.2f} ({cell['bias_mcse']:.2f})"


def _provenance(measured: dict[str, Any]) -> str:
    lines = []
    for found in measured.values():
        versions = ", ".join(f"{name} {value}" for name, value in found["provenance"].items())
        line = f"Seed {found['description']['seed']}; {versions}."
        if line not in lines:
            lines.append(line)
    return "\n".join(lines) + "\n"
