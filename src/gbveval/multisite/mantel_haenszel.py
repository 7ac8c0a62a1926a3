"""`MantelHaenszel`: one effect common to all sites, from their counts, zero cells as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.tables import SiteTables
from gbveval.multisite._table_rows import effect_row, everybody, require_events, require_tables
from gbveval.numerics.common_odds import (
    COMMON_MEASURES,
    CommonEffect,
    cochran_mantel_haenszel,
    mantel_haenszel,
    mantel_haenszel_rate_ratio,
    peto,
    shared_odds,
)
from gbveval.numerics.inference import f_upper
from gbveval.numerics.table_effects import rate_effects, risk_effects

COMMON, NO_EFFECT, SHARED = "common effect", "no effect in any site", "one odds ratio in all sites"
MEASURES = (*COMMON_MEASURES, "rate_ratio", "peto_odds_ratio")


@register("mantel_haenszel")
@dataclass(frozen=True, slots=True)
class MantelHaenszel:
    """One effect common to all sites, from events by site and arm, with no constant added to zero cells.

    Parameters
    ----------
    measure : str
        "risk_ratio" (default), "odds_ratio", "risk_difference", "rate_ratio" (events over time at risk), or
        "peto_odds_ratio" (one-step; for rare events, arms of similar size and small effects).

    Raises
    ------
    DesignError
        If the measure is not known, or does not fit the tables.

    Notes
    -----
    **Identifies** one effect, if it is the same in every site; otherwise a weighted average whose weights no population
    has. **Valid when** events are rare or sites small, where inverse-variance weights fail; people are independent
    within sites. **Do not use when** effects differ (read the test in the rows; `OneStage` lets them), or sites
    are clustered (schools, villages): then estimate in each site and use `RandomEffects`.

    Sites without events in either arm do not enter a ratio; they enter a risk difference. Peto's odds ratio is biased
    towards one for large effects and for arms of unequal size. For odds ratios the rows include the
    Cochran-Mantel-Haenszel test (continuity-corrected) and Tarone's test that the odds ratio is the same in all sites.

    References
    ----------
    Mantel and Haenszel (1959), Journal of the National Cancer Institute 22. Robins, Breslow and Greenland (1986),
    Biometrics 42. Greenland and Robins (1985), Biometrics 41. Sato (1989), Biometrics 45. Yusuf and others (1985),
    Progress in Cardiovascular Diseases 27. Tarone (1985), Biometrika 72.

    Examples
    --------
    >>> frame = {"site": ["a", "a", "b", "b"], "arm": ["usual", "new"] * 2, "events": [10, 5, 0, 0], "n": [100] * 4}
    >>> tables = SiteTables(frame, site="site", arm="arm", control="usual", events="events", n="n")
    >>> float(MantelHaenszel().estimate(tables).tidy()["estimate"].iloc[0].round(6))
    0.5
    """

    measure: str = "risk_ratio"
    name: ClassVar[str] = "mantel_haenszel"

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise DesignError(f"measure must be one of {', '.join(MEASURES)}, not {self.measure!r}.")

    def estimate(self, data: SiteTables, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the common effect, and tests that it is there and the same everywhere.

        Parameters
        ----------
        data : SiteTables
            Events by site and arm.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the tables hold time at risk and the measure needs people, or the other way round.
        IdentificationError
            If no site has an event in an arm whose ratio is asked for.
        """
        require_tables(data, "MantelHaenszel")
        if (self.measure == "rate_ratio") != data.has_exposure:
            raise DesignError(
                f"{self.measure} does not fit these tables: rate_ratio is for time at risk (exposure), the others for "
                "people (n)."
            )
        # One step of Peto's is defined when an arm has no events.
        require_events(data, ratio=self.measure not in ("risk_difference", "peto_odds_ratio"))
        found = self._common(data)
        q, df = self._scatter(data, found.estimate)
        contrast = "odds_ratio" if self.measure == "peto_odds_ratio" else self.measure
        extra = (("cochran_q", q), ("q_df", float(df)), ("q_p_value", f_upper(q / df, df, np.inf) if df > 0 else None))
        rows = [
            effect_row(
                data,
                COMMON,
                "average_effect",
                contrast,
                value=found.estimate,
                std_error=float(np.sqrt(found.variance)),
                extra=extra,
            )
        ]
        if self.measure == "odds_ratio":
            rows += _tests(data, found.estimate)
        covariance = np.full((len(rows), len(rows)), np.nan)
        if rows[0].std_error is not None:
            covariance[0, 0] = found.variance
        return Estimates(
            estimator=self.name,
            terms=tuple(rows),
            covariance=covariance,
            method=self._words(data),
            checks=_checks(data, q, df),
            provenance=Provenance(data.digest, tuple(options_of(self).items()), None, versions()),
        )

    def _common(self, data: SiteTables) -> CommonEffect:
        if data.has_exposure:
            return mantel_haenszel_rate_ratio(data.events, data.total)
        if self.measure == "peto_odds_ratio":
            return peto(data.events, data.total)
        return mantel_haenszel(data.events, data.total, measure=self.measure)

    def _scatter(self, data: SiteTables, common: float) -> tuple[float, int]:
        """Return Cochran's Q about the common effect; a half goes to zero cells, and double zeros are left out."""
        happened = data.events.sum(axis=1) > 0
        if data.has_exposure:
            found = rate_effects(data.events[happened], data.total[happened])
        else:
            happened &= (data.total - data.events).sum(axis=1) > 0
            found = risk_effects(data.events[happened], data.total[happened], measure=self.measure)
        good = ~np.isnan(found.estimate)
        q = float(((found.estimate[good] - common) ** 2 / found.variance[good]).sum())
        return q, int(good.sum()) - 1

    def _words(self, data: SiteTables) -> Method:
        one_step = self.measure == "peto_odds_ratio"
        return Method(
            sample=f"{data.n} sites, events by arm; sites without events in both arms do not enter a ratio",
            std_error="hypergeometric variance" if one_step else "for sparse tables (Robins, Breslow and Greenland)",
            small_sample="none; no constant is added to zero cells",
            reference="normal",
            inference_for="these sites, if the effect is the same in all",
            assumptions=("people are independent within sites", "the effect is the same in every site"),
            source="Yusuf and others 1985" if one_step else "Mantel and Haenszel 1959; Greenland and Robins 1985",
        )


