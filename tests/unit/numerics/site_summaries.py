"""Reference cases about normal site summaries, as arrays and priors for the numeric functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.reference.bayes import prior
from tests.reference.frames import read_csv
from tests.reference.reader import read_cases

REFERENCE = (Path(__file__).parents[3] / ".." / "shared" / "reference" / "bayes").resolve()


@dataclass(frozen=True)
class SiteSummaries:
    """One case: what is observed and believed, and what other systems found."""

    y: NDArray[np.float64]
    se: NDArray[np.float64]
    priors: dict[str, Any]
    df: float | None
    results: dict[str, Any]
    tolerance: float


def site_summaries(*, student: bool) -> Iterator[SiteSummaries]:
    """Yield the cases whose site effects are normal, or Student-t; skip the test where the folder is absent."""
    if not REFERENCE.exists():
        pytest.skip("../shared is absent: reference posteriors of hierarchies over site summaries")
    for case in read_cases(REFERENCE):
        inputs = case["inputs"]
        if inputs["kind"] != "normal_summaries" or ("site_effects" in inputs) != student:
            continue
        frame = read_csv(REFERENCE, inputs["file"]).iloc[: inputs.get("rows")]
        y, se = (
            frame[inputs["columns"][role]].to_numpy(dtype=float) / inputs.get("divide_columns_by", 1.0)
            for role in ("estimate", "std_error")
        )
        priors = {
            "mu_prior": prior(inputs["priors"]["average_effect"]),
            "tau_prior": prior(inputs["priors"]["between_site_sd"]),
        }
        yield SiteSummaries(
            y,
            se,
            priors,
            inputs["site_effects"]["df"] if student else None,
            case["results"],
            case["tolerance"]["deterministic_abs_in_posterior_sd"],
        )
