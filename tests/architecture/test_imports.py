"""What `import gbveval` costs: little time, and none of the heavy packages."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = (
    "pandas",
    "scipy",
    "matplotlib",
    "statsmodels",
    "linearmodels",
    "pymc",
    "arviz",
    "narwhals",
    "jinja2",
    "nutpie",
)
# Above what an empty interpreter takes: the issue asks for the whole of `python -c "import gbveval"`.
ALLOWED_CPU = 0.25


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def _loaded(code: str) -> list[str]:
    names: list[str] = json.loads(_run(f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"))
    roots = {name.split(".")[0] for name in names}
    return [name for name in HEAVY if name in roots]


def test_importing_loads_nothing_heavy() -> None:
    assert _loaded("import gbveval") == []
    assert _loaded("import gbveval; dir(gbveval); gbveval.__version__; gbveval.__all__") == []


def test_the_vocabulary_loads_nothing_heavy() -> None:
    names = ("Estimates", "Estimand", "GbvevalError", "Table", "Flow", "Trial", "Panel", "Survey", "Policy", "release")
    assert _loaded("import gbveval\n" + "\n".join(f"gbveval.{name}" for name in names)) == []


def test_no_public_name_loads_a_sampler_or_a_plotter() -> None:
    loaded = _loaded("import gbveval\nfor name in gbveval.__all__:\n    getattr(gbveval, name)")
    assert loaded == []


def test_importing_takes_little_time() -> None:
    # CPU time of a child, best of a few runs, since others share the machine.
    code = "import os, gbveval; t = os.times(); print(t.user + t.system)"
    best = min(float(_run(code)) for _ in range(5))
    assert best < ALLOWED_CPU, f"import gbveval took {best:.2f} s of CPU"
