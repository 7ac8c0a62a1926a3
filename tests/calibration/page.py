"""Writes the picture and the page of what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.calibration.exact import AVERAGE, NAMES, PILOTS, SPREAD, exact_ranks
from tests.calibration.measure import PARAMETERS, RANKS, band, below

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "explanation" / "calibration-of-pooled-sites.md"
PICTURE = DOCS / "_static" / "calibration-of-sampled-sites.svg"
EXACT_PICTURE = DOCS / "_static" / "calibration-of-exact-sites.svg"
SHOWN = NAMES[:6]


def outside(ranks: dict[str, list[int]]) -> list[str]:
    """Return the parameters whose ranks leave the band."""
    low, high = band(len(next(iter(ranks.values()))))
    curves = {name: below(each) for name, each in ranks.items()}
    return [name for name, curve in curves.items() if np.any((curve < low) | (curve > high))]


def draw(ranks: dict[str, list[int]], labels: dict[str, str], picture: Path) -> None:
    """Draw, for each of six parameters, the share of ranks below each, less what it would be."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "calibration"
    import matplotlib.pyplot as plt

    low, high = band(len(next(iter(ranks.values()))))
    points = np.arange(1, RANKS + 1) / (RANKS + 1)
    figure, axes = plt.subplots(2, 3, figsize=(9, 5), sharex=True, sharey=True)
    for ax, (name, label) in zip(axes.ravel(), labels.items(), strict=True):
        ax.fill_between(points, low - points, high - points, color="0.85", step="mid")
        ax.plot(points, below(ranks[name]) - points, color="C0", drawstyle="steps-mid")
        ax.axhline(0.0, color="0.5", linewidth=0.8)
        ax.set_title(label, fontsize=10)
    figure.supxlabel("share of posterior draws below the truth")
    figure.supylabel("cumulative share of pilots, less uniform")
    figure.tight_layout()
    figure.savefig(picture, metadata={"Date": None})
    plt.close(figure)


def _verdict(left: list[str]) -> str:
    return f"These leave the band: {', '.join(left)}." if left else "No parameter leaves the band."


def text(record: dict[str, Any], exact: dict[str, list[int]]) -> str:
    """Return the page."""
    verdict = _verdict([PARAMETERS[name] for name in outside(record["ranks"])])
    packages = ", ".join(f"{name} {number}" for name, number in record["packages"].items())
    return f"""# Calibration of the hierarchies

Draw a truth from the prior, a pilot from the truth, and the posterior from the pilot. If model and computation are both
right, the truth is one more draw of the posterior: its rank among the posterior's draws is uniform, for every parameter
(Talts and others 2018).

## Exact

Measured with {PILOTS:,} pilots of eight sites with the standard errors of the eight schools, by `NormalHierarchy`;
priors: average effect {AVERAGE.describe()}; between-site sd {SPREAD.describe()}. Of eleven parameters six are shown.

![Shares of pilots by place of the truth, exact posteriors, with bands](../_static/calibration-of-exact-sites.svg)

{_verdict(outside(exact))} With so many pilots an error of three hundredths in a probability leaves it.

## Sampled

Measured with {record["pilots"]} pilots of {record["sites"]} sites with {record["people_per_site"]} people each and a
yes-or-no outcome, by `HierarchicalModel`; priors: {record["prior"]}.
The grey band holds all of a curve with probability 0.99 where ranks are uniform (Säilynoja, Bürkner and Vehtari 2022).

![Shares of pilots by rank of the truth, six parameters, with bands](../_static/calibration-of-sampled-sites.svg)

{verdict} In {record["pilots_with_divergences"]} pilots there were divergent transitions; they are counted in like the
others.

What this does not show: that the model is right for your data. It shows that the answer is the posterior of the model.

Written by `{record["command"]}` on Python {record["python"]} with {packages}.
"""


def write(record: dict[str, Any]) -> Path:
    """Write pictures and page."""
    exact = exact_ranks()
    draw(exact, {name: name for name in SHOWN}, EXACT_PICTURE)
    draw(record["ranks"], PARAMETERS, PICTURE)
    PAGE.write_text(text(record, exact), encoding="utf-8")
    return PAGE
