"""In words, how an estimate was made: what a reader needs to know before believing it."""

from __future__ import annotations

from dataclasses import dataclass

# Respondents without an answer form a group of their own, so that a total minus the groups shown does
# not give them away. The brackets keep the label apart from the categories of a questionnaire.
NO_ANSWER = "(no answer)"
# Between the name of a table and what respondents must have answered too to be in it.
COMPLETE_ON = ", complete on "
# Between the name of a table and the code of the site that it is of.
IN_SITE = " in site "


@dataclass(frozen=True, slots=True)
class Method:
    """How the numbers were made, said in words with every result.

    Parameters
    ----------
    sample : str
        Which units entered, and which did not.
    std_error : str
        The kind of standard error (or posterior).
    small_sample : str
        The small-sample correction, or "none".
    reference : str
        The reference distribution of tests and intervals.
    inference_for : str
        "this sample (randomisation)" or a superpopulation, in words.
    assumptions : tuple of str
        What must hold.
    source : str
        Author and year of the method.
    comparison : str
        Whom the treated are compared with, where methods differ in that.
    """

    sample: str
    std_error: str
    small_sample: str
    reference: str
    inference_for: str
    assumptions: tuple[str, ...] = ()
    source: str = ""
    comparison: str = ""

    def sentences(self) -> tuple[str, ...]:
        """Return the method as short sentences."""
        lines = [
            f"Sample: {self.sample}.",
            f"Standard error: {self.std_error}.",
            f"Small-sample correction: {self.small_sample}.",
            f"Reference distribution: {self.reference}.",
            f"Inference is for {self.inference_for}.",
        ]
        if self.comparison:
            lines.insert(1, f"Compared with: {self.comparison}.")
        lines += [f"Assumes: {item}." for item in self.assumptions]
        if self.source:
            lines.append(f"Source: {self.source}.")
        return tuple(lines)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, and what was found.

    Parameters
    ----------
    name : str
        Short name, such as "rank" or "rhat".
    status : str
        "ok", "info", "warn" or "fail".
    message : str
        What was found, in words; never a respondent's value.
    public : str
        What leaves in its place, where the message counts few people; the message itself by default.
    """

    name: str
    status: str
    message: str
    public: str = ""

    def __post_init__(self) -> None:
        if self.status not in ("ok", "info", "warn", "fail"):
            raise ValueError(f"A check is 'ok', 'info', 'warn' or 'fail', not {self.status!r}.")


@dataclass(frozen=True, slots=True)
class Cell:
    """Counts behind an estimate, which disclosure control needs.

    Parameters
    ----------
    label : str
        Which group: an arm, a factor level, a cohort.
    n : int
        Respondents in it.
    events : int or None
        Respondents with the outcome, for a binary outcome.
    table : str
        Which table the group belongs to. Groups of one table exclude each other and their total may be known, so
        they are protected together.
    """

    label: str
    n: int
    events: int | None = None
    table: str = ""
