"""`python -m tests.rollouts [--only TEXT] [--again] [--page]`: measure which estimator fails where, write the page."""

from __future__ import annotations

import argparse

from tests.rollouts import few_clusters
from tests.rollouts.measure import load, run
from tests.rollouts.page import write


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.rollouts", description=__doc__)
    parser.add_argument("--only", default="", help="rows whose label contains this text")
    parser.add_argument("--again", action="store_true", help="measure these rows although they were measured before")
    parser.add_argument("--page", action="store_true", help="only write the page from what was measured")
    options = parser.parse_args()
    say = lambda text: print(text, flush=True)  # noqa: E731
    if options.page:
        measured, few = load(), load(few_clusters.RECORD)
    else:
        measured, few = (each(say, only=options.only, again=options.again) for each in (run, few_clusters.run))
    print(f"written: {write(measured, few)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
