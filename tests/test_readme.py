"""What the documents claim is what happens: examples run, tables are generated, names exist.

`pytest tests/test_readme.py --update-golden` writes the shown outputs anew.
"""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from dlgrad import config

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = DOCUMENTS[0].read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"^\| variable \|.*?\n(?=\n)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Shown:
    """A `text` or `c` block, and the python block before it that must produce it."""

    document: Path
    position: int  # counts the blocks of the document
    language: str
    program: str
    contents: str

    def __str__(self) -> str:
        return f"{self.document.name}-{self.position}-{self.language}"


def shown_blocks() -> list[Shown]:
    found = []
    for document in DOCUMENTS:
        program = ""
        listed = BLOCK.findall(document.read_text(encoding="utf-8"))
        for position, (language, contents) in enumerate(listed):
            if language == "python":
                program = contents
            elif language in ("text", "c"):
                found.append(Shown(document, position, language, program, contents))
    return found


def run(arguments: list[str], folder: Path, **environment: str) -> str:
    """The output of a child that must succeed."""
    variables = dict(os.environ, PYTHONPATH=str(ROOT), NO_COLOR="1", **environment)
    result = subprocess.run(
        arguments, capture_output=True, text=True, cwd=folder, env=variables, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def last_kernel(folder: Path) -> str:
    """The newest kernel of a cache folder, without the types and helpers above it."""
    newest = max(folder.glob("*.c"), key=lambda path: path.stat().st_mtime_ns)
    text = newest.read_text(encoding="utf-8")
    return text[text.rindex("\nvoid ") + 1 :].strip() + "\n"


def write_block(shown: Shown, contents: str) -> None:
    text = shown.document.read_text(encoding="utf-8")
    match = list(BLOCK.finditer(text))[shown.position]
    text = text[: match.start(2)] + contents + text[match.end(2) :]
    shown.document.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("shown", shown_blocks(), ids=str)
def test_shown_output_is_real(shown: Shown, tmp_path: Path, update_golden: bool) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    command = [sys.executable, "-W", "error", "-c", shown.program]
    printed = run(command, tmp_path, DLGRAD_CACHE_DIR=str(cache))
    produced = printed if shown.language == "text" else last_kernel(cache)
    if update_golden:
        write_block(shown, produced)
    else:
        assert produced == shown.contents


def test_the_readme_shows_an_example_and_its_kernel() -> None:
    languages = {shown.language for shown in shown_blocks() if shown.document.name == "README.md"}
    assert languages == {"text", "c"}


def test_table_of_settings_is_the_real_one(update_golden: bool) -> None:
    text = DOCUMENTS[0].read_text(encoding="utf-8")
    [match] = TABLE.finditer(text)
    table = config.table().strip() + "\n"
    if update_golden:
        DOCUMENTS[0].write_text(text[: match.start()] + table + text[match.end() :], "utf-8")
    else:
        assert match.group() == table


def shell_commands() -> list[str]:
    """The lines of the sh blocks of all documents, without their comments."""
    text = "".join(
        contents
        for document in DOCUMENTS
        for language, contents in BLOCK.findall(document.read_text(encoding="utf-8"))
        if language == "sh"
    )
    commands = [line.split("  #")[0].strip() for line in text.splitlines()]
    return [command for command in commands if command]


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {command.split()[1] for command in shell_commands() if command.startswith("make ")}
    assert {"mnist", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize(
    "command",
    [command for command in shell_commands() if command.startswith("python -m dlgrad")],
)
def test_commands_of_the_module_run(command: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    [program] = [shown.program for shown in shown_blocks() if shown.language == "c"]
    run([sys.executable, "-c", program], tmp_path, DLGRAD_CACHE_DIR=str(cache))
    arguments = shlex.split(command)[1:]
    assert run([sys.executable, *arguments], tmp_path, DLGRAD_CACHE_DIR=str(cache))


@pytest.mark.parametrize(
    "command", [command for command in shell_commands() if "examples/" in command]
)
def test_options_of_the_examples_exist(command: str, tmp_path: Path) -> None:
    script = re.search(r"examples/\w+\.py", command)
    assert script is not None
    known = run([sys.executable, str(ROOT / script.group()), "--help"], tmp_path)
    for option in re.findall(r"(?<= )--[\w-]+", command):
        assert option in known, option


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w/.])((?:dlgrad|tests|examples|bench|docs)/[\w./]*\w)", text))
    missing = [name for name in named if not (ROOT / name).exists()]
    # A bare file name is a module: of the package, or of one of its rooms.
    for name in set(re.findall(r"(?<![\w/.*])(\w+\.py)\b", text)):
        if not any((ROOT / "dlgrad").rglob(name)) and not (ROOT / name).exists():
            missing.append(name)
    assert not missing


def test_every_module_is_in_the_figure() -> None:
    """The figure of the README names the modules that data passes through, and no ghosts."""
    [figure] = [text for language, text in BLOCK.findall(README) if "graph of nodes" in text]
    for folder in re.findall(r"(\w+)/", figure):
        assert (ROOT / "dlgrad" / folder / "__init__.py").exists(), folder
    for name in re.findall(r"(\w+\.py)", figure):
        assert any((ROOT / "dlgrad").rglob(name)), name
