"""Hides how respondents become sums by intersectional stratum, which is all that MAIHDA's likelihood needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gbveval.data._frame import Labels
from gbveval.data.survey import Survey
from gbveval.factors._domains import Domains, crossed_domains
from gbveval.numerics.random_strata import Strata

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class PeopleInStrata:
    """Respondents of a survey in intersectional strata.

    Attributes
    ----------
    data : Survey
        Where they are from.
    domains : Domains
        The strata.
    sums : Strata
        With main effects of what defines the strata.
    names : tuple of str
        Of the main effects, after the intercept.
    variation : float
        Sum of squares of the outcome about its mean.
    """

    data: Survey
    domains: Domains
    sums: Strata
    names: tuple[str, ...]
    variation: float

    @property
    def null(self) -> Strata:
        """The same without main effects."""
        return replace(self.sums, X=self.sums.X[:, :1])


def people_in_strata(data: Survey, labels: Sequence[Labels], columns: tuple[str, ...], family: str) -> PeopleInStrata:
    """Return the sums of respondents whose outcome and strata are known; strata of nobody are left out."""
    domains, place = crossed_domains(data.n, labels, columns)
    usable = (domains.codes >= 0) & data.observed(0)
    code, y = domains.codes[usable], data.outcomes[usable, 0]
    count = len(domains.labels)
    n = np.bincount(code, minlength=count).astype(float)
    total = np.bincount(code, y, count).astype(float)
    seen = n > 0
    centred = y - (total / np.where(seen, n, 1.0))[code]
    if not seen.all():
        kept = np.flatnonzero(seen)
        renumbered = np.full(count, -1, dtype=np.intp)
        renumbered[kept] = np.arange(kept.size)
        codes = np.where(domains.codes >= 0, renumbered[domains.codes], -1)
        domains = Domains(domains.name, tuple(domains.labels[i] for i in kept), codes)
        n, total, place = n[kept], total[kept], place[kept]
    X, names = _main_effects(labels, columns, place)
    sums = Strata(n, total, X, family, float(centred @ centred))
    middle = y.mean() if y.size else 0.0
    return PeopleInStrata(data, domains, sums, names, float(((y - middle) ** 2).sum()))


def _main_effects(
    labels: Sequence[Labels], columns: tuple[str, ...], place: NDArray[np.intp]
) -> tuple[FloatArray, tuple[str, ...]]:
    """Return intercept and indicators of every category but the first that occurs, shape (strata, p)."""
    parts, names = [np.ones(len(place))], []
    for j, (column, found) in enumerate(zip(columns, labels, strict=True)):
        occurring = np.unique(place[:, j])
        for code in occurring[1:]:
            parts.append((place[:, j] == code).astype(float))
            names.append(f"{column}[{found.levels[code]}]")
    return np.column_stack(parts), tuple(names)
