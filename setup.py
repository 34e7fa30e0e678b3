"""How dlgrad is installed: pure Python, no build step, no dependencies."""

import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    """The version in dlgrad/version.py, read as text so that nothing is imported."""
    text = (ROOT / "dlgrad" / "version.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if match is None:
        raise RuntimeError('dlgrad/version.py must hold a line __version__ = "x.y.z"')
    return match.group(1)


def list_packages() -> list[str]:
    """Every folder of dlgrad that has an __init__.py, as a dotted name."""
    found = sorted((ROOT / "dlgrad").rglob("__init__.py"))
    return [".".join(path.parent.relative_to(ROOT).parts) for path in found]


setup(
    name="dlgrad",
    version=read_version(),
    description="Tensors with autograd in pure Python, through kernels that it writes itself",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="dlgrad developers",
    license="MIT",
    package_dir={"": "."},  # makes an editable install a plain path, which any folder sees
    packages=list_packages(),
    package_data={"dlgrad": ["py.typed"]},
    zip_safe=False,
    python_requires=">=3.10",
    install_requires=[],
    extras_require={
        "test": ["pytest>=7"],
        "clang": ["ziglang"],
    },
    entry_points={"console_scripts": ["dlgrad = dlgrad.__main__:main"]},
    keywords=["deep learning", "autograd", "tensor", "neural network", "jit", "kernel"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: C",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Software Development :: Compilers",
        "Typing :: Typed",
    ],
)
