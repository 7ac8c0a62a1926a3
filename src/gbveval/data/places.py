"""`Places`: where units are, and up to what distance places share shocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.data._frame import Labels, Reader, plural
from gbveval.numerics.spatial import KERNELS, Neighbourhood

FloatArray = NDArray[np.float64]
LIMITS = {"latitude": 90.0, "longitude": 180.0}


@dataclass(frozen=True, slots=True)
class Places:
    """Columns that say where units are, and up to what distance their outcomes may be related: the role `place`.

    Parameters
    ----------
    latitude, longitude : str
        Names of columns, in degrees: north of the equator and east of Greenwich above zero, -90 to 90 and -180 to 180.
    cutoff_km : float
        Distance along a great circle, in kilometres, beyond which shocks of two places are unrelated. Fix it
        beforehand from what is known of the shocks (how far a school district, a network or a campaign reaches).
    kernel : str
        "bartlett": pairs of places count the less the farther apart they are, 1 - distance/cutoff. "uniform": pairs up
        to the cutoff count fully; a variance below zero is then more likely.

    Notes
    -----
    Units at one place are one cluster, whatever the cutoff. Places are read with the panel and shown nowhere: latitude
    and longitude identify people as names do.

    References
    ----------
    Conley (1999), Journal of Econometrics 92(1), 1-45.

    Examples
    --------
    >>> Places("lat", "lon", cutoff_km=25).kernel
    'bartlett'
    """

    latitude: str
    longitude: str
    cutoff_km: float
    kernel: str = "bartlett"

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise DesignError(f"kernel must be one of {', '.join(KERNELS)}, not {self.kernel!r}.")
        if not isinstance(self.cutoff_km, (int, float)) or not 0 < self.cutoff_km < np.inf:
            raise DesignError("cutoff_km is a distance in kilometres, above zero.")

    def words(self) -> str:
        """Say which correlation is allowed for."""
        return (
            f"and between places up to {self.cutoff_km:g} km apart, in any two periods (Conley 1999, {self.kernel} "
            "kernel)"
        )


def read_places(reader: Reader, place: object, clusters: tuple[str, ...]) -> tuple[FloatArray, Labels]:
    """Return coordinates of rows, shape (rows, 2), and a label of each place that says nothing of where it is."""
    if not isinstance(place, Places):
        reader.problem('The place is gbv.Places("latitude column", "longitude column", cutoff_km=...).')
        return np.zeros((reader.n, 2)), Labels(np.zeros(reader.n, dtype=np.intp), ("place 1",))
    if clusters:
        reader.problem(
            "Give cluster or place, and not both: units at one place are a cluster already, and places depend on their "
            "neighbours."
        )
    columns = []
    for role, limit in LIMITS.items():
        name = getattr(place, role)
        values = reader.numbers(name, role)
        wrong = int((np.abs(values) > limit).sum())
        if wrong:
            reader.problem(
                f"Column {name!r} ({role}) lies outside -{limit:g} to {limit:g} in {plural(wrong, 'row')}; degrees "
                "were expected. Turn projected coordinates into degrees, and see that latitude comes first."
            )
        columns.append(values + 0.0)
    coordinates = np.column_stack(columns)
    found, codes = np.unique(coordinates, axis=0, return_inverse=True)
    return coordinates, Labels(codes.reshape(-1).astype(np.intp), tuple(f"place {i + 1}" for i in range(len(found))))


def neighbourhood(place: Places, coordinates: FloatArray, labels: Labels) -> Neighbourhood:
    """Return the places in the order of their codes."""
    found = np.zeros((labels.count, 2))
    found[labels.codes] = coordinates
    return Neighbourhood(found[:, 0], found[:, 1], float(place.cutoff_km), place.kernel)
