"""Hides how rows of tables of factors vary over replicate weights: everything is computed again under each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError, IdentificationError
from gbveval.core.method import Check
from gbveval.core.progress import Told
from gbveval.factors._columns import Columns
from gbveval.factors._rows import SurveyRow

FloatArray = NDArray[np.float64]
# The rows of one factor and outcome, and what was found on the way, from columns whose survey has some weights.
Block = Callable[[Columns], tuple[list[SurveyRow], list[Check]]]


def rows_of_blocks(columns: Columns, blocks: Sequence[Block]) -> tuple[list[SurveyRow], list[Check]]:
    """Return the rows and checks of all blocks; with replicate weights the rows know what they are under each.

    Parameters
    ----------
    columns : Columns
        Of the survey.
    blocks : sequence of callable
        Each gives the same rows in the same order whatever the weights.
    """
    made = [block(columns) for block in blocks]
    rows = [row for found, _ in made for row in found]
    checks = [check for _, notes in made for check in notes]
    replicates = columns.survey.replicates
    if replicates is None:
        return rows, checks
    values = np.full((replicates.count, len(rows)), np.nan)
    with Told(None, replicates.count, "replicates") as told:
        for number in range(replicates.count):
            values[number] = _values(columns.replica(number), blocks, [len(found) for found, _ in made])
            told.more(1)
    return [replace(row, replicated=values[:, place]) for place, row in enumerate(rows)], checks


def _values(columns: Columns, blocks: Sequence[Block], sizes: Sequence[int]) -> FloatArray:
    found = []
    for block, size in zip(blocks, sizes, strict=True):
        try:
            rows, _ = block(columns)
            found += [np.nan if row.value is None else row.value for row in rows]
        except (IdentificationError, ConvergenceError):
            # A replicate that leaves a category out cannot have its model.
            found += [np.nan] * size
    return np.array(found)
