"""A matrix made when it is read."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from gbveval.core.lazy import LazyMatrix
from gbveval.datasets.pilot import PilotRollout
from gbveval.estimators.did.callaway_santanna import CallawaySantAnna


def test_it_is_made_only_when_it_is_read() -> None:
    made = []

    def make() -> np.ndarray:
        made.append(1)
        return np.arange(6.0).reshape(3, 2)

    lazy = LazyMatrix((3, 2), make)
    assert lazy.shape == (3, 2)
    assert "arange" not in repr(lazy)
    assert not made
    assert lazy[:, 1].tolist() == [1.0, 3.0, 5.0]
    assert (lazy @ np.array([1.0, -1.0])).tolist() == [-1.0, -1.0, -1.0]
    assert len(made) == 2
    assert np.asarray(lazy, dtype=np.float32).dtype == np.float32


def test_another_shape_than_promised_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) was promised"):
        np.asarray(LazyMatrix((2, 3), lambda: np.eye(2)))


def test_the_influence_of_a_rollout_is_made_when_read_and_gives_its_covariance() -> None:
    panel = PilotRollout().draw(np.random.default_rng(3))
    effects = CallawaySantAnna().estimate(panel)
    for answer in (effects, effects.aggregate("event_time")):
        assert isinstance(answer.influence, LazyMatrix)
        scores = np.asarray(answer.influence)
        assert scores.shape == (panel.n_units, len(answer))
        defined = np.isfinite(answer.std_errors)
        covariance = answer.covariance[np.ix_(defined, defined)]
        # The same sums in another order: rounding is a few units in the last place of the largest.
        np.testing.assert_allclose(
            scores[:, defined].T @ scores[:, defined], covariance, rtol=1e-9, atol=1e-12 * covariance.max()
        )
        assert pickle.loads(pickle.dumps(answer)).influence is None
