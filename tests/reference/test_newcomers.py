"""The example on newcomers to a feminist forum: published values where the data are, its claims on made-up data."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

import gbveval as gbv

ROOT = Path(__file__).parents[2]
BESIDE = ROOT.parent / "shared" / "data" / "reddit_feminism_newcomers_rct.csv"
DATA = Path(os.environ.get("GBVEVAL_REDDIT", BESIDE))
SCRIPT = ROOT / "examples" / "newcomers_to_a_feminist_forum.py"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="neither ../shared/data nor GBVEVAL_REDDIT has the trial")


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("newcomers_example", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def frame(example: ModuleType) -> pd.DataFrame:
    found: pd.DataFrame = example.read_log(str(DATA))
    return found


@needs_data
def test_the_log_and_the_flow(example: ModuleType, frame: pd.DataFrame) -> None:
    found = {row[0]: row[1] for row in example.check_log(frame).rows}
    assert found.pop("post-treatment covariate: identifies_feminist") == "warn"
    # 587 of 650 messages were delivered; nothing else is odd, as the authors had cleaned the log.
    assert found.pop("assigned not exposed") == "info"
    assert set(found.values()) == {"ok"}
    flow = gbv.Trial(frame, outcome="community_closeness", **example.ROLES).flow()
    assert [flow.count("randomised", arm) for arm in flow.arms()] == [650, 650]
    assert [flow.count("analysed", arm) for arm in flow.arms()] == [163, 157]


@needs_data
def test_comments_against_the_published_values(example: ModuleType, frame: pd.DataFrame) -> None:
    found = example.effect_on_comments(frame)
    row = found["registered"].records()[0]
    # Published to seven decimals, from R's glm.nb, which stops at small steps of theta.
    assert np.log(row["estimate"]) == pytest.approx(0.1878997, abs=1e-6)
    assert row["std_error"] == pytest.approx(0.0574708, abs=2e-6)
    assert row["p_value"] == pytest.approx(0.0010775, rel=2e-4)
    assert row["estimate"] == pytest.approx(1.207, abs=5e-4)
    assert found["registered"]["theta"].value == pytest.approx(1.61264, abs=1e-4)
    assert 2 * row["log_likelihood"] == pytest.approx(-5120.943, abs=5e-4)
    # Blocks of five and five: the same difference with and without them, and the published Wald estimate.
    assert found["difference"].records()[0]["estimate"] == pytest.approx(0.4169231, abs=5e-8)
    assert found["compliers"].records()[0]["estimate"] == pytest.approx(0.4616695, abs=5e-8)
    assert found["compliers"].records()[1]["estimate"] == pytest.approx(0.9030769, abs=5e-8)


@needs_data
def test_the_lot_of_the_blocks_by_another_program(example: ModuleType, frame: pd.DataFrame) -> None:
    """Permuting in a plain loop, with the difference itself; blocks are alike, so studentising hardly matters."""
    p_value = example.effect_on_comments(frame)["lot"].records()[0]["p_value"]
    rng = np.random.default_rng(1)
    table = frame.sort_values(["block", "treatment"])
    y = table["comments_2wk"].to_numpy(float).reshape(130, 10)
    observed = abs(y[:, 5:].sum() - y[:, :5].sum())
    draws = [abs((y * rng.permuted(np.tile(np.repeat([-1.0, 1.0], 5), (130, 1)), axis=1)).sum()) for _ in range(6_000)]
    share = np.mean(np.array(draws) >= observed)
    # Both are simulated: four errors of their difference.
    assert abs(share - p_value) < 4 * np.sqrt(0.025 * 0.975 * (1 / 6_000 + 1 / 9_999))


@needs_data
def test_closeness_against_the_published_values(example: ModuleType, frame: pd.DataFrame) -> None:
    found = example.effect_on_closeness(frame)
    model = {row["term"]: row for row in found["registered"].records()}
    # Published to five decimals.
    message, split = model["message vs no message"], model["message x feminist"]
    assert (message["estimate"], message["std_error"]) == pytest.approx((0.85630, 0.35468), abs=6e-6)
    assert (split["estimate"], split["std_error"]) == pytest.approx((-1.05998, 0.40773), abs=6e-6)
    pooled = smf.ols("community_closeness ~ treatment", frame).fit()
    plain = found["plain"].records()[0]
    assert plain["estimate"] == pytest.approx(0.08749, abs=6e-6)
    assert pooled.bse["treatment"] == pytest.approx(0.20316, abs=6e-6)
    assert plain["std_error"] == pytest.approx(pooled.bse["treatment"], rel=0.005)
    low, high = (row["estimate"] for row in found["bounds"].records())
    assert low < plain["estimate"] < high


@needs_data
def test_two_tests_adjusted_as_published(example: ModuleType, frame: pd.DataFrame) -> None:
    table = example.two_tests(example.effect_on_comments(frame), example.effect_on_closeness(frame))
    # Twice the p-value of glm.nb, whose standard error is good to about six digits.
    assert table.column("adjusted_p")[:2] == pytest.approx((0.0021549, 0.0163344), rel=2e-4)
    # Neither the robust error nor the lot supports the registered p-value of comments.
    assert table.column("p")[2] > 0.01


@needs_data
def test_removals_are_mostly_zero(example: ModuleType, frame: pd.DataFrame) -> None:
    removed = frame["removed_10wk"]
    assert (removed == 0).mean() == pytest.approx(0.861, abs=5e-4)
    assert (removed.mean(), removed.var()) == pytest.approx((1.061, 13.94), abs=5e-3)
    ratio = gbv.NegativeBinomial(std_error="model").estimate(gbv.Trial(frame, outcome="removed_10wk", **example.ROLES))
    assert ratio[0].value == pytest.approx(-0.04207, abs=6e-6)
    # The published error is that of glm.nb at the theta where its search stopped.
    assert ratio[0].std_error == pytest.approx(0.25618, abs=3e-5)
    found = example.effect_on_removals(frame)
    any_removed = found["hurdle"].records()[1]["estimate"]
    arms = frame.assign(any_=removed > 0).groupby("treatment")["any_"].mean()
    assert any_removed == pytest.approx(arms[1] / arms[0], rel=1e-6)


def test_a_made_up_trial_of_the_same_shape(example: ModuleType) -> None:
    frame = example.read_log(None)
    assert set(example.COLUMNS) <= set(frame.columns)
    assert frame.groupby("block")["treatment"].sum().eq(5).all()
    assert 0.8 < (frame["removed_10wk"] == 0).mean() < 0.92
    found = {row[0]: row[1] for row in example.check_log(frame).rows}
    assert found["post-treatment covariate: identifies_feminist"] == "warn"


def test_what_is_said_without_the_file_or_a_column(example: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="natematias"):
        example.read_log(str(tmp_path / "absent.csv"))
    pd.DataFrame({"unit": [1]}).to_csv(tmp_path / "short.csv")
    with pytest.raises(SystemExit, match="lacks the columns block"):
        example.read_log(str(tmp_path / "short.csv"))
