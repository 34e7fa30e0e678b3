"""One contestant in a process of its own, which `run.py` starts and talks to.

    python bench/contestants.py NAME            commands in, answers out, as lines of JSON
    python bench/contestants.py NAME --first    imports, does one training step, says how long

Commands: {"do": "prepare", "name": row} builds the inputs, runs, and answers with samples of the
results; {"do": "time", "seconds": s} answers with the times of runs; {"do": "memory"} with
bytes; {"do": "roofs"} with what dlgrad measured of this machine; {"do": "describe"}.
"""

from __future__ import annotations

import gc
import importlib
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

STARTED = time.perf_counter()
MOST_SAMPLES = 2048  # of each result
MOST_TIMES = 400  # of one turn
CHECKED_STEPS = 4  # of a training, whose losses must agree
WARM_UPS = 3
# Processor time is what a run costs also where other programs have the machine; of all threads.
clock = time.process_time if os.environ.get("BENCH_CLOCK") == "process" else time.perf_counter


class Contestant:
    """How one library runs a workload."""

    module_name = ""

    def __init__(self) -> None:
        self.module = importlib.import_module(self.module_name)

    def inputs(self, workload: Any) -> list[Any]:
        raise NotImplementedError

    def program(self, workload: Any) -> Callable[..., Any]:
        raise NotImplementedError

    def samples(self, value: Any) -> list[float]:
        """The shape of a result, its elements summed up as evenly spread samples."""
        raise NotImplementedError

    def version(self) -> str:
        return str(getattr(self.module, "__version__", "?"))


