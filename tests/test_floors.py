"""The building's regulations: who may import whom, and what every file must look like.

Every module of dlgrad stands on a floor.  It imports from lower floors, or from neighbours on
its own floor as long as no circle closes.  A new file is an error until it is listed here.
"""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "dlgrad"
MAX_LINES = 600
MAX_COLUMNS = 100

# Names are relative to dlgrad; "nn.*" stands for a folder with everything in it.
FLOORS = {
    0: "version config dtype helpers errors core core.layout lazy runtime runtime.timeline",
    1: "lazy.ops lazy.shape lazy.graph lazy.factors",
    2: "lazy.simplify lazy.schedule lazy.group lazy.fuse lazy.stores lazy.memory",
    3: "codegen.*",
    4: (
        "runtime.device runtime.notice runtime.cache runtime.temporary runtime.interp "
        "runtime.null runtime.report c_src.* metal.* cuda.backend cuda.compiler cuda.dialect "
        "cuda.driver cuda.kernels cuda.launches cuda.nvcc cuda.nvrtc"
    ),
    5: "runtime.engine runtime.plan runtime.capture profiler",
    6: (
        "core.apply core.arguments core.autocasting core.base core.batching "
        "core.captured_memory core.composing core.conversion core.creation core.device_type "
        "core.dims core.dlpack core.environment core.formatting core.gradients core.host "
        "core.in_place_methods core.inplace core.inplace_views core.interchange core.joint "
        "core.later core.methods core.older_types core.place_gradients core.plain_answers "
        "core.python_functions core.refusals core.signatures core.storage core.tape "
        "core.templates core.tensor_functions core.torch_script core.tracing core.trees "
        "core.watched operators.* matrix.* neural.* files.* autograd.* func.* functional jit "
        "linalg random special tensor"
    ),
    7: (
        "cuda cuda.amp accelerator amp backends.* distributed mps multiprocessing testing utils.* "
        "nn.* optim.* data.* distributions.* drawing.* viz"
    ),
    8: "__init__ __main__ catalogue",
}
ROOMS = ("c_src", "cuda", "metal")  # one per language; none knows another

# What a function may import although it does not come with Python: the user asks for it by name.
OPTIONAL = {("core.interchange", "numpy")}

# The only files that may import by a name they compute: the registry of devices, and the
# package itself, which loads its subpackages on first use.
LATE_IMPORTERS = {"runtime.device", "core.later", "__init__"}


def module_name(path: Path) -> str:
    """dlgrad/nn/module.py -> nn.module; dlgrad/nn/__init__.py -> nn; dlgrad/__init__.py stays."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    if len(parts) > 1 and parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
PROJECT_FILES = sorted(
    path
    for folder in ("dlgrad", "tests", "examples", "bench", ".ci")
    for path in (ROOT / folder).rglob("*.py")
)


def listed_floor(name: str) -> int | None:
    """The floor of a module by the table, or None."""
    for floor, names in FLOORS.items():
        for entry in names.split():
            folder = entry.removesuffix(".*")
            if name == folder or (folder != entry and name.startswith(folder + ".")):
                return floor
    return None


def floor_of(name: str) -> int:
    floor = listed_floor(name)
    assert floor is not None, f"dlgrad/{name} stands on no floor: list it in FLOORS"
    return floor


def resolve(dotted: str) -> str | None:
    """The longest prefix of a dotted name below dlgrad that is a module of it."""
    parts = dotted.split(".")
    if parts == ["dlgrad"]:
        return "__init__"
    parts = parts[1:]
    while parts:
        if ".".join(parts) in MODULES:
            return ".".join(parts)
        parts.pop()
    return "__init__"


def is_for_types(node: ast.AST) -> bool:
    """`if TYPE_CHECKING:`, whose imports never run."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in (
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    )


def imported_names(name: str, running: bool = False) -> list[tuple[int, str]]:
    """(line, dotted name) for every import statement of a module, nested ones included.

    With `running`, only those that are not there for the type checker alone.
    """
    path = MODULES[name]
    package = ["dlgrad", *name.split(".")]
    if path.name != "__init__.py":
        package.pop()
    elif name == "__init__":
        package = ["dlgrad"]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    if running:
        for node in filter(is_for_types, ast.walk(tree)):
            skipped.update(ast.walk(node))
    found = []
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                kept = package[: len(package) - node.level + 1]
                base = ".".join([*kept, base] if base else kept)
            found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
    return found


def dlgrad_imports(name: str, running: bool = False) -> list[tuple[int, str]]:
    """(line, module) for the imports of a module that stay inside dlgrad."""
    return [
        (line, target)
        for line, dotted in imported_names(name, running)
        if dotted.split(".")[0] == "dlgrad"
        for target in [resolve(dotted)]
        if target is not None and target != name
    ]


