"""Hides how draws of a model of people in sites become rows: average, site and new-site effects, never blurred."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.estimand import Estimand
from gbveval.core.method import Cell
from gbveval.core.term import Term
from gbveval.data.trial import Trial
from gbveval.multisite._sampling import Sampled
from gbveval.multisite._site_model import ModelSpec, levels_of
from gbveval.numerics.site_cells import SiteCells

FloatArray = NDArray[np.float64]
CONTRASTS = {
    "binomial": "odds_ratio",
    "normal": "mean_difference",
    "negative_binomial": "rate_ratio",
    "ordinal": "odds_ratio",
    "hurdle": "mean_ratio",
}


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Terms, and the draws behind them, shape (chains, draws, terms)."""

    terms: tuple[Term, ...]
    draws: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    label: str
    estimand: Estimand
    values: FloatArray
    arm: int
    site: int | None = None
    extra: tuple[tuple[str, float | str | None], ...] = ()


def rows_of(data: Trial, cells: SiteCells, spec: ModelSpec, drawn: Sampled, seed: int) -> Rows:
    """Return every row of the answer.

    Parameters
    ----------
    data, cells, spec, drawn : Trial, SiteCells, ModelSpec, Sampled
        The trial, its sums, the model and its draws.
    seed : int
        Of the effects in a new site.
    """
    rng = np.random.default_rng(seed)
    rows: list[_Row] = []
    for arm in range(1, cells.n_arms):
        which = f", {data.arms[arm]}" if cells.n_arms > 2 else ""
        for prefix in spec.blocks:
            part = "" if spec.family != "hurdle" else (" on any" if prefix else " on how many")
            rows += _effects(cells, spec, drawn, rng, arm=arm, prefix=prefix, ending=part + which)
        rows += _over_people(cells, spec, drawn, arm=arm, ending=which)
    stacked = np.stack([row.values for row in rows], axis=2)
    flat = stacked.reshape(-1, len(rows))
    mean, sd = flat.mean(axis=0), flat.std(axis=0, ddof=1)
    sizes = cells.by_site_and_arm(cells.n)
    terms = []
    for i, row in enumerate(rows):
        chosen = slice(None) if row.site is None else slice(row.site, row.site + 1)
        shown = [0, row.arm]
        terms.append(
            Term(
                term=row.label,
                estimand=row.estimand,
                outcome=data.outcome_names[0],
                value=float(mean[i]),
                std_error=float(sd[i]),
                n_units=int(sizes[chosen][:, shown].sum()),
                support=_support(data, cells, spec, row.site, shown),
                extra=row.extra,
            )
        )
    return Rows(tuple(terms), stacked)


def _effects(
    cells: SiteCells, spec: ModelSpec, drawn: Sampled, rng: np.random.Generator, *, arm: int, prefix: str, ending: str
) -> list[_Row]:
    """Return average, site and new-site effects of an arm, and the sd between sites."""
    draws = drawn.draws
    average = draws[f"{prefix}average_effect"][..., arm - 1]
    spread = draws[f"{prefix}between_site_sd"][..., arm - 1]
    contrast = "odds_ratio" if prefix else CONTRASTS[spec.family]
    _, variance = levels_of(cells, "binomial" if prefix else spec.family, bool(prefix))
    errors = (variance[:, 0] + variance[:, arm])[:, None, None]
    if spec.n_clusters:
        shares = cells.cluster_shares()
        errors = errors + (shares[:, 0] + shares[:, arm])[:, None, None] * draws[f"{prefix}between_cluster_sd"] ** 2

    def row(label: str, kind: str, values: FloatArray, site: int | None = None) -> _Row:
        contrasted = "standard_deviation" if kind == "between_site_sd" else contrast
        extra: tuple[tuple[str, float | str | None], ...] = ()
        if site is not None:
            known = bool(np.all(np.isfinite(errors[site])))
            pooled = float(np.mean(errors[site] / (errors[site] + spread**2))) if known else 1.0
            extra = (("pooling_factor", pooled),)
        return _Row(f"{label}{ending}", Estimand(kind, contrasted, "sites", "conditional"), values, arm, site, extra)

    # A new site's effect: one draw of the hierarchy for each draw of its parameters.
    new = average + spread * rng.standard_normal(average.shape)
    own = draws[f"{prefix}effect"][..., arm - 1]
    return [
        row("average effect", "average_effect", average),
        *(row(f"effect in site {i + 1:02d}", "site_effect", own[..., i], i) for i in range(cells.n_sites)),
        row("effect in a new site", "new_site_effect", new),
        row("between-site sd", "between_site_sd", spread),
    ]


