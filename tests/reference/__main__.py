"""`python -m tests.reference DIR [--json FILE]`: compare gbveval with a folder of reference cases."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from tests.reference.reader import run_folder


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reference", description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder with cases.json and its data")
    parser.add_argument("--json", type=Path, help="write the same as JSON")
    options = parser.parse_args()
    if not (options.folder / "cases.json").is_file():
        print(f"There is no cases.json in {options.folder}.", file=sys.stderr)
        return 2
    compared = run_folder(options.folder)
    for item in compared:
        if item.status == "mismatched":
            print(f"mismatched {item.case}: {item.reason or f'{len(item.mismatches)} numbers'}")
            for entry in item.mismatches:
                print(
                    f"  {entry['number']}: reference {entry['reference']!r}, gbveval {entry['gbveval']!r}, "
                    f"tolerance {entry['tolerance']:.3g}"
                )
        elif item.status == "unsupported":
            print(f"unsupported {item.case}: {item.reason}")
        for reason in dict.fromkeys(item.disputed.values()) if item.status != "unsupported" else ():
            names = [name for name, why in item.disputed.items() if why == reason]
            shown = ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
            print(f"disputed {item.case}: {len(names)} numbers ({shown}): {reason}")
    counts = Counter(item.status for item in compared)
    numbers, seen = sum(item.numbers for item in compared), sum(item.compared for item in compared)
    disputed = sum(len(item.disputed) for item in compared)
    print(f"numbers compared: {seen} of {numbers}" + (f", disputed: {disputed}" if disputed else ""))
    print(f"matched: {counts['matched']}, mismatched: {counts['mismatched']}, unsupported: {counts['unsupported']}")
    if options.json:
        options.json.write_text(
            json.dumps(
                {
                    "cases": [asdict(item) for item in compared],
                    "numbers_compared": seen,
                    "numbers": numbers,
                    **{status: counts[status] for status in ("matched", "mismatched", "unsupported")},
                },
                indent=1,
            ),
            encoding="utf-8",
        )
    return 1 if counts["mismatched"] else 0


if __name__ == "__main__":
    sys.exit(main())
