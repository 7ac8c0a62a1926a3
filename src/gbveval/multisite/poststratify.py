"""Hides how a model of people in sites speaks of another population: cells of known size, averaged over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.posterior import DrawsPosterior
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.term import Term
from gbveval.data._frame import Reader
from gbveval.data.trial import Trial
from gbveval.multisite._site_people import family_of
from gbveval.multisite.hierarchical_model import Fitted, HierarchicalModel, fit_people, method_of

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# What an arm's mean is called, by family, and the contrast that is a ratio of two.
MEANS = {"binomial": "proportion", "normal": "mean", "negative_binomial": "mean"}
RATIOS = {"binomial": "risk_ratio", "negative_binomial": "rate_ratio"}
DIFFERENCES = {"binomial": "risk_difference", "normal": "mean_difference", "negative_binomial": "mean_difference"}
NEW = -1


@dataclass(frozen=True, slots=True, eq=False)
class _Population:
    """Cells of a population: the site's code or NEW, centred covariates, and shares that sum to one."""

    site: IntArray
    covariates: FloatArray
    share: FloatArray


def poststratify(
    model: HierarchicalModel,
    data: Trial,
    population: Any,
    *,
    count: str,
    site: str | None = None,
    rng: np.random.Generator | None = None,
) -> Estimates:
    """Return what a model of people in sites says of a population whose make-up is known: its mean in each arm.

    People in a trial are not the population: there are more women, or more of one district. Each cell of the
    population gets the outcome that the model predicts for such people in such a site, and cells are averaged by how
    many people they hold.

    Parameters
    ----------
    model : HierarchicalModel
        Of a yes-or-no outcome, a count or a normal one.
    data : Trial
        What it is fitted to.
    population : frame or dict of columns
        One row a cell: how many people, and every covariate of the trial under its own name.
    count : str
        Column of how many people, or of their share.
    site : str, optional
        Column of the sites of the trial; empty where people live elsewhere. Without it everybody lives in one new site
        like these.
    rng : numpy.random.Generator, optional
        As for `HierarchicalModel.estimate`.

    Returns
    -------
    Estimates
        The mean outcome of the population in control and in every other arm, their differences, and for counts and
        yes-or-no outcomes their ratios.

    Raises
    ------
    DataError
        If a column is absent, a count is not above zero, or a cell has a category or a site that the trial has not.
    DesignError
        If the family has no single mean.

    Notes
    -----
    **Assumes** that people of a cell in the population are like those of that cell in the trial, in levels and in
    effects; with covariates that act alike in all sites and arms, that is strong, and the model cannot check it.
    **Do not use when** the population differs in what the trial did not measure.

    Everybody elsewhere shares one new site in every draw, so that its uncertainty does not average out.

    References
    ----------
    Gelman and Little (1997), Survey Methodology 23. Park, Gelman and Bafumi (2004), Political Analysis 12.

    Examples
    --------
    >>> poststratify(None, None, {}, count="n")
    Traceback (most recent call last):
        ...
    gbveval.core.errors.DesignError: poststratify takes a HierarchicalModel; for estimates by site weight their rows.
    """
    if not isinstance(model, HierarchicalModel):
        raise DesignError("poststratify takes a HierarchicalModel; for estimates by site weight their rows.")
    family = family_of(data, model.family)
    if family not in MEANS:
        raise DesignError(f"The family {family!r} has no single mean; binomial, counts and normal have.")
    cells = _read(data, population, count, site)
    fitted = fit_people(model, data, rng)
    means = _arm_means(fitted, cells)
    terms, draws = _rows(data, fitted, means)
    return Estimates(
        estimator=model.name,
        terms=terms,
        covariance=np.atleast_2d(np.cov(draws.reshape(-1, len(terms)), rowvar=False)),
        method=_method(model, data, fitted),
        checks=(*fitted.checks, _elsewhere(cells)),
        provenance=Provenance(data.digest, tuple(options_of(model).items()), fitted.seed, versions(), rng is None),
        flow=data.flow(),
        posterior=DrawsPosterior(draws),
    )


