"""Hides what every method for events by site and arm shares: its refusals, support and rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.method import Cell
from gbveval.core.term import Term
from gbveval.data.tables import SiteTables


def require_tables(data: Any, name: str) -> None:
    """Raise unless the data are tables of events."""
    if not isinstance(data, SiteTables):
        raise DesignError(f"{name} takes SiteTables, not a {type(data).__name__}. For estimates use RandomEffects.")


def require_events(data: SiteTables, *, ratio: bool) -> None:
    """Raise where an arm has no events anywhere, so that a ratio has no end."""
    if not data.events.sum() > 0:
        raise IdentificationError(
            "No site has an event in any arm, which says nothing of an effect. Report the upper limits of the risks."
        )
    if not ratio:
        return
    empty = [data.arms[arm] for arm in (0, 1) if not data.events[:, arm].sum() > 0]
    if empty:
        raise IdentificationError(
            f"No site has an event in arm {empty[0]!r}, so the ratio has no estimate. Use risk_difference, or a model "
            "with a prior."
        )


def everybody(data: SiteTables) -> tuple[Cell, ...]:
    """Return the counts of all sites."""
    return tuple(cell for cells in data.support for cell in cells)


def people(data: SiteTables) -> int | None:
    """Return how many people the tables hold, where that is known."""
    return None if data.has_exposure else int(data.total.sum())


def effect_row(
    data: SiteTables,
    label: str,
    effect: str,
    contrast: str,
    *,
    value: float,
    std_error: float,
    extra: Sequence[tuple[str, float | str | None]] = (),
) -> Term:
    """Return a row of an effect; an undefined one says why."""
    defined = bool(np.isfinite(value) and np.isfinite(std_error))
    return Term(
        term=label,
        estimand=Estimand(effect, contrast, "sites", "conditional"),
        outcome=data.outcome,
        value=value if defined else None,
        std_error=std_error if defined else None,
        n_units=people(data),
        reason="" if defined else "the tables hold too few events for an effect and its standard error",
        support=everybody(data),
        extra=tuple(extra),
    )
