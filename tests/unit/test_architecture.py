"""Imports run one way, heavy libraries stay in their rooms, and importing does nothing."""

import ast
import graphlib
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "framewise"

# A room imports rooms of lower floors only; two rooms of one floor know nothing of each other.
FLOORS = (
    {"core", "processes"},
    {"settings"},
    {"labeling_config"},
    {"label_studio_calls"},
    {"label_studio"},
    {"media"},
    {"features", "learning", "sync"},
    {"store"},
    {"jobs", "controls"},
    {"backend", "foundation"},
    {"assembly"},
    {"worker", "server", "exports"},
    {"bulk", "demo", "migrate"},
    {"commands"},
    {"__main__"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

# Library -> the rooms that may import it.
AT_HOME_IN = {
    "torch": {"features", "learning", "commands"},
    "torchvision": {"features"},
    "timm": {"features"},
    "huggingface_hub": {"features"},
    "openvino": {"features"},
    "ultralytics": {"features", "commands"},
    "flask": {"server"},
    "werkzeug": {"server"},
    "label_studio_sdk": {"label_studio"},
    "pandas": {"media"},
    "scipy": {"sync", "features"},
    "huey": {"jobs"},
    "distributed": {"bulk"},
    "sqlite3": {"store"},
    "imageio_ffmpeg": {"sync"},
    "psutil": {"sync"},
    "shtab": {"commands"},
}
# Private names of others that there is no way around, and public ones that begin with an underscore (of named tuples).
NOT_OURS = {"os._exit", "argparse._SubParsersAction", "self._sdk._client_wrapper"}
NAMED_TUPLE = {"_asdict", "_fields", "_replace"}
# Run by a server or as a program: importing them is what starts something.
ENTRY_POINTS = {"framewise.__main__", "framewise.server.wsgi"}

MAX_MODULE_LINES, MAX_FUNCTION_LINES = 500, 60

IMPORT_ALL = """
import importlib, os, sys
done = []
def watch(event, args):
    if event == "open":
        path, mode, flags = args
        flags = flags if isinstance(flags, int) else 0
        if set("wax+") & set(mode or "") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            done.append(f"opened {path} for writing")
    elif event in ("socket.__new__", "socket.connect", "socket.bind", "os.mkdir", "os.rename", "os.remove", "subprocess.Popen"):
        done.append(f"{event} {args}")
sys.addaudithook(watch)
for name in sys.argv[1:]:
    importlib.import_module(name)
done += [f"loaded {name}" for name in ("ultralytics", "label_studio_sdk") if name in sys.modules]
print("\\n".join(done))
"""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    """The part of the package that a module belongs to; None for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def imports_of(path: Path) -> Iterator[str]:
    """Absolute names of all modules that a file imports, wherever in it. ``from framewise import x`` is framewise.x."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports are not used here"
            assert node.module
            yield from (f"framewise.{a.name}" for a in node.names) if node.module == "framewise" else (node.module,)


def modules_imported_by(path: Path, names: set[str]) -> set[str]:
    """Modules of the package, of those with ``names``, that a file imports, wherever in it: also inside of functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{a.name}" if f"{node.module}.{a.name}" in names else node.module for a in node.names}
    return found & names - {dotted(path)}


def private_names_of_others(path: Path) -> Iterator[str]:
    """Names with an underscore that a file imports, or takes from what is not its own. Methods of a base class are its own."""
    tree = ast.parse(path.read_text())
    own = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    own |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "self"}
    own |= {n.target.id for n in ast.walk(tree) if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("framewise"):
            yield from (f"{node.module}.{a.name}" for a in node.names if is_private(a.name))
        elif isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own | NAMED_TUPLE:
            name = ast.unparse(node)
            if ast.unparse(node.value) not in ("self", "cls", "super()") and name not in NOT_OURS:
                yield name


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_every_room_has_its_floor() -> None:
    rooms = {room for path in modules() if (room := room_of(dotted(path)))}

    assert rooms <= FLOOR.keys()


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_imports_lead_to_lower_floors_only(path: Path) -> None:
    room = room_of(dotted(path))
    wrong = [
        name
        for name in imports_of(path)
        if name.startswith("framewise.") and (other := room_of(name)) in FLOOR and room and other != room
        if FLOOR[str(other)] >= FLOOR[room]
    ]

    assert not wrong, f"{dotted(path)} imports {wrong}, which stand on its own floor or above"


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    room = room_of(dotted(path))
    wrong = [name for name in imports_of(path) if room not in AT_HOME_IN.get(name.split(".")[0], {room})]

    assert not wrong, f"{dotted(path)} imports {wrong}"


def test_the_package_does_not_know_the_names_that_hand_it_on() -> None:
    outside = {"model", "timeline_labels", "utils", "_wsgi", "tools", "tests"}

    assert not [(dotted(p), n) for p in modules() for n in imports_of(p) if n.split(".")[0] in outside]


def test_no_module_imports_itself_by_way_of_others() -> None:
    names = {dotted(path) for path in modules()}
    imports = {dotted(path): modules_imported_by(path, names) for path in modules()}

    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"these import each other in a circle: {' <- '.join(error.args[1])}")


def test_a_medium_is_three_modules_of_which_each_is_known_to_the_next_alone() -> None:
    """Sound's modules, which docs/architecture.md has as the example of a medium."""
    names = {dotted(path) for path in modules()}
    imports = {dotted(path): modules_imported_by(path, names) for path in modules()}
    chain = ["media.audio", "features.sound", "controls.audio", "controls"]

    for lower, upper in zip(chain, chain[1:], strict=False):
        assert [name for name, found in imports.items() if f"framewise.{lower}" in found] == [f"framewise.{upper}"]


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_private_names_stay_in_their_module(path: Path) -> None:
    assert not list(private_names_of_others(path))


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_modules_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {n.name: (n.end_lineno or n.lineno) - n.lineno + 1 for n in functions}
    assert len(text.splitlines()) < MAX_MODULE_LINES
    assert not {name: lines for name, lines in lengths.items() if lines >= MAX_FUNCTION_LINES}


def test_no_two_public_classes_have_one_name() -> None:
    places = defaultdict(list)
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(dotted(path))

    assert not {name: found for name, found in places.items() if len(found) > 1}


def test_importing_writes_nothing_connects_to_nothing_and_loads_no_ultralytics() -> None:
    names = [name for path in modules() if (name := dotted(path)) not in ENTRY_POINTS]
    names += ["timeline_labels", "utils.converter", "utils.neural_nets"]

    run = subprocess.run(
        [sys.executable, "-B", "-c", IMPORT_ALL, *names], cwd=REPOSITORY, capture_output=True, text=True, timeout=600
    )

    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == ""


def test_what_only_starts_processes_loads_no_torch() -> None:
    """A supervisor lives as long as the service: torch would take seconds of its start, and 200 MB for nothing."""
    code = "import framewise.commands.serve, sys; print(sorted({'torch', 'pandas', 'scipy', 'flask'} & set(sys.modules)))"

    run = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=600)

    assert run.stdout.strip() == "[]", run.stderr


def test_the_parser_of_all_commands_loads_next_to_nothing() -> None:
    """It is made for each call, each help and each completion in a shell."""
    slow = "'numpy', 'torch', 'httpx', 'av', 'scipy', 'pandas', 'matplotlib'"
    code = "from framewise.commands.cli import framewise_parser; import sys; framewise_parser(); "
    code += f"print(sorted({{{slow}}} & set(sys.modules)))"

    run = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=600)

    assert run.stdout.strip() == "[]", run.stderr
