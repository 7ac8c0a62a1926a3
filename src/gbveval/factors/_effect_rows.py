"""Hides how effects by intersectional stratum become rows: average, spread, each stratum's effect and departure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.core.estimand import Estimand
from gbveval.core.method import Cell
from gbveval.core.term import Term
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import events_of
from gbveval.factors._effects_by_stratum import ArmEffects, TrialStrata
from gbveval.factors._row_blocks import RowBlocks, of_draws, of_mixtures
from gbveval.numerics.mixtures import NormalMixtures

FloatArray = NDArray[np.float64]
AVERAGE = "average over strata"
SPREAD, AFTER, SHARE = "sd between strata", "sd after main effects", "share of main effects"


def effect_rows(data: Trial, strata: TrialStrata, contrast: str, found: ArmEffects) -> RowBlocks:
    """Return the rows of one arm and outcome."""
    average = found.levels.levels.weighted_sum(found.shares)
    draws = found.draws
    spread = np.column_stack(
        [np.sqrt(draws.main + draws.rest), np.sqrt(draws.rest), draws.main / (draws.main + draws.rest)]
    )
    strata_rows = _stratum_rows(data, strata, contrast, found, average)
    count = len(found.levels.levels)
    return (
        of_mixtures([_average(data, strata, contrast, found, average)], average)
        + of_draws(_spread_rows(data, found, spread), spread)
        + of_mixtures(strata_rows[:count], found.levels.levels)
        + of_mixtures(strata_rows[count:], found.levels.departures)
    )


def _term(data: Trial, found: ArmEffects, what: str) -> str:
    return f"{data.arms[found.arm]} vs {data.arms[0]}, {what}"


def _scale(contrast: str) -> str:
    """Odds ratios hold between people of one stratum; differences and rates are what they are over all."""
    return "conditional" if contrast == "odds_ratio" else "marginal"


def _average(data: Trial, strata: TrialStrata, contrast: str, found: ArmEffects, average: NormalMixtures) -> Term:
    return Term(
        term=_term(data, found, AVERAGE),
        estimand=Estimand("ITT", contrast, "participant_average", _scale(contrast)),
        outcome=data.outcome_names[found.outcome],
        value=float(average.mean[0]),
        std_error=float(average.sd[0]),
        n_units=int(found.used.sum()),
        n_clusters=_clusters(data, found.used),
        # With the effects of all strata but one, the average tells that one's.
        support=tuple(cell for cells in _support(data, strata, found) for cell in cells),
    )


def _spread_rows(data: Trial, found: ArmEffects, spread: FloatArray) -> list[Term]:
    kinds = (
        (SPREAD, Estimand("between_subgroup_sd", "standard_deviation", "subgroup"), None),
        (AFTER, Estimand("between_subgroup_sd", "standard_deviation", "subgroup"), float(np.sqrt(found.fit.variance))),
        (SHARE, Estimand("main_effects_share", "share", "subgroup"), None),
    )
    return [
        Term(
            term=_term(data, found, what),
            estimand=estimand,
            outcome=data.outcome_names[found.outcome],
            value=float(values.mean()),
            std_error=float(values.std(ddof=1)),
            n_units=int(found.used.sum()),
            n_clusters=_clusters(data, found.used),
            support=(_everybody(data, found),),
            extra=(("maximum_likelihood", likeliest),),
        )
        for (what, estimand, likeliest), values in zip(kinds, spread.T, strict=True)
    ]


def _stratum_rows(
    data: Trial, strata: TrialStrata, contrast: str, found: ArmEffects, average: NormalMixtures
) -> list[Term]:
    """Return every stratum's effect, and then its departure from the sum of main effects."""
    support = _support(data, strata, found)
    code, labels = strata.domains.codes, strata.domains.labels
    clusters = [_clusters(data, found.used & (code == j)) for j in range(len(labels))]
    levels, departures = found.levels.levels, found.levels.departures
    # On the other side of zero than the average: a programme that helps most and harms some.
    opposite = levels.cdf(np.zeros(len(labels))) if average.mean[0] > 0 else levels.sf(np.zeros(len(labels)))
    scale = _scale(contrast)
    # Departures add to almost zero over each category: all but one tell the last, and what its few people said.
    together = [tuple(cell for cells in support for cell in cells)] * len(labels)
    kinds = (
        (levels, Estimand("ITT", contrast, "subgroup", scale), "", opposite, support),
        (departures, Estimand("interaction", contrast, "subgroup", scale), "departure of ", None, together),
    )
    return [
        Term(
            term=_term(data, found, f"{prefix}{label}"),
            estimand=estimand,
            outcome=data.outcome_names[found.outcome],
            value=float(mean),
            std_error=float(sd),
            n_units=sum(cell.n for cell in support[j]),
            n_clusters=clusters[j],
            support=rests_on[j],
            extra=(
                ("subgroup", label),
                ("share", float(found.shares[j])),
                ("pooling_factor", float(found.levels.pooling[j])),
                ("probability_opposite", None if other is None else float(other[j])),
            ),
        )
        for part, estimand, prefix, other, rests_on in kinds
        for j, (label, mean, sd) in enumerate(zip(labels, part.mean, part.sd, strict=True))
    ]


def _everybody(data: Trial, found: ArmEffects) -> Cell:
    """Return the counts of both arms together."""
    name = data.outcome_names[found.outcome]
    happened = events_of(data.outcomes[:, found.outcome])
    events = None if happened is None else int(happened[found.used].sum())
    return Cell(f"{data.arms[found.arm]} and {data.arms[0]}", int(found.used.sum()), events, name)


def _clusters(data: Trial, member: NDArray[np.bool_]) -> int | None:
    return None if data.cluster is None else int(np.unique(data.cluster.codes[member]).size)


def _support(data: Trial, strata: TrialStrata, found: ArmEffects) -> list[tuple[Cell, ...]]:
    """Return for each stratum the counts of the two arms."""
    happened = events_of(data.outcomes[:, found.outcome])
    table = f"{data.outcome_names[found.outcome]} by arm and {strata.domains.name}"
    support = []
    for j, label in enumerate(strata.domains.labels):
        cells = []
        for arm in (0, found.arm):
            member = found.used & (data.arm == arm) & (strata.domains.codes == j)
            events = None if happened is None else int(happened[member].sum())
            cells.append(Cell(f"{data.arms[arm]}, {label}", int(member.sum()), events, table))
        support.append(tuple(cells))
    return support
