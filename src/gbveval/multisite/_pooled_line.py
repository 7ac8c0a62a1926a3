"""Hides how the rows of a pooled line of effects are laid out, for every frequentist method that pools sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.term import Term
from gbveval.data.sites import SiteEffects
from gbveval.multisite.normal_hierarchy import AVERAGE, AVERAGE_AT, NEW_SITE
from gbveval.numerics.inference import f_upper, wald_joint

FloatArray = NDArray[np.float64]
MODERATORS = "all moderators"
# Below this share of the variance that standard errors promise, effects agree to rounding.
EQUAL = 1e-14
# The reference distribution of the average is rough where one site outweighs the others together by this much.
HEAVY = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Combination:
    """A row that is a combination of coefficients, with variance of its own beyond theirs."""

    label: str
    kind: str
    vector: FloatArray
    own: float = 0.0
    offset: float = 0.0
    site: int | None = None


def parse_at(at: Any) -> tuple[tuple[str, float], ...]:
    """Return where moderators are taken as sorted pairs, so that an estimator can be hashed."""
    try:
        items = sorted(at.items()) if isinstance(at, Mapping) else tuple(at)
        pairs = tuple((str(name), float(value)) for name, value in items)
    except (TypeError, ValueError) as error:
        raise DesignError("at maps the names of moderators to numbers.") from error
    if not all(np.isfinite(value) for _, value in pairs):
        raise DesignError("at maps the names of moderators to finite numbers.")
    return pairs


def design(data: SiteEffects) -> FloatArray:
    """Return an intercept and the moderators about their means, shape (rows, 1 + moderators)."""
    centred = data.moderators - data.moderators.mean(axis=0)
    return np.column_stack([np.ones(data.n), centred])


def require_sites(data: Any, name: str) -> None:
    """Raise unless the data are site effects."""
    if not isinstance(data, SiteEffects):
        raise DesignError(f"{name} pools SiteEffects, not a {type(data).__name__}. Make them from site estimates.")


def require_independent(data: Any, name: str) -> None:
    """Raise unless the data are site effects of which every study gives one."""
    require_sites(data, name)
    if data.study is not None and data.study.count < data.n:
        raise DesignError(
            f"{data.n} rows come from {data.study.count} studies, so they are not independent. Use RobustEffects or "
            "MultilevelEffects, or pool the rows of a study first."
        )


def require_enough(data: SiteEffects) -> None:
    """Raise where there are no more rows than coefficients, or the moderators are collinear."""
    x = design(data)
    k, p = x.shape
    if k <= p:
        what = f" for {p - 1} moderators" if p > 1 else ""
        raise IdentificationError(
            f"{k} sites are too few{what}: at least {p + 1} are needed. With one site report that site; a prior from "
            "past evidence (NormalHierarchy) may say how far it speaks for others."
        )
    if np.linalg.matrix_rank(x) < p:
        raise IdentificationError(
            "The moderators are collinear: one is a combination of the others over these sites. Leave one out."
        )


def line_rows(data: SiteEffects, at: tuple[tuple[str, float], ...]) -> list[Combination]:
    """Return the average effect, the slopes, and the average where the moderators were asked for."""
    point = position(data, at)
    size = 1 + len(data.moderator_names)
    unit = np.eye(size)
    rows = [Combination(AVERAGE, "average_effect", unit[0])]
    rows += [
        Combination(f"slope of {name}", "effect_moderation", unit[i]) for i, name in enumerate(data.moderator_names, 1)
    ]
    return rows + ([Combination(AVERAGE_AT, "average_effect", point)] if at else [])


def position(data: SiteEffects, at: tuple[tuple[str, float], ...]) -> FloatArray:
    """Return the moderators asked for about their means, with a one in front."""
    unknown = [name for name, _ in at if name not in data.moderator_names]
    if unknown:
        raise DesignError(f"{', '.join(map(repr, unknown))} (at) is no moderator of these sites.")
    given, means = dict(at), data.moderators.mean(axis=0)
    shift = [given.get(name, mean) - mean for name, mean in zip(data.moderator_names, means, strict=True)]
    return np.array([1.0, *shift])


def new_site(data: SiteEffects, at: tuple[tuple[str, float], ...], variance: float) -> Combination:
    """Return the effect in a site that has not been seen."""
    return Combination(NEW_SITE, "new_site_effect", position(data, at), variance)


def terms_of(
    data: SiteEffects,
    rows: Sequence[Combination],
    coefficients: FloatArray,
    covariance: FloatArray,
    *,
    df: FloatArray | float,
    reason: str = "",
    extra: tuple[tuple[str, float | str | None], ...] = (),
    n_clusters: int | None = None,
) -> tuple[list[Term], FloatArray]:
    """Return the rows with their joint covariance; `reason` says why none has a standard error.

    Parameters
    ----------
    df : float or ndarray, shape (rows,)
        Of the reference distribution.
    extra : tuple
        Own columns of the first row.
    """
    vectors = np.array([row.vector for row in rows])
    joint = vectors @ covariance @ vectors.T + np.diag([row.own for row in rows])
    degrees = np.broadcast_to(np.asarray(df, dtype=float), (len(rows),))
    everybody: tuple[Cell, ...] = tuple(cell for cells in data.support for cell in cells)
    terms = [
        Term(
            term=row.label,
            estimand=Estimand(row.kind, data.contrast, "sites"),
            outcome=data.outcome,
            value=float(row.vector @ coefficients + row.offset),
            std_error=None if reason else float(np.sqrt(joint[i, i])),
            df=float(degrees[i]),
            n_clusters=n_clusters,
            reason=reason,
            support=everybody if row.site is None else data.support[row.site],
            extra=extra if i == 0 else (),
        )
        for i, row in enumerate(rows)
    ]
    return terms, np.full_like(joint, np.nan) if reason else joint


def moderator_test(
    data: SiteEffects, coefficients: FloatArray, covariance: FloatArray, *, df2: float, reason: str = ""
) -> list[Term]:
    """Return the test that no moderator matters: F with finite degrees of freedom, chi-squared without."""
    if not data.moderator_names:
        return []
    statistic, df, p_value = (np.nan, 0, np.nan) if reason else wald_joint(coefficients[1:], covariance[1:, 1:])
    if df and np.isfinite(df2):
        statistic /= df
        p_value = f_upper(statistic, df, df2)
    return [joint_row(data, statistic, float(df), df2, p_value, reason)]


def joint_row(data: SiteEffects, statistic: float, df: float, df2: float, p_value: float, reason: str = "") -> Term:
    """Return the joint test of the moderators as a row."""
    defined = bool(np.isfinite(p_value))
    return Term(
        term=MODERATORS,
        estimand=Estimand("effect_moderation", "none", "sites"),
        outcome=data.outcome,
        value=None,
        std_error=None,
        kind="test",
        statistic=float(statistic) if defined else None,
        df=df if defined else float("nan"),
        df2=float(df2) if np.isfinite(df2) else None,
        p_value=float(p_value) if defined else None,
        reason="" if defined else reason or "there are too few degrees of freedom for a joint test",
    )


def assemble(
    model: Any,
    data: SiteEffects,
    terms: Sequence[Term],
    covariance: FloatArray,
    *,
    method: Method,
    checks: Sequence[Check],
    level: float = 0.95,
) -> Estimates:
    """Return the result; rows beyond those of the covariance have variances of their own only."""
    full = np.full((len(terms), len(terms)), np.nan)
    size = len(covariance)
    full[:size, :size] = covariance
    for i, row in enumerate(terms[size:], size):
        if row.std_error is not None:
            full[i, i] = row.std_error**2
    return Estimates(
        estimator=model.name,
        terms=tuple(terms),
        covariance=full,
        level=level,
        method=method,
        checks=tuple(checks),
        provenance=Provenance(data.digest, tuple(options_of(model).items()), None, versions()),
    )


def moderator_checks(data: SiteEffects, n: int, units: str = "sites") -> list[Check]:
    """Return a warning where moderators are many for the sites."""
    count = len(data.moderator_names)
    if not count or n >= 10 * count:
        return []
    text = f"{count} moderator(s) of {n} {units}: with fewer than ten a moderator, slopes come and go by chance."
    return [Check(f"few {units} a moderator", "warn", text)]


def weight_check(weights: FloatArray, labels: Sequence[str]) -> list[Check]:
    """Return a warning where one site decides the average."""
    share = weights / weights.sum()
    top = int(share.argmax())
    if share[top] < HEAVY:
        return []
    text = (
        f"{labels[top]} carries {100 * share[top]:.0f} % of the weight: the average is that site's estimate, and its "
        "interval rests on a standard error that the others cannot check."
    )
    return [Check("weights", "warn", text)]
