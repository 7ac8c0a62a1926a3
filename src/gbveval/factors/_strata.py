"""Hides how respondents become sums by intersectional stratum, which is all that MAIHDA's likelihood needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.method import Check
from gbveval.data._frame import Labels
from gbveval.data.survey import Survey
from gbveval.factors._domains import Domains, crossed_domains
from gbveval.numerics.groups import group_sizes, group_sums
from gbveval.numerics.random_strata import Strata

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
# With fewer strata nothing is learned of how much they differ.
FEWEST = 6
# See `SpreadNodes.told`.
LEAST_TOLD = 8.0
SPARSE = (
    "there are few events for so many main effects, and the variance between strata is likely to be overestimated. Use "
    "fewer columns, or merge categories."
)
# Above this, errors are a fifth too small.
MOST_DISPERSION = 1.5


def overdispersed(y: FloatArray, cell: NDArray[np.intp], time: FloatArray | None = None) -> bool:
    """Whether counts vary within cells more than Poisson counts would: by half, and by more than chance.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Counts.
    cell : ndarray of int, shape (n,)
        Whose rate is one.
    time : ndarray, shape (n,), optional
        At risk; one by default.

    Notes
    -----
    Pearson's sum of (y - m)^2 / m over its degrees of freedom. Of Poisson counts it is one, and one person's part has
    a variance of 2 + 1 / m.
    """
    time = np.ones_like(y) if time is None else time
    count = int(cell.max()) + 1
    total, whole = group_sums(cell, y, count), group_sums(cell, time, count)
    mean = (total / np.where(whole > 0, whole, 1.0))[cell] * time
    seen = mean > 0
    df = float(seen.sum()) - float((total > 0).sum())
    if df < 1.0:
        return False
    found = float(np.sum((y[seen] - mean[seen]) ** 2 / mean[seen])) / df
    chance = np.sqrt(float(np.sum(2.0 + 1.0 / mean[seen]))) / df
    return bool(found > max(MOST_DISPERSION, 1.0 + 4.0 * chance))


def counts_check(name: str) -> Check:
    """Return the warning that counts vary more than the model says."""
    return Check(
        name,
        "warn",
        "counts vary between people far more than Poisson counts do, as those of incidents often do: intervals are too "
        "narrow, and strata seem to differ more than they do. Ask for differences of means, or whether there was any.",
    )


def check_quadrature(points: int) -> None:
    """Raise DesignError unless points of quadrature are a number that makes sense."""
    if not isinstance(points, int) or not 1 <= points <= 60:
        raise DesignError(f"quadrature is a whole number from 1 to 60; it is {points!r}.")


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
        With main effects of what defines the strata, and of sites if there are several.
    names : tuple of str
        Of the main effects, after the intercept.
    used : ndarray of bool, shape (n,)
        Whose outcome, stratum and site are known.
    """

    data: Survey
    domains: Domains
    sums: Strata
    names: tuple[str, ...]
    used: BoolArray

    @property
    def null(self) -> Strata:
        """The same without main effects."""
        kept = np.ones(self.sums.X.shape[1], dtype=bool)
        kept[self.sums.main] = False
        return replace(self.sums, X=self.sums.X[:, kept], level=self.sums.levels[:, kept])

    @property
    def n(self) -> FloatArray:
        """People of each stratum."""
        return self.sums.by_stratum(self.sums.n)

    @property
    def total(self) -> FloatArray:
        """Sum of the outcomes of each stratum."""
        return self.sums.by_stratum(self.sums.total)


def people_in_strata(
    data: Survey, labels: Sequence[Labels], columns: tuple[str, ...], family: str, sites: Labels | None = None
) -> PeopleInStrata:
    """Return the sums of respondents whose outcome, stratum and site are known; strata of nobody are left out."""
    domains, place = crossed_domains(data.n, labels, columns)
    used = (domains.codes >= 0) & data.observed(0)
    if sites is not None:
        used &= sites.codes >= 0
    kept, code = np.unique(domains.codes[used], return_inverse=True)
    renumbered = np.full(len(domains.labels) + 1, -1, dtype=np.intp)
    renumbered[kept] = np.arange(kept.size)
    labels_kept = tuple(domains.labels[i] for i in kept)
    domains, place = Domains(domains.name, labels_kept, renumbered[domains.codes]), place[kept]
    level, names = main_effects(labels, columns, place)
    site, count = (np.zeros(code.size, dtype=np.intp), 1) if sites is None else _occurring(sites.codes[used])
    cell, where = np.unique(code * count + site, return_inverse=True)
    y = data.outcomes[used, 0]
    n, total = group_sizes(where, len(cell)), group_sums(where, y, len(cell))
    centred = y - (total / n)[where]
    stratum = (cell // count).astype(np.intp)
    contrasts = np.vstack([np.eye(count - 1), -np.ones(count - 1)])
    sums = Strata(
        n=n,
        total=total,
        X=np.column_stack([level[stratum], contrasts[cell % count]]),
        family=family,
        within=float(centred @ centred),
        within_df=float(n.sum() - len(n)),
        stratum=stratum,
        level=np.column_stack([level, np.zeros((len(level), count - 1))]),
        sites=count,
    )
    return PeopleInStrata(data, domains, sums, names, used)


def _occurring(codes: NDArray[np.intp]) -> tuple[NDArray[np.intp], int]:
    kept, inverse = np.unique(codes, return_inverse=True)
    return inverse, len(kept)


def main_effects(
    labels: Sequence[Labels], columns: tuple[str, ...], place: NDArray[np.intp]
) -> tuple[FloatArray, tuple[str, ...]]:
    """Return intercept and indicators of every category but the first that occurs, shape (strata, p).

    Parameters
    ----------
    labels : sequence of Labels
        What defines the strata.
    columns : tuple of str
        Their names.
    place : ndarray of int, shape (strata, labels)
        Category of each stratum in each of them.
    """
    parts, names = [np.ones(len(place))], []
    for j, (column, found) in enumerate(zip(columns, labels, strict=True)):
        occurring = np.unique(place[:, j])
        for code in occurring[1:]:
            parts.append((place[:, j] == code).astype(float))
            names.append(f"{column}[{found.levels[code]}]")
    return np.column_stack(parts), tuple(names)