def _method(model: HierarchicalModel, data: Trial, fitted: Fitted) -> Method:
    plain = method_of(model, data, fitted.spec)
    alike = "people of a cell of the population are like those of that cell in the trial"
    return replace(plain, inference_for="the population given by its cells", assumptions=(*plain.assumptions, alike))


def _elsewhere(cells: _Population) -> Check:
    share = float(cells.share[cells.site == NEW].sum())
    text = f"{share:.0%} of the population live outside the trial's sites, in one new site like them."
    return Check("population", "info", text)


def _read(data: Trial, population: Any, count: str, site: str | None) -> _Population:
    reader = Reader(population, "population")
    size = reader.positive(count, "count")
    code = np.full(reader.n, NEW, dtype=np.intp)
    if site is not None and data.site is not None:
        code = _codes(reader, site, data.site.levels, "site")
    covariates = _covariates(reader, data)
    reader.raise_problems()
    seen = data.observed(0)
    return _Population(code, covariates - data.covariates[seen].mean(axis=0), size / size.sum())


def _codes(reader: Reader, column: str, levels: tuple[str, ...], what: str) -> IntArray:
    """Return codes among the trial's levels; what is missing is elsewhere, and what is unknown a problem."""
    found = reader.labels(column, what, missing=True)
    place = {level: number for number, level in enumerate(levels)}
    known = np.array([place.get(level, NEW - 1) for level in found.levels] + [NEW], dtype=np.intp)
    codes = known[found.codes]
    unknown = int((codes < NEW).sum())
    if unknown:
        reader.problem(
            f"Column {column!r} ({what}) has {unknown} rows with a {what} that the trial does not have; leave it empty "
            "for people elsewhere, or merge categories as the trial has them."
        )
    return np.asarray(codes, dtype=np.intp)


def _covariates(reader: Reader, data: Trial) -> FloatArray:
    """Return the population's covariates, coded as the trial codes them."""
    first = dict(data.covariate_levels)
    columns = []
    for name in data.covariate_names:
        column = name.partition("[")[0]
        if column not in first:
            columns.append(reader.numbers(name, "covariate"))
            continue
        own = tuple(n[len(column) + 1 : -1] for n in data.covariate_names if n.startswith(f"{column}["))
        codes = _codes(reader, column, (first[column], *own), "category")
        if (codes == NEW).any():
            reader.problem(
                f"Column {column!r} (category) is missing in {int((codes == NEW).sum())} rows; every cell needs it."
            )
        columns.append((codes == 1 + own.index(name[len(column) + 1 : -1])).astype(float))
    return np.column_stack(columns) if columns else np.zeros((reader.n, 0))


def _arm_means(fitted: Fitted, cells: _Population) -> FloatArray:
    """Return the population's mean outcome in every arm for every draw, shape (chains, draws, arms)."""
    draws, spec = fitted.drawn.draws, fitted.spec
    control, effect = _with_new_site(fitted)
    mean = _mean_of(fitted)
    result = []
    for arm in range(spec.n_effects + 1):
        level = control if arm == 0 else control + effect[..., arm - 1]
        # One chain at a time: draws times cells are the largest array.
        found = []
        for chain in range(level.shape[0]):
            eta = level[chain][:, cells.site]
            if spec.n_covariates:
                eta = eta + draws["covariate_effect"][chain] @ cells.covariates.T
            found.append(mean(eta, chain) @ cells.share)
        result.append(np.stack(found))
    return np.stack(result, axis=2)


