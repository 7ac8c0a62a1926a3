"""A matrix that is made when it is read: influence functions of many units that few readers ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class LazyMatrix:
    """Stands for a matrix that `make` returns; numpy's functions take it as an array, made anew at each use.

    Attributes
    ----------
    shape : (int, int)
    make : callable

    Examples
    --------
    >>> lazy = LazyMatrix((2, 2), lambda: np.eye(2))
    >>> lazy[:, 0].tolist(), float(np.sum(lazy))
    ([1.0, 0.0], 2.0)
    """

    shape: tuple[int, int]
    make: Callable[[], FloatArray] = field(repr=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        made = self.make()
        if made.shape != self.shape:
            raise ValueError(f"A matrix of shape {made.shape} was made; {self.shape} was promised.")
        return made if dtype is None else made.astype(dtype)

    def __getitem__(self, key: Any) -> FloatArray:
        return np.asarray(np.asarray(self)[key])

    def __matmul__(self, other: NDArray[Any]) -> FloatArray:
        return np.asarray(np.asarray(self) @ other)
