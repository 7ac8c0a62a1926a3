"""Checks of the contract: an estimator is a frozen value whose answer depends on data and options alone."""

from __future__ import annotations

import copy
import pickle
from dataclasses import is_dataclass

import numpy as np

from gbveval.core.estimates import Estimates
from gbveval.core.term import TIDY_COLUMNS
from gbveval.testing.case import Case, Frame


def check_estimator_is_a_frozen_value(case: Case) -> None:
    """An estimator is a frozen dataclass that can be hashed, compared and pickled."""
    estimator = case.estimator
    assert is_dataclass(estimator), "an estimator is a dataclass"
    assert hash(estimator) == hash(copy.copy(estimator)), "an estimator can be hashed into a protocol"
    # The pickle is of the estimator's options, made here; nothing from outside is ever unpickled.
    assert pickle.loads(pickle.dumps(estimator)) == estimator, "an estimator can be sent to a worker"
    first = next(iter(getattr(type(estimator), "__dataclass_fields__", {})), None)
    if first is not None:
        try:
            setattr(estimator, first, None)
        except (AttributeError, TypeError):
            return
        raise AssertionError("an estimator's options can be changed after it was made")


def check_result_is_estimates(case: Case) -> None:
    """The answer is an `Estimates` that names its estimator and says how it was made."""
    _, _, result = case.study()
    assert isinstance(result, Estimates)
    assert result.estimator == case.estimator.name
    for name in ("sample", "std_error", "small_sample", "reference", "inference_for"):
        assert getattr(result.method, name), f"the method must say its {name} in words"
    assert result.provenance.data_digest, "the result must carry the digest of its data"


def check_tidy_has_the_pinned_columns(case: Case) -> None:
    """`tidy` begins with the pinned columns, and undefined values carry a reason."""
    _, _, result = case.study()
    tidy = result.tidy()
    assert tuple(tidy.columns[: len(TIDY_COLUMNS)]) == TIDY_COLUMNS
    for row in result.terms:
        if row.kind == "point" and (row.value is None or row.std_error is None):
            assert row.reason, f"row {row.term!r} is undefined without a reason"


def check_data_are_left_alone(case: Case) -> None:
    """Estimating changes neither the frame nor the checked data."""
    frame, _ = case.frames.frame(np.random.default_rng(0))
    before = copy.deepcopy(frame)
    data = case.frames.check(frame)
    digest = data.digest
    case.run(data)
    assert _same(before, frame), "the frame was changed"
    again = case.frames.check(frame)
    assert digest == again.digest == case.frames.check(before).digest, "the checked data were changed"
    assert _fresh_digest(data) == digest, "the checked data were changed by estimate"


def _fresh_digest(data: object) -> object:
    """Return the digest computed anew, not the one remembered."""
    cached = getattr(type(data), "digest")  # noqa: B009
    return cached.func(data)


def _same(a: Frame, b: Frame) -> bool:
    return a.keys() == b.keys() and all(_same_column(np.asarray(a[key]), np.asarray(b[key])) for key in a)


def _same_column(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def check_repeats_exactly(case: Case) -> None:
    """The same data and options give the same numbers, with and without a generator, whatever the global one does."""
    frame, _ = case.frames.frame(np.random.default_rng(0))
    first = case.estimator.estimate(case.frames.check(frame))
    np.random.seed(1)  # noqa: NPY002  (an estimator that used the global generator would now differ)
    second = case.estimator.estimate(case.frames.check(frame))
    assert _equal(first.values, second.values), "two runs differ; derive the seed from the data and the options"
    assert _equal(first.std_errors, second.std_errors), "two runs differ in their standard errors"


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(a, b, equal_nan=True))


def check_wider_level_gives_a_wider_interval(case: Case) -> None:
    """Intervals nest as the level grows, and hold the estimate."""
    _, _, result = case.study()
    if all(row.kind == "test" for row in result.terms):
        return
    low, high = result.intervals(0.8)
    lower, higher = result.intervals(0.99)
    defined = np.isfinite(low) & np.isfinite(lower)
    assert defined.any(), "no row has an interval"
    assert np.all(lower[defined] <= low[defined])
    assert np.all(higher[defined] >= high[defined])
    assert np.all(low[defined] <= high[defined])


def check_survives_json(case: Case) -> None:
    """JSON there and back keeps terms, covariance, checks and digests."""
    _, _, result = case.study()
    back = Estimates.from_json(result.to_json())
    assert back.to_json() == result.to_json(), "JSON there and back is not lossless"
    assert back.influence is None


def check_covariance_fits_the_standard_errors(case: Case) -> None:
    """The diagonal of the joint covariance is the square of the standard errors, and it is symmetric."""
    _, _, result = case.study()
    defined = np.isfinite(result.std_errors)
    if not defined.any():
        return
    diagonal = np.sqrt(np.diag(result.covariance)[defined])
    # Two routes to one number in double precision; 1e-9 leaves room for sums of a million terms.
    np.testing.assert_allclose(diagonal, result.std_errors[defined], rtol=1e-9)
    block = result.covariance[np.ix_(defined, defined)]
    np.testing.assert_allclose(block, block.T, rtol=1e-9, atol=1e-12 * np.nanmax(np.abs(block)))


CONTRACT = (
    check_estimator_is_a_frozen_value,
    check_result_is_estimates,
    check_tidy_has_the_pinned_columns,
    check_data_are_left_alone,
    check_repeats_exactly,
    check_wider_level_gives_a_wider_interval,
    check_survives_json,
    check_covariance_fits_the_standard_errors,
)