def test_every_module_is_listed_once() -> None:
    entries = [entry for names in FLOORS.values() for entry in names.split()]
    assert len(entries) == len(set(entries))
    unlisted = [name for name in MODULES if listed_floor(name) is None]
    assert not unlisted, f"list these in FLOORS: {unlisted}"


def test_the_table_lists_no_ghosts() -> None:
    entries = [entry for names in FLOORS.values() for entry in names.split()]
    ghosts = [entry for entry in entries if entry.removesuffix(".*") not in MODULES]
    assert not ghosts, f"FLOORS lists what is not there: {ghosts}"


@pytest.mark.parametrize("name", MODULES)
def test_modules_state_their_floor(name: str) -> None:
    head = ast.get_docstring(ast.parse(MODULES[name].read_text(encoding="utf-8"))) or ""
    stated = re.findall(r"\bFloor (\d)\b", head)
    if MODULES[name].name not in ("__init__.py", "__main__.py") or stated:
        assert stated == [str(floor_of(name))]


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down(name: str) -> None:
    floor = floor_of(name)
    for line, target in dlgrad_imports(name):
        assert floor_of(target) <= floor, (
            f"dlgrad/{name} (floor {floor}), line {line}, imports {target} "
            f"(floor {floor_of(target)})"
        )


def test_no_circles() -> None:
    edges = {name: {target for _, target in dlgrad_imports(name, True)} for name in MODULES}
    done: set[str] = set()
    for start in MODULES:
        if start in done:
            continue
        path = [start]
        stack = [(start, iter(sorted(edges[start])))]
        while stack:
            name, targets = stack[-1]
            target = next(targets, None)
            if target is None:
                done.add(name)
                stack.pop()
                path.pop()
            elif target in path:
                circle = [*path[path.index(target) :], target]
                pytest.fail("imports go round in a circle: " + " -> ".join(circle))
            elif target not in done:
                path.append(target)
                stack.append((target, iter(sorted(edges[target]))))


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_do_not_know_each_other(room: str) -> None:
    others = tuple(other for other in ROOMS if other != room)
    for name in MODULES:
        if name.split(".")[0] == room:
            for line, target in dlgrad_imports(name):
                assert target.split(".")[0] not in others, f"{name}, line {line}: {target}"


def test_upper_floors_enter_no_room() -> None:
    for name in MODULES:
        if 5 <= floor_of(name) <= 7:
            for line, target in dlgrad_imports(name):
                room = target.split(".")[0]
                inside = room == name.split(".")[0]  # the hall of a room, and what is beside it
                assert room not in ROOMS or inside, f"{name}, line {line}: {target}"


@pytest.mark.parametrize("name", MODULES)
def test_only_the_standard_library(name: str) -> None:
    allowed = {"dlgrad", *sys.stdlib_module_names}
    for line, dotted in imported_names(name):
        top = dotted.split(".")[0]
        if (name, top) in OPTIONAL:
            source = MODULES[name].read_text(encoding="utf-8").splitlines()[line - 1]
            assert source.startswith("    "), f"{name}, line {line}: inside a function only"
        else:
            assert top in allowed, f"{name}, line {line}: {dotted}"


@pytest.mark.parametrize("name", MODULES)
def test_late_imports_are_registered(name: str) -> None:
    text = MODULES[name].read_text(encoding="utf-8")
    if re.search(r"import_module\(|__import__\(", text):
        assert name in LATE_IMPORTERS, f"{name} imports by a computed name"


@pytest.mark.parametrize("path", PROJECT_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_layout(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert len(lines) <= MAX_LINES, f"{len(lines)} lines: split it by subject"
    for number, line in enumerate(lines, start=1):
        assert len(line) <= MAX_COLUMNS, f"line {number} has {len(line)} columns"
        assert line == line.rstrip(), f"line {number} ends in spaces"
        assert "\t" not in line, f"line {number} holds a tab"
    assert not text or text.endswith("\n")
    assert ast.get_docstring(ast.parse(text)), "a module begins with a docstring"


def test_no_notes_to_self() -> None:
    pattern = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    for path in PROJECT_FILES:
        if path != Path(__file__).resolve():
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                assert not pattern.search(line), f"{path.relative_to(ROOT)}:{number}: {line}"


def test_the_check_sees_what_it_should() -> None:
    """The parser itself, on imports whose answers are known."""
    assert ("lazy.shape" in {target for _, target in dlgrad_imports("lazy.graph")}) is True
    assert resolve("dlgrad.nn.module.Module") in ("nn.module", "nn", "__init__")
    assert resolve("dlgrad") == "__init__"
    assert listed_floor("nn.module") == 7
    assert listed_floor("unheard_of") is None
