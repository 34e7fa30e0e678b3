"""Stands in for nvcc: takes its command line, but the "cubin" it writes is a CPU library.

The library holds the kernels as ordinary functions, with a table for the fake driver.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from build import kernel_flags  # noqa: E402

ARCHITECTURES = r"sm_(75|80|86|87|88|89|90a?|100a?|103a?|110|120|121)"
IGNORED = ("-cubin", "--cubin", "-O3", "-lineinfo", "-std=c++17", "--std=c++17", "-Xptxas", "-v")
FLAGS = [
    "-x", "c++", "-std=c++17", "-O2", "-ffp-contract=fast", "-fwrapv", "-fPIC", "-shared", "-Wall",
    "-Wno-unused", "-Wno-unknown-pragmas", "-include", str(HERE / "sim_cuda.h"),
    f"-I{HERE / 'include'}",
]  # fmt: skip


def translate(text: str) -> str:
    """The source with dynamic group memory made a pointer, and every kernel exported."""
    text = re.sub(
        r"extern\s+__shared__\s+((?:__align__\(\d+\)\s*)?)([\w ]+?)\s+(\w+)\s*\[\s*\]\s*;",
        r"\2* const \3 = (\2*)sim_dynamic_shared();",
        text,
    )
    kernels = re.findall(
        r"__global__\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?void\s+"
        r"(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(",
        text,
    )
    return text + "\n" + "\n".join(f"SIM_EXPORT({name})" for name in kernels) + "\n"


def main(arguments: list[str]) -> int:
    source, output, architecture, extra = "", "", "sm_90", []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--version":
            flags = " ".join(kernel_flags())
            print(f"Simulated nvcc, release 13.0, build {os.environ['SIM_DIGEST']} {flags}")
            return 0
        if argument == "-o":
            output = next(rest)
        elif argument.startswith(("-arch=", "--gpu-architecture=")):
            architecture = argument.partition("=")[2]
        elif argument.startswith(("-D", "-I")):
            extra.append(argument)
        elif argument.startswith("--fmad="):
            extra.append(f"-ffp-contract={'fast' if argument.endswith('true') else 'off'}")
        elif argument.startswith("-") and argument not in IGNORED:
            print(f"nvcc fatal   : Unknown option '{argument}'", file=sys.stderr)
            return 1
        elif argument not in IGNORED:
            source = argument
    if not re.fullmatch(ARCHITECTURES, architecture):
        print(f"nvcc fatal   : Unsupported gpu architecture '{architecture}'", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        translated = Path(folder) / "kernel.cpp"
        translated.write_text(f'#line 1 "{source}"\n{translate(Path(source).read_text())}')
        command = [os.environ["SIM_CLANG"], *FLAGS, *kernel_flags(), *extra, str(translated)]
        command += ["-x", "none", os.environ["SIM_LIBRARY"], "-lm", "-o", output]
        return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
