"""The example plug-in is installed as a stranger would install it, found by name, and passes the kit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from gbveval.core.registry import discover, estimator_class
assert "capped_difference" in discover()
from gbveval.testing.case import Case
from gbveval.testing.kit import run
from gbveval.testing.processes import TrialFrames
frames = TrialFrames(n_per_arm=10)
# The cap is on the outcome's own scale, so only the swap of arms is promised.
case = Case(estimator_class("capped_difference")(cap=1000.0), frames, equivariant=frozenset({"swap"}), n_draws=400)
failed = [v for v in run(case) if not v.passed]
assert not failed, failed
print(len(run(case)), "checks")
"""


def test_the_plugin_is_found_and_passes_the_kit(tmp_path: Path) -> None:
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "-q", "install", "--no-deps", "--no-build-isolation", "--target", str(target),
         str(ROOT / "examples" / "plugin")],
        check=True,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(target)], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("checks")
