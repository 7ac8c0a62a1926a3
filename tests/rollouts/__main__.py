"""`python -m tests.rollouts [--only TEXT] [--again] [--page]`: measure which estimator fails where, write the page."""

from __future__ import annotations

import argparse

from tests.rollouts import doses, few_clusters, measure, neighbours
from tests.rollouts.page import write

STUDIES = (measure, few_clusters, doses, neighbours)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.rollouts", description=__doc__)
    parser.add_argument("--only", default="", help="rows whose label contains this text")
    parser.add_argument("--again", action="store_true", help="measure these rows although they were measured before")
    parser.add_argument("--page", action="store_true", help="only write the page from what was measured")
    options = parser.parse_args()
    say = lambda text: print(text, flush=True)  # noqa: E731
    for study in () if options.page else STUDIES:
        study.run(say, only=options.only, again=options.again)
    print(f"written: {write(*(measure.load(study.RECORD) for study in STUDIES))}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