class TorchLike(Contestant):
    """dlgrad and PyTorch, in whose names the programs are written."""

    def inputs(self, workload: Any) -> list[Any]:
        made = []
        for seed, given in enumerate(workload.inputs):
            kind = self.module.int64 if given.below else self.module.float32
            flat = self.module.frombuffer(given.numbers(seed), dtype=kind)
            dtype = kind if given.below else getattr(self.module, given.dtype)
            made.append(self.finished(flat.reshape(given.shape).to(dtype)))
        return made

    def finished(self, tensor: Any) -> Any:
        return tensor

    def samples(self, value: Any) -> list[float]:
        flat = value.detach().reshape(-1)
        step = max(1, value.numel() // MOST_SAMPLES)
        return [*map(float, value.shape), *flat[::step].float().tolist()]


class Dlgrad(TorchLike):
    module_name = "dlgrad"

    def finished(self, tensor: Any) -> Any:
        return tensor.realize()

    def jit(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    def program(self, workload: Any) -> Callable[..., Any]:
        if workload.is_training:
            from models import make_step

            run = make_step(self.module, workload, jit=self.jit)
        else:
            from programs import program

            run = self.jit(program(self.module, workload))

        def realized(*inputs: Any) -> Any:
            results = run(*inputs)
            results[0].realize(*results[1:])
            return results

        return realized


class DlgradJit(Dlgrad):
    def jit(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return self.module.jit(function)

    def program(self, workload: Any) -> Callable[..., Any]:
        from programs import program

        if workload.is_training:
            return super().program(workload)
        return self.jit(program(self.module, workload))  # a capture gives what is computed


class Torch(TorchLike):
    module_name = "torch"

    def compiled(self, function: Any) -> Any:
        return function

    def program(self, workload: Any) -> Callable[..., Any]:
        if workload.is_training:
            from models import make_step

            return make_step(self.module, workload, wrap=self.compiled)
        from programs import FORWARD, forward_and_backward

        forward = self.compiled(FORWARD[workload.program](self.module, workload.options))
        if workload.options.get("backward"):
            return forward_and_backward(forward, workload)

        def run(*inputs: Any) -> Any:
            with self.module.no_grad():
                return (forward(*inputs),)

        return run


class TorchCompile(Torch):
    def compiled(self, function: Any) -> Any:
        return self.module.compile(function)


class ArrayContestant(Contestant):
    """A library whose programs are in `arrays.py`."""

    kind = ""

    def __init__(self) -> None:
        super().__init__()
        import arrays

        self.arrays = getattr(arrays, self.kind)(self.module)

    def inputs(self, workload: Any) -> list[Any]:
        return [
            self.arrays.array(given.numbers(seed), given.shape, given.dtype)
            for seed, given in enumerate(workload.inputs)
        ]

    def program(self, workload: Any) -> Callable[..., Any]:
        import arrays

        if workload.is_training:
            return self.training(workload)
        return arrays.program(self.arrays, workload)

    def training(self, workload: Any) -> Callable[..., Any]:
        from arrays import Unsupported

        raise Unsupported("the row is not written for it")

    def samples(self, value: Any) -> list[float]:
        numbers = self.arrays.numbers(value)
        flat = numbers.reshape(-1)
        step = max(1, flat.size // MOST_SAMPLES)
        return [*map(float, numbers.shape), *map(float, flat[::step])]


class NumPy(ArrayContestant):
    module_name, kind = "numpy", "NumPy"


class Jax(ArrayContestant):
    module_name, kind = "jax", "Jax"

    def training(self, workload: Any) -> Callable[..., Any]:
        from jax_models import make_step

        return make_step(workload)


class Mlx(ArrayContestant):
    module_name, kind = "mlx.core", "Mlx"

    def __init__(self) -> None:
        super().__init__()
        self.module.set_default_device(self.module.cpu)
        self.module.array([1.0]).tolist()  # does it work here?


class Tinygrad(ArrayContestant):
    module_name, kind = "tinygrad", "Tinygrad"

    def version(self) -> str:
        from importlib.metadata import version

        return version("tinygrad")


CONTESTANTS: dict[str, type[Contestant]] = {
    "dlgrad": Dlgrad,
    "dlgrad-jit": DlgradJit,
    "torch": Torch,
    "torch-compile": TorchCompile,
    "jax": Jax,
    "numpy": NumPy,
    "mlx": Mlx,
    "tinygrad": Tinygrad,
}


# Memory ---------------------------------------------------------------------------------------


def memory(name: str) -> int:
    """A line of Linux's account of this process, in bytes; 0 where there is none."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            for line in file:
                if line.startswith(name + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def reset_peak() -> None:
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass


# The process ----------------------------------------------------------------------------------


class Session:
    """The answers to the commands."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        self.run: Callable[[], Any] = lambda: None
        self.before = memory("VmRSS")

    def describe(self) -> Any:
        return {"version": self.contestant.version(), "memory": self.before}

    def prepare(self, name: str) -> Any:
        from workloads import by_name

        workload = by_name(name)
        self.run = lambda: None
        gc.collect()
        reset_peak()
        program = self.contestant.program(workload)
        inputs = self.contestant.inputs(workload)
        if workload.is_training and workload.program.startswith("train"):
            losses = [float(program(*inputs)[0]) for _ in range(CHECKED_STEPS)]
            self.run = lambda: float(program(*inputs)[0])
            samples = [losses]
        else:
            for _ in range(WARM_UPS):
                results = program(*inputs)
            samples = [self.contestant.samples(result) for result in results]
            self.run = lambda: program(*inputs)
        reset_peak()
        return {"samples": [[x if math.isfinite(x) else str(x) for x in s] for s in samples]}

    def time(self, seconds: float) -> Any:
        self.run()
        times: list[float] = []
        start = time.perf_counter()
        while True:
            before = clock()
            self.run()
            times.append(clock() - before)
            if time.perf_counter() - start > seconds:
                break
        step = -(-len(times) // MOST_TIMES)
        return {"times": sorted(times)[step // 2 :: step], "count": len(times)}

    def memory(self) -> Any:
        return {"peak": memory("VmHWM") - self.before, "total": memory("VmHWM")}

    def roofs(self) -> Any:
        from dlgrad.c_src.roofs import measure_roofs
        from dlgrad.runtime.device import get_backend

        backend: Any = get_backend("cpu")
        vector_bytes = backend.caps.vector_bytes
        roofs = measure_roofs(backend.runtime, backend.threads, vector_bytes, statistics.median)
        return {
            "arithmetic": roofs.arithmetic,
            "memory": roofs.memory,
            "machine": backend.describe(),
        }

    def answer(self, command: dict[str, Any]) -> Any:
        what = command.pop("do")
        try:
            return getattr(self, what)(**command)
        except Exception as error:  # the row goes without this contestant, and says why
            words = str(error).strip().splitlines() or [""]
            return {"error": f"{type(error).__name__}: {words[0]}"}


def first_step(name: str) -> dict[str, float]:
    """How long importing takes, and then one training step of the MNIST CNN."""
    contestant = CONTESTANTS[name]()
    imported = time.perf_counter()
    from workloads import by_name

    workload = by_name("MNIST CNN, batch 64")
    inputs = contestant.inputs(workload)
    program = contestant.program(workload)
    begun = time.perf_counter()
    float(program(*inputs)[0])
    return {"import": imported - STARTED, "first step": time.perf_counter() - begun}


def main() -> None:
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    name = sys.argv[1]
    if "--first" in sys.argv:
        print(json.dumps(first_step(name)), file=answers, flush=True)
        return
    try:
        session = Session(CONTESTANTS[name]())
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers, flush=True)
        return
    print(json.dumps(session.describe()), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(session.answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
