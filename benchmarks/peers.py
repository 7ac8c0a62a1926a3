"""Other packages beside which a benchmark is run, where they are installed."""

from __future__ import annotations

import importlib.metadata


def version(package: str) -> str | None:
    """Return the version of a package that is installed, or None, and say how to get it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        print(f"{package} is not installed, so nothing is compared with it: pip install {package}")
        return None
