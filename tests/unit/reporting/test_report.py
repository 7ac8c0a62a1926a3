"""The page: self-contained, escaped, silent about what was hidden, and never causal about associations."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gbveval as gbv
from gbveval.core.errors import DesignError, GbvevalError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.term import Term
from gbveval.reporting.parts import estimates_part, side_by_side
from gbveval.reporting.words import heading, sentence
from gbveval.testing.spillover_processes import SaturationFrames

METHOD = Method("all", "Neyman", "none", "normal", "this sample")
XSS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "'\" onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{ 7*7 }}{% for x in y %}",
    "&lt;script&gt;",
    "\u202e<b>عربي",
    '=HYPERLINK("http://evil.example")',
    "$\\frac{1}$",
    "<!--",
    "]]><![CDATA[",
]


class Page(HTMLParser):
    """Collects every tag, attribute and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def trial(name: str = "y", control: str = "usual", events: tuple[int, int] = (30, 20)) -> gbv.Trial:
    """A trial with three arms, so that there is something to draw; the third has as many events as the second."""
    y = [float(i < e) for e in (*events, events[1]) for i in range(60)]
    arm = [control] * 60 + ["new"] * 60 + ["newer"] * 60
    return gbv.Trial({name: y, "arm": arm}, outcome=name, arm="arm", control=control)


def report(out: Path, *items: Any, **more: Any) -> tuple[Page, str, str, list[str]]:
    files = gbv.write_report([gbv.Section("Results", gbv.release(list(items)), "Read this.")], out=out, **more)
    html = files.page.read_text(encoding="utf-8")
    figures = [path.read_text(encoding="utf-8") for path in files.figures]
    return Page(html), html, files.data.read_text(encoding="utf-8"), figures


def effect(name: str, *support: Cell, estimand: Estimand | None = None, **more: Any) -> Estimates:
    kind = estimand or Estimand("ITT", "risk_difference")
    support = support or (Cell("everybody", 500, None, "enough people"),)
    more = {"value": -0.1234567, "std_error": 0.0345678, "df": 44.0, **more}
    rows = tuple(Term(term=t, estimand=kind, outcome="harassed", support=support, **more) for t in (name, "another"))
    return Estimates("method", rows, np.diag([0.0345678**2] * 2), METHOD)


def self_contained(page: Page, html: str) -> None:
    assert not {"script", "iframe", "object", "embed", "link", "base", "form", "video", "audio"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), f"<{tag} {name}>"
        if name in ("src", "href", "srcset", "action", "xlink:href", "poster", "background"):
            assert value.startswith(("#", "data:image/svg+xml;base64,")), f"<{tag} {name}>"
    assert "<script" not in html.lower()
    assert "@import" not in html
    assert "url(" not in html


def test_the_page_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    data = trial()
    page, html, _, figures = report(tmp_path, gbv.DifferenceInMeans().estimate(data), data.flow())
    self_contained(page, html)
    policies = [value for tag, name, value in page.attributes if tag == "meta" and name == "content"]
    assert any("default-src 'none'" in value and "script-src" not in value for value in policies)
    images = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert len(images) == len(figures) == 1
    decoded = base64.b64decode(images[0].split(",", 1)[1]).decode()
    assert decoded == figures[0]
    # Namespaces are names; nothing in a figure is fetched.
    assert not re.search(r"(?:href|src)\s*=\s*\"(?!#)", decoded)
    assert all(value for tag, name, value in page.attributes if (tag, name) == ("img", "alt"))


@pytest.mark.parametrize("text", XSS, ids=range(len(XSS)))
def test_hostile_texts_are_text(text: str, tmp_path: Path) -> None:
    answer = gbv.DifferenceInMeans().estimate(trial(text, text))
    noted = Estimates(text, answer.terms, answer.covariance.copy(), METHOD, checks=(Check(text, "warn", text),))
    table = gbv.Table(text, (text, "b"), ((text, 1),), (text,))
    section = gbv.Section(text, gbv.release([noted, table, trial(text, text).flow()]), (text, text))
    files = gbv.write_report([section], out=tmp_path, title=text, lead=text)
    html = files.page.read_text(encoding="utf-8")
    page = Page(html)
    self_contained(page, html)
    assert {"svg", "b"} & set(page.tags) <= {"b"}
    if text.strip() == text and "\n" not in text:
        assert text in page.text, "the text is shown as it is"
    assert "49" not in page.tags
    for path in (*files.figures, files.data):
        assert "<script" not in path.read_text(encoding="utf-8").lower() or path.suffix == ".json"
        assert path.is_relative_to(tmp_path)


