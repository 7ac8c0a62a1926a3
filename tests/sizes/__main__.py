"""`python -m tests.sizes [--only TEXT] [--again]`: measure size, coverage and bias with few clusters, write the page.

Rows that were measured already, with the same options and draws, are kept; so the run can be stopped and resumed.
"""

from __future__ import annotations

import argparse
import time

from tests.sizes.measure import measure
from tests.sizes.page import write
from tests.sizes.record import entry, is_current, load, save
from tests.sizes.rows import MEASUREMENTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sizes", description=__doc__)
    parser.add_argument("--only", default="", help="rows whose label contains this text")
    parser.add_argument("--again", action="store_true", help="measure these rows although they were measured before")
    parser.add_argument("--page", action="store_true", help="only write the page from what was measured")
    options = parser.parse_args()
    measured = load()
    chosen = [row for row in MEASUREMENTS if options.only.lower() in row.label.lower()]
    missing = [] if options.page else [row for row in chosen if options.again or not is_current(row, measured)]
    start = time.perf_counter()
    for number, row in enumerate(missing, start=1):
        print(f"[{number}/{len(missing)}, {time.perf_counter() - start:.0f} s] {row.label}", flush=True)
        found = measure(row, lambda text: print(text, flush=True))
        # Another process may have measured other rows meanwhile.
        measured = {**load(), row.label: entry(row, found)}
        save(measured)
    known = {row.label for row in MEASUREMENTS}
    measured = {label: value for label, value in load().items() if label in known}
    if all(is_current(row, measured) for row in MEASUREMENTS):
        save({row.label: measured[row.label] for row in MEASUREMENTS})
        print(f"written: {write(measured)}")
    else:
        print("The page is written when every row has been measured.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
