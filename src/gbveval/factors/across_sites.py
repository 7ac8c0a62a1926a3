"""How much the associations of a table of factors differ between the sites of a survey."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gbveval.core.errors import DesignError, GbvevalError
from gbveval.core.estimates import Estimates
from gbveval.core.method import IN_SITE, NO_ANSWER, Cell
from gbveval.core.table import Table
from gbveval.core.term import Term, inverse_link
from gbveval.data._frame import Labels, plural
from gbveval.data.sites import SiteEffects
from gbveval.data.survey import Survey
from gbveval.factors._columns import Columns
from gbveval.factors.risk_factors import RiskFactors
from gbveval.multisite.normal_hierarchy import SPREAD, NormalHierarchy
from gbveval.multisite.random_effects import RandomEffects

COLUMNS = (
    "outcome",
    "term",
    "contrast",
    "sites",
    "estimate",
    "conf_low",
    "conf_high",
    "between_site_sd",
    "sd_low",
    "sd_high",
    "new_site_low",
    "new_site_high",
    "left_out",
)
# Below this a variance between sites is a guess.
FEWEST = 3


def factors_across_sites(
    table: RiskFactors,
    survey: Survey,
    site: str,
    *,
    pooling: RandomEffects | NormalHierarchy | None = None,
) -> Table:
    """Estimate a table of factors in each site and pool each row: average, spread between sites, a site to come.

    Parameters
    ----------
    table : RiskFactors
        Factors and what they are adjusted for.
    survey : Survey
        All sites together.
    site : str
        Column of sites, such as a country.
    pooling : RandomEffects or NormalHierarchy, optional
        How estimates are pooled; by default `RandomEffects()`.

    Returns
    -------
    Table
        A row for each row of the table: sites that have it, average with interval, between-site sd on the link scale
        (log for ratios) with its interval, prediction interval of a new site, and sites left out because they have no
        estimate (counted). Rows with fewer than three sites are null.

    Notes
    -----
    A site is a domain of the survey: the whole design stays, and a site's degrees of freedom are those of its own
    primary units. Sites are taken to be independent, so no primary unit may lie in two.

    **Use it** before one ratio is reported for all sites: an average hides that a factor protects in one and not in
    another. **Do not use** the average where the prediction interval says that sites differ in direction.

    References
    ----------
    Higgins, Thompson and Spiegelhalter (2009), Journal of the Royal Statistical Society A 172.

    Examples
    --------
    >>> from gbveval.datasets.pilot import PilotSurvey
    >>> survey = PilotSurvey().draw(np.random.default_rng(1))
    >>> table = RiskFactors(["disability"], behaviour="experience", measures=["ratio"])
    >>> pooled = factors_across_sites(table, survey, "region")
    >>> pooled.column("term")
    ('disability: yes vs no (crude ratio)',)
    """
    labels = survey.labels(site)
    _check(survey, labels, site)
    found: dict[str, Estimates] = {}
    refused: dict[str, str] = {}
    columns = Columns(survey)
    for code, name in enumerate(labels.levels):
        try:
            found[name] = table.estimate_columns(columns.domain(labels.codes == code))
        except GbvevalError as error:
            refused[name] = str(error)
    if len(found) < FEWEST:
        raise DesignError(
            f"Only {plural(len(found), 'site')} of {labels.count} have a table; {FEWEST} are needed to say how much "
            f"they differ. The first reason: {next(iter(refused.values()))}"
        )
    keys = dict.fromkeys((row.outcome, row.term) for result in found.values() for row in result.terms)
    rows = [_pool(outcome, term, found, labels.count, pooling or RandomEffects()) for outcome, term in keys]
    notes = [
        f"Sites are the categories of {site}; the between-site sd is on the log scale for ratios. These are "
        "associations.",
    ]
    if refused:
        # Why a table is refused counts the site's people, which is not for a note that leaves with the table.
        notes.append(
            f"Left out of every row: {plural(len(refused), 'site')} of {labels.count}, whose table is refused (a "
            "factor with one category, or too few primary units); estimate those alone to see why."
        )
    if (labels.codes < 0).any():
        notes.append(f"Respondents without {site} are in no site.")
    return Table(
        f"Associations across {site}",
        COLUMNS,
        tuple(row.values for row in rows),
        tuple(notes),
        tuple(row.support for row in rows),
    )


def _check(survey: Survey, labels: Labels, site: str) -> None:
    if site in survey.outcome_names:
        raise DesignError(f"Column {site!r} is an outcome of the survey; give the column of sites.")
    if labels.count < FEWEST:
        raise DesignError(
            f"Column {site!r} has {plural(labels.count, 'site')}; {FEWEST} are needed to say how much they differ."
        )
    if survey.psu is not None:
        pairs = np.unique(np.column_stack([survey.psu.codes, labels.codes])[labels.codes >= 0], axis=0)
        shared = pairs.shape[0] - np.unique(pairs[:, 0]).size
        if shared:
            raise DesignError(
                f"Some primary units lie in more than one {site} ({plural(shared, 'time')}), so that sites are not "
                "independent. Use a column that primary units do not cross."
            )


@dataclass(frozen=True, slots=True)
class _Pooled:
    values: tuple[Any, ...]
    support: tuple[Cell, ...]


def _pool(
    outcome: str, term: str, found: dict[str, Estimates], n_sites: int, pooling: RandomEffects | NormalHierarchy
) -> _Pooled:
    """Return the pooled row of one term, null where fewer than three sites have it."""
    rows: dict[str, Term] = {}
    for number, (name, result) in enumerate(found.items(), 1):
        here = [row for row in result.terms if (row.outcome, row.term) == (outcome, term)]
        if here and here[0].value is not None and here[0].std_error is not None:
            # Groups of different sites are different people: their counts are tables of their own. None of these counts
            # is printed, so nobody can take them from a total and find those without an answer.
            cells = (
                replace(cell, table=f"{cell.table}{IN_SITE}{number:02d}")
                for cell in here[0].support
                if cell.label != NO_ANSWER
            )
            rows[name] = replace(here[0], support=tuple(cells))
    everywhere = (row for result in found.values() for row in result.terms)
    first = next(row for row in everywhere if (row.outcome, row.term) == (outcome, term))
    head = (outcome, term, first.estimand.contrast, len(rows))
    support = tuple(cell for row in rows.values() for cell in row.support)
    if len(rows) < FEWEST:
        return _Pooled((*head, *[None] * 8, n_sites - len(rows)), support)
    sites = SiteEffects.from_values(
        np.array([row.value for row in rows.values()]),
        np.array([row.std_error for row in rows.values()]),
        names=tuple(rows),
        contrast=first.estimand.contrast,
        outcome=outcome,
        support=[row.support for row in rows.values()],
    )
    answer = pooling.estimate(sites)
    level = getattr(pooling, "level", 0.95)
    low, high = answer.intervals(level)
    at = {name: answer.index(name) for name in ("average effect", SPREAD, "effect in a new site")}
    link = first.estimand.link

    def shown(value: float | None) -> float | None:
        return None if value is None or not np.isfinite(value) else float(inverse_link(link, value))

    average, spread, new = at["average effect"], at[SPREAD], at["effect in a new site"]
    values = (shown(answer.terms[average].value), shown(low[average]), shown(high[average]))
    sd = (answer.terms[spread].value, *(float(x) if np.isfinite(x) else None for x in (low[spread], high[spread])))
    return _Pooled((*head, *values, *sd, shown(low[new]), shown(high[new]), n_sites - len(rows)), support)
