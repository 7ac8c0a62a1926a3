"""A million respondents in five hundred intersectional strata: the likelihood compared with plain integrals, then time.

Run: python benchmarks/strata.py
"""

from __future__ import annotations

import time

import numpy as np
from scipy import stats

import gbveval as gbv
from gbveval.numerics.random_strata import Strata, given_sd

SIZES = {"gender": 5, "class": 5, "region": 5, "age": 4}


def respondents(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    codes = {name: rng.integers(0, levels, n) for name, levels in SIZES.items()}
    stratum = np.ravel_multi_index(tuple(codes.values()), tuple(SIZES.values()))
    eta = -1.5 + 0.4 * (codes["gender"] == 1) + 0.6 * (codes["class"] == 2) + (0.3 * rng.normal(size=500))[stratum]
    frame = {name: np.array([f"{name} {k}" for k in range(SIZES[name])])[code] for name, code in codes.items()}
    return {**frame, "harassed": (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float)}


def main() -> None:
    few = Strata(np.array([30.0, 4.0, 90.0]), np.array([7.0, 0.0, 30.0]), np.ones((3, 1)), "binomial")
    at = given_sd(few, 0.6, 15)
    z = np.linspace(-9.0, 9.0, 40_001)
    eta = at.beta[0] + 0.6 * z
    plain = np.exp(few.total[:, None] * eta - few.n[:, None] * np.logaddexp(0.0, eta)) * stats.norm.pdf(z)
    expected = np.log(np.trapezoid(plain, z, axis=1)).sum()
    assert abs(at.log_profile - expected) < 1e-6, "adaptive quadrature differs from a plain integral"
    frame = respondents(1_000_000)
    started = time.perf_counter()
    survey = gbv.Survey(frame, outcome="harassed")
    read = time.perf_counter()
    answer = gbv.Maihda(list(SIZES)).estimate(survey)
    done = time.perf_counter()
    low, high = answer.intervals()
    print(f"VPC {answer['VPC'].value:.4f} ({low[0]:.4f} to {high[0]:.4f}), PCV {answer['PCV'].value:.3f}")
    print(
        f"1,000,000 respondents in 500 strata: {read - started:.1f} s to check, {done - read:.1f} s to fit (30 wanted)"
    )
    rng = np.random.default_rng(2)
    frame["country"] = rng.choice(list("abcdefghij"), 1_000_000)
    frame["arm"] = rng.choice(["usual", "new"], 1_000_000)
    survey = gbv.Survey(frame, outcome="harassed")
    started = time.perf_counter()
    gbv.Maihda(list(SIZES), site="country").estimate(survey)
    print(f"the same crossed with ten sites: {time.perf_counter() - started:.1f} s to fit")
    trial = gbv.Trial(frame, outcome="harassed", arm="arm", control="usual", subgroup=list(SIZES))
    started = time.perf_counter()
    gbv.IntersectionalEffects(contrast="difference").estimate(trial)
    print(f"differences in a trial over the same strata: {time.perf_counter() - started:.1f} s")
    few = {name: column[:100_000] for name, column in frame.items()}
    trial = gbv.Trial(few, outcome="harassed", arm="arm", control="usual", subgroup=list(SIZES))
    started = time.perf_counter()
    gbv.IntersectionalEffects(contrast="odds_ratio").estimate(trial)
    print(f"odds ratios of 100,000 people given margins: {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
