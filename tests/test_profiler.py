"""The profile of a program: what is on the time line, and that it adds up."""

import json
import re
import time

import pytest

import dlgrad
from dlgrad import config, profiler
from dlgrad.runtime import report
from dlgrad.runtime.timeline import Event

MILLISECOND = 1_000_000


def event(name, start, end, kind="user", thread=1):
    return Event(name, kind, start * MILLISECOND, end * MILLISECOND, thread)


def profiled(**options):
    """A profile of three evaluations, and of one user range around the last two."""
    x = dlgrad.arange(1000).float().realize()
    dlgrad.runtime.engine.clear_plans()
    with profiler.profile(**options) as result:
        total = (x * 3 + 1).sum().item()
        for _ in range(2):
            with profiler.record_function("a step"):
                (x * 3 + 2).realize()
    assert total == 3 * 999 * 500 + 1000
    return result


def test_a_time_line_of_everything():
    result = profiled()
    events = result.events()
    whole = events[0]
    assert (whole.name, whole.kind) == ("python", "python")
    kinds = [e.kind for e in events]
    assert kinds.count("user") == 2
    assert kinds.count("evaluate") == 3
    assert 1 <= kinds.count("plan") <= 2  # the last evaluation is the one before it
    assert kinds.count("kernel") == 3
    assert "copy" in kinds
    assert all(whole.start <= e.start <= e.end <= whole.end for e in events if e.kind != "kernel")
    kernels = [e for e in events if e.kind == "kernel"]
    assert all(k.details["bytes"] >= 4000 and "1000" in k.details["what"] for k in kernels)
    for step in (e for e in events if e.kind == "user"):
        inside = [e for e in events if step.start <= e.start and e.end <= step.end and e != step]
        assert {"evaluate"} <= {e.kind for e in inside}


def test_the_rows_add_up_to_the_whole():
    rows = profiled().key_averages()
    assert sum(row.self_time_total for row in rows) == pytest.approx(rows.whole, rel=1e-6)
    by_key = {row.key: row for row in rows}
    assert by_key["a step"].count == 2
    assert by_key["python"].time_total == pytest.approx(rows.whole)
    assert by_key["a step"].cpu_time_total >= by_key["a step"].self_cpu_time_total


def test_self_times():
    events = [
        event("outer", 0, 100),
        event("first", 10, 40),
        event("inner", 20, 30),
        event("second", 50, 70),
        event("elsewhere", 55, 95, thread=2),
    ]
    found = {e.name: own for e, own in profiler.with_self_times(events)}
    expected = {"outer": 50, "first": 20, "inner": 10, "second": 20, "elsewhere": 40}
    assert found == {name: time * MILLISECOND for name, time in expected.items()}


def test_the_table():
    rows = profiler.EventAverages(
        [event("whole", 0, 100), event("part", 20, 40), event("part", 50, 60)], 100 * MILLISECOND
    )
    lines = rows.table().splitlines()
    assert re.match(r"whole +user +70\.0% +70 ms +100\.0% +100 ms +100 ms +1$", lines[3])
    assert re.match(r"part +user +30\.0% +30 ms +30\.0% +30 ms +15 ms +2$", lines[4])
    assert lines[-1] == "Time on the clock: 100 ms"
    assert rows.table(sort_by="count").splitlines()[3].startswith("part")
    assert len(rows.table(row_limit=1).splitlines()) == len(lines) - 1
    assert "wh..." in profiler.EventAverages([event("whole name", 0, 1)], 1).table(max_name_width=5)
    with pytest.raises(ValueError, match="sort_by must be one of .*count, name, not 'speed'"):
        rows.table(sort_by="speed")


def test_the_chrome_trace(tmp_path):
    path = tmp_path / "trace.json"
    profiled().export_chrome_trace(str(path))
    records = json.loads(path.read_text())["traceEvents"]
    spans = [r for r in records if r["ph"] == "X"]
    names = {r["tid"]: r["args"]["name"] for r in records if r["ph"] == "M"}
    assert names[0] == "main thread"
    assert names[1] == "kernels"
    assert spans[0]["name"] == "python" and spans[0]["ts"] == 0
    assert {r["tid"] for r in spans if r["cat"] == "kernel"} == {1}
    assert {r["tid"] for r in spans if r["cat"] in ("user", "evaluate")} == {0}
    end = spans[0]["dur"]
    assert all(r["ts"] >= 0 and r["ts"] + r["dur"] <= 1.01 * end for r in spans)


def helper_of_the_test(x):
    return (x + 1).realize()


def test_python_calls_on_the_time_line():
    x = dlgrad.ones(10).realize()
    with profiler.profile(with_stack=True) as result:
        helper_of_the_test(x)
    names = [e.name for e in result.events()]
    assert "test_profiler.py: helper_of_the_test" in names
    assert "tensor.py: realize" in names
    assert not any(name.startswith(("engine.py", "storage.py")) for name in names)


def test_a_marked_function_and_no_profile():
    @profiler.record_function("twice")
    def twice(x):
        return 2 * x

    assert twice(4) == 8
    with profiler.profile() as result:
        assert twice(5) == 10
    assert [e.name for e in result.events()] == ["python", "twice"]
    assert dlgrad.profiler is profiler


def test_misuse_is_told():
    with profiler.profile() as outer:
        with pytest.raises(RuntimeError, match="another profile is active"):
            profiler.profile().start()
        with pytest.raises(RuntimeError, match="has not ended"):
            outer.events()
    outer.stop()
    with pytest.raises(RuntimeError, match="has not ended"):
        profiler.profile().key_averages()


def test_the_lines_of_debug_add_up(capsys):
    """Every moment after the first launch is on exactly one line."""
    y = dlgrad.arange(1000).float().realize()
    with config.DEBUG(2):
        y = (y * 5).realize()
        capsys.readouterr()
        before, start = report._Clock.reported, time.perf_counter()
        for number in range(3):
            y = (y * 2 + number).realize()
        after = time.perf_counter()
        report.report_time("the rest")
    lines = capsys.readouterr().err.splitlines()
    assert sum("GFLOP/s" in line for line in lines) == 3
    assert {"python", "plan"} <= {line.split()[0] for line in lines}
    # What a compiler took is part of the line of its plan.
    total = sum(in_seconds(line) for line in lines if not line.startswith("compiled "))
    assert total == pytest.approx(report._Clock.reported - before, rel=0.03)
    assert total >= 0.99 * (after - start)


def in_seconds(line):
    number, unit = re.search(r"([\d.e+]+) (ns|us|ms|s)(?= |$)", line).groups()
    return float(number) * {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}[unit]
