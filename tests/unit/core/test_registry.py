"""Names of estimators: known ones, unknown ones, and two of one name."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import gbveval as gbv
from gbveval.core import registry
from gbveval.core.errors import DesignError
from gbveval.core.registry import discover, estimator_class, register


@pytest.fixture(autouse=True)
def _own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    discover()
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


def test_every_public_estimator_is_registered_under_its_name() -> None:
    found = discover()
    assert found["difference_in_means"] is gbv.DifferenceInMeans
    assert all(cls.name == name for name, cls in found.items())
    assert list(found) == sorted(found)


def test_an_unknown_name_lists_what_exists_and_what_was_meant() -> None:
    with pytest.raises(DesignError, match="Did you mean 'difference_in_means'") as caught:
        estimator_class("diference_in_mean")
    for name in discover():
        assert name in str(caught.value)


def test_two_estimators_of_one_name_are_refused() -> None:
    @dataclass(frozen=True)
    class Impostor:
        name = "difference_in_means"

    with pytest.raises(DesignError, match="Two estimators"):
        register("difference_in_means")(Impostor)
    assert estimator_class("difference_in_means") is gbv.DifferenceInMeans


def test_a_class_of_the_same_name_from_elsewhere_does_not_replace_ours() -> None:
    plug_in = type("DifferenceInMeans", (), {"name": "difference_in_means", "__module__": "some.plug_in"})
    with pytest.raises(DesignError, match="Two estimators"):
        register("difference_in_means")(plug_in)
    assert estimator_class("difference_in_means") is gbv.DifferenceInMeans


def test_registering_again_is_no_error() -> None:
    assert register("difference_in_means")(gbv.DifferenceInMeans) is gbv.DifferenceInMeans


def test_names_with_an_underscore_are_private() -> None:
    register("_private_example")(type("PrivateExample", (), {}))
    assert "_private_example" not in discover()
    with pytest.raises(DesignError) as caught:
        estimator_class("nothing_like_it")
    assert "_private_example" not in str(caught.value)
