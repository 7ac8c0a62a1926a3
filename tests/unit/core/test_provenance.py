"""Where a result comes from: digests that tell data apart, seeds, options."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import gbveval as gbv
from gbveval.core.provenance import derive_seed, digest_arrays, options_of, versions


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=8))
def test_digests_repeat_and_tell_arrays_apart(values: list[float]) -> None:
    array = np.array(values)
    assert digest_arrays([("y", array)]) == digest_arrays([("y", array.copy())])
    changed = array.copy()
    changed[0] += 1.0 + abs(changed[0])
    assert digest_arrays([("y", array)]) != digest_arrays([("y", changed)])
    assert digest_arrays([("y", array)]) != digest_arrays([("z", array)])
    assert digest_arrays([("y", array)]) != digest_arrays([("y", array[:, None])])


def test_digest_does_not_depend_on_memory_layout() -> None:
    array = np.arange(12.0).reshape(3, 4)
    assert digest_arrays([("y", array)]) == digest_arrays([("y", np.asfortranarray(array))])
    assert digest_arrays([("y", array[::2])]) == digest_arrays([("y", array[::2].copy())])


def _trial(**change: Any) -> gbv.Trial:
    frame: dict[str, Any] = {
        "y": [1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 2.0, 1.0],
        "arm": ["u", "n"] * 4,
        "site": ["a"] * 4 + ["b"] * 4,
        "stratum": ["p", "p", "q", "q"] * 2,
        "x": list(range(8)),
    }
    frame.update(change)
    return gbv.Trial(frame, outcome="y", arm="arm", control="u", site="site", stratum="stratum", covariates=["x"])


def test_the_digest_of_a_trial_sees_every_role() -> None:
    digests = {
        "as it is": _trial().digest,
        "outcome": _trial(y=[1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 2.0, 1.5]).digest,
        "arm": _trial(arm=["n", "u"] + ["u", "n"] * 3).digest,
        "site": _trial(site=["a"] * 2 + ["b"] * 6).digest,
        "stratum": _trial(stratum=["p", "q"] * 4).digest,
        "covariate": _trial(x=[9, *range(1, 8)]).digest,
    }
    # A seed is derived from the digest, and a reader trusts it to name the data that were analysed.
    assert len(set(digests.values())) == len(digests)
    assert _trial().digest == _trial().digest


def test_seeds_depend_on_the_texts_and_on_where_they_end() -> None:
    assert derive_seed("a", "b") == derive_seed("a", "b")
    assert len({derive_seed("a", "b"), derive_seed("ab"), derive_seed("b", "a"), derive_seed("a", "b", "")}) == 4
    np.random.default_rng(derive_seed("x"))


@dataclass(frozen=True)
class _Inner:
    scale: float = 2.0


@dataclass(frozen=True)
class _Options:
    level: Any = 0.9
    inner: _Inner = _Inner()
    several: tuple[Any, ...] = (1, np.int64(2), np.float64(0.5))
    table: Any = None
    thing: Any = object


def test_options_are_plain_values() -> None:
    options = options_of(_Options(table={"a": (1,)}))
    json.dumps(options)
    assert options["inner"] == {"type": "_Inner", "scale": 2.0}
    assert options["several"] == [1, 2, 0.5]
    assert options["table"] == {"a": [1]}


def test_versions_name_what_computes() -> None:
    found = dict(versions())
    assert {"python", "gbveval", "numpy", "scipy", "pandas", "pymc"} <= set(found)
    assert found["numpy"] == np.__version__
