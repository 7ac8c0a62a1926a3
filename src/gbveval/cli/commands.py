"""The command line: `demo` now; the verbs of study files have their place here."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import gbveval
from gbveval.core.errors import GbvevalError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    parser = argparse.ArgumentParser(prog="gbveval", description=gbveval.__doc__)
    parser.add_argument("--version", action="version", version=f"gbveval {gbveval.__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True)
    demo = verbs.add_parser("demo", help="evaluate a made-up ten-site pilot and a real panel, and write a report")
    demo.add_argument("--out", type=Path, default=Path("out/demo"), help="output folder (default: out/demo)")
    demo.add_argument("--seed", type=int, default=20261124, help="seed of the made-up data (default: 20261124)")
    chosen = parser.parse_args(arguments)
    try:
        from gbveval.cli.demo import run_demo

        files = run_demo(chosen.out, seed=chosen.seed, progress=lambda line: print(f"  {line}", flush=True))
    except GbvevalError as error:
        print(f"gbveval: {error}", file=sys.stderr)
        return 1
    print(f"\nreport   {files.page}")
    for figure in files.figures:
        print(f"figure   {figure}")
    print(f"numbers  {files.data}")
    return 0
