"""Planned analyses as they are run on raw data, many studies at once: the witnesses of power by formula.

Each takes a plan, a true effect and a generator, draws studies as the plan describes them, tests, and returns which
reject at 5 %. Nothing of gbveval's planning is used but the options of the plan.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special, stats

Array = Any
ALPHA = 0.05
Analysis = Callable[[Any, float, str, int, np.random.Generator], Array]


def decide(statistic: Array, df: Array, alternative: str) -> Array:
    """Return which statistics reject, by Student's t (infinite df: the normal)."""
    tail = ALPHA / 2.0 if alternative == "two_sided" else ALPHA
    reach = np.where(np.isfinite(df), stats.t.isf(tail, np.where(np.isfinite(df), df, 1.0)), stats.norm.isf(tail))
    far = {"two_sided": np.abs(statistic), "greater": statistic, "less": -np.asarray(statistic)}[alternative]
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(far, nan=-np.inf) > reach


def two_means(y0: Array, y1: Array, how: str) -> tuple[Array, Array]:
    """Return statistic and df of a test of two arms, rows are studies: pooled, Welch's or with a known sd of one."""
    n0, n1 = y0.shape[1], y1.shape[1]
    gap = y1.mean(axis=1) - y0.mean(axis=1)
    v0, v1 = y0.var(axis=1, ddof=1), y1.var(axis=1, ddof=1)
    if how == "known":
        return gap / math.sqrt(1.0 / n0 + 1.0 / n1), np.full(gap.shape, np.inf)
    if how == "pooled":
        pooled = ((n0 - 1) * v0 + (n1 - 1) * v1) / (n0 + n1 - 2)
        return gap / np.sqrt(pooled * (1.0 / n0 + 1.0 / n1)), np.full(gap.shape, n0 + n1 - 2.0)
    square = v0 / n0 + v1 / n1
    return gap / np.sqrt(square), square**2 / ((v0 / n0) ** 2 / (n0 - 1) + (v1 / n1) ** 2 / (n1 - 1))


