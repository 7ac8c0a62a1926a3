"""Every registered estimator goes through every check of the kit: one test a case and check."""

from __future__ import annotations

import os

import pytest

from gbveval.testing.case import Case
from gbveval.testing.kit import CHECKS, Check, missing_cases, run_check
from gbveval.testing.statistics import STATISTICS
from tests.conformance.cases import CASES

# The second interpreter of a run differs in PyMC and ArviZ and not in arithmetic: there the simulations cover what
# samples, and every other check covers everything.
BRIEF = os.environ.get("GBVEVAL_KIT") == "brief"


def _wanted(case: Case, check: Check) -> bool:
    return not BRIEF or check not in STATISTICS or type(case.estimator).__module__.startswith("gbveval.multisite")


def _items() -> list[object]:
    return [
        # The checks of one case share its simulated studies, so they run in one process.
        pytest.param(case, check, id=f"{case.label}-{check.__name__}", marks=pytest.mark.xdist_group(case.label))
        for case in CASES
        for check in CHECKS
        if _wanted(case, check)
    ]


@pytest.mark.parametrize(("case", "check"), _items())
def test_conforms(case: Case, check: Check) -> None:
    verdict = run_check(case, check)
    assert verdict.passed, f"{verdict.check}: {verdict.message}"


def test_every_registered_estimator_has_a_case() -> None:
    assert missing_cases(CASES) == ()


def test_cases_have_names_of_their_own() -> None:
    labels = [case.label for case in CASES]
    assert len(labels) == len(set(labels))


def test_exemptions_name_checks_that_exist_and_give_a_reason() -> None:
    known = {check.__name__ for check in CHECKS}
    for case in CASES:
        for name, reason in case.exempt.items():
            assert name in known, f"{case.label}: {name}"
            assert len(reason) > 15, f"{case.label}: {name} needs a reason"


def test_one_case_has_four_degrees_of_freedom_or_fewer() -> None:
    # With more, the normal distribution in place of t would go unnoticed.
    assert min(case.study()[2].terms[0].df for case in CASES if case.estimator.name == "difference_in_means") <= 4.5


def test_exemptions_are_strict() -> None:
    case = CASES[0]
    check = CHECKS[0]
    spared = Case(case.estimator, case.frames, exempt={check.__name__: "it is said to fail, and does not"})
    verdict = run_check(spared, check)
    assert not verdict.passed
    assert "not needed" in verdict.message


def test_an_exemption_spares_no_crash() -> None:
    def check_that_crashes(case: Case) -> None:
        raise RuntimeWarning("invalid value in a division")

    case = CASES[0]
    spared = Case(case.estimator, case.frames, exempt={"check_that_crashes": "it is said to fail for another cause"})
    verdict = run_check(spared, check_that_crashes)
    assert not verdict.passed
    assert "RuntimeWarning" in verdict.message
