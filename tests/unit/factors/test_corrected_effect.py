"""Effects corrected for telling: by hand, with shared and separate validations, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gbveval as gbv
from gbveval.numerics.misclassification import corrected_share


def _trial(**roles: Any) -> gbv.Trial:
    rng = np.random.default_rng(4)
    arm = np.arange(300) % 2
    frame = {
        "told": (rng.random(300) < 0.3 + 0.1 * arm).astype(float),
        "arm": np.where(arm == 1, "new", "usual"),
        "part": (np.arange(300) // 2 % 3).astype(str),
        "town": (np.arange(300) // 2 % 15 * 2 + arm).astype(str),
    }
    return gbv.Trial(frame, outcome="told", arm="arm", control="usual", **roles)


def _by_arm(trial: gbv.Trial) -> list[np.ndarray]:
    return [trial.outcomes[trial.arm == arm, 0] for arm in (0, 1)]


def test_perfect_answers_give_the_difference_in_means() -> None:
    trial = _trial()
    row, plain = gbv.CorrectedEffect(1.0).estimate(trial)[0], gbv.DifferenceInMeans().estimate(trial)[0]
    assert (row.value, row.std_error, row.df) == pytest.approx((plain.value, plain.std_error, plain.df), rel=1e-10)


def test_clusters_of_one_size_give_neymans_variance_of_their_means() -> None:
    trial = _trial(cluster="town")
    row, plain = gbv.CorrectedEffect(1.0).estimate(trial)[0], gbv.ClusterSummary().estimate(trial)[0]
    assert (row.value, row.std_error) == pytest.approx((plain.value, plain.std_error), rel=1e-10)


@pytest.mark.parametrize("shared", [True, False])
def test_validations_add_their_variance_once(shared: bool) -> None:
    trial = _trial()
    counts = ((30, 50), (30, 50)) if shared else ((30, 50), (44, 50))
    given = gbv.Validation(*counts[0]) if shared else {"usual": gbv.Validation(30, 50), "new": gbv.Validation(44, 50)}
    found = gbv.CorrectedEffect(given).estimate(trial)
    arms = _by_arm(trial)
    parts = [corrected_share(float(y.mean()), x / n, 1.0) for y, (x, n) in zip(arms, counts, strict=True)]
    variances = [(x + 1) * (n - x + 1) / (n + 2) ** 3 for x, n in counts]
    own = sum(p.by_reported**2 * y.var(ddof=1) / y.size for p, y in zip(parts, arms, strict=True))
    if shared:
        rates = (parts[1].by_sensitivity - parts[0].by_sensitivity) ** 2 * variances[0]
    else:
        rates = sum(p.by_sensitivity**2 * v for p, v in zip(parts, variances, strict=True))
    assert found[0].value == pytest.approx(parts[1].value - parts[0].value, rel=1e-12)
    assert found[0].std_error == pytest.approx(np.sqrt(own + rates), rel=1e-10)
    if shared:
        # A sensitivity that both arms share cancels out of the ratio, and so does its error.
        plain = gbv.CorrectedEffect(1.0).estimate(trial)
        assert found[1].value == pytest.approx(plain[1].value, rel=1e-10)
        assert found[1].std_error == pytest.approx(plain[1].std_error, rel=1e-10)
    # Influence by unit would not hold the variance of the validations.
    assert found.influence is None


def test_what_it_does_not_take_is_refused() -> None:
    with pytest.raises(gbv.DesignError, match="does not take stratum"):
        gbv.CorrectedEffect(0.8).estimate(_trial(stratum="part"))
    with pytest.raises(gbv.DataError, match="no sensitivity"):
        gbv.CorrectedEffect({"usual": 0.8, "old": 0.9}).estimate(_trial())
    with pytest.raises(gbv.DesignError, match="add up to"):
        gbv.CorrectedEffect(0.4, 0.5)


def test_risks_beyond_the_range_are_told_and_have_no_ratio() -> None:
    found = gbv.CorrectedEffect(0.9, 0.55).estimate(_trial())
    assert any(check.name == "outside 0 to 1" for check in found.checks)
    assert found[1].value is None
    assert "no ratio" in found[1].reason


def test_an_arm_in_which_nobody_said_yes_is_told() -> None:
    frame = {"told": [0.0] * 20 + [1.0, 0.0] * 10, "arm": ["new"] * 20 + ["usual"] * 20}
    trial = gbv.Trial(frame, outcome="told", arm="arm", control="usual")
    assert "1 of 2 arms nobody" in gbv.CorrectedEffect(0.9).estimate(trial).check("arms that do not vary").message
    assert "arms that do not vary" not in [check.name for check in gbv.CorrectedEffect(0.9).estimate(_trial()).checks]
