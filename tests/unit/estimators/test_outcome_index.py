"""Indices of outcomes by hand, from the formulas of their papers."""

from __future__ import annotations

import numpy as np
import pytest

import gbveval as gbv
from gbveval.core.errors import IdentificationError

RNG = np.random.default_rng(4)
ARM = np.tile(["usual", "new", "other"], 10)
COMMON = RNG.normal(size=30)
FRAME = {
    "a": COMMON + 0.3 * RNG.normal(size=30),
    "b": COMMON + 0.3 * RNG.normal(size=30),
    "c": -2.0 * RNG.normal(size=30) + 5.0,
    "arm": ARM.tolist(),
}


def trial(**changes: object) -> gbv.Trial:
    return gbv.Trial({**FRAME, **changes}, outcome=["a", "b", "c"], arm="arm", control="usual")


def z(name: str, values: np.ndarray | None = None) -> np.ndarray:
    y = np.asarray(FRAME[name] if values is None else values, dtype=float)
    reference = y[ARM == "usual"]
    return (y - np.nanmean(reference)) / np.nanstd(reference, ddof=1)


def test_the_mean_of_z_is_the_mean_of_z() -> None:
    index = gbv.OutcomeIndex(("a", "b", "c"), "harm", "mean_of_z", flip=("c",))
    data = index.add(trial())
    expected = (z("a") + z("b") - z("c")) / 3
    np.testing.assert_allclose(data.outcomes[:, 3], expected, rtol=1e-12)
    # The effect on it is the mean of the effects in standard deviations (Kling, Liebman and Katz 2007).
    effect = gbv.DifferenceInMeans().estimate(data)["harm", "new vs usual"].value
    by_hand = np.mean(
        [s * (z(k)[ARM == "new"].mean() - z(k)[ARM == "usual"].mean()) for k, s in zip("abc", (1, 1, -1))]
    )
    assert effect == pytest.approx(by_hand, rel=1e-10)


def test_missing_components_have_the_mean_of_their_arm() -> None:
    holes = np.asarray(FRAME["a"]).copy()
    holes[[3, 4]] = np.nan
    data = gbv.OutcomeIndex(("a", "b"), "harm", "mean_of_z").add(trial(a=holes))
    own = z("a", holes)
    own[3] = np.nanmean(own[ARM == "usual"])
    own[4] = np.nanmean(own[ARM == "new"])
    np.testing.assert_allclose(data.outcomes[:, 3], (own + z("b")) / 2, rtol=1e-12)


def test_inverse_covariance_weights_are_the_row_sums_of_the_inverse() -> None:
    data = gbv.OutcomeIndex(("a", "b", "c"), "harm").add(trial())
    matrix = np.column_stack([z("a"), z("b"), z("c")])
    weight = np.linalg.inv(np.cov(matrix, rowvar=False)).sum(axis=1)
    np.testing.assert_allclose(data.outcomes[:, 3], matrix @ weight / weight.sum(), rtol=1e-9)
    # The two that repeat each other weigh less than the one that does not, each in its variance.
    assert "weighted by their inverse covariance" in gbv.OutcomeIndex(("a", "b", "c"), "harm").words(trial())


def test_a_unit_with_missing_components_has_the_average_of_those_it_has() -> None:
    holes = np.asarray(FRAME["c"]).copy()
    holes[0] = np.nan
    gone = {name: np.where(np.arange(30) == 1, np.nan, FRAME[name]) for name in "ab"}
    gone["c"] = np.where(np.arange(30) <= 1, np.nan, FRAME["c"])
    data = gbv.OutcomeIndex(("a", "b", "c"), "harm").add(trial(**gone))
    assert np.isfinite(data.outcomes[0, 3])
    assert np.isnan(data.outcomes[1, 3])
    assert data.digest != trial(**gone).digest


def test_refusals_name_what_to_do() -> None:
    with pytest.raises(gbv.DesignError, match="no outcomes of the trial"):
        gbv.OutcomeIndex(("a", "d"), "harm").add(trial())
    with pytest.raises(gbv.DesignError, match="already"):
        gbv.OutcomeIndex(("a", "b"), "c").add(trial())
    with pytest.raises(IdentificationError, match="does not vary"):
        gbv.OutcomeIndex(("a", "b"), "harm").add(trial(a=np.where(ARM == "usual", 1.0, COMMON)))
    with pytest.raises(IdentificationError, match="mean_of_z"):
        gbv.OutcomeIndex(("a", "b"), "harm").add(trial(a=2 * np.asarray(FRAME["b"])))
    for wrong in ({"outcomes": ("a",)}, {"method": "pca"}, {"flip": ("z",)}, {"name": "a"}):
        with pytest.raises(gbv.DesignError):
            gbv.OutcomeIndex(**{"outcomes": ("a", "b"), "name": "harm", **wrong})