@pytest.mark.parametrize("title", ["../../evil", "/etc/passwd", "..", "a/b\\c", "CON", "x" * 400, "\0nul"])
def test_titles_name_no_file_outside_the_folder(title: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    released = gbv.release(gbv.DifferenceInMeans().estimate(trial()))
    files = gbv.write_report([gbv.Section(title, released)], out=out, title=title)
    everything = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert everything
    assert all(path.is_relative_to(out) for path in everything)
    assert {files.page, files.data, *files.figures} == set(everything)


def test_a_hidden_number_is_nowhere(tmp_path: Path) -> None:
    answer = gbv.DifferenceInMeans().estimate(trial(events=(3, 20)))
    open_one = gbv.DifferenceInMeans().estimate(trial("other"))
    page, html, data, figures = report(tmp_path, answer, open_one)
    record = answer.records()[0]
    assert "not shown" in page.text
    for name in ("estimate", "std_error", "statistic", "df", "p_value", "conf_low", "conf_high"):
        value = record[name]
        printed = {f"{value:.6f}".rstrip("0"), repr(value), f"{100 * value:.1f} pp", f"{value:.4g}"}
        printed = {text for text in printed if len(text.strip("-0.")) > 2}
        for place, where in ((html, "page"), (data, "JSON"), ("".join(figures), "figures")):
            for text in printed:
                assert text not in place, f"{name} is in the {where}"
    content = json.loads(data)
    rows = content["sections"][0]["items"][0]["rows"]
    assert rows[0]["hidden"] is True
    # The two arms' events, 3 and 57 without, stand nowhere as counts.
    assert not re.search(r">\s*(3|57)\s*<", html)


def test_the_json_is_strict_and_repeats_the_release(tmp_path: Path) -> None:
    _, _, data, _ = report(tmp_path, gbv.DifferenceInMeans().estimate(trial()), effect("b", df=float("inf")))
    content = json.loads(data, parse_constant=pytest.fail)
    assert content["sections"][0]["items"][0]["rows"][0]["estimate"] == pytest.approx(20 / 60 - 30 / 60)
    assert {"title", "sections", "versions"} <= set(content)


def test_the_page_says_policy_digest_seed_versions_and_method(tmp_path: Path) -> None:
    answer = gbv.DifferenceInMeans().estimate(trial())
    section = gbv.Section("First", gbv.release(answer, gbv.Policy(study_key="a secret")), "Read this.")
    files = gbv.write_report([section], out=tmp_path, title="Pilot", lead="What ten sites learned.")
    page = Page(files.page.read_text(encoding="utf-8"))
    keyed = hmac.new(b"a secret", answer.provenance.data_digest.encode(), hashlib.sha256).hexdigest()
    for text in (
        "Pilot",
        "What ten sites learned.",
        "Read this.",
        keyed,
        "numpy",
        "10 respondents",
    ):
        assert text in page.text
    assert "Neyman" in page.text


def test_tables_keep_their_rows(tmp_path: Path) -> None:
    table = gbv.Table("Power", ("effect", "power"), ((-0.08, 0.83), (None, True)), ("By simulation.",))
    page, _, _, _ = report(tmp_path, table)
    for text in ("Power", "0.830", "yes", "By simulation.", "–"):
        assert text in page.text


def test_a_table_of_odd_numbers_is_written(tmp_path: Path) -> None:
    table = gbv.Table("t", ("a", "b"), ((float("nan"), np.int64(3)), (float("inf"), np.float64(0.25))))
    page, _, data, _ = report(tmp_path, table)
    json.loads(data, parse_constant=pytest.fail)
    assert "nan" not in page.text.lower().split()


def test_reports_need_sections() -> None:
    with pytest.raises(DesignError, match="section"):
        gbv.write_report([], out="nowhere")
    with pytest.raises(GbvevalError):
        gbv.Section("t", "released")  # type: ignore[arg-type]


# -- words ----------------------------------------------------------------------------------------------------------

CAUSAL = re.compile(
    r"\b(effect of|effect on|reduces?|increases?|causes?|caused|leads? to|impact|prevents?)\b", re.IGNORECASE
)


@pytest.mark.parametrize("contrast", ["prevalence_ratio", "odds_ratio", "prevalence_difference", "risk_ratio"])
def test_associations_are_never_called_effects(contrast: str, tmp_path: Path) -> None:
    kind = Estimand("association", contrast, "survey_population")
    answer = effect("alcohol: yes vs no", estimand=kind, value=0.4)
    words = sentence(gbv.release(answer).estimates()[0])
    assert "associated" in words
    assert "not an effect" in words
    assert not CAUSAL.search(words)
    page, _, _, figures = report(tmp_path, answer)
    for line in page.text.split("."):
        if "effect" in line.lower():
            assert "not an effect" in line.lower(), line
    assert not CAUSAL.search(" ".join(figures[0].split("<dc:description>")[1:2]))


def test_a_result_that_mixes_both_is_worded_as_association() -> None:
    rows = (effect("a").terms[0], effect("b", estimand=Estimand("association", "risk_difference")).terms[0])
    answer = Estimates("method", rows, np.diag([0.01, 0.01]), METHOD)
    assert not gbv.release(answer).estimates()[0].causal


def test_prevalence_is_worded_as_prevalence() -> None:
    kind = Estimand("prevalence", "proportion", "survey_population")
    words = sentence(gbv.release(effect("all", estimand=kind, value=-1.0)).estimates()[0])
    assert words.startswith("Estimated proportion")
    assert "effect" not in words


def test_effects_are_worded_with_their_doubt_and_no_verdict() -> None:
    for value, inside in ((0.01, True), (0.5, False)):
        words = sentence(gbv.release(effect("new vs usual", value=value)).estimates()[0])
        assert ("compatible with no effect" in words) is inside
        assert not re.search(r"significan|proves?|works", words, re.IGNORECASE)


def test_nothing_to_say_is_said() -> None:
    answer = effect("a", value=None, std_error=None, reason="no data")
    assert sentence(gbv.release(answer).estimates()[0]) == "No number of this result may be shown."


def test_only_the_same_effect_is_drawn_side_by_side(tmp_path: Path) -> None:
    """A coefficient between people alike in a covariate is another effect than the average one."""
    rng = np.random.default_rng(2)
    frame = {"y": rng.normal(size=80), "x": rng.normal(size=80), "arm": np.resize(["usual", "new"], 80)}
    trial = gbv.Trial(frame, outcome="y", arm="arm", control="usual", covariates=["x"])
    plain = gbv.DifferenceInMeans().estimate(trial)
    for model, count in ((gbv.Ancova(), 1), (gbv.Ancova(interact=("x",)), 0)):
        released = gbv.release([plain, model.estimate(trial)])
        files = gbv.write_report([gbv.Section("s", released)], out=tmp_path / str(count))
        assert len(files.figures) == count


def test_one_estimator_twice_is_told_apart_in_a_figure() -> None:
    rng = np.random.default_rng(2)
    frame = {"y": rng.negative_binomial(1, 0.3, 80), "arm": np.resize(["usual", "new"], 80)}
    trial = gbv.Trial(frame, outcome="y", arm="arm", control="usual")
    both = [gbv.NegativeBinomial(std_error=kind).estimate(trial) for kind in ("model", "HC2")]
    found = side_by_side(gbv.release(both).estimates())
    assert found is not None
    assert [row["term"] for row in found.rows] == ["negative binomial, model-based", "negative binomial, HC2"]


def test_a_test_among_estimates_is_said_and_a_hidden_one_is_not() -> None:
    rng = np.random.default_rng(3)
    frame = {"y": rng.normal(size=90), "arm": ["usual", "letter", "visit"] * 30}
    trial = gbv.Trial(frame, outcome="y", arm="arm", control="usual")
    alone = sentence(gbv.release(gbv.JointTest().estimate(trial)).estimates()[0])
    assert alone.startswith("Test that all zero: letter, visit: p = ")
    hidden = sentence(gbv.release(gbv.JointTest().estimate(trial), gbv.Policy(min_n=50)).estimates()[0])
    assert hidden == "No number of this result may be shown."


def two_stage() -> gbv.Estimates:
    frames = SaturationFrames(clusters=12, cluster_size=40)
    return gbv.SaturationEffects().estimate(frames.check(frames.frame(np.random.default_rng(2))[0]))


def test_several_effects_of_one_result_share_a_heading() -> None:
    found = two_stage()
    shown = gbv.release(found).estimates()[0]
    assert heading(shown) == "Direct, indirect, total and overall effects (mean difference): saturation effects"
    one = gbv.release(found.with_terms([0])).estimates()[0]
    assert heading(one).startswith("Effect of being assigned oneself, ")


def test_a_result_of_tests_alone_is_told_as_a_test() -> None:
    found = two_stage()
    rows = [i for i, row in enumerate(found.terms) if row.estimand.effect == "indirect_effect"]
    test = found.with_terms(rows).joint_test(name="all indirect effects are zero")
    item = gbv.release(test).estimates()[0]
    assert sentence(item).startswith("Test that all indirect effects are zero: p = ")
    part = estimates_part(item, None)
    assert part["columns"] == ["test", "statistic", "df", "p", "units"]
    hidden = gbv.release(test, gbv.Policy(min_n=10_000)).estimates()[0]
    assert sentence(hidden) == "No number of this result may be shown."


@pytest.mark.parametrize(("contrast", "unit"), [("risk_difference", " pp"), ("log_odds_ratio", "")])
def test_the_sd_between_sites_is_in_the_unit_of_the_effects(contrast: str, unit: str) -> None:
    """Differences of risks are read in percentage points, and so is how they vary; sds of logarithms have no unit."""
    table = {"effect": [0.05, 0.15, -0.02, 0.08, 0.17, 0.0], "se": [0.03] * 6}
    sites = gbv.SiteEffects(table, estimate="effect", std_error="se", contrast=contrast)
    pooled = gbv.RandomEffects().estimate(sites)
    (released,) = gbv.release(pooled).estimates()
    rows = {row[0]: row for row in estimates_part(released, None)["rows"]}
    spread = pooled["between-site sd"].value
    wanted = f"{100 * spread:.1f} pp" if unit else f"{spread:.4f}"
    assert rows["between-site sd"][1] == wanted
    assert all(cell.endswith(unit) for name in ("average effect", "between-site sd") for cell in rows[name][1:3])
