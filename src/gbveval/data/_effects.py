"""Further effects of a panel: columns, or crossings of columns, as one label a row."""

from __future__ import annotations

import numpy as np

from gbveval.data._frame import Labels, Reader


def read_effects(reader: Reader, effects: object) -> dict[str, Labels]:
    """Return one label a row for every effect, by its name ("region by month"); note what is no effect.

    Columns may play other roles too (time, cluster): what is read here are their labels.
    """
    found: dict[str, Labels] = {}
    for each in effects if isinstance(effects, (list, tuple)) else (effects,):
        columns = (each,) if isinstance(each, str) else each
        if not isinstance(columns, tuple) or not columns or not all(isinstance(name, str) for name in columns):
            reader.problem(
                "An effect (effects) is the name of a column, or a tuple of names whose values are crossed, such as "
                '("region", "month"); give a list of them.'
            )
            continue
        found[" by ".join(columns)] = _crossed([reader.labels(name, "effects") for name in columns])
    return found


def _crossed(parts: list[Labels]) -> Labels:
    codes = parts[0].codes
    for part in parts[1:]:
        _, codes = np.unique(codes * part.count + part.codes, return_inverse=True)
    levels, codes = np.unique(codes, return_inverse=True)
    # Names of levels are of no use later, and may be those of places.
    return Labels(codes.reshape(-1).astype(np.intp), tuple(str(i + 1) for i in range(levels.size)))
