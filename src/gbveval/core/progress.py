"""Hides who is told how far long work has come: a bar on the terminal, a function of the caller, or nobody."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from gbveval.core.errors import DesignError

Progress = Callable[[int, int], None]
# A bar for work that is over in a moment is noise.
SECONDS_BEFORE_A_BAR = 2.0


class Told:
    """Tells how far work has come.

    Parameters
    ----------
    progress : bool, callable or None
        None shows a bar where standard error is a terminal and the work is long; True shows one always (a notebook's
        output too); False shows none; a function is called with what is done and the total.
    total : int
        How much there is to do.
    unit : str
        Of what.
    done : int
        How much of it was done before.
    """

    def __init__(self, progress: bool | Progress | None, total: int, unit: str, done: int = 0) -> None:
        if not (progress is None or isinstance(progress, bool) or callable(progress)):
            raise DesignError(
                "progress is True, False or a function of what is done and the total; it is a "
                f"{type(progress).__name__}."
            )
        self._call = progress if callable(progress) else None
        self._done, self._total = done, total
        self._bar: Any = None
        if self._call is None and progress is not False:
            from tqdm import tqdm

            # disable=None: only where standard error is a terminal.
            delay, off = (SECONDS_BEFORE_A_BAR, None) if progress is None else (0.0, False)
            self._bar = tqdm(total=total, initial=done, unit=f" {unit}", delay=delay, disable=off)

    def __enter__(self) -> Told:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()

    def more(self, count: int) -> None:
        """Tell that some more is done."""
        self._done += count
        if self._call is not None:
            self._call(self._done, self._total)
        elif self._bar is not None:
            self._bar.update(count)
