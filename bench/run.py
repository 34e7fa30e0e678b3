"""dlgrad and its peers, side by side: times, shares of the machine's roofs, memory.

    python bench/run.py [--only PATTERN] [--rounds N] [--seconds S] [--peers torch,jax,...]

Every contestant runs in a process of its own.  For each row, all of them compute the result
first, and who disagrees is left out; then they take turns, for several rounds.  A row shows
the median time of each, dlgrad's ratio to the best peer (of the faster of dlgrad and dlgrad
under jit), and the share of what this machine does at most.  `--output FOLDER` (build/bench)
takes results.json and chart.svg.

Peers that are not installed are left out; `bench/requirements.txt` names them all.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any

from chart import draw_chart
from workloads import WORKLOADS, Workload

HERE = os.path.dirname(os.path.abspath(__file__))
OURS = ("dlgrad", "dlgrad-jit")
PEERS = ("torch", "torch-compile", "jax", "numpy", "mlx", "tinygrad")
TRUSTED = ("numpy", "torch", "jax", "mlx", "tinygrad", "torch-compile", *OURS)  # who sets results
ROOFS = ("arithmetic", "memory")
REST_SECONDS = 0.15  # between turns: threads of some libraries stay awake for a while
PATIENCE_SECONDS = 600  # for one answer
THREAD_VARIABLES = (
    "DLGRAD_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
)  # fmt: skip


class Process:
    """A contestant in its process; `problem` says why it does not take part."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "contestants.py"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "DEV": "CPU"},
        )
        self.description = self.read()
        self.problem = self.description.get("error", "")

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            return {"error": f"its process ended with status {self.process.wait()}"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return {"error": "its process ended"}
        return self.read()

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.close()
            self.process.wait(timeout=20)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


@dataclass
class Row:
    """What was measured of one workload."""

    workload: Workload
    times: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    roofs: list[dict[str, float]] = field(default_factory=list)  # one for each round
    left_out: dict[str, str] = field(default_factory=dict)
    takes_fastest: bool = False

    def typical(self, name: str) -> float | None:
        times = self.times.get(name)
        if not times:
            return None
        return min(times) if self.takes_fastest else statistics.median(times)

    def spread(self, name: str) -> float:
        """Half of the middle half of the times, as a share of the median."""
        times = self.times[name]
        if len(times) < 2:
            return 0.0
        quarters = statistics.quantiles(times, n=4)
        return (quarters[2] - quarters[0]) / 2 / statistics.median(times)

    def best(self, names: tuple[str, ...]) -> tuple[str, float] | None:
        found = [(self.typical(name), name) for name in names if self.times.get(name)]
        pairs = [(name, middle) for middle, name in found if middle is not None]
        return min(pairs, key=lambda pair: pair[1], default=None)

    def ratio(self, ours: tuple[str, ...] = OURS) -> float | None:
        """The time of dlgrad over that of the best peer."""
        mine, best = self.best(ours), self.best(PEERS)
        return mine[1] / best[1] if mine and best else None

    def roof(self, name: str) -> float:
        """The median of a roof, "arithmetic" or "memory", beside the times of this row."""
        return statistics.median(roofs[name] for roofs in self.roofs)

    def share(self) -> float | None:
        """How much of the nearer roof the faster of ours reaches."""
        mine = self.best(OURS)
        if mine is None or not self.roofs:
            return None
        least = max(
            self.workload.flops / self.roof("arithmetic"), self.workload.moved / self.roof("memory")
        )
        return float(least / mine[1])

    def record(self) -> dict[str, Any]:
        """The row for results.json; times in seconds, memory in bytes."""
        return {
            "name": self.workload.name,
            "subject": self.workload.subject,
            "seconds": {name: self.typical(name) for name in self.times},
            "spread": {name: self.spread(name) for name in self.times},
            "fastest": {name: min(times) for name, times in self.times.items()},
            "peak_memory": self.memory,
            "ratio": self.ratio(),
            "ratio_plain": self.ratio(("dlgrad",)),
            "roofs": {name: self.roof(name) for name in ROOFS} if self.roofs else {},
            "share_of_roof": self.share(),
            "left_out": self.left_out,
        }


class Bench:
    """All contestants, and the rows measured so far."""

    def __init__(
        self, names: list[str], rounds: int, seconds: float, takes_fastest: bool
    ) -> None:
        self.takes_fastest = takes_fastest
        self.names = names
        self.rounds = rounds
        self.seconds = seconds
        self.processes: dict[str, Process] = {}
        self.descriptions: dict[str, Any] = {}
        self.problems: dict[str, str] = {}
        self.wrong: list[str] = []
        self.start()
        ours = self.processes.get("dlgrad") or self.processes.get("dlgrad-jit")
        if ours is None:
            sys.exit(f"dlgrad does not start: {self.problems}")
        self.roofs = self.measured_roofs(ours)

    def start(self) -> None:
        """Starts whoever is not running."""
        for name in self.names:
            if name in self.processes or name in self.problems:
                continue
            process = Process(name)
            if process.problem:
                process.close()
                if name not in self.descriptions:  # it never worked; else it may the next time
                    self.problems[name] = process.problem
            else:
                self.processes[name] = process
                self.descriptions[name] = process.description

    def close(self) -> None:
        for process in self.processes.values():
            process.close()
        self.processes.clear()

    @staticmethod
    def measured_roofs(process: Process) -> dict[str, Any]:
        """What this machine does at most, now."""
        roofs = process.ask(do="roofs")
        if "error" in roofs:
            sys.exit(f"the roofs of this machine were not measured: {roofs['error']}")
        return roofs

    def measure(self, workload: Workload) -> Row:
        if workload.is_training:
            self.close()
        self.start()
        row = Row(workload, takes_fastest=self.takes_fastest)
        for name in self.names:
            if name not in self.processes and name not in self.problems:
                row.left_out[name] = "its process did not start"
        self.check(row)
        ours = next((self.processes[name] for name in OURS if name in row.times), None)
        for _ in range(self.rounds):
            if ours is not None and (workload.flops or workload.moved):
                row.roofs.append(self.measured_roofs(ours))
            for name in row.times:
                time.sleep(REST_SECONDS)
                answer = self.processes[name].ask(do="time", seconds=self.seconds / self.rounds)
                if "error" in answer:
                    row.left_out[name] = answer["error"]
                else:
                    row.times[name] += answer["times"]
        for name in list(row.times):
            if not row.times[name]:
                del row.times[name]
                continue
            row.memory[name] = self.processes[name].ask(do="memory").get("peak", 0)
        for name in list(self.processes):  # a process that died is started anew
            if self.processes[name].process.poll() is not None:
                self.processes.pop(name).close()
        if workload.is_training:
            self.close()
        return row

    def check(self, row: Row) -> None:
        """Lets everybody compute the result; who agrees gets a place in `row.times`."""
        samples: dict[str, list[list[float]]] = {}
        for name, process in self.processes.items():
            answer = process.ask(do="prepare", name=row.workload.name)
            if "error" in answer:
                row.left_out[name] = answer["error"]
            else:
                samples[name] = [[float(x) for x in values] for values in answer["samples"]]
        reference = next((name for name in TRUSTED if name in samples), None)
        if reference is None:
            return
        for name, found in samples.items():
            problem = difference(samples[reference], found, row.workload.tolerance)
            if problem:
                row.left_out[name] = f"its result is not that of {reference}: {problem}"
                self.wrong.append(f"{row.workload.name}: {name}: {row.left_out[name]}")
            else:
                row.times[name] = []


def difference(expected: list[list[float]], found: list[list[float]], tolerance: float) -> str:
    """How two lists of samples differ; empty where they agree."""
    if [len(values) for values in expected] != [len(values) for values in found]:
        return "other shapes"
    for a, b in zip(expected, found, strict=True):
        scale = max(map(abs, a), default=0.0) or 1.0
        worst = max((abs(x - y) for x, y in zip(a, b, strict=True)), default=0.0) / scale
        if not worst <= tolerance:
            return f"{worst:.1e} of the largest number"
    return ""


# The first run --------------------------------------------------------------------------------


def first_runs(names: list[str]) -> dict[str, dict[str, float]]:
    """Seconds of the import and of the first training step, with empty and with filled caches."""
    found: dict[str, dict[str, float]] = {}
    for name in names:
        if name not in ("dlgrad", "torch", "torch-compile", "jax"):
            continue
        with tempfile.TemporaryDirectory() as folder:
            environment = {
                **os.environ,
                "DLGRAD_CACHE_DIR": folder,
                "TORCHINDUCTOR_CACHE_DIR": folder,
                "DEV": "CPU",
            }
            command = [sys.executable, os.path.join(HERE, "contestants.py"), name, "--first"]
            results = []
            for _ in range(2):
                done = subprocess.run(
                    command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )
                if done.returncode == 0:
                    results.append(json.loads(done.stdout))
            if len(results) == 2:
                found[name] = {
                    "import": min(result["import"] for result in results),
                    "first step, empty cache": results[0]["first step"],
                    "first step, warm cache": results[1]["first step"],
                }
    return found


# The report -----------------------------------------------------------------------------------


def shown_time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    unit, scale = next(
        ((unit, scale) for unit, scale in (("s", 1.0), ("ms", 1e-3)) if seconds >= scale),
        ("us", 1e-6),
    )
    number = seconds / scale
    return f"{number:.{0 if number >= 100 else 1 if number >= 10 else 2}f} {unit}"


def table_head(names: list[str]) -> str:
    return f"{'':44}" + "".join(f"{name:>14}" for name in names) + f"{'ratio':>8}{'roof':>7}"


def table_row(row: Row, names: list[str]) -> str:
    cells = []
    for name in names:
        text = shown_time(row.typical(name))
        if row.times.get(name):
            text += f" {row.spread(name):3.0%}"
        cells.append(f"{text:>14}")
    ratio, share = row.ratio(), row.share()
    cells.append(f"{ratio:8.2f}" if ratio is not None else f"{'-':>8}")
    cells.append(f"{share:7.0%}" if share is not None else f"{'-':>7}")
    return f"{row.workload.name[:43]:44}" + "".join(cells)


def memory_line(row: Row, names: list[str]) -> str:
    cells = [
        f"{row.memory[name] / 1e6:>10.0f} MB " if row.memory.get(name) else f"{'-':>14}"
        for name in names
    ]
    return f"{'  peak memory':44}" + "".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only", default="*", metavar="WORDS",
        help="rows whose name or subject has one of these words, with commas between",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="of turns, one for each contestant")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each row and contestant")
    parser.add_argument(
        "--peers", default=",".join(PEERS), metavar="NAMES",
        help=f"some of {','.join(PEERS)}, or none",
    )  # fmt: skip
    parser.add_argument(
        "--fastest", action="store_true",
        help="compare the fastest runs in place of the medians: for a machine with other work",
    )  # fmt: skip
    parser.add_argument(
        "--processor-time", action="store_true",
        help="measure that in place of the time on the clock; sensible with --threads 1",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    parser.add_argument(
        "--output", default=os.path.join("build", "bench"), metavar="FOLDER",
        help="where results.json and chart.svg go",
    )  # fmt: skip
    parser.add_argument("--no-first-runs", action="store_true", help="leave import times out")
    args = parser.parse_args()
    threads = args.threads or len(os.sched_getaffinity(0))
    if args.processor_time:
        os.environ["BENCH_CLOCK"] = "process"
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    if args.threads:  # some libraries know no other way
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    patterns = [f"*{word}*" for word in args.only.split(",")]
    chosen = [
        w for w in WORKLOADS
        if any(fnmatch.fnmatch(text, p) for p in patterns for text in (w.name, w.subject))
    ]  # fmt: skip
    if not chosen:
        parser.error(f"--only {args.only}: no row has such a name or subject")
    peers = [] if args.peers == "none" else args.peers.split(",")
    for name in peers:
        if name not in PEERS:
            parser.error(f"--peers: there is no {name!r}; there are {', '.join(PEERS)}")
    bench = Bench([*OURS, *peers], args.rounds, args.seconds, args.fastest)
    for name, problem in bench.problems.items():
        print(f"without {name}: {problem}")
    names = [name for name in bench.names if name not in bench.problems]
    roofs = bench.roofs
    print(f"{roofs['machine']}")
    print(f"roofs: {roofs['arithmetic'] / 1e9:.0f} GFLOP/s, {roofs['memory'] / 1e9:.1f} GB/s")
    print(table_head(names), flush=True)
    rows = []
    try:
        for workload in chosen:
            row = bench.measure(workload)
            rows.append(row)
            print(table_row(row, names), flush=True)
            for name in OURS:
                if name in row.left_out:
                    print(f"    {name}: {row.left_out[name]}", flush=True)
            if workload.is_training and any(row.memory.values()):
                print(memory_line(row, names), flush=True)
    finally:
        bench.close()
    starts = {} if args.no_first_runs else first_runs(names)
    for name, seconds in starts.items():
        parts = ", ".join(f"{what} {shown_time(value)}" for what, value in seconds.items())
        print(f"{name}: {parts}")
    for line in bench.wrong:
        print(f"WRONG {line}")
    write(args.output, bench, rows, starts, threads)
    if any(": dlgrad" in line for line in bench.wrong):
        sys.exit(1)


def write(
    folder: str, bench: Bench, rows: list[Row], starts: dict[str, Any], threads: int
) -> None:
    os.makedirs(folder, exist_ok=True)
    records = [row.record() for row in rows]
    result = {
        "machine": bench.roofs["machine"],
        "threads": threads,
        "roofs": {"flops": bench.roofs["arithmetic"], "bytes": bench.roofs["memory"]},
        "versions": {name: text["version"] for name, text in bench.descriptions.items()},
        "rows": records,
        "first_runs": starts,
    }
    with open(os.path.join(folder, "results.json"), "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    with open(os.path.join(folder, "chart.svg"), "w", encoding="utf-8") as file:
        file.write(draw_chart(result))
    print(f"written: {folder}/results.json, {folder}/chart.svg")


if __name__ == "__main__":
    main()