def _over_people(cells: SiteCells, spec: ModelSpec, drawn: Sampled, *, arm: int, ending: str) -> list[_Row]:
    """Return the contrast between everybody in an arm and everybody in control, where it is no parameter."""
    if spec.family not in ("binomial", "hurdle"):
        return []
    means = [_mean_outcome(cells, spec, drawn, with_arm) for with_arm in (arm, 0)]
    if spec.family == "binomial":
        label, contrast, values = "average risk difference", "risk_difference", means[0] - means[1]
    else:
        label, contrast, values = "ratio of mean counts", "mean_ratio", np.log(means[0]) - np.log(means[1])
    estimand = Estimand("average_effect", contrast, "participant_average")
    return [_Row(f"{label} in these sites{ending}", estimand, values, arm)]


def _mean_outcome(cells: SiteCells, spec: ModelSpec, drawn: Sampled, arm: int) -> FloatArray:
    """Return the mean outcome if everybody here were in an arm, for every draw, one chain at a time."""
    share = cells.n / cells.n.sum()
    result = []
    for chain in range(drawn.draws["log_likelihood"].shape[0]):
        if spec.family == "binomial":
            outcome = _expit(_predictor(cells, spec, drawn, chain, arm=arm, prefix=""))
        else:
            size = drawn.draws["dispersion"][chain].reshape(-1, 1)
            mean = np.exp(_predictor(cells, spec, drawn, chain, arm=arm, prefix=""))
            none = -size * np.log1p(mean / size)
            outcome = _expit(_predictor(cells, spec, drawn, chain, arm=arm, prefix="any_")) * mean / -np.expm1(none)
        result.append(outcome @ share)
    return np.stack(result)


def _predictor(cells: SiteCells, spec: ModelSpec, drawn: Sampled, chain: int, *, arm: int, prefix: str) -> FloatArray:
    """Return the linear predictor of every cell's people if they were in an arm, shape (draws, cells)."""
    draws = {name: values[chain] for name, values in drawn.draws.items()}
    eta: FloatArray = draws[f"{prefix}control"][:, cells.site]
    if arm:
        eta = eta + draws[f"{prefix}effect"][:, cells.site, arm - 1]
    if spec.n_covariates:
        eta = eta + draws[f"{prefix}covariate_effect"] @ cells.covariates.T
    if spec.n_clusters:
        eta = eta + draws[f"{prefix}cluster_effect"][:, cells.cluster]
    return eta


def _expit(x: FloatArray) -> FloatArray:
    return np.asarray(1.0 / (1.0 + np.exp(-x)), dtype=np.float64)


def _support(data: Trial, cells: SiteCells, spec: ModelSpec, site: int | None, arms: list[int]) -> tuple[Cell, ...]:
    n, total = cells.by_site_and_arm(cells.n), cells.by_site_and_arm(cells.total)
    chosen = slice(None) if site is None else slice(site, site + 1)
    where = "all sites" if site is None else f"site {site + 1:02d}"
    found = []
    for arm in arms:
        events = round(float(total[chosen, arm].sum())) if spec.family == "binomial" else None
        table = f"{data.outcome_names[0]} by arm in {where}"
        found.append(Cell(data.arms[arm], int(n[chosen, arm].sum()), events, table))
    return tuple(found)
