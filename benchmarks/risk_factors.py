"""Risk factors of a large survey: answers against statsmodels, then the time of the whole table.

Run: python benchmarks/risk_factors.py
"""

from __future__ import annotations

import resource
import time

import numpy as np
import pandas as pd
import statsmodels.api as sm

import gbveval as gbv

PEOPLE, FACTORS, SITES, UNITS = 200_000, 25, 10, 400
ADJUST = ["age", "gender", "site"]


def frame() -> pd.DataFrame:
    """Return a survey of ten sites, forty primary units in each."""
    rng = np.random.default_rng(1)
    unit = rng.integers(0, UNITS, PEOPLE)
    columns = {
        "w": rng.uniform(0.5, 2.0, PEOPLE),
        "site": [f"s{i}" for i in unit % SITES],
        "unit": [f"u{i:03d}" for i in unit],
        "age": rng.integers(16, 30, PEOPLE).astype(float),
        "gender": rng.choice(["f", "m", "x"], PEOPLE).tolist(),
    }
    eta = np.full(PEOPLE, -2.0) + 0.02 * (columns["age"] - 16.0)
    for number in range(FACTORS):
        exposed = rng.random(PEOPLE) < rng.uniform(0.1, 0.5)
        eta += rng.normal(0.0, 0.1) * exposed
        columns[f"f{number:02d}"] = np.where(exposed, "yes", "no").tolist()
    columns["y"] = (rng.random(PEOPLE) < np.exp(eta)).astype(float)
    return pd.DataFrame(columns)


def by_statsmodels(data: pd.DataFrame, factor: str) -> tuple[float, float]:
    """Return the adjusted log ratio and its error by units within sites, from its scores."""
    dummies = pd.get_dummies(data[["gender", "site"]], drop_first=True).astype(float)
    x = np.column_stack([np.ones(len(data)), data[factor] == "yes", data["age"], dummies]).astype(float)
    fit = sm.GLM(data["y"], x, family=sm.families.Poisson(), freq_weights=data["w"]).fit(tol=1e-12)
    w = data["w"].to_numpy()
    information = (x * (w * fit.mu)[:, None]).T @ x
    scores = (x * (w * (data["y"].to_numpy() - fit.mu))[:, None]) @ np.linalg.inv(information)[:, 1]
    totals = pd.Series(scores).groupby([data["site"], data["unit"]]).sum()
    parts = [len(part) / (len(part) - 1) * ((part - part.mean()) ** 2).sum() for _, part in totals.groupby(level=0)]
    return float(np.asarray(fit.params)[1]), float(np.sqrt(sum(parts)))


def main() -> None:
    data = frame()
    survey = gbv.Survey(data, outcome="y", weight="w", stratum="site", psu="unit")
    names = [f"f{number:02d}" for number in range(FACTORS)]
    table = gbv.RiskFactors(names, dict.fromkeys(names, ADJUST), behaviour="experience")
    started = time.perf_counter()
    answer = table.estimate(survey)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    for name in names[:3]:
        value, error = by_statsmodels(data, name)
        row = answer[f"{name}: yes vs no (adjusted ratio)"]
        assert abs(row.value - value) < 1e-7, "the ratio differs from statsmodels"
        assert abs(row.std_error / error - 1.0) < 1e-6, "the error differs from that by its scores"
    theirs = (time.perf_counter() - started) / 3 * FACTORS
    within = gbv.RiskFactors(names, dict.fromkeys(names, ADJUST[:2]), behaviour="experience")
    started = time.perf_counter()
    pooled = gbv.factors_across_sites(within, survey, "site")
    across = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"{PEOPLE:,} respondents, {SITES} sites, {FACTORS} factors, {len(answer)} rows: {seconds:.1f} s (20 wanted)")
    print(f"the table in each site, {len(pooled.rows)} rows pooled: {across:.1f} s (20 wanted)")
    print(f"adjusted ratios alone, one by one in statsmodels: about {theirs:.0f} s; peak memory {peak:.1f} GB")


if __name__ == "__main__":
    main()
