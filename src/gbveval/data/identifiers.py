"""The check at the door: columns that point straight at a person are refused by name and by what is in them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gbveval.core.errors import DesignError, GbvevalWarning

# What a column's name, cut into words, may not say. Codes of people ("participant_id") are none in this sense.
_COORDINATES = "a place to the metre"
_NAMES = {
    "an e-mail address": ("email", "e_mail", "mail_address"),
    "a telephone number": ("phone", "telephone", "mobile", "cellphone", "msisdn", "whatsapp"),
    "a name": ("first_name", "last_name", "full_name", "surname", "family_name", "forename", "given_name"),
    "an account name": ("username", "user_name", "handle", "screen_name", "nickname"),
    _COORDINATES: (
        "latitude",
        "longitude",
        "lat",
        "lon",
        "lng",
        "gps",
        "geolocation",
        "geopoint",
        "geo_point",
        "coordinates",
    ),
    "a postal address": ("street_address", "home_address", "postcode", "zipcode", "zip_code"),
    "a network address or device": ("ip_address", "ip", "mac_address", "device_id", "imei", "user_agent"),
    "an official number": ("passport", "national_id", "id_card", "ssn", "social_security"),
    "a date of birth": ("dob", "date_of_birth", "birthdate", "birth_date", "birthday"),
}
# What the whole name of a column may not be: parts of names such as "school_name" or "address_known" say no more.
_WHOLE_NAMES = {"name": "a name", "names": "a name", "tel": "a telephone number", "address": "a postal address"}
_PEOPLE = ("respondent", "participant", "survivor", "person", "child", "student", "pupil", "client", "contact")
_CONTENTS = {
    "e-mail addresses": re.compile(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}"),
    "account names": re.compile(r"@\w{2,}"),
    "links": re.compile(r"https?://\S+"),
    "telephone numbers": re.compile(r"\+\d[\d\s().-]{6,}\d|0\d{8,11}|\(?\d{2,4}\)?[\s.-]\d{3,4}[\s.-]\d{3,4}"),
    "network addresses": re.compile(r"\d{1,3}(\.\d{1,3}){3}"),
}
# Distinct values looked at in each column, and how long free text is.
_MOST_VALUES = 5000
_LONG_TEXT = 60


@dataclass(frozen=True, slots=True)
class Kept:
    """A frame of which named columns are kept though they look like identifiers, and a remark of which and why."""

    frame: Any
    columns: tuple[str, ...]
    remark: str


def keep_identifiers(frame: Any, columns: str | Sequence[str], *, reason: str) -> Kept:
    """Return a frame that `Trial`, `Panel` and `Survey` accept though columns of it look like identifiers.

    Parameters
    ----------
    frame : object
        The frame.
    columns : str or sequence of str
        The columns to keep.
    reason : str
        Why: one sentence. It is printed at once, as a warning, and goes with the data into results and what is released
        of them, so that the report prints it too.

    Returns
    -------
    Kept

    Raises
    ------
    DesignError
        The reason is empty.

    Warns
    -----
    GbvevalWarning
        Always: code "identifiers_kept", with the columns and the reason.

    Notes
    -----
    Rather drop the column, or replace it by a code whose key is kept elsewhere. A plain hash is no code: whoever has a
    list of telephone numbers hashes them all.

    Examples
    --------
    >>> import warnings
    >>> import gbveval as gbv
    >>> frame = {"harassed": [0, 1, 1, 0], "handle": ["a", "b", "c", "d"]}
    >>> with warnings.catch_warnings(record=True) as printed:
    ...     warnings.simplefilter("always")
    ...     kept = gbv.keep_identifiers(frame, "handle", reason="These are made-up accounts.")
    >>> gbv.Survey(kept, outcome="harassed").n, "made-up accounts" in str(printed[0].message)
    (4, True)
    """
    names = (columns,) if isinstance(columns, str) else tuple(columns)
    if not isinstance(reason, str) or not reason.strip():
        raise DesignError("The reason for keeping identifiers is empty: write one sentence, because it is printed.")
    shown = ", ".join(repr(name) for name in names)
    remark = f"columns that look like identifiers are kept ({shown}). Reason: {' '.join(reason.split())}"
    warnings.warn(f"identifiers_kept: {remark}", GbvevalWarning, stacklevel=2)
    return Kept(frame, names, remark)


def identifier_problem(column: str, series: Any, *, places: bool = False) -> list[str]:
    """Return what to say of a column of a narwhals frame that looks like an identifier, without showing a value.

    The series is None for columns that are no text. Coordinates pass where `places` says that rows may be places.
    """
    what = _by_name(column) or ("" if series is None else _by_contents(series))
    if not what or (places and what == _COORDINATES):
        return []
    return [
        f"Column {column!r} looks like {what}. Drop it, or replace it by a code; "
        "`keep_identifiers(frame, columns, reason=...)` overrides this and prints the reason."
    ]


def is_text(kind: Any) -> bool:
    """Return whether a column of this type can hold text."""
    import narwhals as nw

    return bool(kind in (nw.String, nw.Object, nw.Categorical))


@lru_cache(maxsize=4096)
def _by_name(column: str) -> str:
    """Return what the name of a column says that it is."""
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", column).lower()
    padded = f"_{re.sub(r'[^a-z0-9]+', '_', words)}_"
    whole = padded.strip("_")
    if whole in _WHOLE_NAMES:
        return _WHOLE_NAMES[whole]
    if whole in {f"{person}_name" for person in _PEOPLE}:
        return "a name"
    return next((what for what, names in _NAMES.items() if any(f"_{name}_" in padded for name in names)), "")


def _by_contents(series: Any) -> str:
    """Return what the values of a text column look like, with the number of distinct ones."""
    import narwhals as nw

    # Objects of Python may be lists, which have no distinct values to ask for.
    some = series if series.dtype == nw.Object else series.unique()
    values = [text for text in some.head(_MOST_VALUES).to_list() if isinstance(text, str)]
    for what, pattern in _CONTENTS.items():
        count = sum(pattern.fullmatch(text.strip()) is not None for text in values)
        if count:
            return f"{what} (in {count:,} of {len(values):,} distinct values)"
    long = sum(len(text) > _LONG_TEXT for text in values)
    if values and long > len(values) / 2:
        return f"free text ({long:,} of {len(values):,} distinct values are long)"
    return ""
