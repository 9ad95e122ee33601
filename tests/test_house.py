"""The house: who may import whom, and how large a room may be."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import dl_lab

PACKAGE = Path(dl_lab.__file__).parent

FLOORS = [
    {"__init__", "registry", "errors", "specs", "streams", "activations", "data", "devices", "figures", "download"}
    | {"sampling", "events", "records", "eager", "files", "signals", "feed", "schemas", "intervals", "sweep_figures"}
    | {"guarded_hydra", "copies"},
    {"models", "optimizers", "initializers", "dropouts", "datasets", "losses", "schedules", "tasks"}
    | {"stacked_optimizers"},
    {"config", "logbook", "checkpoint", "distributed", "progress", "pictures"},
    {"build", "resuming", "run_folders", "rerun"},
    {"milestones", "rows"},
    {"stacked"},
    {"loop", "many", "comparison"},
    {"command_line", "train", "evaluate", "compare", "comparison_pictures", "composing", "ledger", "jobs"}
    | {"sweep", "sweep_settings", "search", "pruning", "processes", "worker", "together", "sizing", "preload"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
PEERS = (0, len(FLOORS) - 1)  # the ground is one room of small tools; the doors on top share command_line

FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]


def room(path: Path) -> str:
    """The first name below dl_lab: a module, or a package as a whole."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or within a function, as written in full."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: a relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported(path: Path) -> set[str]:
    """The rooms of dl_lab that a file imports from; for the package's own names, such as __version__, none."""
    names = [name.split(".") for name in imports(path)]
    return {parts[1] for parts in names if parts[0] == "dl_lab" and len(parts) > 1 and not parts[1].startswith("__")}


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_module_has_a_floor(path):
    assert room(path) in FLOOR


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_file_imports_only_from_lower_floors(path):
    here = room(path)
    for there in rooms_imported(path) - {here}:
        may_be_peers = FLOOR[here] in PEERS and FLOOR[here] == FLOOR[there]
        assert FLOOR[there] < FLOOR[here] or may_be_peers, f"{here} imports {there}"


@pytest.mark.parametrize("floor", PEERS)
def test_peers_import_each_other_in_no_circle(floor):
    peers = {name for name, number in FLOOR.items() if number == floor}
    graph = {room(path): rooms_imported(path) & peers for path in FILES if room(path) in peers}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert set(order) == set(graph)


def test_nothing_in_the_house_imports_the_door_of_hydra():
    assert [name for path in FILES for name in imports(path) if name.startswith("hydra_plugins")] == []


def test_no_figure_is_made_through_pyplot():
    # pyplot keeps every figure alive and chooses a window system
    assert [(path.name, name) for path in FILES for name in imports(path) if "pyplot" in name] == []


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_file_is_longer_than_300_lines_and_no_function_than_60(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} at line {node.lineno}"
