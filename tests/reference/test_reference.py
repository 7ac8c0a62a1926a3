"""gbveval against the numbers that established systems gave, and the reader's own honesty."""

from __future__ import annotations

import ast
import copy
import json
import math
import random
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import tests.reference.power as power_tasks
import tests.reference.reader as reader
from tests.reference.compare import Unsupported, compare, find, is_number, leaves, why_disputed

HERE = Path(__file__).parent
SHARED = HERE.parents[1].parent / "shared" / "reference"
FOLDERS = ("rct", "did", "meta", "bayes", "risk", "power")
# Folders with kinds that are answered in full.
ANSWERED = ("rct", "did", "meta", "bayes", "power", "risk")
READER_FILES = sorted(path for path in HERE.glob("*.py") if not path.name.startswith("test_"))

needs_shared = pytest.mark.skipif(
    not SHARED.exists(), reason="../shared/reference is absent: the numbers of other systems are not here"
)


COMPLETE = (
    "agreement",
    "attributable_fraction",
    "attrition_weighted",
    "bacon",
    "blup",
    "callaway_santanna",
    "cluster_robust_coefficients",
    "cluster_robust_wald",
    "cluster_summary_test",
    "clustered_proportion_test",
    "difference_in_means",
    "drdid_panel",
    "drdid_rc",
    "e_value",
    "effect_sizes",
    "egger",
    "equivalence_test",
    "etwfe",
    "event_study",
    "extreme_value_bounds",
    "fisher_exact",
    "fixed_effect",
    "gee",
    "glm",
    "glmm",
    "honest_did",
    "horvitz_thompson",
    "icc_anova",
    "imputation",
    "jackknife",
    "leave_one_out",
    "lin_adjusted",
    "linear_model",
    "list_design_test",
    "list_experiment",
    "maihda",
    "mantel_haenszel",
    "meta_regression",
    "mixed_glm",
    "mixed_linear",
    "multilevel",
    "multiple_testing",
    "negative_binomial",
    "permutation_test",
    "peto",
    "poststratification",
    "pretrends_power",
    "proportion_interval",
    "proportion_test",
    "raking",
    "random_effects",
    "randomised_response",
    "regression",
    "regression_standardisation",
    "robust",
    "robustness_value",
    "rogan_gladen",
    "romano_wolf",
    "rubin_pooling",
    "sharpened_fdr",
    "staggered_efficient",
    "standardised",
    "standardised_rate",
    "subgroup",
    "sun_abraham",
    "survey_chisq",
    "survey_domain",
    "survey_glm",
    "survey_mean",
    "survey_proportion_interval",
    "survey_quantile",
    "survey_ratio",
    "trim_and_fill",
    "twfe",
    "two_by_two",
    "two_stage",
    "two_stage_least_squares",
    "westfall_young",
    "wild_cluster_bootstrap",
)
# Kinds of power that are translated but not answered in full.
PARTLY = ("equiv-props", "icc-scales")


def complete(case: dict[str, Any]) -> bool:
    """Whether a case is of the kinds that gbveval answers in full."""
    kind = reader.kind_of(case)
    if kind in reader.BAYES_TASKS or kind in reader.INDIVIDUAL_TASKS:
        return True
    if kind == "randomisation_test":
        return "ri2_two_tailed" not in case["results"] or case["task"]["options"].get("null", 0) == 0
    if kind == "attributable_fraction" and case["task"]["options"].get("case_control"):
        # Errors of fractions from odds ratios are disputed, or said to be beyond comparison; estimates are compared.
        return "covariance" not in case["task"]["options"]
    if kind in power_tasks.TASKS:
        return kind not in PARTLY and case["id"] != "trap-01"
    return kind in COMPLETE


def by_folder(names: tuple[str, ...]) -> Any:
    """Run a test for each folder, on one worker a folder, which answers each of its cases once."""
    return pytest.mark.parametrize(
        "folder", [pytest.param(name, marks=pytest.mark.xdist_group(f"reference {name}")) for name in names]
    )


def answered(folder: str) -> list[dict[str, Any]]:
    cases = reader.read_cases(SHARED / folder) if folder in ANSWERED else []
    return [case for case in cases if complete(case)]


@cache
def answers(folder: str) -> dict[str, dict[str, Any]]:
    """Return the answers to all cases of the kinds that gbveval answers in full, by id."""
    cases = answered(folder)
    return {case["id"]: reader.TASKS[reader.kind_of(case)](SHARED / folder, case) for case in cases}


@needs_shared
@by_folder(FOLDERS)
def test_no_other_case_is_mismatched(folder: str) -> None:
    known = {case["id"] for case in answered(folder)}
    cases = [case for case in reader.read_cases(SHARED / folder) if case["id"] not in known]
    compared = [reader.run_case(SHARED / folder, case) for case in cases]
    wrong = [(item.case, item.reason, item.mismatches[:3]) for item in compared if item.status == "mismatched"]
    assert not wrong
    assert all(item.reason for item in compared if item.status == "unsupported"), "an unsupported case needs its reason"


