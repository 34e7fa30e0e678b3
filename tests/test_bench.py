"""The benchmark harness: its list, its arithmetic, its picture, and one row from end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"


@pytest.fixture(scope="module", autouse=True)
def bench_on_the_path():
    sys.path.insert(0, str(BENCH))
    yield
    sys.path.remove(str(BENCH))


def test_every_row_has_a_program():
    import models
    import programs
    from workloads import WORKLOADS

    names = [workload.name for workload in WORKLOADS]
    assert len(set(names)) == len(names)
    known = {*programs.FORWARD, *models.MODELS, "resnet18"}
    assert {workload.program for workload in WORKLOADS} <= known


def test_inputs_are_the_same_for_everybody():
    from workloads import PATTERN, Input

    first, again, other = (Input((300, 400)).numbers(seed) for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == 120_000 > PATTERN and first[PATTERN] == first[0]
    labels = Input((50,), below=10).numbers(3)
    assert labels.typecode == "q" and set(labels) <= set(range(10))


def test_who_disagrees_is_found_out():
    from run import difference

    a = [[2.0, 1.0, -3.0], [0.5]]
    assert difference(a, [[2.0, 1.0, -3.0001], [0.5]], 1e-4) == ""
    assert "1.7e-01 of the largest" in difference(a, [[2.5, 1.0, -3.0], [0.5]], 1e-4)
    assert difference(a, [[2.0, 1.0], [0.5]], 1e-4) == "other shapes"
    assert "nan" in difference(a, [[2.0, 1.0, -3.0], [float("nan")]], 1e-4)


def test_ratios_and_shares():
    from run import Row, shown_time
    from workloads import by_name

    row = Row(by_name("matmul 1024"))
    assert row.ratio() is None
    row.times = {"dlgrad": [3.0, 1.0, 2.0], "dlgrad-jit": [4.0], "torch": [8.0], "jax": [4.0]}
    assert row.ratio() == 0.5
    assert row.ratio(("dlgrad-jit",)) == 1.0
    assert row.share() is None
    operations = 2.0 * 1024**3
    row.roofs = [{"arithmetic": rate * operations, "memory": 1e12} for rate in (1.0, 5.0, 0.5)]
    assert row.share() == pytest.approx(0.5)
    assert row.record()["roofs"] == {"arithmetic": operations, "memory": 1e12}
    shown = [shown_time(seconds) for seconds in (2.5, 0.0123, 4e-6, None)]
    assert shown == ["2.50 s", "12.3 ms", "4.00 us", "-"]


def test_the_picture():
    from chart import COLORS, draw_chart

    rows = [
        {"name": "a < b", "seconds": {"dlgrad": 1.0, "torch": 2.0, "jax": 0.01}},
        {"name": "nobody else", "seconds": {"dlgrad": 1.0}},
    ]
    root = xml.etree.ElementTree.fromstring(draw_chart({"rows": rows}))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "a < b" in texts and "nobody else" not in texts
    marks = [e for e in root.iter("{http://www.w3.org/2000/svg}circle") if len(e)]
    assert [mark.get("fill") for mark in marks] == [COLORS["torch"], COLORS["jax"]]
    places = [float(mark.get("cx", "nan")) for mark in marks]
    one = next(
        float(line.get("x1", "nan"))
        for line in root.iter("{http://www.w3.org/2000/svg}line")
        if line.get("stroke-width") == "1.5"
    )
    assert places[0] > one > places[1] > 0


def test_one_row_from_end_to_end(tmp_path):
    command = [
        sys.executable, str(BENCH / "run.py"), "--only", "100 additions*", "--rounds", "1",
        "--seconds", "0.01", "--peers", "none", "--threads", "1", "--no-first-runs",
        "--output", str(tmp_path),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(BENCH.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100 additions of 8 x 8" in done.stdout
    result = json.loads((tmp_path / "results.json").read_text())
    (row,) = result["rows"]
    assert row["left_out"] == {} and row["ratio"] is None
    assert set(row["seconds"]) == {"dlgrad", "dlgrad-jit"}
    assert all(0 < seconds < 60 for seconds in row["seconds"].values())
    assert result["roofs"]["flops"] > 1e8
    assert (tmp_path / "chart.svg").read_text().startswith("<svg")
