"""The hash of a user's own modules in summary.json."""

import importlib.metadata
import json
import sys
from hashlib import sha256
from importlib import import_module, reload

import pytest

from dl_lab.runs import diff, provenance, user_code
from dl_lab.runs.reader import Run

FILES = {
    "mine.py": "import json, torch\nfrom beside import two\nimport other.part\n",
    "beside.py": "two = 2\n",
    "other/__init__.py": "",
    "other/part.py": "import far\n",
    "far.py": "",
    "unrelated.py": "import mine\n",
    "package/__init__.py": "",
    "package/inner/model.py": "from . import __name__\nfrom ..near import three\n",
    "package/near.py": "three = 3\n",
    "space/model.py": "import beside\n",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the user's modules, which can be imported until the test ends."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def hashed(module: str) -> str:
    reload(import_module(module))
    return user_code.hashes([module])[module]


@pytest.mark.parametrize(
    ("module", "changed", "counts"),
    [
        ("mine", "mine.py", True),
        ("mine", "beside.py", True),
        ("mine", "other/part.py", True),
        ("mine", "far.py", True),
        ("mine", "unrelated.py", False),
        ("beside", "mine.py", False),
        ("package.inner.model", "package/near.py", True),
        ("package.inner.model", "package/inner/model.py", True),
        ("package.inner.model", "mine.py", False),
        ("space.model", "space/model.py", True),
        ("space.model", "beside.py", True),
    ],
)
def test_a_hash_changes_with_the_code_of_a_module_and_of_what_it_imports_from_its_folder(
    module, changed, counts, folder
):
    before = hashed(module)
    (folder / changed).write_text(f"{FILES[changed]}# changed\n")
    assert (hashed(module) != before) == counts


def test_a_hash_is_that_of_names_and_contents(folder):
    content = FILES["beside.py"].encode()
    assert hashed("beside") == sha256(b"beside.py\n%d\n" % len(content) + content).hexdigest()


def test_a_file_that_changed_after_its_import_has_no_effect(folder):
    before = hashed("beside")
    (folder / "beside.py").write_text("two = 3\n")
    assert user_code.hashes(["beside"])["beside"] == before != hashed("beside")


def test_modules_of_a_library_folder_are_apart_and_those_without_source_have_no_hash(folder, monkeypatch):
    libraries = folder / "site-packages"
    libraries.mkdir()
    for name in ("mine2.py", "beside.py"):
        (libraries / name).write_text("import beside\n")
    monkeypatch.syspath_prepend(str(libraries))
    before = hashed("mine2")
    (libraries / "beside.py").write_text("changed = True\n")
    assert hashed("mine2") == before
    import_module("math")
    assert user_code.hashes(["math"]) == {}


def test_a_rerun_names_the_module_whose_code_has_changed(tmp_path):
    runs = [
        Run(folder=tmp_path, status="completed", values={}, summary={"git_clean": True, "imports": {"mine": letter}})
        for letter in "ab"
    ]
    assert diff.explanations(*runs) == ["the code of imports=mine has changed"]


def test_the_commit_of_an_installation_from_a_repository(monkeypatch):
    class Distribution:
        def read_text(self, name: str) -> str:
            assert name == "direct_url.json"
            return json.dumps({"url": "https://example.org/dl_lab", "vcs_info": {"vcs": "git", "commit_id": "1f"}})

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Distribution())
    assert provenance.installed_commit() == "1f"
    monkeypatch.setattr(Distribution, "read_text", lambda self, name: None)  # as from a wheel
    assert provenance.installed_commit() is None
