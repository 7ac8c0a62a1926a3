"""Which curve a panel's doses can carry: its basis, the doses it is shown at, and the refusals on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import IdentificationError
from gbveval.data._frame import plural
from gbveval.numerics.dose_basis import DoseBasis, SaturatedBasis, SplineBasis, dose_labels, quantile_knots, round_grid

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# Beyond these shares of a cohort's doses a curve hangs on a few units; a default grid does not go there.
TAILS = (0.05, 0.95)
# More doses than this are a continuum, and one level for each is noise.
MOST_DOSES = 20


@dataclass(frozen=True, eq=False, slots=True)
class DoseCurve:
    """A basis, and the doses at which its levels and slopes are shown.

    Attributes
    ----------
    basis : DoseBasis
    grid : ndarray
        Ascending.
    """

    basis: DoseBasis
    grid: FloatArray = field(repr=False)

    def labels(self) -> dict[float, str]:
        """Return how doses are called: those shown, and all that have a level of their own."""
        doses = self.basis.doses if isinstance(self.basis, SaturatedBasis) else self.grid
        return dict(zip(doses.tolist(), dose_labels(doses), strict=True))


def spline_curve(cohorts: Sequence[FloatArray], degree: int, knots: int, grid: tuple[float, ...]) -> DoseCurve:
    """Return B-splines over the doses of all cohorts; raise where a cohort's doses cannot carry them.

    Parameters
    ----------
    cohorts : sequence of ndarray
        Doses of the units of every treated cohort.
    degree, knots : int
        Degree, and interior knots at quantiles of the doses.
    grid : tuple of float
        Doses to show; empty for round numbers.
    """
    size = degree + 1 + knots
    fewest = min(np.unique(doses).size for doses in cohorts)
    if fewest <= size:
        raise IdentificationError(
            f"A cohort has {plural(fewest, 'different dose')}; a curve of {size} coefficients needs more than {size}. "
            "Use a lower degree, fewer knots, or curve='saturated' where there are few doses; or leave the cohort out "
            "and say so."
        )
    places = quantile_knots(np.concatenate(list(cohorts)), knots)
    if np.unique(places).size < places.size:
        raise IdentificationError(
            f"Doses pile up at one amount, so that {plural(knots, 'knot')} at quantiles of the doses fall together. "
            "Use fewer knots, or curve='saturated' where there are few doses."
        )
    return DoseCurve(SplineBasis(places, degree), _asked(cohorts, grid) if grid else _default(cohorts))


def _default(cohorts: Sequence[FloatArray]) -> FloatArray:
    """Return round doses between those that most units of every cohort lie between."""
    low, high = (np.array([np.quantile(doses, tail) for doses in cohorts]) for tail in TAILS)
    if low.max() >= high.min():
        raise IdentificationError(
            "The cohorts share no range of doses, so that no dose can be compared with another over the same mix of "
            "cohorts. Estimate cohorts apart, or leave out those whose doses differ and say so."
        )
    return round_grid(float(low.max()), float(high.min()))


def _asked(cohorts: Sequence[FloatArray], grid: tuple[float, ...]) -> FloatArray:
    """Return the doses asked for; raise where some cohort has none so low or so high."""
    doses = np.sort(np.array(grid, dtype=np.float64))
    low, high = max(float(each.min()) for each in cohorts), min(float(each.max()) for each in cohorts)
    beyond = int(((doses < low) | (doses > high)).sum())
    if beyond:
        usual = dose_labels(_default(cohorts))
        raise IdentificationError(
            f"{beyond} of {plural(doses.size, 'dose')} asked for lie beyond the doses that every cohort got; a curve "
            f"is not drawn past its data. Doses from {usual[0]} to {usual[-1]} are well inside."
        )
    return doses


def saturated_curve(
    cohorts: Sequence[FloatArray], clusters: Sequence[IntArray] | None, grid: tuple[float, ...]
) -> DoseCurve:
    """Return one level for each dose; raise where some cohort has fewer than two independent units at one.

    Parameters
    ----------
    cohorts : sequence of ndarray
        Doses of the units of every treated cohort.
    clusters : sequence of ndarray of int, or None
        Their clusters; None where units are independent.
    grid : tuple of float
        Doses to show, of those given; empty for all.
    """
    doses = np.unique(np.concatenate(list(cohorts)))
    if doses.size > MOST_DOSES:
        raise IdentificationError(
            f"{doses.size:,} different doses were given; one level for each is for {MOST_DOSES} or fewer. Use "
            "curve='spline', or group the doses beforehand."
        )
    basis = SaturatedBasis(doses)
    counts = independent_by_piece(basis, doses.size, cohorts, clusters)
    thin = int((counts < 2).sum())
    if thin:
        raise IdentificationError(
            f"Fewer than two {'units' if clusters is None else 'clusters'} at a dose in {thin} of "
            f"{plural(counts.size, 'pair')} of cohort and dose; every "
            "cohort needs two at every dose, so that doses are compared over the same mix of cohorts. Group doses, use "
            "curve='spline', or leave a cohort or dose out and say so."
        )
    asked = doses if not grid else np.sort(np.array(grid, dtype=np.float64))
    unknown = int((~np.isin(asked, doses)).sum())
    if unknown:
        raise IdentificationError(
            f"{unknown} of {plural(asked.size, 'dose')} asked for were not given to anybody, and curve='saturated' has "
            "no level between doses. Ask for doses that were given, or use curve='spline'."
        )
    return DoseCurve(basis, asked)


def independent_by_piece(
    basis: DoseBasis, pieces: int, cohorts: Sequence[FloatArray], clusters: Sequence[IntArray] | None
) -> IntArray:
    """Return how many units (clusters, where there are some) each cohort has in each piece, shape (cohorts, pieces)."""
    counts = []
    for i, doses in enumerate(cohorts):
        place = basis.interval(doses)
        if clusters is not None:
            # A cluster counts once in a piece, however many of its units are there.
            place = np.unique(np.column_stack([place, clusters[i]]), axis=0)[:, 0]
        counts.append(np.bincount(place, minlength=pieces))
    return np.array(counts, dtype=np.intp)
