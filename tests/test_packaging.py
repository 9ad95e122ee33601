"""The installed package: its modules, the YAML files, the commands and the dependencies."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from itertools import chain
from pathlib import Path
from shutil import copy

import pytest

import dl_lab
from dl_lab.config import compose

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
SCRIPTS = PROJECT["project"]["scripts"]


def test_wheel_contains_the_packages_and_the_configuration():
    assert WHEEL["packages"] == ["dl_lab", "hydra_plugins"]
    assert WHEEL["force-include"] == {"conf": "dl_lab/conf"}
    for folder in (*WHEEL["packages"], *WHEEL["force-include"]):
        assert (ROOT / folder).is_dir()
    assert (compose.CONF / "config.yaml").is_file()


def test_installed_package_finds_its_own_configuration(tmp_path):
    # the layout of a wheel: dl_lab/conf inside the package, no conf beside it
    conf, package = tmp_path / "dl_lab" / "conf", tmp_path / "dl_lab" / "config"
    conf.mkdir(parents=True)
    package.mkdir()
    spec = spec_from_file_location("installed", copy(compose.__file__, package))
    assert spec is not None
    installed = module_from_spec(spec)
    spec.loader.exec_module(installed)
    assert Path(installed.CONF).samefile(conf)


@pytest.mark.parametrize("command", sorted(SCRIPTS))
def test_command_is_a_function_without_arguments(command):
    module, name = SCRIPTS[command].split(":")
    function = getattr(import_module(module), name)
    assert function.__code__.co_argcount == 0


def test_version_is_the_same_everywhere():
    assert PROJECT["project"]["version"] == dl_lab.__version__ == importlib.metadata.version("dl_lab")


def test_this_python_version_is_supported():
    least = re.fullmatch(r">=(\d+)\.(\d+)", PROJECT["project"]["requires-python"])
    assert least is not None
    assert sys.version_info[:2] >= (int(least[1]), int(least[2]))
    assert PROJECT["tool"]["mypy"]["python_version"] == f"{least[1]}.{least[2]}"


def normal(name: str) -> str:
    return name.lower().replace("_", "-")


def imported_packages(path: Path) -> Iterator[str]:
    """The top-level packages that a file imports, at its top or in a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).split(".")[0]


def test_every_imported_package_is_a_dependency():
    project = PROJECT["project"]
    extras = [lines for extra, lines in project["optional-dependencies"].items() if extra not in ("test", "dev")]
    lines = chain(project["dependencies"], *extras)
    named = {normal(re.split(r"[^\w-]", line)[0]) for line in lines}
    packages = importlib.metadata.packages_distributions()
    files = Path(dl_lab.__file__).parent.rglob("*.py")
    imported = {name for path in files for name in imported_packages(path)} - {"dl_lab", *sys.stdlib_module_names}
    used = {normal(packages[name][0]) for name in imported}
    assert "torch" in used
    assert used <= named


def test_extras_for_tests_and_development_exist():
    extras = PROJECT["project"]["optional-dependencies"]
    assert {"test", "dev"} <= set(extras)
    assert any(line.startswith("pytest") for line in extras["test"])
    assert "dl_lab[test]" in extras["dev"]
