"""The guides: their links, the modules and keys that they name, and the docstrings of the packages."""

import ast
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from dl_lab.config import reference

ROOT = Path(__file__).parent.parent
GUIDES = sorted(path for folder in (".", "conf", "dl_lab", "experiments") for path in (ROOT / folder).glob("*.md"))
PACKAGES = sorted(path.parent for path in (ROOT / "dl_lab").rglob("__init__.py"))
YAMLS = sorted(path for path in (ROOT / "conf").rglob("*.yaml") if path.parent.name != "experiment")


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_commands_of_a_guide_lead_somewhere(guide):
    text = guide.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert link.startswith("https://") or (guide.parent / link).exists(), link
    for module in set(re.findall(r"python -m ((?:dl_lab|experiments)\.[\w.]*\w)", text)) - {"experiments.NAME"}:
        assert find_spec(module) is not None, module


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstring_of_a_package_names_the_file_to_read_first(package):
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8")))
    assert docstring is not None
    named = re.search(r"Read .*?`(\w+)`", docstring)
    assert named is not None
    assert (package / f"{named[1]}.py").is_file() or (package / named[1]).is_dir()


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_choice_and_key_has_a_comment(path):
    lines = path.read_text(encoding="utf-8").split("\nhydra:\n")[0].splitlines()
    assert lines[0].startswith("# ")
    for line in lines:
        if re.match(r"( +)?\w+: \S", line) and not line.startswith(("name: ", "_target_: ")):
            assert "  # " in line, line
    assert isinstance(yaml.safe_load("\n".join(lines)), dict)


def test_reference_of_conf_is_up_to_date():
    text = reference.GUIDE.read_text(encoding="utf-8")
    written = text.partition(reference.BEGIN)[2].partition(reference.END)[0]
    assert written == reference.reference(), "run python -m dl_lab.config.reference"


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: str(path.relative_to(ROOT)))
def test_reference_has_every_key(path):
    def keys(values, prefix=""):
        for key, value in values.items():
            yield from keys(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"`{prefix}{key}"]

    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    hidden = {"name", "defaults", "hydra", "_target_"}
    written = reference.reference()
    for key in keys({key: value for key, value in values.items() if key not in hidden}):
        assert f"| {key}` |" in written, key


def test_own_model_of_the_guide_trains(tmp_path):
    section = (ROOT / "conf" / "README.md").read_text(encoding="utf-8").partition("## Your own choices")[2]
    code, values, command = re.findall(r"```(?:python|yaml|bash)\n(.*?)```", section, flags=re.DOTALL)[:3]
    for text in (code, values):
        path = tmp_path / text.split("\n", 1)[0].removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    subprocess.run(
        [sys.executable, *shlex.split(command)[1:], "train.steps=2"], cwd=tmp_path, check=True, capture_output=True
    )
    assert len(list(tmp_path.glob("outputs/*/*/summary.json"))) == 1
