"""What the tests expect of the tools that run them."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("workers")
def test_groups_of_tests_share_a_worker(request: pytest.FixtureRequest) -> None:
    """Models are compiled once a group; a release of pytest that loses the groups doubles the time in silence."""
    if request.config.getoption("loadgroup", default=False):
        assert request.node.nodeid.endswith("@workers")
