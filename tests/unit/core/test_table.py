"""Small tables: shape, columns, escaping."""

from __future__ import annotations

import pytest

from gbveval.core.counts import CountTable
from gbveval.core.table import Table


def test_rows_must_fit_the_columns() -> None:
    with pytest.raises(ValueError, match="2 values"):
        Table("t", ("a", "b"), ((1,),))


def test_columns_by_name() -> None:
    table = Table("t", ("a", "b"), ((1, None), (2, "x")))
    assert table.column("b") == (None, "x")
    with pytest.raises(KeyError, match="a, b"):
        table.column("c")
    assert table.tidy()["a"].tolist() == [1, 2]
    assert Table("t", ("a",), ()).tidy().shape == (0, 1)


def test_html_shows_nothing_raw() -> None:
    html = Table("<i>", ("a&b",), (('"<script>"',), (None,), (0.123456,)), ("<img src=x>",))._repr_html_()
    assert "<script" not in html
    assert "<img" not in html
    assert "<i>" not in html
    assert "0.1235" in html


def test_count_tables_show_no_count() -> None:
    table = CountTable("survivors by ward", ("a", "b"), (), ((3,), (77123,)), ((1,), (60456,)))
    for text in (repr(table), str(table), f"{table}"):
        assert "77123" not in text
        assert "60456" not in text
    with pytest.raises(ValueError, match="2 rows"):
        CountTable("t", ("a", "b"), (), ((3,),))
    with pytest.raises(ValueError, match="2 columns"):
        CountTable("t", ("a",), ("x", "y"), ((3,),))


def test_count_tables_of_four_directions_say_their_shape_and_refuse_others() -> None:
    layers = (("young", "old"), ("this year", "last year"))
    n = tuple(tuple(((1, 2), (3, 4)) for _ in "xyz") for _ in "ab")
    table = CountTable("t", ("a", "b"), ("x", "y", "z"), n, layers=layers)
    assert repr(table) == "<CountTable t: 2 x 3 x 2 x 2; release() shows what may be shown>"
    assert table.counts().shape == (2, 3, 2, 2)
    assert table.counts()[1, 2, 0, 1] == 2
    with pytest.raises(ValueError, match="2 rows and 3 columns of 2 of 1"):
        CountTable("t", ("a", "b"), ("x", "y", "z"), n, layers=(layers[0], ("this year",)))
    with pytest.raises(ValueError, match="two layers"):
        CountTable("t", ("a", "b"), (), ((1,), (2,)), layers=layers[:1])
    with pytest.raises(ValueError, match="`variables`"):
        CountTable("t", ("a", "b"), (), ((1,), (2,)), variables=("ward", "age"))
