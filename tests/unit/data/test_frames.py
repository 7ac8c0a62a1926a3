"""Frames of every kind: the same data give the same arrays, whatever the library and the column types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import gbveval as gbv
from gbveval.core.errors import DataError, GbvevalError

COLUMNS: dict[str, list[Any]] = {
    "y": [1.5, 2.5, None, 4.5, 0.25, 9.0, 3.0, 7.0],
    "arm": ["u", "u", "u", "u", "n", "n", "n", None],
    "cluster": [3, 3, 10, 10, 2, 2, 1, 1],
    "x": [1, 2, 3, 4, 5, 6, 7, 9],
    "flag": [True, False, True, True, False, False, True, False],
    "kind": ["p", "q", "p", "r", "q", "p", "r", "q"],
    "w": [1.0, 0.0, 2.0, 1.0, 1.0, 0.5, 1.0, 1.0],
}


def _pandas_nullable() -> pd.DataFrame:
    return pd.DataFrame(COLUMNS).convert_dtypes()


def _pandas_arrow() -> pd.DataFrame:
    return pd.DataFrame(COLUMNS).convert_dtypes(dtype_backend="pyarrow")


def _pandas_object() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in COLUMNS.items()})


def _pandas_typed() -> pd.DataFrame:
    return pd.DataFrame(COLUMNS).astype(
        {"arm": "category", "kind": "category", "cluster": "Int64", "flag": "boolean", "x": "int8"}
    )


def _string_arrow() -> pd.DataFrame:
    return pd.DataFrame(COLUMNS).astype({"arm": "string[pyarrow]", "kind": "string[pyarrow]"})


def _string_python() -> pd.DataFrame:
    return pd.DataFrame(COLUMNS).astype({"arm": "string[python]", "kind": "string[python]"})


FRAMES: dict[str, Any] = {
    "dict": lambda: COLUMNS,
    "pandas": lambda: pd.DataFrame(COLUMNS),
    "pandas nullable": _pandas_nullable,
    "pandas on arrow": _pandas_arrow,
    "pandas typed": _pandas_typed,
    "string[pyarrow]": _string_arrow,
    "string[python]": _string_python,
    "pandas odd index": lambda: pd.DataFrame(COLUMNS, index=[5, 5, 5, 1, 0, -1, 7, 2]),
    "polars": lambda: pl.DataFrame(COLUMNS),
    "polars lazy": lambda: pl.DataFrame(COLUMNS).lazy(),
    "polars typed": lambda: pl.DataFrame(COLUMNS).with_columns(
        pl.col("arm").cast(pl.Categorical), pl.col("x").cast(pl.UInt8), pl.col("y").cast(pl.Decimal(10, 4))
    ),
    "arrow": lambda: pa.table(COLUMNS),
    "arrow dictionary": lambda: pa.table(
        {name: pa.array(v).dictionary_encode() if name in ("arm", "kind") else v for name, v in COLUMNS.items()}
    ),
    "arrow in chunks": lambda: pa.concat_tables(
        [pa.table({k: v[:3] for k, v in COLUMNS.items()}), pa.table({k: v[3:] for k, v in COLUMNS.items()})]
    ),
}


def _trial(frame: Any, covariates: tuple[str, ...] = ("x", "flag")) -> gbv.Trial:
    return gbv.Trial(frame, outcome="y", arm="arm", control="u", cluster="cluster", covariates=covariates)


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES.keys())
def test_every_kind_of_frame_gives_the_same_data_and_the_same_estimates(make: Any) -> None:
    reference, trial = _trial(COLUMNS), _trial(make())
    assert trial.digest == reference.digest
    assert repr(trial) == repr(reference)
    a, b = (gbv.DifferenceInMeans().estimate(data) for data in (reference, trial))
    assert a.terms == b.terms


def test_objects_are_read_as_what_they_hold() -> None:
    # Numbers kept as objects may sort as text, so codes may differ; the analysis may not.
    reference, trial = _trial(COLUMNS), _trial(_pandas_object())
    np.testing.assert_array_equal(trial.outcomes, reference.outcomes)
    np.testing.assert_array_equal(trial.covariates, reference.covariates)
    a, b = (gbv.DifferenceInMeans().estimate(data) for data in (reference, trial))
    assert b.std_errors == pytest.approx(a.std_errors, rel=1e-12)


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES.keys())
def test_categories_become_the_same_indicators(make: Any) -> None:
    trial = _trial(make(), ("kind", "x"))
    assert trial.covariate_names == ("kind[q]", "kind[r]", "x")
    assert trial.covariates[:, 0].tolist() == [0, 1, 0, 0, 1, 0, 0]


def test_surveys_and_panels_too() -> None:
    for make in (pd.DataFrame, pl.DataFrame, pa.table):
        survey = gbv.Survey(make(COLUMNS), outcome="flag", weight="w", stratum="kind", psu="cluster")
        assert survey.digest == gbv.Survey(COLUMNS, outcome="flag", weight="w", stratum="kind", psu="cluster").digest
        long = {"y": [1.0, 2.0, 3.0, None], "u": [7, 7, 8, 8], "t": [1, 2, 1, 2], "g": [2.0, 2.0, None, None]}
        panel = gbv.Panel(make(long), outcome="y", unit="u", time="t", cohort="g")
        assert panel.digest == gbv.Panel(long, outcome="y", unit="u", time="t", cohort="g").digest


# -- what once went wrong, or could ---------------------------------------------------------------------------------


def test_arrow_columns_of_equal_content_are_not_taken_for_equal_names() -> None:
    table = pa.table({"y": [1.0, 77777.5, 3.0, 4.0], "y2": [1.0, 77777.5, 3.0, 4.0], "arm": ["u", "u", "n", "n"]})
    assert gbv.Trial(table, outcome="y", arm="arm", control="u").n == 4


def test_arrow_columns_of_one_name_are_refused_without_their_values() -> None:
    table = pa.table([pa.array([77777.5, 2.0]), pa.array([77777.5, 2.0])], names=["y", "y"])
    with pytest.raises(DataError) as caught:
        gbv.Trial(table, outcome="y", arm="arm", control="u")
    assert "77777" not in str(caught.value)
    assert "'y'" in str(caught.value)


def test_pandas_columns_of_one_name_are_refused() -> None:
    frame = pd.DataFrame([[1.0, 2.0, "u"], [1.0, 77777.5, "n"]], columns=["y", "y", "arm"])
    with pytest.raises(DataError, match="'y'") as caught:
        gbv.Trial(frame, outcome="y", arm="arm", control="u")
    assert "77777" not in str(caught.value)


def test_account_numbers_of_nineteen_digits_stay_apart() -> None:
    # Social media number their accounts like this; as floats, neighbours would become one.
    first = 1_794_213_377_421_811_712
    ids = [first + i for i in range(8)]
    for make in (dict, pd.DataFrame, pl.DataFrame, pa.table):
        frame = make({"y": list(range(8)), "arm": ["u", "n"] * 4, "account": ids})
        trial = gbv.Trial(frame, outcome="y", arm="arm", control="u", cluster="account")
        assert trial.n_clusters == 8
    unsigned = pl.DataFrame({"y": [1.0, 2.0], "arm": ["u", "n"], "account": [2**64 - 1, 2**64 - 2]}).cast(
        {"account": pl.UInt64}
    )
    assert gbv.Trial(unsigned, outcome="y", arm="arm", control="u", cluster="account").n_clusters == 2


def test_numbers_sort_as_numbers() -> None:
    trial = _trial(COLUMNS)
    assert trial.cluster is not None
    assert trial.cluster.levels == ("1", "2", "3", "10")


def test_labels_that_differ_stay_apart() -> None:
    for a, b in (("a", "a\x00"), ("a", "a "), ("é", "e\u0301"), ("a", "A")):
        frame = pd.DataFrame({"y": [1.0, 2, 3, 4], "arm": pd.Series([a, a, b, b], dtype=object)})
        assert gbv.Trial(frame, outcome="y", arm="arm", control=a).arms == (a, b)


@pytest.mark.parametrize(
    ("values", "control", "arms"),
    [
        ([True, True, False, False], False, ("False", "True")),
        ([1, 1, 0, 0], 0, ("0", "1")),
        ([1, 1, 0, 0], False, ("0", "1")),
        ([1.0, 1.0, 0.0, 0.0], 0, ("0", "1")),
        ([1.5, 1.5, 0.0, 0.0], 0, ("0", "1.5")),
        (np.array([1, 1, 0, 0], dtype=np.int8), np.int8(0), ("0", "1")),
    ],
)
def test_control_is_found_whatever_the_type(values: Any, control: Any, arms: tuple[str, ...]) -> None:
    frame = {"y": [1.0, 2, 3, 4], "arm": values}
    assert gbv.Trial(frame, outcome="y", arm="arm", control=control).arms == arms


BAD_FRAMES: dict[str, Any] = {
    "nothing": None,
    "a list": [1, 2],
    "a text": "y,arm\n1,u",
    "a number": 3,
    "a series": pd.Series([1.0]),
    "an array": np.zeros((3, 2)),
    "an empty dict": {},
    "columns of unequal length": {"y": [1.0, 2.0], "arm": ["u"]},
    "scalars": {"y": 1.0, "arm": "u"},
    "no rows": pd.DataFrame({"y": [], "arm": []}),
    "no rows, arrow": pa.table({"y": pa.array([], pa.float64()), "arm": pa.array([], pa.string())}),
    "no columns": pd.DataFrame(index=range(3)),
    "one row": {"y": [1.0], "arm": ["u"]},
    "names on two levels": pd.DataFrame([[1, 2]] * 4, columns=pd.MultiIndex.from_tuples([("y", "a"), ("arm", "b")])),
    "arrays in cells": pd.DataFrame({"y": [1.0, 2.0], "arm": [np.array([1, 2]), np.array([3, 4])]}),
    "integers beyond floats": {"y": [10**400, 1, 2, 3], "arm": ["u", "u", "n", "n"]},
    "lone surrogates": {"y": [1.0, 2.0], "arm": ["u", "\ud800"]},
}


@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
def test_what_cannot_be_a_trial_is_refused_with_an_error_of_ours(frame: Any) -> None:
    with pytest.raises(GbvevalError) as caught:
        gbv.Trial(frame, outcome="y", arm="arm", control="u")
    assert len(str(caught.value)) > 30


@pytest.mark.parametrize("name", [0, "0"])
def test_columns_named_by_numbers_are_read_or_refused(name: Any) -> None:
    frame = pd.DataFrame({0: [1.0, 2, 3, 4], "arm": ["u", "u", "n", "n"]})
    try:
        trial = gbv.Trial(frame, outcome=name, arm="arm", control="u")
    except GbvevalError:
        return
    assert trial.outcomes[:, 0].tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("dtype", [object, "Int64", "Float64", "boolean"])
def test_missing_of_every_spelling_is_missing(dtype: Any) -> None:
    values = [True, pd.NA, False, True] if dtype == "boolean" else [1, pd.NA, 0, 1]
    frame = pd.DataFrame({"y": pd.Series(values, dtype=dtype), "arm": ["u", "u", "n", "n"]})
    trial = gbv.Trial(frame, outcome="y", arm="arm", control="u")
    np.testing.assert_array_equal(trial.outcomes[:, 0], [1.0, np.nan, 0.0, 1.0])


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA, pd.NaT])
def test_a_missing_arm_of_every_spelling_is_not_randomised(nothing: Any) -> None:
    frame = pd.DataFrame({"y": [1.0, 2, 3, 4, 5], "arm": pd.Series(["u", "u", "n", "n", nothing], dtype=object)})
    trial = gbv.Trial(frame, outcome="y", arm="arm", control="u")
    assert (trial.n_assessed, trial.n) == (5, 4)


def test_types_that_are_not_numbers_are_named_with_their_rows() -> None:
    day = pd.Timestamp("2020-01-01")
    for values in ([day] * 4, ["1"] * 4, [1j] * 4, [pd.Timedelta(1)] * 4, pd.Categorical(["a"] * 4)):
        frame = pd.DataFrame({"told": values, "arm": ["u", "u", "n", "n"]})
        with pytest.raises(DataError, match=r"'told'.*4 rows"):
            gbv.Trial(frame, outcome="told", arm="arm", control="u")


def test_a_covariate_with_a_name_for_everybody_is_refused() -> None:
    # An indicator for every respondent is n columns of n rows, and a name for each of them.
    n = 3000
    frame = {"y": np.arange(n), "arm": ["u", "n"] * (n // 2), "who": [f"person {i}" for i in range(n)]}
    with pytest.raises(GbvevalError, match="'who'") as caught:
        gbv.Trial(frame, outcome="y", arm="arm", control="u", covariates=["who"])
    assert "person 1" not in str(caught.value)


def test_the_frame_is_read_and_not_kept_or_changed() -> None:
    frame = pd.DataFrame(COLUMNS)
    before = frame.copy(deep=True)
    trial = _trial(frame)
    digest = trial.digest
    pd.testing.assert_frame_equal(frame, before)
    frame.loc[:, "y"] = 0.0
    assert type(trial).digest.func(trial) == digest


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8", "uint64"])
def test_whole_numbers_of_any_width_are_labels_in_order(dtype: str) -> None:
    values = np.array([120, 3, 120, 7, 3, 0], dtype=dtype)
    if dtype == "int8":
        values = values - np.int8(100) * (values == 3)
    frame = {"y": np.arange(6.0), "arm": ["a", "b"] * 3, "s": values}
    trial = gbv.Trial(frame, outcome="y", arm="arm", control="a", stratum="s")
    assert trial.stratum is not None
    assert trial.stratum.levels == tuple(str(x) for x in sorted(set(values.tolist())))
    assert [trial.stratum.levels[code] for code in trial.stratum.codes] == [str(x) for x in values.tolist()]
