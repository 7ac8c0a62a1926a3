"""Writes the picture and the page of what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.calibration.measure import PARAMETERS, RANKS, band, below

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "explanation" / "calibration-of-sampled-sites.md"
PICTURE = DOCS / "_static" / "calibration-of-sampled-sites.svg"


def outside(record: dict[str, Any]) -> list[str]:
    """Return the parameters whose ranks leave the band."""
    low, high = band(record["pilots"])
    curves = {name: below(ranks) for name, ranks in record["ranks"].items()}
    return [name for name, curve in curves.items() if np.any((curve < low) | (curve > high))]


def draw(record: dict[str, Any]) -> None:
    """Draw, for each parameter, the share of ranks below each, less what it would be."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "calibration"
    import matplotlib.pyplot as plt

    low, high = band(record["pilots"])
    points = np.arange(1, RANKS + 1) / (RANKS + 1)
    figure, axes = plt.subplots(2, 3, figsize=(9, 5), sharex=True, sharey=True)
    for ax, (name, label) in zip(axes.ravel(), PARAMETERS.items(), strict=True):
        ax.fill_between(points, low - points, high - points, color="0.85", step="mid")
        ax.plot(points, below(record["ranks"][name]) - points, color="C0", drawstyle="steps-mid")
        ax.axhline(0.0, color="0.5", linewidth=0.8)
        ax.set_title(label, fontsize=10)
    figure.supxlabel("share of posterior draws below the truth")
    figure.supylabel("cumulative share of pilots, less uniform")
    figure.tight_layout()
    figure.savefig(PICTURE, metadata={"Date": None})
    plt.close(figure)


def text(record: dict[str, Any]) -> str:
    """Return the page."""
    left = [PARAMETERS[name] for name in outside(record)]
    verdict = f"These leave the band: {', '.join(left)}." if left else "No parameter leaves the band."
    packages = ", ".join(f"{name} {number}" for name, number in record["packages"].items())
    return f"""# Calibration of the sampled hierarchy

Draw a truth from the prior, a pilot from the truth, and the posterior from the pilot. If model and sampler are both
right, the truth is one more draw of the posterior: its rank among the posterior's draws is uniform, for every parameter
(Talts and others 2018).

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
    """Write picture and page."""
    draw(record)
    PAGE.write_text(text(record), encoding="utf-8")
    return PAGE
