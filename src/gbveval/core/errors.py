"""The errors and warnings of gbveval: one root each, every message with a next step."""

from __future__ import annotations


class GbvevalError(Exception):
    """Root of every error that gbveval raises on purpose."""


class DataError(GbvevalError, ValueError):
    """The data do not fit their declared roles.

    Parameters
    ----------
    problems : sequence of str
        Every problem found, each naming a column, the number of rows and what to do.

    Examples
    --------
    >>> str(DataError(["Column 'arm' is absent."]))
    "Column 'arm' is absent."
    """

    def __init__(self, problems: list[str] | tuple[str, ...] | str) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        if len(self.problems) == 1:
            message = self.problems[0]
        else:
            lines = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(self.problems, 1))
            message = f"{len(self.problems)} problems in the data:\n{lines}"
        super().__init__(message)

    def __reduce__(self) -> tuple[type[DataError], tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)


class DesignError(GbvevalError, ValueError):
    """A planned design, an option or a request is impossible."""


class IdentificationError(GbvevalError, ValueError):
    """The data cannot identify what was asked for."""


class ConvergenceError(GbvevalError, RuntimeError):
    """A numerical or sampling procedure did not reach an answer."""


class DisclosureError(GbvevalError, RuntimeError):
    """Releasing this would show somebody, or was not released at all."""


class MissingExtraError(GbvevalError, ImportError):
    """An optional package is needed and absent."""


class GbvevalWarning(UserWarning):
    """Root of every warning that gbveval gives; each carries a code and a next step."""
