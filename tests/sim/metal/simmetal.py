"""Stands in for the Metal compiler: MSL in, a CPU library with the kernels out.

    simmetal.py SOURCE -o LIBRARY

It also answers to the command lines of `xcrun metal` and `xcrun metallib`; there the "air" and
the "metallib" are both the library itself.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from flags import kernel_flags, metal_flags  # noqa: E402

FLAGS = [
    "-O2", "-ffp-contract=fast", "-fwrapv", "-fPIC", "-shared", "-fno-caret-diagnostics",
    "-Werror=return-type", "-Wno-unused-command-line-argument",
]  # fmt: skip

# Names that MSL allows and C++ for OpenCL takes for its own, and what clang would let pass.
FORBIDDEN = {
    r"\b(local|global|private|generic|pipe|event_t|sampler_t|image2d_t)\b(?!:)": "a keyword of "
    "OpenCL used as a name",
    r"\bgoto\b": "goto, which MSL does not have",
    r"\[[&=]\]": "a lambda, which MSL does not have",
}
MOST_BUFFERS = 31


def lint(text: str) -> list[str]:
    """What Metal's compiler would refuse and this one would not, as messages."""
    code = re.sub(r"//[^\n]*", "", re.sub(r"/\*.*?\*/", "", text, flags=re.S))
    problems = [f"error: {what}" for pattern, what in FORBIDDEN.items() if re.search(pattern, code)]
    for head in re.findall(r"\bkernel\s+void\s+\w+\s*\((.*?)\)\s*\{", code, flags=re.S):
        numbers = [int(number) for number in re.findall(r"\[\[\s*buffer\((\d+)\)", head)]
        if len(set(numbers)) < len(numbers):
            problems.append("error: two parameters have one buffer index")
        if any(number >= MOST_BUFFERS for number in numbers):
            problems.append(f"error: a buffer index beyond {MOST_BUFFERS - 1}")
    return problems


def unqualified_pointers(source: Path) -> list[str]:
    """Pointers without an address space, which MSL refuses and C++ for OpenCL calls generic."""
    command = [os.environ["SIM_CLANG"], *metal_flags(), "-fsyntax-only", "-fno-color-diagnostics"]
    command += ["-Xclang", "-ast-dump", str(source)]
    tree = subprocess.run(command, capture_output=True, text=True).stdout
    own = tree[tree.rfind("UsingDirectiveDecl") :]
    found = re.findall(r"VarDecl .*?(\w+) '([^'\n]*__generic[^'\n]*)'", own)
    return [f"error: {name} is a pointer without an address space ({kind})" for name, kind in found]


def compile_source(source: Path, output: str) -> int:
    text = source.read_text()
    kernels = re.findall(r"\bkernel\s+void\s+(\w+)\s*\(", text)
    problems = lint(text)
    with tempfile.TemporaryDirectory() as folder:
        translated = Path(folder) / "kernel.metal"
        exports = "\n".join(f"SIM_ENTRY({name})" for name in kernels)
        translated.write_text(f'#line 1 "{source.name}"\n{text}\n{exports}\n')
        problems += unqualified_pointers(translated)
        if problems:
            print("\n".join(problems), file=sys.stderr)
            return 1
        command = [os.environ["SIM_CLANG"], *metal_flags(), *FLAGS, *kernel_flags()]
        command += [str(translated), "-x", "none", os.environ["SIM_LIBRARY"], "-lm", "-o", output]
        return subprocess.run(command).returncode


def main(arguments: list[str]) -> int:
    tool = "metal"
    if arguments[:2] == ["-sdk", "macosx"]:  # what xcrun takes for itself
        tool, arguments = arguments[2], arguments[3:]
    if "--version" in arguments:
        flags = " ".join(kernel_flags())
        print(f"Simulated metal version 32000.1 (build {os.environ['SIM_DIGEST']} {flags})")
        return 0
    output = arguments[arguments.index("-o") + 1]
    inputs = [a for a in arguments if not a.startswith("-") and a != output]
    if tool == "metallib":
        shutil.copyfile(inputs[0], output)
        return 0
    return compile_source(Path(inputs[0]), output)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