def _with_new_site(fitted: Fitted) -> tuple[FloatArray, FloatArray]:
    """Return levels and effects of the sites with a new site as the last, which is where NEW points."""
    draws, size = fitted.drawn.draws, fitted.spec.n_effects + 1
    shape = draws["control_mean"].shape
    correlation = np.broadcast_to(np.eye(size), (*shape, size, size)).copy()
    pairs = [(i, j) for i in range(size) for j in range(i)]
    for place, (i, j) in enumerate(pairs):
        correlation[..., i, j] = correlation[..., j, i] = draws["correlation"][..., place]
    score = np.random.default_rng(fitted.seed).standard_normal((*shape, size))
    joint = np.einsum("...ij,...j->...i", np.linalg.cholesky(correlation), score)
    control = draws["control_mean"] + draws["between_site_sd_control"] * joint[..., 0]
    effect = draws["average_effect"] + draws["between_site_sd"] * joint[..., 1:]
    return (
        np.concatenate([draws["control"], control[..., None]], axis=-1),
        np.concatenate([draws["effect"], effect[..., None, :]], axis=-2),
    )


def _mean_of(fitted: Fitted) -> Callable[[FloatArray, int], FloatArray]:
    """Return the mean outcome of a linear predictor (draws, cells), averaged over clusters where there are such."""
    spec = fitted.spec
    spread = fitted.drawn.draws["between_cluster_sd"] if spec.n_clusters else None

    def normal(eta: FloatArray, _: int) -> FloatArray:
        return eta

    def counts(eta: FloatArray, chain: int) -> FloatArray:
        extra = 0.0 if spread is None else 0.5 * spread[chain][:, None] ** 2
        return np.asarray(np.exp(eta + extra), dtype=np.float64)

    def shares(eta: FloatArray, chain: int) -> FloatArray:
        if spread is None:
            return np.asarray(1.0 / (1.0 + np.exp(-eta)), dtype=np.float64)
        nodes, weights = np.polynomial.hermite_e.hermegauss(15)
        total = np.zeros_like(eta)
        for z, w in zip(nodes, weights / weights.sum(), strict=True):
            total += w / (1.0 + np.exp(-(eta + z * spread[chain][:, None])))
        return total

    return {"normal": normal, "negative_binomial": counts, "binomial": shares}[spec.family]


def _rows(data: Trial, fitted: Fitted, means: FloatArray) -> tuple[tuple[Term, ...], FloatArray]:
    family, named = fitted.spec.family, data.arms
    found: list[tuple[str, Estimand, FloatArray, list[int]]] = []
    for arm, name in enumerate(named):
        value = means[..., arm]
        shown = np.log(value) - np.log1p(-value) if family == "binomial" else value
        estimand = Estimand("arm_mean", MEANS[family], "target_population")
        found.append((f"{name} in the population", estimand, shown, [arm]))
    for arm, name in list(enumerate(named))[1:]:
        gap = means[..., arm] - means[..., 0]
        estimand = Estimand("average_effect", DIFFERENCES[family], "target_population")
        found.append((f"difference in the population, {name}", estimand, gap, [0, arm]))
        if family in RATIOS:
            ratio = np.log(means[..., arm]) - np.log(means[..., 0])
            estimand = Estimand("average_effect", RATIOS[family], "target_population")
            found.append((f"ratio in the population, {name}", estimand, ratio, [0, arm]))
    draws = np.stack([row[2] for row in found], axis=2)
    flat = draws.reshape(-1, len(found))
    n, events = fitted.cells.by_site_and_arm(fitted.cells.n), fitted.cells.by_site_and_arm(fitted.cells.total)
    table = f"{data.outcome_names[0]} by arm in all sites"
    terms = [
        Term(
            term=label,
            estimand=estimand,
            outcome=data.outcome_names[0],
            value=float(flat[:, i].mean()),
            std_error=float(flat[:, i].std(ddof=1)),
            n_units=int(n[:, arms].sum()),
            support=tuple(
                Cell(
                    named[arm],
                    int(n[:, arm].sum()),
                    round(float(events[:, arm].sum())) if family == "binomial" else None,
                    table,
                )
                for arm in arms
            ),
        )
        for i, (label, estimand, _, arms) in enumerate(found)
    ]
    return tuple(terms), draws
