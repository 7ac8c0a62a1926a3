"""Finite populations and several stages, against every sample that could have been drawn."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from gbveval.numerics.survey import sample_design, unit_influence

POPULATION = [
    np.array([1.0, 4.0, 6.0]),
    np.array([2.0, 2.0, 9.0, 3.0]),
    np.array([0.0, 5.0]),
    np.array([7.0, 1.0, 1.0]),
]


def _variance(design, values) -> float:
    return float((unit_influence(design, values) ** 2).sum())


def test_the_variance_of_a_simple_sample_is_unbiased_over_all_samples() -> None:
    y = np.array([1.0, 4.0, 6.0, 2.0, 9.0])
    totals, variances = [], []
    for chosen in combinations(range(5), 3):
        z = y[list(chosen)] * 5 / 3
        design = sample_design(3, populations=[np.full(3, 5.0)])
        totals.append(z.sum())
        variances.append(_variance(design, z))
    # Over all ten samples the mean estimate is the true variance: exact up to rounding.
    assert np.mean(variances) == pytest.approx(np.var(totals), rel=1e-12)
    assert np.mean(totals) == pytest.approx(y.sum(), rel=1e-12)


def test_the_variance_of_a_two_stage_sample_is_unbiased_over_all_samples() -> None:
    """Two of four wards, then two people of each ward drawn: every outcome of both draws, with its probability."""
    totals, variances, chances = [], [], []
    for wards in combinations(range(4), 2):
        picks = [list(combinations(range(POPULATION[ward].size), 2)) for ward in wards]
        for chosen in product(*picks):
            y = np.concatenate([POPULATION[w][list(people)] for w, people in zip(wards, chosen, strict=True)])
            size = np.repeat([float(POPULATION[w].size) for w in wards], 2)
            psu = np.repeat([0, 1], 2)
            design = sample_design(4, psu=psu, later=[np.arange(4)], populations=[np.full(4, 4.0), size])
            z = y * (4 / 2) * (size / 2)
            totals.append(z.sum())
            variances.append(_variance(design, z))
            chances.append(1.0 / (6 * len(picks[0]) * len(picks[1])))
    chance, total = np.array(chances), np.array(totals)
    assert chance.sum() == pytest.approx(1.0)
    assert chance @ total == pytest.approx(sum(part.sum() for part in POPULATION), rel=1e-12)
    truth = chance @ (total - chance @ total) ** 2
    assert chance @ np.array(variances) == pytest.approx(truth, rel=1e-12)


def test_a_census_does_not_vary_and_the_first_stage_alone_counts_with_replacement() -> None:
    z = np.array([1.0, 3.0, 5.0, 2.0])
    assert _variance(sample_design(4, populations=[np.full(4, 4.0)]), z) == 0.0
    psu = np.array([0, 0, 1, 1])
    one = sample_design(4, psu=psu)
    two = sample_design(4, psu=psu, later=[np.arange(4)])
    assert _variance(one, z) == _variance(two, z)
    assert two.later == ()


def test_a_population_so_large_that_it_does_not_matter() -> None:
    z = np.array([1.0, 3.0, 5.0, 2.0])
    finite = _variance(sample_design(4, populations=[np.full(4, 4e12)]), z)
    # The fraction drawn is 1e-12.
    assert finite == pytest.approx(_variance(sample_design(4), z), rel=2e-12)


def test_policies_for_lonely_units() -> None:
    stratum = np.array([0, 0, 1, 2, 2, 3])
    z = np.array([1.0, 3.0, 5.0, 2.0, 6.0, 4.0])
    others = 2 * np.var(z[:2], ddof=1) + 2 * np.var(z[3:5], ddof=1)
    assert _variance(sample_design(6, stratum=stratum, lonely_psu="certainty"), z) == pytest.approx(others, rel=1e-12)
    # Two of four strata tell their variance; the other two get the same on average.
    found = _variance(sample_design(6, stratum=stratum, lonely_psu="average"), z)
    assert found == pytest.approx(2 * others, rel=1e-12)
    with pytest.raises(ValueError, match="no other one to average"):
        sample_design(2, stratum=np.array([0, 1]), lonely_psu="average")
    with pytest.raises(ValueError, match="no other one to average"):
        sample_design(2, later=[np.arange(2)], populations=[np.full(2, 4.0), np.full(2, 3.0)], lonely_psu="average")


def test_a_stratum_drawn_whole_is_not_lonely() -> None:
    stratum = np.array([0, 0, 1])
    design = sample_design(3, stratum=stratum, populations=[np.array([8.0, 8.0, 1.0])])
    z = np.array([1.0, 3.0, 5.0])
    assert design.n_lonely == 0
    assert _variance(design, z) == pytest.approx(0.75 * 2 * np.var(z[:2], ddof=1), rel=1e-12)


def test_a_lonely_unit_of_the_second_stage_is_refused() -> None:
    psu, household = np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2])
    sizes = [np.full(4, 5.0)]
    with pytest.raises(ValueError, match="single unit of the next one"):
        sample_design(4, psu=psu, later=[household], populations=sizes)
    sample_design(4, psu=psu, later=[household], populations=sizes, lonely_psu="adjust")


def test_impossible_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="smaller than the sample"):
        sample_design(4, populations=[np.full(4, 3.0)])
    with pytest.raises(ValueError, match="stage 2 lies in more than one"):
        sample_design(4, psu=np.array([0, 0, 1, 1]), later=[np.array([0, 1, 1, 2])])
