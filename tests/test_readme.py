"""What the README claims is what happens: its examples run, its tables are generated."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dlgrad import config

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = DOCUMENTS[0].read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, contents) of the fenced blocks of a document, in order."""
    return BLOCK.findall(text)


def examples() -> list[tuple[str, str, str]]:
    """(document, program, output) for each python block with a text block right behind it."""
    found = []
    for document in DOCUMENTS:
        listed = blocks(document.read_text(encoding="utf-8"))
        for (language, program), (next_language, output) in zip(listed, listed[1:], strict=False):
            if (language, next_language) == ("python", "text"):
                found.append((document.name, program, output))
    return found


def shell_commands() -> list[str]:
    """The lines of the sh blocks of the README, without their comments."""
    text = "".join(contents for language, contents in blocks(README) if language == "sh")
    commands = [line.split("  #")[0].strip() for line in text.splitlines()]
    return [command for command in commands if command]


def run(arguments: list[str], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ, PYTHONPATH=str(ROOT), NO_COLOR="1")
    return subprocess.run(
        arguments, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300
    )


@pytest.mark.parametrize(("document", "program", "output"), examples())
def test_example_prints_what_is_shown(
    document: str, program: str, output: str, tmp_path: Path
) -> None:
    result = run([sys.executable, "-W", "error", "-c", program], tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == output


def test_the_readme_has_an_example() -> None:
    assert any(document == "README.md" for document, _, _ in examples())


def test_environment_table_is_the_real_one() -> None:
    assert config.table().strip() in README


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {command.split()[1] for command in shell_commands() if command.startswith("make ")}
    assert {"mnist", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_named_files_exist() -> None:
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        named = set(re.findall(r"\b((?:dlgrad|tests|examples|bench|docs)/[\w./]*\w)", text))
        missing = [name for name in named if not (ROOT / name).exists()]
        assert not missing, f"{document.name} names {missing}"


@pytest.mark.parametrize(
    "command", [text for text in shell_commands() if text.startswith("python -m dlgrad")]
)
def test_module_commands_run(command: str, tmp_path: Path) -> None:
    arguments = [word for word in shlex.split(command) if word.isupper() is False]
    if arguments != shlex.split(command):
        pytest.skip("a command with a placeholder")
    result = run([sys.executable, *arguments[1:]], tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
