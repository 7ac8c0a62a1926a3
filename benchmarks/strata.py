"""A million respondents in five hundred intersectional strata: the likelihood compared with plain integrals, then time.

Run: python benchmarks/strata.py
"""

from __future__ import annotations

import time

import numpy as np
from scipy import stats

import gbveval as gbv
from gbveval.numerics.random_strata import Strata, integrate

SIZES = {"gender": 5, "class": 5, "region": 5, "age": 4}


def respondents(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    codes = {name: rng.integers(0, levels, n) for name, levels in SIZES.items()}
    stratum = np.ravel_multi_index(tuple(codes.values()), tuple(SIZES.values()))
    eta = -1.5 + 0.4 * (codes["gender"] == 1) + 0.6 * (codes["class"] == 2) + (0.3 * rng.normal(size=500))[stratum]
    frame = {name: np.array([f"{name} {k}" for k in range(SIZES[name])])[code] for name, code in codes.items()}
    return {**frame, "harassed": (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float)}


def main() -> None:
    few = Strata(np.array([30.0, 4.0, 900.0]), np.array([7.0, 0.0, 300.0]), np.ones((3, 1)), "binomial")
    z = np.linspace(-9.0, 9.0, 40_001)
    plain = np.exp(few.log_density(-1.0 + 0.6 * z[None, :])) * stats.norm.pdf(z)
    expected = np.log(np.trapezoid(plain, z, axis=1))
    found = integrate(few, np.array([-1.0]), 0.6, 15).log_likelihood
    assert np.abs(found - expected).max() < 1e-6, "adaptive quadrature differs from a plain integral"
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


if __name__ == "__main__":
    main()
