"""`python -m tests.calibration [--pilots N] [--page]`: measure calibration (some ten minutes), write the page."""

from __future__ import annotations

import argparse

from tests.calibration.measure import PILOTS, load, run
from tests.calibration.page import write


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.calibration", description=__doc__)
    parser.add_argument("--pilots", type=int, default=PILOTS)
    parser.add_argument("--page", action="store_true", help="only write the page from what was measured")
    options = parser.parse_args()
    record = load() if options.page else run(lambda text: print(text, flush=True), options.pilots)
    print(f"written: {write(record)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
