"""Where each site's control and its other arm stand among the rows of a frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.data._frame import Labels, Reader, plural


def arm_places(reader: Reader, sites: Labels, arms: Labels, site: str, arm: str) -> NDArray[np.intp]:
    """Return the rows of each site's control and of its other arm, sites in the order in which they first occur.

    Parameters
    ----------
    reader : Reader
        Takes problems: both arms must be there in every site, once.
    sites, arms : Labels
        The control has code 0.
    site, arm : str
        Their columns, for messages.
    """
    if arms.count > 2 and not reader.problems:
        reader.problem(f"Column {arm!r} (arm) holds {plural(arms.count, 'arm')}; two were expected.")
    reader.raise_problems()
    found = np.zeros((sites.count, 2), dtype=np.intp)
    times = np.zeros((sites.count, 2), dtype=np.intp)
    np.add.at(times, (sites.codes, arms.codes), 1)
    found[sites.codes, arms.codes] = np.arange(sites.codes.size)
    lacking, repeated = int((times == 0).any(axis=1).sum()), int((times > 1).any(axis=1).sum())
    if lacking:
        reader.problem(f"Column {site!r} (site): {plural(lacking, 'site')} lack one of the arms; both were expected.")
    if repeated:
        reader.problem(f"Column {site!r} (site): {plural(repeated, 'site')} have an arm in several rows; pool those.")
    reader.raise_problems()
    result: NDArray[np.intp] = found[np.argsort(found.min(axis=1), kind="stable")]
    return result
