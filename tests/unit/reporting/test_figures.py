"""Figures: drawn from released results only, with any label, the same bytes each time."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gbveval as gbv
from gbveval.core.errors import DisclosureError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Method
from gbveval.core.term import Term
from gbveval.disclosure.released import ReleasedEstimates
from gbveval.reporting import figures

METHOD = Method("all", "Neyman", "none", "normal", "this sample")
HOSTILE = [
    "<script>alert(1)</script>",
    "--><script>alert(1)</script>",
    "$\\frac{1}$",
    "$",
    "$\\undefined{",
    '=HYPERLINK("x")',
    "\u202e عربي",
    "🙂 emoji",
    "中文 हिन्दी",
    "a\nb\tc",
    "\x0b\x1f control",
    "x" * 3000,
    " ",
    "{{7*7}}",
    "&amp;&#x3c;",
    "]]>",
]


def released(*terms: Term, level: float = 0.95) -> ReleasedEstimates:
    errors = np.array([np.nan if t.std_error is None else t.std_error for t in terms])
    answer = Estimates("method", terms, np.diag(errors**2), METHOD, level)
    return gbv.release(answer).estimates()[0]


def term(name: str, value: float | None = 0.5, std_error: float | None = 0.2, **more: Any) -> Term:
    enough = (Cell("everybody", 500, None, "enough people"),)
    more = {"estimand": Estimand("ITT", "mean_difference"), "outcome": "y", "support": enough, **more}
    return Term(term=name, value=value, std_error=std_error, **more)


def study(times: range) -> ReleasedEstimates:
    att = Estimand("group_time_ATT", "mean_difference", "treated")
    rows = [term(f"time {t}", 0.1 * t, 0.2, estimand=att, extra=(("event_time", float(t)),)) for t in times]
    reference = term("time -1", 0.0, None, estimand=att, reason="reference period", extra=(("event_time", -1.0),))
    return released(*rows, reference)


@pytest.mark.parametrize("label", HOSTILE, ids=range(len(HOSTILE)))
def test_any_label_is_drawn_into_valid_svg(label: str, tmp_path: Path) -> None:
    for shown in (released(term(label), term("b")), released(term(label, outcome=label), term("b", outcome="z"))):
        files = gbv.write_report([gbv.Section(label, _wrap(label))], out=tmp_path, title=label)
        assert figures.picture(shown).axes
        for path in files.figures:
            text = path.read_text(encoding="utf-8")
            assert "<script" not in text.lower()
            ET.fromstring(text)


def _wrap(label: str) -> gbv.Released:
    terms = (term(label, outcome=label), term("b", outcome="z"))
    return gbv.release(Estimates("method", terms, np.diag([0.04, 0.04]), METHOD))


def test_only_released_results_are_drawn() -> None:
    answer = Estimates("method", (term("a"),), np.array([[0.04]]), METHOD)
    for thing in (answer, None, gbv.release(answer)):
        with pytest.raises(DisclosureError, match="release"):
            figures.draw(thing)  # type: ignore[arg-type]


def test_a_forest_shows_values_intervals_and_a_line_of_no_effect() -> None:
    shown = released(term("a", 0.5, 0.1), term("b", -0.2, 0.3))
    ax = figures.forest(shown)
    points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if line.get_marker() == "s"]
    assert points == [(0.5, 1), (-0.2, 0)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert any(list(line.get_xdata()) == [0.0, 0.0] for line in ax.lines)
    _close(ax)


def test_ratios_are_drawn_on_a_log_axis_around_one() -> None:
    shown = released(term("r", np.log(2.0), 0.2, estimand=Estimand("ITT", "risk_ratio")))
    ax = figures.forest(shown)
    assert ax.get_xscale() == "log"
    assert any(list(line.get_xdata()) == [1.0, 1.0] for line in ax.lines)
    _close(ax)


def test_hidden_rows_are_named_and_not_drawn() -> None:
    cells = (Cell("x", 100, 3, "t"), Cell("z", 100, 50, "t"))
    shown = released(term("hidden one", 0.777, 0.1, support=cells), term("b", 0.1, 0.1))
    ax = figures.forest(shown)
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["not shown"]
    drawn = np.concatenate([np.atleast_1d(line.get_xdata()).astype(float) for line in ax.lines])
    assert not np.any(np.isclose(drawn, 0.777))
    assert "0.777" not in figures.alternative_text(shown)
    _close(ax)


def test_an_event_study_is_drawn_along_time() -> None:
    shown = study(range(0, 4))
    assert figures.is_event_study(shown)
    ax = figures.draw(shown)
    assert "periods" in ax.get_xlabel()
    _close(ax)


def test_nothing_to_draw_is_no_crash() -> None:
    shown = released(term("a", None, None, reason="no data"))
    assert figures.alternative_text(shown) == "No number may be shown."
    _close(figures.draw(shown))
    _close(figures.draw(released()))


def test_figures_leave_no_open_windows() -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    figures.picture(released(term("a")))
    assert plt.get_fignums() == before


def test_svg_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    contents = []
    for name in ("first", "second"):
        files = gbv.write_report([gbv.Section("Effects", _wrap("arm"))], out=tmp_path / name)
        contents.append([path.read_bytes() for path in (*files.figures, files.page, files.data)])
    assert contents[0] == contents[1]


def _close(ax: Any) -> None:
    import matplotlib.pyplot as plt

    plt.close(ax.figure)


def test_a_shrunken_row_shares_the_line_of_its_plain_one() -> None:
    result = released(term("average"), term("women"), term("women, shrunken", 0.4, 0.1), term("men, shrunken"))
    ax = figures.forest(result)
    # A shrunken row without a plain one has a line of its own.
    assert [label.get_text() for label in ax.get_yticklabels()] == ["average", "women", "men, shrunken"]
    marked = [line for line in ax.lines if line.get_marker() == "s" and len(line.get_xdata())]
    height = {float(line.get_xdata()[0]): float(line.get_ydata()[0]) for line in marked if line.get_ydata()[0] % 1}
    assert height[0.4] < 1.0 < height[0.5]
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["plain", "shrunken"]
    assert figures.forest(released(term("a"), term("b"))).get_legend() is None
    import matplotlib.pyplot as plt

    plt.close("all")


def test_tests_are_not_drawn() -> None:
    itt = Estimand("ITT", "mean_difference")
    test = Term("all the same", itt, "y", None, None, 2.0, "test", p_value=0.2, support=term("x").support)
    assert [row["term"] for row in figures.main_rows(released(term("a"), test))] == ["a"]
