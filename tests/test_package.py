"""What is installed, and what `import dlgrad` does and does not do."""

import json
import re
import runpy
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "dlgrad"

# Modules of the standard library that cost more than an import of dlgrad may cost.
HEAVY_MODULES = {
    "asyncio",
    "concurrent.futures",
    "email",
    "http",
    "http.client",
    "logging",
    "multiprocessing",
    "pydoc",
    "socket",
    "ssl",
    "tempfile",
    "unittest",
    "urllib.request",
}

# Runs in a child: prints what the import did, as the interpreter's own audit events saw it.
WATCHED_IMPORT = """
import json, sys
before = set(sys.modules)
seen = []
def hook(event, args):
    if event in ("subprocess.Popen", "os.posix_spawn", "os.system", "os.fork", "os.forkpty"):
        seen.append(event)
    elif event.startswith("os.exec") or event.startswith("socket."):
        seen.append(event)
    elif event == "ctypes.dlopen" and args[0] is not None:
        seen.append(f"{event} {args[0]}")
    elif event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        if "__pycache__" not in str(args[0]):
            seen.append(f"{event} {args[0]} for writing")
    elif event in ("os.mkdir", "tempfile.mkdtemp", "tempfile.mkstemp"):
        if "__pycache__" not in str(args[0]):
            seen.append(f"{event} {args[0]}")
sys.addaudithook(hook)
import dlgrad
print(json.dumps([seen, sorted(set(sys.modules) - before)]))
"""


def run_python(code: str, *options: str) -> str:
    """The output of a child that runs `code` and must succeed."""
    command = [sys.executable, *options, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def watched_import() -> tuple[list[str], list[str]]:
    events, modules = json.loads(run_python(WATCHED_IMPORT))
    return events, modules


def test_import_touches_nothing(watched_import: tuple[list[str], list[str]]) -> None:
    """No process, no library, no socket, no file written."""
    events, _ = watched_import
    assert events == []


def test_import_is_light(watched_import: tuple[list[str], list[str]]) -> None:
    _, modules = watched_import
    assert not HEAVY_MODULES.intersection(modules)


def test_import_opens_no_backend(watched_import: tuple[list[str], list[str]]) -> None:
    _, modules = watched_import
    rooms = ("dlgrad.c_src", "dlgrad.cuda", "dlgrad.metal")
    assert not [name for name in modules if name.startswith(rooms)]


def test_every_module_imports_without_a_warning() -> None:
    """On any platform: the backends look for their machines when opened, not when imported."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted(PACKAGE.rglob("*.py"))
    ]
    watched = WATCHED_IMPORT.replace("import dlgrad\n", f"import {', '.join(modules)}\n")
    events, _ = json.loads(run_python(watched, "-W", "error"))
    assert events == []


def setup_arguments(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What setup.py passes to setuptools, without needing setuptools."""
    given: dict[str, object] = {}
    stand_in = type(sys)("setuptools")
    stand_in.setup = given.update  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "setuptools", stand_in)
    runpy.run_path(str(ROOT / "setup.py"))
    return given


def test_setup_lists_every_package(monkeypatch: pytest.MonkeyPatch) -> None:
    on_disk = {
        ".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")
    }
    assert set(setup_arguments(monkeypatch)["packages"]) == on_disk  # type: ignore[call-overload]


def test_every_folder_is_a_package() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


def test_setup_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    import dlgrad

    given = setup_arguments(monkeypatch)
    assert given["name"] == "dlgrad"
    assert given["version"] == dlgrad.__version__
    assert given["install_requires"] == []
    assert given["python_requires"] == ">=3.10"
    assert "ext_modules" not in given
    assert "py.typed" in given["package_data"]["dlgrad"]  # type: ignore[index]
    assert (PACKAGE / "py.typed").exists()


def test_changelog_knows_the_version() -> None:
    from dlgrad.version import __version__

    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(__version__)}\b", text, re.MULTILINE)


def test_wheel() -> None:
    """The wheel is pure Python and holds every file of the package, and nothing else."""
    pytest.importorskip("setuptools", minversion="64")
    pytest.importorskip("pip")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.mkdir()
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
            (source / name).write_bytes((ROOT / name).read_bytes())
        files = {path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".typed")}
        for path in files:
            target = source / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
        command += ["--disable-pip-version-check", "--wheel-dir", folder, str(source)]
        result = subprocess.run(command, capture_output=True, text=True)
        if "invalid command 'bdist_wheel'" in result.stderr:
            pytest.skip("this setuptools needs the package wheel")
        assert result.returncode == 0, result.stderr
        [wheel] = Path(folder).glob("*.whl")
        assert wheel.name.endswith("-py3-none-any.whl")
        with zipfile.ZipFile(wheel) as archive:
            held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == {str(path.relative_to(ROOT)) for path in files}


@pytest.mark.parametrize("room", ["cuda", "metal"])
def test_rooms_say_whether_they_are_there(room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import dlgrad

    def refuse(index: int) -> None:
        raise dlgrad.DeviceError(f"no GPU {index}")

    device = sys.modules["dlgrad.runtime.device"]  # dlgrad.runtime.device is the class
    module = getattr(dlgrad, room)
    monkeypatch.setattr(device, "_opened", {f"{room}:0": object()})
    assert module.is_available() is True
    monkeypatch.setattr(device, "_opened", {})
    monkeypatch.setitem(sys.modules, f"dlgrad.{room}.backend", SimpleNamespace(open_backend=refuse))
    assert module.is_available() is False


def test_saving_names_the_missing_folder(tmp_path: Path) -> None:
    import dlgrad

    missing = tmp_path / "missing"
    with pytest.raises(FileNotFoundError, match="folder") as caught:
        dlgrad.save({"x": dlgrad.ones(1)}, missing / "weights.safetensors")
    assert caught.value.filename == str(missing)
    with pytest.raises(TypeError, match="path second"):
        dlgrad.save("weights.safetensors", {"x": dlgrad.ones(1)})  # type: ignore[arg-type]
