"""The policy: its thresholds, its refusals, and what it says in the footer."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from gbveval.core.errors import DesignError
from gbveval.disclosure.policy import Policy


def test_defaults_are_ten_and_half_of_ten() -> None:
    policy = Policy()
    assert (policy.min_n, policy.event_threshold, policy.protection_width) == (10, 10, 5)
    assert policy.attacker_knows_rule
    assert policy.enforce
    assert not policy.identify_sites


def test_is_a_frozen_hashable_value() -> None:
    policy = Policy(min_n=20, min_events=5)
    assert hash(policy) == hash(Policy(min_n=20, min_events=5))
    assert pickle.loads(pickle.dumps(policy)) == policy
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.min_n = 1  # type: ignore[misc]


@pytest.mark.parametrize("min_n", range(3, 40))
def test_the_default_protection_is_always_possible(min_n: int) -> None:
    policy = Policy(min_n=min_n)
    # A reader who knows the rule confines a small number to 0 ... min_n - 1, and one of two small numbers
    # whose sum is not small to 1 ... min_n - 1.
    assert 1 <= policy.protection_width <= min_n - 2


@pytest.mark.parametrize(
    "options",
    [
        {"min_n": 2},
        {"min_n": 10.0},
        {"min_n": True},
        {"min_n": "10"},
        {"min_events": 2},
        {"min_events": 11},
        {"protection": 0},
        {"protection": 9},
        {"min_events": 5, "protection": 4},
        {"attacker_knows_rule": 1},
        {"override_reason": ""},
        {"override_reason": "  \n"},
        {"override_reason": 3},
        {"identify_sites": True},
        {"enforce": False},
    ],
)
def test_impossible_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(DesignError, match=r"must be|reason"):
        Policy(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("reason", ["", "   ", "\n\t", None])
def test_an_override_without_a_reason_is_refused(reason: object) -> None:
    with pytest.raises(DesignError, match="reason of an override is empty"):
        Policy().override(reason=reason, enforce=False)  # type: ignore[arg-type]


def test_an_override_changes_what_it_names_and_nothing_else() -> None:
    policy = Policy(min_n=20, min_events=10, protection=4)
    changed = policy.override(reason="Agreed by the board.", identify_sites=True)
    assert changed == dataclasses.replace(policy, identify_sites=True, override_reason="Agreed by the board.")
    assert policy.override(reason="Noted.").enforce


def test_every_reason_reaches_the_footer() -> None:
    policy = Policy().override(reason="The board agreed\nin June", min_n=5).override(reason="So did the sites.")
    assert policy.min_n == 5
    assert "The board agreed in June So did the sites." in policy.describe()


def test_the_footer_names_thresholds_protection_and_departures() -> None:
    text = Policy(min_n=30, min_events=12, protection=7).describe()
    for part in ("fewer than 30 respondents", "below 12", "narrower than 7", "zero", "which of the hidden numbers"):
        assert part in text
    assert "Departure" not in text
    weaker = Policy(attacker_knows_rule=False).describe()
    assert "but not which of the hidden numbers are small" in weaker
    named = Policy().override(reason="Ministries agreed", identify_sites=True).describe()
    assert named.endswith("Sites are named. Departure from the usual rules: Ministries agreed.")
    open_table = Policy().override(reason="Simulated data.", enforce=False).describe()
    assert open_table == "No number was hidden. Departure from the usual rules: Simulated data."
