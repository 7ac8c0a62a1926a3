"""Shards: the same answer to the last bit on one core, on two, in pieces and after an interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.core.shards import Checkpoint, identity, run_shards

PLAN = gbv.ClusterDesign(
    clusters_per_arm=5, cluster_size=10, icc=gbv.ICC(0.05, scale="observed"), outcome=gbv.Continuous()
)
SLOW = """
import sys, time
from dataclasses import dataclass
from typing import ClassVar
import gbveval as gbv

@dataclass(frozen=True)
class Slow:
    name: ClassVar[str] = "slow"

    def estimate(self, data, *, rng=None):
        time.sleep(0.01)
        return gbv.DifferenceInMeans().estimate(data)

plan = gbv.ClusterDesign(
    clusters_per_arm=5, cluster_size=10, icc=gbv.ICC(0.05, scale="observed"), outcome=gbv.Continuous()
)
found = gbv.simulate_power(
    plan, Slow(), effect=0.5, n_draws=200, seed=4, checkpoint=sys.argv[1], keep_replicates=True, progress=False
)
print(repr(found.rows), found.replicates[0].value.tobytes().hex())
"""


def run(**options: Any) -> gbv.Diagnosis:
    settings = {"effect": 0.5, "seed": 3, "n_draws": 130, "path": "data", "progress": False, **options}
    return gbv.simulate_power(PLAN, [gbv.DifferenceInMeans(), gbv.LinAdjusted()], **settings)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").splitlines()


@pytest.mark.parametrize("path", ["data", "batch"])
def test_many_processes_give_the_answer_of_one(path: str) -> None:
    assert (
        run(path=path, n_draws=600 if path == "batch" else 130, n_jobs=2).rows
        == run(path=path, n_draws=600 if path == "batch" else 130).rows
    )


def test_the_caller_s_joblib_backend_is_used() -> None:
    import joblib

    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert run().rows == run(n_jobs=1).rows


@pytest.mark.xdist_group("dask")
def test_the_same_call_runs_on_a_dask_cluster() -> None:
    import joblib
    from distributed import Client, LocalCluster

    # Workers are threads of this process: a real scheduler, without the seconds that other processes take to import.
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        found = run(n_draws=60)
    assert found.rows == run(n_draws=60, n_jobs=1).rows


def test_a_simulation_in_pieces_is_the_simulation(tmp_path: Path) -> None:
    file = tmp_path / "power.jsonl"
    run(n_draws=50, checkpoint=file)
    assert len(lines(file)) == 1 + 3
    seen: list[tuple[int, int]] = []
    assert run(checkpoint=file, progress=lambda *told: seen.append(told)).rows == run().rows
    # The last shard of the first call had ten studies and is made anew with twenty.
    assert seen[0] == (60, 130)
    seen.clear()
    assert run(checkpoint=file, progress=lambda *told: seen.append(told)).rows == run().rows
    assert seen == []


@pytest.mark.skipif(os.name == "nt", reason="SIGINT is sent as POSIX systems send it")
def test_an_interrupted_simulation_resumes_and_equals_the_uninterrupted_bit_for_bit(tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW, encoding="utf-8")
    file, whole = tmp_path / "interrupted.jsonl", tmp_path / "whole.jsonl"

    def start(checkpoint: Path) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), str(checkpoint)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    first = start(file)
    for _ in range(600):
        if file.exists() and len(lines(file)) >= 3:
            break
        time.sleep(0.1)
    first.send_signal(signal.SIGINT)
    _, error = first.communicate(timeout=60)
    assert first.returncode != 0
    assert "KeyboardInterrupt" in error
    kept = len(lines(file)) - 1
    assert 2 <= kept < 10
    resumed = start(file).communicate(timeout=120)[0]
    assert len(lines(file)) == 11
    assert resumed
    assert resumed == start(whole).communicate(timeout=120)[0]


def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "power.jsonl"
    expected = run(checkpoint=file)
    text = file.read_text(encoding="ascii")
    file.write_text(text[:-40], encoding="ascii")
    assert run(checkpoint=file).rows == expected.rows
    assert run(checkpoint=file).rows == expected.rows
    assert sum(json.loads(line)[0].endswith("/6/10") for line in lines(file)[1:] if line.endswith("]")) == 1


def test_other_work_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "power.jsonl"
    run(checkpoint=file)
    with pytest.raises(DesignError, match="differs in alpha, seed"):
        run(checkpoint=file, alpha=0.1, seed=4)
    with pytest.raises(DesignError, match="not a checkpoint"):
        run(checkpoint=__file__)
    with pytest.raises(DesignError, match="folder of the checkpoint"):
        run(checkpoint=tmp_path / "nowhere" / "power.jsonl")
    # Another plan or effect is other studies, not other work: it is added.
    assert run(checkpoint=file, effect=0.0).rows == run(effect=0.0).rows


def test_what_cannot_be_recognised_is_refused(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Odd:
        how: Any
        name: ClassVar[str] = "odd"

        def estimate(self, data: gbv.Trial, *, rng: np.random.Generator | None = None) -> gbv.Estimates:
            return gbv.DifferenceInMeans().estimate(data)

    settings: dict[str, Any] = {"effect": 0.5, "seed": 1, "n_draws": 10, "progress": False}
    with pytest.raises(DesignError, match="function cannot be recognised"):
        gbv.simulate_power(PLAN, Odd(lambda: None), checkpoint=tmp_path / "a.jsonl", **settings)
    assert gbv.simulate_power(PLAN, Odd(lambda: None), **settings)[0].n_failed == 0


def test_identity_tells_arrays_and_options_apart() -> None:
    assert identity(PLAN) == identity(PLAN.resized("cluster_size", 10))
    assert identity(PLAN) != identity(PLAN.resized("cluster_size", 11))
    a, b = np.arange(3.0), np.array([0.0, 1.0, 3.0])
    assert identity((a, np.float64(2.0), None)) == identity((a.copy(), 2.0, None))
    assert identity({"x": a}) != identity({"x": b})
    assert json.loads(json.dumps(identity(PLAN)))["cluster_size"] == 10


def test_shards_come_in_the_order_they_were_given(tmp_path: Path) -> None:
    assert list(run_shards(abs, [-3, -1, -2])) == [(-3, 3), (-1, 1), (-2, 2)]
    assert list(run_shards(abs, [-3, -1, -2], n_jobs=2)) == [(-3, 3), (-1, 1), (-2, 2)]
    store = Checkpoint(tmp_path / "kept", {"what": 1})
    store.add("a", [0.1, float("inf")])
    assert Checkpoint(tmp_path / "kept", {"what": 1}).done == {"a": [0.1, float("inf")]}


def test_progress_is_a_bar_or_a_function(capsys: pytest.CaptureFixture[str]) -> None:
    run(progress=True)
    assert "130/130" in capsys.readouterr().err
    run(progress=None)
    assert capsys.readouterr().err == ""
    with pytest.raises(DesignError, match="progress is True, False or a function"):
        run(progress="bar")
