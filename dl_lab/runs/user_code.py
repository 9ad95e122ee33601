"""Hash the user's own modules, those of `imports`, so that a run folder shows whether their code has changed."""

import ast
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from importlib.machinery import ModuleSpec
from pathlib import Path

LIBRARIES = ("site-packages", "dist-packages")  # folders whose modules have nothing to do with each other


_known: dict[str, tuple[ModuleSpec | None, str | None]] = {}  # the hash of a module, and its spec then


def hashes(modules: Sequence[str]) -> dict[str, str]:
    """The SHA-256 of the source of each imported module: of its file or its whole top-level package, and of what these
    import from the same folder. As of the first run since it was imported, because later changes of the files do not
    affect it. Modules without source are left out.
    """
    for module in modules:
        spec = sys.modules[module].__spec__  # a new one after importlib.reload
        if module not in _known or _known[module][0] is not spec:
            found = sources(module)
            _known[module] = spec, None if found is None else _digest(*found)
    return {module: digest for module in modules if (digest := _known[module][1]) is not None}


def sources(module: str) -> tuple[Path, list[Path]] | None:
    """The folder of an imported module's file or top-level package, and the source files that it consists of."""
    top = module.partition(".")[0]
    package, file = list(getattr(sys.modules[top], "__path__", [])), getattr(sys.modules[top], "__file__", None)
    if not package and not str(file).endswith(".py"):
        return None
    folder = Path(package[0] if package else str(file)).resolve().parent
    files, waiting = set[Path](), [top]
    while waiting:
        for path in _files(folder, waiting.pop()) - files:
            files.add(path)
            if folder.name not in LIBRARIES:
                waiting += _imported(path)
    return folder, sorted(files)


def _files(folder: Path, name: str) -> set[Path]:
    """The source files of a top-level module in this folder; none if it is elsewhere."""
    module = folder / f"{name}.py"
    return set((folder / name).rglob("*.py")) or {path for path in [module] if path.is_file()}


def _imported(path: Path) -> Iterator[str]:
    """The top-level modules that a file imports by their absolute names."""
    tree = ast.Module([], [])
    with suppress(SyntaxError):  # of a file that nothing imports
        tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _digest(folder: Path, files: list[Path]) -> str:
    """A digest of names and contents, the same on every machine."""
    digest = sha256()
    for path in files:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\n{len(content)}\n".encode() + content)
    return digest.hexdigest()
