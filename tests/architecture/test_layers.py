"""Who may import whom, as the contracts in pyproject.toml say; import-linter also sees imports inside functions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_contracts_of_the_layers_are_kept(tmp_path: Path) -> None:
    pytest.importorskip("importlinter", reason="import-linter is in the lint group")
    # The entry point of the command, called as a function of a fresh interpreter: it need not be on the path.
    code = (
        "import sys; from importlinter.cli import lint_imports; "
        f"sys.exit(lint_imports(config_filename={str(ROOT / 'pyproject.toml')!r}, cache_dir={str(tmp_path)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "0 broken" in done.stdout


def test_a_broken_layer_would_be_seen(tmp_path: Path) -> None:
    pytest.importorskip("importlinter", reason="import-linter is in the lint group")
    package = tmp_path / "toy"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "upper.py").write_text("")
    (package / "lower.py").write_text("def f():\n    from toy import upper\n    return upper\n")
    config = tmp_path / "contracts.toml"
    config.write_text(
        '[tool.importlinter]\nroot_package = "toy"\n[[tool.importlinter.contracts]]\nname = "toy"\ntype = "layers"\n'
        'layers = ["toy.upper", "toy.lower"]\n'
    )
    code = (
        "import sys; from importlinter.cli import lint_imports; "
        f"sys.exit(lint_imports(config_filename={str(config)!r}, no_cache=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "1 broken" in done.stdout
