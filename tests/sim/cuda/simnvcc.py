"""Stands in for nvcc: takes its command line, but the "cubin" it writes is a CPU library.

The library holds the kernels as ordinary functions, with a table for the fake driver.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from flags import cuda_flags, kernel_flags  # noqa: E402

ARCHITECTURES = r"sm_(75|80|86|87|88|89|90a?|100a?|103a?|110|120|121)"
IGNORED = ("-cubin", "--cubin", "-O3", "-lineinfo", "-std=c++17", "--std=c++17", "-Xptxas", "-v")
FLAGS = [
    "-O2", "-ffp-contract=fast", "-fwrapv", "-fPIC", "-Wall", "-Wno-unused",
    "-Wno-unknown-pragmas",
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


def compile_kernel(source: str, output: str, extra: list[str]) -> int:
    with open(source) as file:
        text = translate(file.read())
    translated = f"{output}.{os.getpid()}.cpp"
    with open(translated, "w") as file:
        file.write(f'#line 1 "{source}"\n{text}')
    flags = [*cuda_flags(), *FLAGS, *kernel_flags(), *extra, "-include", f"{HERE}/sim_cuda.h"]
    command = [os.environ["SIM_CLANG"], *flags, translated, "-shared", "-x", "none"]
    try:
        command += [os.environ["SIM_LIBRARY"], "-lm", "-o", output]
        return subprocess.run(command).returncode
    finally:
        os.unlink(translated)


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
    return compile_kernel(source, output, extra)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
