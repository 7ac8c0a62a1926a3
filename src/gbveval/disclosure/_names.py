"""Names of variables in tables: several of them can stand in one."""

from __future__ import annotations


def split_name(name: str) -> list[str]:
    """Return the variables in a name of several, such as "gender and region" or "arm x age"."""
    return [part for part in name.replace(" x ", " and ").split(" and ") if part]
