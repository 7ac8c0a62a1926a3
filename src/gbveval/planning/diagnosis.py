"""Hides how many simulated studies become bias, coverage and power, each with its Monte Carlo standard error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gbveval.core.estimand import Estimand
from gbveval.core.replicate import Measured
from gbveval.core.table import Table
from gbveval.planning.tally import (
    UNKNOWN,
    Replicates,
    Tally,
    calibration,
    exaggeration,
    mean_error,
    root_mean_square,
    share,
)

if TYPE_CHECKING:
    import pandas as pd

MEASURES = ("mean_estimate", "bias", "rmse", "se_ratio", "coverage", "power", "type_s", "type_m")
NOTES = (
    "Each _mcse is the Monte Carlo standard error of the column before it.",
    "se_ratio is the mean standard error over the standard deviation of the estimates: 1 is right.",
    "bias, rmse and se_ratio are over the draws that gave an answer.",
    "coverage and power are over all draws: one without an answer neither covers nor rejects. coverage_defined and "
    "power_defined leave those draws out.",
    "type_s is the share of significant estimates with the wrong sign, type_m how much larger than the truth they are "
    "on average (Gelman and Carlin 2014).",
)


@dataclass(frozen=True, slots=True)
class Diagnosand:
    """How one estimator did.

    Attributes
    ----------
    label : str
        The estimator.
    estimand : Estimand
        What it estimates.
    truth : float
        True value on the link scale.
    n_draws, n_failed, n_undefined : int
        Simulated studies; those in which it raised an error; those in which it said that there is no answer.
    mean_estimate, bias, rmse, se_ratio : Measured
        Over the draws with an answer.
    coverage, power : Measured
        Over all draws: one without an answer neither covers nor rejects.
    coverage_defined, power_defined : Measured
        Over the draws with an answer.
    type_s : Measured
        Share of the estimates that reject whose sign is wrong (Gelman and Carlin 2014); unknown where nothing is true.
    type_m : Measured
        Mean absolute estimate among those that reject, over the absolute truth: by how much a finding exaggerates.
    failures : tuple of (str, int)
        Kind of error and number of draws.
    """

    label: str
    estimand: Estimand
    truth: float
    n_draws: int
    n_failed: int
    n_undefined: int
    mean_estimate: Measured
    bias: Measured
    rmse: Measured
    se_ratio: Measured
    coverage: Measured
    power: Measured
    coverage_defined: Measured
    power_defined: Measured
    type_s: Measured
    type_m: Measured
    failures: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """How estimators do on simulated studies of a design: bias, calibration, coverage and power.

    Parameters
    ----------
    rows : tuple of Diagnosand
        One an estimator.
    path : str
        "data" (people were drawn) or "batch" (their cluster totals were).
    seed : int
        Seed of the simulation: replicate i is the same whatever the number of draws.
    alpha, level : float
        Size of the tests; level of the intervals.
    alternative : str
        What is tested against: "two_sided", "greater" or "less".
    replicates : tuple of Replicates
        What was said about each study, in the order of the rows; empty unless it was to be kept.
    """

    rows: tuple[Diagnosand, ...]
    path: str
    seed: int
    alpha: float
    level: float
    alternative: str = "two_sided"
    replicates: tuple[Replicates, ...] = ()

    def __getitem__(self, key: str | int) -> Diagnosand:
        if isinstance(key, int):
            return self.rows[key]
        for row in self.rows:
            if row.label == key:
                return row
        raise KeyError(f"No estimator is called {key!r} here; there are: {', '.join(row.label for row in self.rows)}.")

    def __len__(self) -> int:
        return len(self.rows)

    def to_table(self) -> Table:
        """Return the diagnosis as a table, which a report can hold (simulated numbers need no disclosure control)."""
        measures = [name for measure in MEASURES for name in (measure, f"{measure}_mcse")]
        columns = (
            *("estimator", "estimand", "contrast", "population", "truth", "n_draws", "n_failed", "n_undefined"),
            *measures,
            *("coverage_defined", "power_defined", "level", "alpha", "alternative", "path", "seed"),
        )
        return Table("Diagnosis by simulation", columns, tuple(self._record(row) for row in self.rows), self._notes())

    def _record(self, row: Diagnosand) -> tuple[str | float | int | None, ...]:
        measured = [getattr(row, name) for name in MEASURES]
        numbers = [_shown(number) for item in measured for number in (item.value, item.mcse)]
        aim = row.estimand
        return (
            *(row.label, aim.effect, aim.contrast, aim.population, row.truth),
            *(row.n_draws, row.n_failed, row.n_undefined),
            *numbers,
            *(_shown(row.coverage_defined.value), _shown(row.power_defined.value)),
            *(self.level, self.alpha, self.alternative, self.path, self.seed),
        )

    def _notes(self) -> tuple[str, ...]:
        links = {row.estimand.link for row in self.rows} - {"identity"}
        scale = [f"Values are on the {link} scale." for link in sorted(links)]
        failed = [
            f"{row.label}: {count} of {row.n_draws} draws ended with {kind}."
            for row in self.rows
            for kind, count in row.failures
        ]
        return (*NOTES, *scale, *failed)

    def tidy(self) -> pd.DataFrame:
        """Return a pandas frame, one row an estimator."""
        return self.to_table().tidy()

    def summary(self) -> str:
        """Return a card in plain text."""
        header = ("estimator", "bias", "rmse", "se ratio", "coverage", "power", "type M", "failed", "undefined")
        lines: list[tuple[str, ...]] = [header]
        for row in self.rows:
            measured = (row.bias, row.rmse, row.se_ratio, row.coverage, row.power, row.type_m)
            cells = [f"{item.value:.4g} ({item.mcse:.2g})" for item in measured]
            lines.append((row.label, *cells, str(row.n_failed), str(row.n_undefined)))
        widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
        padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
        table = ["  ".join(line).rstrip() for line in padded]
        aims = dict.fromkeys(f"{row.estimand.words()}, truth {row.truth:.4g}" for row in self.rows)
        draws = self.rows[0].n_draws if self.rows else 0
        drawn = "cluster totals" if self.path == "batch" else "respondents"
        heading = f"{draws:,} simulated studies ({drawn} drawn, seed {self.seed}); in brackets the Monte Carlo error"
        return "\n".join([heading, *aims, "", *table, "", *self._notes()[1:]])

    def __repr__(self) -> str:
        names = ", ".join(row.label for row in self.rows)
        return f"<Diagnosis of {names}: {self.rows[0].n_draws:,} draws, {self.path} path; summary() and tidy() show it>"

    def _repr_html_(self) -> str:
        return self.to_table()._repr_html_()


def _shown(value: float) -> float | None:
    """Return None for a number that could not be measured."""
    return float(value) if np.isfinite(value) else None


def diagnose(label: str, estimand: Estimand, truth: float, found: Tally) -> Diagnosand:
    """Return bias, calibration, coverage, power and errors of sign and size of one estimator.

    Parameters
    ----------
    label : str
        The estimator.
    estimand : Estimand
        What it estimates.
    truth : float
        True value on the link scale.
    found : Tally
        What it said about the simulated studies, added up.
    """
    bias = mean_error(found)
    return Diagnosand(
        label=label,
        estimand=estimand,
        truth=truth,
        n_draws=found.n_draws,
        n_failed=found.n_failed,
        n_undefined=found.n_draws - found.n_failed - found.n_defined,
        mean_estimate=Measured(truth + bias.value, bias.mcse),
        bias=bias,
        rmse=root_mean_square(found),
        se_ratio=calibration(found),
        coverage=share(found.n_covered, found.n_draws),
        power=share(found.n_rejected, found.n_draws),
        coverage_defined=share(found.n_covered, found.n_defined),
        power_defined=share(found.n_rejected, found.n_defined),
        type_s=share(found.n_wrong_sign, found.n_rejected) if truth != 0.0 else UNKNOWN,
        type_m=exaggeration(found, truth),
        failures=tuple(found.failures.items()),
    )