@needs_shared
@by_folder(ANSWERED)
def test_every_case_of_the_kinds_answered_is_matched(folder: str) -> None:
    found = answers(folder)
    assert found, "the folder holds no such case"
    cases = {case["id"]: case for case in reader.read_cases(SHARED / folder)}
    compared = {name: reader.compare_answer(cases[name], answer) for name, answer in found.items()}
    other = {name: item for name, item in compared.items() if item.status != "matched"}
    assert not other, [(name, item.reason, item.mismatches[:3]) for name, item in other.items()]


def changed_digit(value: float) -> float:
    """Return the number with its first significant digit changed."""
    if value == 0:
        return 0.1
    size = 10.0 ** math.floor(math.log10(abs(value)))
    first = math.floor(abs(value) / size)
    return value + math.copysign(size, value) * (1 if first < 9 else -1)


def put(results: Any, path: tuple[str, ...], value: float) -> None:
    around = find(results, path[:-1])
    around[int(path[-1]) if isinstance(around, list) else path[-1]] = value


@needs_shared
@by_folder(ANSWERED)
def test_one_changed_digit_is_a_mismatch(folder: str) -> None:
    cases = {case["id"]: case for case in reader.read_cases(SHARED / folder)}
    for name, answer in answers(folder).items():
        case = cases[name]
        results, tolerance = reader.comparable(case, answer)
        paths = [path for path, value in leaves(results) if is_number(value) and not reader.ignored(path)]
        paths = [path for path in paths if why_disputed(path, answer.get("_disputed", {})) is None]
        for path in random.Random(1).sample(paths, min(len(paths), 60)):
            changed = changed_digit(find(results, path))
            if abs(changed - find(results, path)) <= 2.0 * tolerance(path, changed):
                continue  # The digit is below what the case says can be compared.
            spoiled = copy.deepcopy(case)
            put(spoiled["results"], path, changed)
            assert reader.compare_answer(spoiled, answer).status == "mismatched", (reader.kind_of(case), path)


@needs_shared
def test_the_command_reads_any_folder_and_fails_on_a_mismatch(tmp_path: Path) -> None:
    case = next(c for c in reader.read_cases(SHARED / "rct") if complete(c))
    (tmp_path / case["task"]["data"]["file"]).write_bytes((SHARED / "rct" / case["task"]["data"]["file"]).read_bytes())
    other = copy.deepcopy(case)
    other["results"]["estimate"] = changed_digit(other["results"]["estimate"])
    unknown = {
        "id": "u",
        "task": {"kind": "something_new"},
        "results": {"estimate": 1.0},
        "tolerance": {"relative": 1e-8},
    }
    for cases, status, line in (
        ([{**case, "id": "renamed"}, unknown], 0, "matched: 1, mismatched: 0, unsupported: 1"),
        ([case, other], 1, "matched: 1, mismatched: 1, unsupported: 0"),
    ):
        (tmp_path / "cases.json").write_text(json.dumps(cases))
        done = subprocess.run(
            [sys.executable, "-m", "tests.reference", str(tmp_path), "--json", str(tmp_path / "out.json")],
            capture_output=True,
            text=True,
            check=False,
            cwd=HERE.parents[1],
        )
        assert done.returncode == status, done.stderr
        assert done.stdout.strip().splitlines()[-1] == line
        assert done.stdout.strip().splitlines()[-2].startswith("numbers compared: ")
        assert json.loads((tmp_path / "out.json").read_text())["mismatched"] == status


@needs_shared
def test_the_answer_does_not_depend_on_the_id() -> None:
    for case in reader.read_cases(SHARED / "rct")[:40]:
        first = reader.run_case(SHARED / "rct", case)
        second = reader.run_case(SHARED / "rct", {**case, "id": "another"})
        assert (first.status, first.compared) == (second.status, second.compared)


@pytest.mark.parametrize("path", READER_FILES, ids=lambda path: path.name)
def test_the_reader_only_translates(path: Path) -> None:
    """It imports the standard library, numpy, pandas and the public gbveval, and nothing that computes a statistic."""
    allowed = {*sys.stdlib_module_names, "numpy", "pandas", "gbveval", "tests"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                assert alias.name.split(".")[0] in allowed, alias.name
                assert not alias.name.startswith("gbveval."), "only the public names of gbveval"
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] in allowed, node.module
            assert node.module != "gbveval"
            assert not (node.module or "").startswith("gbveval."), "only the public names of gbveval"
            if (node.module or "").startswith("tests"):
                assert node.module.startswith("tests.reference")
        elif isinstance(node, ast.Attribute):
            assert node.attr not in {"std", "var", "cov", "corr", "lstsq", "inv", "linalg", "quantile_", "mean_"}


def test_a_case_without_a_counterpart_is_unsupported_and_says_why() -> None:
    found = compare("x", {"estimate": 1.0, "std_error": 2.0}, {"estimate": 1.0}, lambda *_: 0.1, lambda _: False)
    assert (found.status, found.compared) == ("unsupported", 1)
    assert "std_error" in found.reason


def test_a_case_mostly_ignored_does_not_match() -> None:
    results = {"estimate": 1.0, "r_squared": 0.5}
    found = compare("x", results, {"estimate": 1.0}, lambda *_: 0.1, lambda path: path[-1] == "r_squared")
    assert found.status == "unsupported"


def test_tolerance_must_be_stated() -> None:
    with pytest.raises(Unsupported):
        reader.relative_tolerance({"tolerance": {}, "results": {}})