def _tests(data: SiteTables, common: float) -> list[Term]:
    """Return the tests of no effect in any site, and of the same odds ratio in all."""
    statistic, p_value = cochran_mantel_haenszel(data.events, data.total)
    same = shared_odds(data.events, data.total, common) if np.isfinite(common) else None
    rows = [_test(data, NO_EFFECT, statistic, 1, p_value, ())]
    if same is not None:
        rows.append(_test(data, SHARED, same.tarone, same.df, same.p_value, (("breslow_day", same.breslow_day),)))
    return rows


def _test(
    data: SiteTables, label: str, statistic: float, df: int, p_value: float, extra: tuple[tuple[str, float], ...]
) -> Term:
    defined = bool(np.isfinite(p_value))
    return Term(
        term=label,
        estimand=Estimand("average_effect", "none", "sites"),
        outcome=data.outcome,
        value=None,
        std_error=None,
        kind="test",
        statistic=statistic if defined else None,
        df=float(df),
        p_value=p_value if defined else None,
        reason="" if defined else "too few sites have events for this test",
        support=everybody(data),
        extra=extra,
    )


def _checks(data: SiteTables, q: float, df: int) -> tuple[Check, ...]:
    found = []
    silent = int((data.events.sum(axis=1) == 0).sum())
    if silent:
        text = f"{silent} of {data.n} sites have no event in either arm; they do not enter a ratio."
        found.append(Check("sites without events", "info", text, public="Some sites have no event in either arm."))
    if df > 0 and f_upper(q / df, df, np.inf) < 0.1:
        text = "effects differ between sites more than chance gives: a common effect is nobody's. Use OneStage."
        found.append(Check("heterogeneity", "warn", text))
    return tuple(found)
