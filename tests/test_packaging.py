"""What pip installs: the packages, the YAML files beside them, the commands, the extras."""

import importlib.metadata
import re
import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from shutil import copy

import pytest
from test_house import FILES, imports

import dl_lab
from dl_lab.cli import app
from dl_lab.config import compose

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
SCRIPTS = PROJECT["project"]["scripts"]


def test_the_wheel_holds_the_packages_and_the_configuration_where_it_is_looked_for():
    assert WHEEL["packages"] == ["dl_lab", "hydra_plugins"]
    assert WHEEL["force-include"] == {"conf": "dl_lab/conf"}
    for folder in (*WHEEL["packages"], *WHEEL["force-include"]):
        assert (ROOT / folder).is_dir()
    assert (compose.CONF / "config.yaml").is_file()


def test_an_installed_package_finds_the_configuration_within_itself(tmp_path):
    # as in a wheel: dl_lab/conf beside the modules, and no conf above them
    within = tmp_path / "dl_lab" / "conf"
    within.mkdir(parents=True)
    spec = spec_from_file_location("installed", copy(app.__file__, tmp_path / "dl_lab"))
    assert spec is not None
    installed = module_from_spec(spec)
    spec.loader.exec_module(installed)
    assert Path(installed.CONF).samefile(within)


@pytest.mark.parametrize("command", sorted(SCRIPTS))
def test_a_command_is_a_function_that_takes_nothing(command):
    module, name = SCRIPTS[command].split(":")
    function = getattr(import_module(module), name)
    assert function.__code__.co_argcount == 0


def test_the_version_is_written_once_and_the_same():
    assert PROJECT["project"]["version"] == dl_lab.__version__ == importlib.metadata.version("dl_lab")


def test_this_python_is_one_that_is_allowed():
    least = re.fullmatch(r">=(\d+)\.(\d+)", PROJECT["project"]["requires-python"])
    assert least is not None
    assert sys.version_info[:2] >= (int(least[1]), int(least[2]))
    assert PROJECT["tool"]["mypy"]["python_version"] == f"{least[1]}.{least[2]}"


def normal(name: str) -> str:
    return name.lower().replace("_", "-")


def test_everything_imported_is_a_dependency():
    project = PROJECT["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"].get("search", [])]
    named = {normal(re.split(r"[^\w-]", line)[0]) for line in lines}
    packages = importlib.metadata.packages_distributions()
    imported = {name.split(".")[0] for path in FILES for name in imports(path)} - {"dl_lab", *sys.stdlib_module_names}
    used = {normal(packages[name][0]) for name in imported}
    assert "torch" in used
    assert used - named <= {"pyyaml"}  # which OmegaConf is made of


def test_there_are_extras_for_tests_and_development():
    extras = PROJECT["project"]["optional-dependencies"]
    assert {"test", "dev"} <= set(extras)
    assert any(line.startswith("pytest") for line in extras["test"])
    assert "dl_lab[test]" in extras["dev"]


def test_the_modules_that_the_readme_runs_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for module in set(re.findall(r"python -m (dl_lab[\w.]*)", text)):
        assert find_spec(module) is not None, module
    for command in set(re.findall(r"^dl-lab-\w+", text, flags=re.MULTILINE)):
        assert command in SCRIPTS
