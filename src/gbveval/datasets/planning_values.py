"""Hides the table of published planning parameters: how a row is found, cited and turned into a prior."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files

from gbveval.core.errors import DesignError
from gbveval.design._require import real
from gbveval.design.effect_prior import EffectPrior
from gbveval.numerics.inference import normal_quantile
from gbveval.numerics.priors import Beta, LogNormal, Normal, QuantilePrior

SHARES = ("proportion", "icc_observed", "icc_latent_logistic", "icc_assumed")
RATIOS = ("risk_ratio", "rate_ratio", "odds_ratio")
DIFFERENCES = {"smd": "standardised_mean_difference", "risk_difference": "difference"}
NUMBERS = ("estimate", "lower", "upper", "se", "n", "clusters")


@dataclass(frozen=True, slots=True)
class PlanningValue:
    """A published number to plan with, with its interval and its source.

    Attributes
    ----------
    id : str
        What the table calls it, such as "BR05".
    kind : str
        "base_rate", "effect", "icc", "measurement", "retention" or "cost".
    topic, population, country, recall_or_followup : str
        What was measured, on whom, where, and over which time.
    measure : str
        The scale, such as "proportion", "risk_ratio" or "icc_latent_logistic".
    estimate, lower, upper, se, n, clusters : float or None
        The value with the sign of its source; 95 % limits, or a range where the note says so; what it was found in.
    source, doi : str
        Who found it.
    status : str
        "found" (read in the source or a named report of it), "replicated" (computed from its data) or "memory" (not
        read again: confirm it before use).
    note : str
        What else has to be known.
    own_sd : float or None
        A standard deviation that was set here (`with_sd`) and is not of the source.
    """

    id: str
    kind: str
    topic: str
    population: str
    country: str
    measure: str
    recall_or_followup: str
    estimate: float | None
    lower: float | None
    upper: float | None
    se: float | None
    n: float | None
    clusters: float | None
    source: str
    doi: str
    status: str
    note: str
    own_sd: float | None = None

    def cite(self) -> str:
        """Return the source, its identifier, and what to know before use."""
        doi = f", doi {self.doi}" if self.doi else ""
        confirm = "; from memory, confirm before use" if self.status == "memory" else ""
        note = f"; {self.note}" if self.note else ""
        own = f"; a spread of {self.own_sd:g} is set here" if self.own_sd is not None else ""
        return f"{self.id}: {self.source}{doi}{confirm}{note}{own}"

    def with_sd(self, sd: float) -> PlanningValue:
        """Return the value with another spread of its prior.

        It is needed where the source has neither interval nor standard error, and mostly wiser elsewhere: the interval
        of one study knows nothing of how much places differ.

        Parameters
        ----------
        sd : float
            Standard deviation of the prior; for a ratio that of its logarithm.
        """
        return replace(self, own_sd=real("sd", sd, low=0.0, high=math.inf))

    def prior(self) -> QuantilePrior | EffectPrior:
        """Return what the value says as a prior, for `assurance`.

        A share or an ICC becomes a beta with the estimate as its mean; a ratio a log-normal, and a difference a normal,
        both as `EffectPrior`. Its spread is what was set with `with_sd`, else that of the interval (95 % limits; a
        range is taken as such limits), else the standard error.

        Raises
        ------
        DesignError
            If there is no spread, or the value is of a kind that no plan has, such as a cost.
        """
        if self.measure not in (*SHARES, *RATIOS, *DIFFERENCES):
            raise DesignError(
                f"{self.id} is measured as {self.measure or 'nothing'}, which no number of a plan is: read it, and "
                "write the prior that you draw from it."
            )
        centre = self._centre()
        spread = self._spread()
        if self.measure in RATIOS:
            return EffectPrior(LogNormal(math.log(centre), spread), measure=self.measure)
        if self.measure in DIFFERENCES:
            return EffectPrior(Normal(centre, spread), measure=DIFFERENCES[self.measure])
        try:
            return Beta.from_mean(centre, spread)
        except ValueError as wrong:
            raise DesignError(f"{self.id}: {wrong}") from None

    def _centre(self) -> float:
        if self.estimate is not None:
            return self.estimate
        if self.lower is None or self.upper is None:
            raise DesignError(f"{self.id} has no estimate; read its source.")
        # Of a range without an estimate the middle, on the scale on which limits are even.
        if self.measure in RATIOS:
            return math.sqrt(self.lower * self.upper)
        return (self.lower + self.upper) / 2.0

    def _spread(self) -> float:
        if self.own_sd is not None:
            return self.own_sd
        if self.lower is not None and self.upper is not None:
            width = math.log(self.upper / self.lower) if self.measure in RATIOS else self.upper - self.lower
            return width / (-2.0 * float(normal_quantile(0.025)))
        if self.se is not None and self.measure not in RATIOS:
            return self.se
        raise DesignError(
            f"{self.id} has no interval, so it says nothing about how far it may be off: set it, .with_sd(...), "
            "and say in the protocol why. How much the values of like studies differ is a start."
        )


@lru_cache(maxsize=1)
def _table() -> dict[str, PlanningValue]:
    with files("gbveval.datasets").joinpath("planning_parameters.csv").open(encoding="utf-8") as stream:
        return {row["id"]: _value(row) for row in csv.DictReader(stream)}


def _value(row: dict[str, str]) -> PlanningValue:
    numbers = {name: float(row[name]) if row[name] else None for name in NUMBERS}
    return PlanningValue(**{**row, **numbers})  # type: ignore[arg-type]


def planning_value(id: str) -> PlanningValue:
    """Return one published planning parameter by its identifier.

    Parameters
    ----------
    id : str
        As in the table of planning parameters, such as "BR05".

    Raises
    ------
    DesignError
        If there is none; the nearest are named.

    Examples
    --------
    >>> found = planning_value("IC01")
    >>> found.estimate, found.measure
    (0.002, 'icc_observed')
    >>> found.prior().describe()
    'beta(9.07203, 4526.94)'
    """
    table = _table()
    if id in table:
        return table[id]
    near = get_close_matches(str(id).upper(), table, n=3, cutoff=0.5)
    hint = f" Did you mean {', '.join(f'{each} ({table[each].topic})' for each in near)}?" if near else ""
    raise DesignError(
        f"There is no planning value {id!r}.{hint} planning_values() lists all, planning_values(kind='icc') a kind."
    )


def planning_values(
    *, kind: str | None = None, topic: str | None = None, country: str | None = None
) -> tuple[PlanningValue, ...]:
    """Return published planning parameters: all, or those of a kind, with words in their topic, or of a country.

    Parameters
    ----------
    kind : str, optional
        "base_rate", "effect", "icc", "measurement", "retention" or "cost".
    topic : str, optional
        Words that the topic or the population contains, in any case.
    country : str, optional
        As the table has it.

    Raises
    ------
    DesignError
        If there is none; what there is, or the nearest, is named.

    Examples
    --------
    >>> [value.id for value in planning_values(kind="icc")]
    ['IC01', 'IC02', 'IC03', 'IC04']
    """
    found = tuple(_table().values())
    for name, asked in (("kind", kind), ("country", country)):
        if asked is None:
            continue
        known = list(dict.fromkeys(getattr(value, name) for value in _table().values()))
        if asked not in known:
            near = get_close_matches(str(asked), known, n=3, cutoff=0.5) or known
            raise DesignError(f"No planning value has the {name} {asked!r}. Nearest: {', '.join(near)}.")
        found = tuple(value for value in found if getattr(value, name) == asked)
    if topic is not None:
        sought = str(topic).lower()
        found = tuple(value for value in found if sought in f"{value.topic} {value.population}".lower())
    if not found:
        raise DesignError("No planning value is all of that; ask for less, and read the topics: planning_values().")
    return found
