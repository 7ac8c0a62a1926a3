"""Real data that ship inside a package on the registry, so that examples need no download of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gbveval.core.errors import MissingExtraError

if TYPE_CHECKING:
    import pandas as pd

    from gbveval.data.panel import Panel
    from gbveval.data.trial import Trial


def _load(name: str) -> pd.DataFrame:
    try:
        from importlib import import_module

        module = import_module(f"causaldata.{name}")
    except ImportError as error:
        raise MissingExtraError(
            "This data set ships with the package causaldata, which is absent. Install it with: pip install causaldata"
        ) from error
    # Stata stored some columns in single precision; sums are taken in double.
    frame: pd.DataFrame = module.load_pandas().data
    single = frame.select_dtypes("float32").columns
    return frame.astype(dict.fromkeys(single, "float64"))


def castle_doctrine_frame() -> pd.DataFrame:
    """Return homicides in 50 US states, 2000 to 2010, and the year in which a castle doctrine law took effect.

    Columns: state (a number), year, first_year (missing = never), homicide (in 100,000), log_homicide, population.

    Notes
    -----
    Cheng and Hoekstra (2013), Journal of Human Resources 48, as shipped by the package causaldata (MIT licence). States
    are public record; nobody is in these data.
    """
    raw = _load("castle")
    frame = raw[["sid", "year", "homicide", "l_homicide", "popwt"]].rename(
        columns={"sid": "state", "l_homicide": "log_homicide", "popwt": "population"}
    )
    # post begins with the first whole year of a law; the law took effect in the year before.
    started = raw.loc[raw["post"] == 1].groupby("sid")["year"].min() - 1
    frame["first_year"] = frame["state"].map(started).astype(float)
    return frame


def castle_doctrine() -> Panel:
    """Return the castle doctrine panel with log homicide as outcome, checked.

    Examples
    --------
    >>> castle_doctrine().n_units
    50
    """
    from gbveval.data.panel import Panel

    return Panel(castle_doctrine_frame(), outcome="log_homicide", unit="state", time="year", cohort="first_year")


def village_trial() -> Trial:
    """Return Thornton's trial in Malawi: a cash incentive, drawn by each person, to learn one's HIV result.

    Outcome `got` (learned the result); arms by `any` incentive. People and not villages were assigned.

    Notes
    -----
    Thornton (2008), American Economic Review 98, as shipped by the package causaldata (MIT licence).

    Examples
    --------
    >>> village_trial().arms
    ('no incentive', 'incentive')
    """
    from gbveval.data.trial import Trial

    raw = _load("thornton_hiv")
    frame = raw.loc[raw["any"].notna(), ["got", "any"]].copy()
    frame["arm"] = frame["any"].map({0.0: "no incentive", 1.0: "incentive"})
    return Trial(frame, outcome="got", arm="arm", control="no incentive")
