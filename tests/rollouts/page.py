"""Writes which estimator of rollouts fails where as a page of the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gbveval.core.replicate import binomial_band

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "which-rollout-estimator-fails-where.md"
# One cell in a hundred lies outside by chance, where nothing is wrong.
FALSE_ALARM = 0.01
STANDARD = 2.576

INTRODUCTION = """# Which rollout estimator fails where

Simulated rollouts whose truth is known, and what each estimator makes of them. The truth is the average effect over all
treated units and periods. 120 units in four equal groups, treated from period 3, 5 or 7 of eight on, or never; errors
follow each other in time (0.4).

| process | what is in it |
| --- | --- |
| homogeneous | the effect is 1, always |
| dynamic | the effect is 0.4 at first and grows by 0.4 a period |
| cohorts differ | the effect is 2, 1 and 0.25 in the cohorts treated first, second and last |
| anticipation | the effect is 1, and 0.6 already in the period before treatment |
| covariate trends | the effect is 1; outcomes rise with a covariate that is higher in cohorts treated earlier |
| few treated | the effect is 1; three units of 60 are treated, from period 5 on |

**Bold** numbers are off by more than chance explains (one cell in a hundred would be by chance).
"""
READING = """## How to read it

- *Two-way fixed effects* is right when the effect is one number, and misleading when it grows or differs: units treated
  earlier are then taken for untreated. More data do not help. The event-study regression shares the defect; its plain
  mean of event times is, besides, another average than the one over treated units and periods.
- *Anticipation* spoils every estimator that compares with the period before treatment. Those that let it begin earlier
  (`anticipation=1`, `reference=-2`) are right, and less precise. `Imputation`, `TwoStage` and `ExtendedTwfe` average
  over all untreated periods, so that one contaminated period does less harm, and still some: say `anticipation` there
  too.
- *Trends that depend on a covariate* are mended by giving the covariate, if its form is right: doubly robust estimators
  adjust changes for it; unit effects alone absorb its level and not its trend. With groups of thirty and little overlap
  doubly robust intervals are too short (they hold the truth 87 to 91 times in 100); those of a regression, whose form
  is right here, are not.
- *Few treated units*: no estimator here is biased, and standard errors that come from many units cannot be learnt from
  three: such intervals are too short. `ConleyTaber` and `RandomisedTiming` compare with what the others would have
  given.
"""
FEW = """## Few clusters

Units share the ups and downs of their village, so that villages are what counts. Here are 6, 10 and 20 of them with ten
units each, treated from period 3 or 5 of six on, or never; the effect is 1, and half of the noise is the village's.
First the coverage of 95 % intervals, in percent; then, where it was measured, how often a test at 5 % of the effects
before treatment rejects although there are none.
"""
AFTER_FEW = """Sums of squared influence treat means over two or three villages as known, and normal quantiles do so
once more. The jackknife leaves each village out in turn and refers to t with villages minus one degrees of freedom:
its intervals hold the truth about as often as they say. Its pre-test, Hotelling's, is much nearer to its size, but with
four effects before treatment and ten villages or fewer no test is to be trusted. The jackknife needs two villages or
more in every cohort.
"""
DOSES = """## Doses

Curves along the dose by `DoseResponse`: one cohort, doses spread over 1 to 10 or three of them, half of the noise the
cluster's. Coverage of 95 % intervals at doses 2, 5 and 8, in percent, and how often the test at 5 % of the curve before
treatment rejects although there is nothing.
"""
AFTER_DOSES = """Saturated levels want ten clusters at each dose: two are what an error needs to exist, and not enough
to trust it. Intervals are normal, so that few clusters in a cohort leave them a little short.
"""
NEIGHBOURS = """## Neighbours

400 units on a map of 1,000 km, two periods, nine tenths of the variance of errors shared with neighbours, half of the
districts treated: `TwoWayFixedEffects`, first without places, then with the role `place`, whose cutoff is as far as
shocks reach, and twice as far. Coverage of 95 % intervals in percent, and in brackets how many independent places the
treated (or the others, where they are fewer) are like, as the check "independent places" says.
"""
AFTER_NEIGHBOURS = """Errors that allow for neighbours mend most of it while the map is large beside what neighbours
share, and none of it when there are a handful of independent places: no cutoff is then right.
"""
ENDING = """## How this page is made