def means(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    y0 = rng.normal(size=(studies, plan.n_per_arm))
    y1 = rng.normal(size=(studies, plan.n_treated)) + effect / plan.outcome.sd
    how = {"t": "pooled", "welch": "welch", "normal": "known"}[plan.analysis]
    return decide(*two_means(y0, y1, how), alternative)


def adjusted_means(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    """Regress on treatment and covariates; classical errors."""
    n0, n1, g = plan.n_per_arm, plan.n_treated, plan.n_covariates
    treated = np.repeat([0.0, 1.0], [n0, n1])
    x = rng.normal(size=(studies, n0 + n1, g))
    noise = rng.normal(size=(studies, n0 + n1)) * math.sqrt(1.0 - plan.r_squared)
    y = effect / plan.outcome.sd * treated + x.sum(axis=2) * math.sqrt(plan.r_squared / g) + noise
    return decide(*regression(y, np.concatenate([np.ones((studies, n0 + n1, 1)), x], axis=2), treated), alternative)


def regression(y: Array, x: Array, treated: Array) -> tuple[Array, Array]:
    """Return the classical t statistic of treatment beside other columns, and its df."""
    z = np.concatenate([x, np.broadcast_to(treated, y.shape)[..., None]], axis=2)
    inverse = np.linalg.inv(np.swapaxes(z, 1, 2) @ z)
    beta = (inverse @ (np.swapaxes(z, 1, 2) @ y[..., None]))[..., 0]
    df = y.shape[1] - z.shape[2]
    s2 = ((y - (z @ beta[..., None])[..., 0]) ** 2).sum(axis=1) / df
    return beta[:, -1] / np.sqrt(s2 * inverse[:, -1, -1]), np.full(y.shape[0], float(df))


def risks(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    n0, n1 = plan.n_per_arm, plan.n_treated
    p0, p1 = (
        rng.binomial(n0, plan.outcome.risk, studies) / n0,
        rng.binomial(n1, plan.outcome.risk + effect, studies) / n1,
    )
    infinite = np.full(studies, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        if plan.analysis == "arcsine":
            h = 2.0 * np.arcsin(np.sqrt(p1)) - 2.0 * np.arcsin(np.sqrt(p0))
            return decide(h / math.sqrt(1.0 / n0 + 1.0 / n1), infinite, alternative)
        if plan.analysis == "unpooled":
            spread = np.sqrt(p0 * (1.0 - p0) / n0 + p1 * (1.0 - p1) / n1)
            return decide((p1 - p0) / spread, infinite, alternative)
        pooled = (n0 * p0 + n1 * p1) / (n0 + n1)
        spread = np.sqrt(pooled * (1.0 - pooled) * (1.0 / n0 + 1.0 / n1))
        off = (1.0 / n0 + 1.0 / n1) / 2.0 if plan.analysis == "corrected" else 0.0
        gap = p1 - p0
        return decide(np.sign(gap) * np.maximum(np.abs(gap) - off, 0.0) / spread, infinite, alternative)


def fisher(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    n0, n1 = plan.n_per_arm, plan.n_treated
    a, b = rng.binomial(n1, plan.outcome.risk + effect, studies), rng.binomial(n0, plan.outcome.risk, studies)
    side = {"two_sided": "two-sided", "greater": "greater", "less": "less"}[alternative]
    known = {
        table: stats.fisher_exact([[table[0], n1 - table[0]], [table[1], n0 - table[1]]], side)[1] <= ALPHA
        for table in set(zip(a.tolist(), b.tolist(), strict=True))
    }
    return np.array([known[table] for table in zip(a.tolist(), b.tolist(), strict=True)])


def one_risk(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    hits = rng.binomial(plan.n, plan.outcome.risk + effect, studies)
    if plan.analysis == "arcsine":
        h = 2.0 * np.arcsin(np.sqrt(hits / plan.n)) - 2.0 * math.asin(math.sqrt(plan.outcome.risk))
        return decide(h * math.sqrt(plan.n), np.full(studies, np.inf), alternative)
    side = {"two_sided": "two-sided", "greater": "greater", "less": "less"}[alternative]
    rejects = np.array([stats.binomtest(k, plan.n, plan.outcome.risk, side).pvalue <= ALPHA for k in range(plan.n + 1)])
    return rejects[hits]


def one_mean(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    y = rng.normal(size=(studies, plan.n)) + effect / plan.outcome.sd
    known = plan.analysis == "normal"
    spread = 1.0 if known else y.std(axis=1, ddof=1)
    df = np.full(studies, np.inf if known else plan.n - 1.0)
    return decide(y.mean(axis=1) * math.sqrt(plan.n) / spread, df, alternative)


def pairs(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    rho = plan.correlation
    shared = rng.normal(size=(2, studies, plan.n_pairs))
    y0 = shared[0]
    y1 = rho * shared[0] + math.sqrt(1.0 - rho**2) * shared[1] + effect / plan.outcome.sd
    difference = y1 - y0
    spread = difference.std(axis=1, ddof=1) / math.sqrt(plan.n_pairs)
    df = np.full(studies, plan.n_pairs - 1.0)
    return decide(difference.mean(axis=1) / spread, df, alternative)


def discordant_pairs(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    share = plan.outcome.share
    counts = rng.multinomial(plan.n_pairs, [(share + effect) / 2.0, (share - effect) / 2.0, 1.0 - share], studies)
    treated, control = counts[:, 0], counts[:, 1]
    if plan.analysis == "mcnemar":
        with np.errstate(invalid="ignore"):
            z = (treated - control) / np.sqrt(treated + control)
        return decide(z, np.full(studies, np.inf), alternative)
    total = treated + control
    lower, upper = special.bdtr(treated.astype(float), total, 0.5), special.bdtrc(treated - 1.0, total, 0.5)
    p_value = {"two_sided": np.minimum(1.0, 2.0 * np.minimum(lower, upper)), "greater": upper, "less": lower}
    return np.where(total == 0, False, p_value[alternative] <= ALPHA)


def counts(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    """Test the log rate ratio with the planned dispersion known, as its formula has it."""
    outcome, (n0, n1) = plan.outcome, (plan.n_per_arm, plan.n_treated)
    t, k = outcome.exposure, outcome.dispersion
    rates = []
    for n, rate in ((n0, outcome.rate), (n1, outcome.rate + effect)):
        # A sum of n gamma-Poisson counts: the gamma shapes add.
        mean = t * rate * (rng.gamma(n / k, k, studies) if k > 0.0 else np.full(studies, float(n)))
        rates.append(rng.poisson(mean) / (n * t))
    r0, r1 = rates
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (n0 * r0 + n1 * r1) / (n0 + n1)
        a, b = (r0, r1) if plan.analysis == "wald" else (pooled, pooled)
        spread = np.sqrt((1.0 / (t * a) + k) / n0 + (1.0 / (t * b) + k) / n1)
        return decide(np.log(r1 / r0) / spread, np.full(studies, np.inf), alternative)


def ordered(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    """Test by the win probability with Brunner and Munzel's variance, or by the score test of proportional odds."""
    shares = [np.asarray(level) for level in plan.outcome.levels(effect)]
    n0, n1 = plan.n_per_arm, plan.n_treated
    c0, c1 = (rng.multinomial(n, share, studies) for n, share in zip((n0, n1), shares, strict=True))
    f0, f1 = c0 / n0, c1 / n1
    if plan.analysis == "proportional_odds":
        mean = (c0 + c1) / (n0 + n1)
        placed = np.cumsum(mean, axis=1) - mean / 2.0
        score = n0 * n1 / (n0 + n1) * ((f1 - f0) * placed).sum(axis=1)
        information = n0 * n1 / (12.0 * (n0 + n1)) * (1.0 - (mean**3).sum(axis=1))
        return decide(score / np.sqrt(information), np.full(studies, np.inf), alternative)
    w1, w0 = np.cumsum(f0, axis=1) - f0 / 2.0, np.cumsum(f1, axis=1) - f1 / 2.0
    theta = (f1 * w1).sum(axis=1)
    v1 = ((f1 * w1**2).sum(axis=1) - theta**2) * n1 / (n1 - 1)
    v0 = ((f0 * w0**2).sum(axis=1) - (1.0 - theta) ** 2) * n0 / (n0 - 1)
    return decide((theta - 0.5) / np.sqrt(v1 / n1 + v0 / n0), np.full(studies, np.inf), alternative)


def repeated(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    n0, n1, m, r, rho = plan.n_per_arm, plan.n_treated, plan.n_before, plan.n_after, plan.correlation
    treated = np.repeat([0.0, 1.0], [n0, n1])
    person = rng.normal(size=(studies, n0 + n1, 1)) * math.sqrt(rho)
    waves = person + rng.normal(size=(studies, n0 + n1, m + r)) * math.sqrt(1.0 - rho)
    after = waves[:, :, m:].mean(axis=2) + effect / plan.outcome.sd * treated
    if plan.analysis == "ancova":
        before = waves[:, :, :m].mean(axis=2)
        columns = np.stack([np.ones_like(before), before], axis=2)
        return decide(*regression(after, columns, treated), alternative)
    y = after - waves[:, :, :m].mean(axis=2) if plan.analysis == "change" else after
    return decide(*two_means(y[:, :n0], y[:, n0:], "pooled"), alternative)


def several_arms(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    """Compare every arm with control at one critical value; Dunnett's is found here by simulation of its own law."""
    n0, n1, k = plan.n_per_arm, plan.n_treated, plan.n_treated_arms
    pattern = plan.pattern or (1.0,) * k
    y0 = rng.normal(size=(studies, n0))
    y = rng.normal(size=(studies, k, n1)) + effect / plan.outcome.sd * np.asarray(pattern)[:, None]
    squares = ((y0 - y0.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    squares = squares[:, None] + ((y - y.mean(axis=2, keepdims=True)) ** 2).sum(axis=2)
    gap = y.mean(axis=2) - y0.mean(axis=1)[:, None]
    tail = ALPHA / k / (2.0 if alternative == "two_sided" else 1.0)
    if plan.adjustment == "bonferroni":
        df = n0 + n1 - 2.0
        spread = np.sqrt(squares / df * (1.0 / n0 + 1.0 / n1))
        critical = stats.t.isf(tail, df)
    else:
        df = n0 + k * n1 - k - 1.0
        total = squares.sum(axis=1) - (k - 1) * ((y0 - y0.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
        spread = np.sqrt(total / df * (1.0 / n0 + 1.0 / n1))[:, None]
        side = "two-sided" if alternative == "two_sided" else alternative
        critical = dunnett_quantile(k, n0, n1, df, side)
    t = gap / spread
    found = {"two_sided": np.abs(t), "greater": t, "less": -t}[alternative] > critical
    return {"each": found[:, 0], "any": found.any(axis=1), "all": found.all(axis=1)}[plan.power_of]


def dunnett_quantile(k: int, n0: int, n1: int, df: float, side: str) -> float:
    """Return the critical value from the multivariate t distribution of scipy."""
    from scipy.optimize import brentq

    rho = n1 / (n0 + n1)
    shape = np.full((k, k), rho) + (1.0 - rho) * np.eye(k)
    law = stats.multivariate_t(shape=shape, df=df, seed=1)

    def excess(c: float) -> float:
        low = np.full(k, -c) if side == "two-sided" else np.full(k, -np.inf)
        return float(law.cdf(np.full(k, c), lower_limit=low, maxpts=200_000, random_state=1)) - (1.0 - ALPHA)

    return float(brentq(excess, 1.0, 6.0, xtol=1e-4))


def factorial(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    n = plan.n_per_cell
    # Cells: neither, one, the other, both.
    signs = np.array([-1, 1, -1, 1]) / 2.0 if plan.target == "main" else np.array([1, -1, -1, 1])
    mean = np.array([0.0, effect, 0.0, effect]) if plan.target == "main" else np.array([0.0, 0.0, 0.0, effect])
    y = rng.normal(size=(studies, 4, n)) + (mean / plan.outcome.sd)[:, None]
    df = 4.0 * (n - 1.0)
    s2 = ((y - y.mean(axis=2, keepdims=True)) ** 2).sum(axis=(1, 2)) / df
    spread = np.sqrt(s2 * (signs**2).sum() / n)
    return decide((y.mean(axis=2) @ signs) / spread, np.full(studies, df), alternative)


def margin(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    """Test a parallel plan against a margin, or between two: one-sided tests at 5 % each."""
    inner = plan.plan
    y0 = rng.normal(size=(studies, inner.n_per_arm))
    y1 = rng.normal(size=(studies, inner.n_treated))

    def against(null: float, side: str) -> Array:
        return decide(*two_means(y0, y1 + (effect - null) / inner.outcome.sd, "pooled"), side)

    if alternative == "equivalence":
        return against(plan.margin_low, "greater") & against(plan.margin_high, "less")
    return against(plan.margin, alternative)


def several_means(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    n, arms = plan.n_per_arm, len(plan.pattern)
    y = rng.normal(size=(studies, arms, n)) + effect / plan.sd * np.asarray(plan.pattern)[:, None]
    within = ((y - y.mean(axis=2, keepdims=True)) ** 2).sum(axis=(1, 2)) / (arms * (n - 1))
    between = n * y.mean(axis=2).var(axis=1, ddof=1)
    return between / within > stats.f.isf(ALPHA, arms - 1, arms * (n - 1))


def coefficients(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    """Test slopes of columns that are orthonormal in the sample, so that they explain there what was planned."""
    n, u = plan.n, plan.n_tested
    x = rng.normal(size=(n, u))
    x = np.linalg.qr(x - x.mean(axis=0))[0] * math.sqrt(n)
    y = rng.normal(size=(studies, n)) + x @ np.full(u, math.sqrt(effect / u))
    y -= y.mean(axis=1, keepdims=True)
    explained = ((y @ x) ** 2).sum(axis=1) / n
    rest = (y**2).sum(axis=1) - explained
    return explained / u / (rest / (n - u - 1)) > stats.f.isf(ALPHA, u, n - u - 1)


def shares(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    """Compare a sample of even categories but two, which trade respondents, with even ones."""
    k = plan.df + 1
    true = np.full(k, 1.0 / k)
    # w^2 = sum of k d^2 over the two that differ by d and -d.
    move = effect / math.sqrt(2.0 * k)
    true[0] += move
    true[1] -= move
    found = rng.multinomial(plan.n, true, studies)
    return ((found - plan.n / k) ** 2 / (plan.n / k)).sum(axis=1) > stats.chi2.isf(ALPHA, plan.df)


def correlation(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    x = rng.normal(size=(studies, plan.n))
    y = effect * x + math.sqrt(1.0 - effect**2) * rng.normal(size=(studies, plan.n))
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    r = (x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return decide(r * np.sqrt((plan.n - 2) / (1.0 - r**2)), np.full(studies, plan.n - 2.0), alternative)


def events(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    """Log-rank test of twice as many people as events, observed until there are so many."""
    half = plan.n_events
    time = rng.exponential(size=(studies, 2 * half))
    time[:, half:] /= math.exp(effect)
    order = np.argsort(time, axis=1)[:, : plan.n_events]
    treated = order >= half
    at_risk = 2 * half - np.arange(plan.n_events)
    # Treated people at risk just before each event.
    before = np.cumsum(treated, axis=1) - treated
    part = (half - before) / at_risk
    z = (treated - part).sum(axis=1) / np.sqrt((part * (1.0 - part)).sum(axis=1))
    return decide(z, np.full(studies, np.inf), alternative)


def several_outcomes(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    """Test outcomes of the same people whose standard deviation of one is known."""
    inner, count = plan.plan, len(plan.pattern)
    shape = np.full((count, count), plan.correlation) + (1.0 - plan.correlation) * np.eye(count)
    root = np.linalg.cholesky(shape)
    y0 = rng.normal(size=(studies, inner.n_per_arm, count)) @ root.T
    y1 = rng.normal(size=(studies, inner.n_treated, count)) @ root.T + effect * np.asarray(plan.pattern)
    z = (y1.mean(axis=1) - y0.mean(axis=1)) / math.sqrt(1.0 / inner.n_per_arm + 1.0 / inner.n_treated)
    size = {"none": ALPHA, "bonferroni": ALPHA / count, "sidak": 1.0 - (1.0 - ALPHA) ** (1.0 / count)}[plan.correction]
    critical = stats.norm.isf(size / 2.0 if alternative == "two_sided" else size)
    found = {"two_sided": np.abs(z), "greater": z, "less": -z}[alternative] > critical
    return {"any": found.any(axis=1), "all": found.all(axis=1), "each": found[:, 0]}[plan.power_of]


def cluster_means(plan: Any, studies: int, effect: float, rng: np.random.Generator) -> tuple[list[Array], list[Array]]:
    """Return the sizes and the means of clusters, control then treated, rows are studies."""
    sizes, found = [], []
    for k, level in zip((plan.clusters_per_arm, plan.treated_clusters), plan.outcome.levels(effect), strict=True):
        m = np.full((studies, k), plan.cluster_size)
        if plan.size_cv:
            shape = 1.0 / plan.size_cv**2
            m = np.maximum(np.rint(rng.gamma(shape, plan.cluster_size / shape, (studies, k))), 2).astype(int)
        sizes.append(m)
        found.append(_means_of_clusters(plan, level, m, rng))
    return sizes, found


def _means_of_clusters(plan: Any, level: float, m: Array, rng: np.random.Generator) -> Array:
    kind = type(plan.outcome).__name__
    if kind == "Continuous":
        icc, sd = plan.icc.value, plan.outcome.sd
        return level + sd * (
            math.sqrt(icc) * rng.normal(size=m.shape) + np.sqrt((1.0 - icc) / m) * rng.normal(size=m.shape)
        )
    if kind == "Binary":
        strength = (1.0 - plan.icc.value) / plan.icc.value
        return rng.binomial(m, rng.beta(level * strength, (1.0 - level) * strength, m.shape)) / m
    shape = 1.0 / plan.icc.value**2
    rate = rng.gamma(shape, level / shape, m.shape)
    return rng.poisson(rate * m * plan.outcome.exposure) / (m * plan.outcome.exposure)


def clusters(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    """Test clusters as the plan says: CR2 over respondents, means of clusters, or clusters weighted efficiently."""
    (m0, m1), (y0, y1) = cluster_means(plan, studies, effect, rng)
    if plan.analysis == "cluster_means":
        return decide(*two_means(y0, y1, "pooled"), alternative)
    if plan.analysis == "gls":
        icc = plan.icc.value
        w0, w1 = (1.0 / (icc + (1.0 - icc) / m) for m in (m0, m1))
        mean0, mean1 = (np.average(y, axis=1, weights=w) for y, w in ((y0, w0), (y1, w1)))
        df = y0.shape[1] + y1.shape[1] - 2.0
        rest = (w0 * (y0 - mean0[:, None]) ** 2).sum(axis=1) + (w1 * (y1 - mean1[:, None]) ** 2).sum(axis=1)
        spread = np.sqrt(rest / df * (1.0 / w0.sum(axis=1) + 1.0 / w1.sum(axis=1)))
        return decide((mean1 - mean0) / spread, np.full(studies, df), alternative)
    parts = [_cr2_of_arm(m, y) for m, y in ((m0, y0), (m1, y1))]
    (mean0, v0, t0, s0), (mean1, v1, t1, s1) = parts
    return decide((mean1 - mean0) / np.sqrt(v0 + v1), (t0 + t1) ** 2 / (s0 + s1), alternative)


def _cr2_of_arm(m: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """Return the mean over respondents, its CR2 variance, and the trace and squares of Bell and McCaffrey's matrix."""
    w = m / m.sum(axis=1, keepdims=True)
    mean = (w * y).sum(axis=1)
    variance = (w**2 * (y - mean[:, None]) ** 2 / (1.0 - w)).sum(axis=1)
    # With errors of one variance, cluster g's adjusted residual is b_g'e: b_g = (1_g - w_g 1) stretch_g / N.
    total = m.sum(axis=1)[:, None]
    stretch = 1.0 / np.sqrt(1.0 - w) / total
    cross = -(stretch[:, :, None] * stretch[:, None, :]) * m[:, :, None] * m[:, None, :] / total[:, :, None]
    diagonal = stretch**2 * m * (1.0 - w)
    index = np.arange(m.shape[1])
    cross[:, index, index] = diagonal
    return mean, variance, diagonal.sum(axis=1), (cross**2).sum(axis=(1, 2))


def adjusted_clusters(plan: Any, effect: float, alternative: str, studies: int, rng: np.random.Generator) -> Array:
    """Run `Ancova` itself, whose CR2 from cross-products has its own witness."""
    import gbveval as gbv

    found = gbv.simulate_power(
        plan,
        gbv.Ancova(),
        effect=effect,
        seed=int(rng.integers(2**31)),
        n_draws=studies,
        alternative=alternative,
        keep_replicates=True,
        progress=False,
    )
    return found.replicates[0].rejected
