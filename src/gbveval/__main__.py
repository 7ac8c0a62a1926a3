"""`python -m gbveval`: the commands."""

from __future__ import annotations

import sys

from gbveval.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