`python -m tests.rollouts` measures the rows that are missing from the records in `tests/rollouts`, so that it can be
stopped and resumed, and writes this page. Methods in a table see the same panels. Bias is shown in standard deviations
of the estimate; its Monte Carlo error is one over the root of the draws.
"""


def write(measured: dict[str, Any], few: dict[str, Any], doses: dict[str, Any], neighbours: dict[str, Any]) -> Path:
    """Write the page from what was measured: by process, with few clusters, by dose, beside neighbours."""
    parts = [
        INTRODUCTION,
        "## Bias, in standard deviations of the estimate\n",
        _shown(measured, "estimator", _bias),
        "## Coverage of 95 % intervals, in percent\n",
        _shown(measured, "estimator", _coverage),
        READING,
        FEW,
        _few(few),
        AFTER_FEW,
        DOSES,
        _shown(doses, "curve", lambda cell: _rejected(cell) if "tested" in cell else _coverage(cell)),
        AFTER_DOSES,
        NEIGHBOURS,
        _shown(neighbours, "shocks reach, districts", _beside),
        AFTER_NEIGHBOURS,
        ENDING,
        _provenance({**measured, **few, **doses, **neighbours}),
    ]
    PAGE.write_text("\n".join(parts), encoding="utf-8")
    return PAGE


def _few(few: dict[str, Any]) -> str:
    kinds = list(next(iter(few.values()))["cells"])
    lines = [
        f"| estimator | draws | {' | '.join(kinds)} | {' | '.join(f'pre-test, {kind}' for kind in kinds)} |",
        "| --- " * (2 + 2 * len(kinds)) + "|",
    ]
    for label, found in few.items():
        cells = [found["cells"][kind] for kind in kinds]
        shown = [*map(_coverage, cells), *map(_rejected, cells)]
        lines.append(f"| {label} | {found['description']['draws']} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def _shown(measured: dict[str, Any], what: str, show: Any) -> str:
    """Return a table with a row for whatever was measured, and a column for each of its cells."""
    if not measured:
        return "Not measured yet.\n"
    kinds = list(next(iter(measured.values()))["cells"])
    lines = [f"| {what} | draws | {' | '.join(kinds)} |", "| --- " * (2 + len(kinds)) + "|"]
    for label, found in measured.items():
        cells = " | ".join(show(found["cells"][kind]) for kind in kinds)
        lines.append(f"| {label} | {found['description']['draws']} | {cells} |")
    return "\n".join(lines) + "\n"


def _beside(cell: dict[str, Any]) -> str:
    return _coverage(cell) + (f" ({cell['independent']:.0f})" if "independent" in cell else "")


def _rejected(cell: dict[str, Any]) -> str:
    if not cell.get("tested"):
        return ""
    _, high = binomial_band(0.05, cell["tested"], false_alarm=FALSE_ALARM)
    mark = "**" if cell["pretest"] > high else ""
    return f"{mark}{100.0 * cell['pretest']:.1f}{mark}"


def is_biased(cell: dict[str, Any]) -> bool:
    """Return whether the bias is beyond what chance explains."""
    return bool(abs(cell["bias"]) > STANDARD * cell["sd"] / cell["defined"] ** 0.5)


def misses(cell: dict[str, Any]) -> bool:
    """Return whether intervals cover less often than their level by more than chance explains."""
    low, _ = binomial_band(0.95, cell["defined"], false_alarm=FALSE_ALARM)
    return bool(cell["coverage"] < low)


def _bias(cell: dict[str, Any]) -> str:
    if not cell["defined"]:
        return "refused"
    mark = "**" if is_biased(cell) else ""
    return f"{mark}{cell['bias'] / cell['sd']:+.2f}{mark}"


def _coverage(cell: dict[str, Any]) -> str:
    if not cell["defined"]:
        return "refused"
    mark = "**" if misses(cell) else ""
    return f"{mark}{100.0 * cell['coverage']:.1f}{mark}"


def _provenance(measured: dict[str, Any]) -> str:
    lines = []
    for found in measured.values():
        line = f"Seed {found['description']['seed']}; {', '.join(f'{k} {v}' for k, v in found['versions'].items())}."
        if line not in lines:
            lines.append(line)
    return "\n".join(lines) + "\n"
