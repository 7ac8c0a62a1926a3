"""Results to JSON and back, for the analyst: never an influence function, but counts that only `release` may judge."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from gbveval.core.band import Band
from gbveval.core.errors import DataError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.flow import Flow, FlowRow
from gbveval.core.method import Cell, Check, Method
from gbveval.core.posterior import DrawsPosterior, PartialPosterior, Posterior
from gbveval.core.provenance import Provenance
from gbveval.core.term import Term

SCHEMA = "gbveval.estimates/1"
# The results of a hundred arms with a full covariance stay far below this; a larger file is not one of ours.
MAXIMUM_CHARACTERS = 200_000_000


def _number(value: float | None) -> Any:
    """JSON knows no infinity and no NaN: the one is a marked word, the other null."""
    if value is None or np.isnan(value):
        return None
    return float(value) if np.isfinite(value) else {"number": "inf" if value > 0 else "-inf"}


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it: numpy's numbers as Python's, infinity marked."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return _number(float(value))
    return value


def _unmarked(value: Any) -> Any:
    """Return a value with the marks of infinity taken away."""
    if isinstance(value, dict):
        if set(value) == {"number"}:
            return float(value["number"])
        return {key: _unmarked(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_unmarked(entry) for entry in value]
    return value


def _real(value: float | str | None) -> float:
    return float("nan") if value is None else float(value)


def _term(row: Term) -> dict[str, Any]:
    record = {
        name: getattr(row, name)
        for name in ("term", "outcome", "kind", "n_units", "n_clusters", "reason", "interval", "interval_level")
    }
    record.update({name: _number(getattr(row, name)) for name in ("value", "std_error", "statistic", "p_value", "df2")})
    record["df"] = _number(row.df)
    record["estimand"] = asdict(row.estimand)
    record["support"] = [asdict(cell) for cell in row.support]
    record["extra"] = [[key, value] for key, value in row.extra]
    return record


def to_json(estimates: Estimates) -> str:
    """Return an `Estimates` as JSON text."""
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "estimator": estimates.estimator,
        "level": estimates.level,
        "terms": [_term(row) for row in estimates.terms],
        "covariance": [[_number(x) for x in row] for row in estimates.covariance],
        "method": asdict(estimates.method),
        "checks": [asdict(item) for item in estimates.checks],
        "provenance": asdict(estimates.provenance),
        "flow": None if estimates.flow is None else asdict(estimates.flow),
        "posterior": None if estimates.posterior is None else estimates.posterior.to_dict(),
        "band": None if estimates.band is None else asdict(estimates.band),
    }
    return json.dumps(_plain(content), allow_nan=False)


def posterior_from_dict(content: dict[str, Any]) -> Posterior:
    """Return the posterior that `to_dict` described."""
    if content["kind"] == "draws":
        return DrawsPosterior(np.asarray(content["draws"], dtype=float))
    if content["kind"] == "grid":
        from gbveval.core.grid_posterior import GridPosterior

        return GridPosterior.from_dict(content)
    if content["kind"] == "sites":
        from gbveval.core.site_posterior import SitePosterior

        return SitePosterior.from_dict(content)
    if content["kind"] == "partial":
        places = tuple(None if place is None else (int(place[0]), int(place[1])) for place in content["places"])
        return PartialPosterior(tuple(posterior_from_dict(part) for part in content["parts"]), places)
    raise DataError("The JSON holds a posterior of a kind that this version does not know.")


def _read_term(record: dict[str, Any]) -> Term:
    def optional(name: str) -> float | None:
        return None if record[name] is None else float(record[name])

    interval = record["interval"]
    return Term(
        term=record["term"],
        estimand=Estimand(**record["estimand"]),
        outcome=record["outcome"],
        value=optional("value"),
        std_error=optional("std_error"),
        df=_real(record["df"]),
        kind=record["kind"],
        interval=None if interval is None else (float(interval[0]), float(interval[1])),
        interval_level=record["interval_level"],
        statistic=optional("statistic"),
        df2=optional("df2"),
        p_value=optional("p_value"),
        n_units=record["n_units"],
        n_clusters=record["n_clusters"],
        support=tuple(Cell(**cell) for cell in record["support"]),
        reason=record["reason"],
        extra=tuple((key, value) for key, value in record["extra"]),
    )


def from_json(text: str) -> Estimates:
    """Return the `Estimates` that `to_json` wrote.

    Raises
    ------
    DataError
        If the text is too large, is not JSON or does not follow the schema.
    """
    if not isinstance(text, str):
        raise DataError(f"A result is read from JSON text, not from {type(text).__name__}.")
    if len(text) > MAXIMUM_CHARACTERS:
        raise DataError(f"The text is larger than {MAXIMUM_CHARACTERS} characters; it is not a result of gbveval.")
    try:
        content = _unmarked(json.loads(text))
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise DataError(f"The text is not a result of gbveval: its schema must be {SCHEMA!r}.")
        method = dict(content["method"])
        method["assumptions"] = tuple(method["assumptions"])
        origin = dict(content["provenance"])
        origin["options"] = tuple((key, value) for key, value in origin["options"])
        origin["versions"] = tuple((key, value) for key, value in origin["versions"])
        band = content["band"]
        size = len(content["terms"])
        return Estimates(
            estimator=content["estimator"],
            terms=tuple(_read_term(record) for record in content["terms"]),
            covariance=np.array([[_real(x) for x in row] for row in content["covariance"]], float).reshape(size, size),
            method=Method(**method),
            level=content["level"],
            checks=tuple(Check(**item) for item in content["checks"]),
            provenance=Provenance(**origin),
            flow=None if content["flow"] is None else _flow(content["flow"]),
            posterior=None if content["posterior"] is None else posterior_from_dict(content["posterior"]),
            band=None
            if band is None
            else Band(**{**band, "members": tuple(band["members"]), "scale": tuple(band["scale"])}),
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError("The text is not a complete result of gbveval; write it anew with `to_json`.") from error


def _flow(content: dict[str, Any]) -> Flow:
    return Flow(tuple(FlowRow(**row) for row in content["rows"]), content["outcome"])
