"""Checkpoints, configurations and archives that try to run code or to leave their folder."""

import hashlib
import io
import os
import pickle
import shutil
import sys
import tarfile
from pathlib import Path

import pytest
import torch
import yaml
from support import pictures
from support.commands import TINY, Ended, command, train
from support.interrupted import RUN, interrupted
from support.server import body, serving
from torchvision import datasets

from dl_lab import evaluate
from dl_lab.runs import checkpoint


class Trap:
    """An object whose pickle creates a folder when it is loaded."""

    def __init__(self, folder: Path):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def assert_refused(ended: Ended, *parts: str) -> None:
    assert ended.status == 2, ended.err
    assert ended.err.count("\n") == 1, ended.err
    for part in parts:
        assert part in ended.err


@pytest.fixture(scope="module")
def run_to_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted")
    interrupted(folder, 8, *RUN)
    return folder / "run"


@pytest.fixture
def interrupted_run(run_to_copy: Path, tmp_path: Path) -> None:
    """Put a run that was interrupted after 8 steps into `tmp_path / "run"`."""
    shutil.copytree(run_to_copy, tmp_path / "run")


def zipped(path: Path, trap: Trap) -> None:
    torch.save({"model": trap, "step": 1, "config": {}}, path)


def sealed(path: Path, trap: Trap) -> None:
    """With our checksum, which is not a signature."""
    checkpoint.save(path, {"model": trap, "step": 1, "config": {}})


def pickled(path: Path, trap: Trap) -> None:
    path.write_bytes(pickle.dumps({"model": trap, "step": 1, "config": {}}))


def old_form(path: Path, trap: Trap) -> None:
    torch.save({"model": trap, "step": 1, "config": {}}, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [zipped, sealed, pickled, old_form])
@pytest.mark.usefixtures("interrupted_run")
def test_checkpoint_with_code_is_refused_by_resume_and_evaluate(tmp_path, write):
    sprung = tmp_path / "sprung"
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        write(path, Trap(sprung))
    assert_refused(train(tmp_path, "resume=run"), "last.pt", "there is no other checkpoint")
    assert_refused(command(evaluate.main, tmp_path, "run=run"), "best.pt")
    assert not sprung.exists()


LOOKED_UP = ["${oc.env:HOME}", "${run_folder:made}", "${oc.decode:'1'}", "\\${oc.env:HOME}", "a ${hydra:run.dir} b"]


@pytest.mark.parametrize("value", LOOKED_UP)
@pytest.mark.parametrize("key", ["resume=run", "rerun=run"])
@pytest.mark.usefixtures("interrupted_run")
def test_saved_configuration_with_interpolations_is_refused(tmp_path, value, key):
    path = tmp_path / "run" / ".hydra" / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "name": value}))
    assert_refused(train(tmp_path, key), "name=", "is an interpolation")
    assert {entry.name for entry in tmp_path.iterdir()} == {"run"}


def test_checkpoint_configuration_with_interpolations_is_refused(tmp_path):
    train(tmp_path, *RUN)
    path = tmp_path / "run" / "checkpoints" / "best.pt"
    contents = torch.load(path, weights_only=True)
    checkpoint.save(path, {**contents, "config": {**contents["config"], "name": "${oc.env:HOME}"}})
    assert_refused(command(evaluate.main, tmp_path, "run=run"), "name=", "is an interpolation")


@pytest.mark.parametrize("key", ["resume=run", "rerun=run"])
@pytest.mark.parametrize(
    "hostile",
    ["!!python/object/apply:os.mkdir [sprung]", "optimizer: {_target_: os.mkdir, path: sprung}", "[1, 2]", "{", ""],
)
@pytest.mark.usefixtures("interrupted_run")
def test_configuration_with_code_or_of_another_form_is_refused(tmp_path, key, hostile):
    path = tmp_path / "run" / ".hydra" / "config.yaml"
    path.write_text(path.read_text() + hostile if hostile.startswith("optimizer") else hostile)
    ended = train(tmp_path, key)
    assert_refused(ended)
    assert "allowed: " in ended.err or "hint: " in ended.err
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "override",
    [
        "++model._target_=os.mkdir",
        "++model.name=os.mkdir",
        "++optimizer={_target_: os.mkdir, path: sprung}",
        "+hydra.callbacks.trap={_target_: os.mkdir, path: sprung}",
        "++hydra.launcher._target_=os.mkdir",
        "++hydra.sweeper._target_=os.mkdir",
        "++hydra.job_logging.formatters.trap.class=os.mkdir",
        "++hydra.hydra_logging.filters.trap={_target_: os.mkdir}",
    ],
)
def test_keys_cannot_call_unregistered_code(tmp_path, override):
    ended = train(tmp_path, *TINY, override)
    assert_refused(ended, "allowed: ")
    assert not (tmp_path / "sprung").exists()


TRAP = {"_target_": "os.mkdir", "path": "sprung"}
SUBMITIT = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"}
# What a file of --config-dir sets of Hydra, and the key that the refusal names.
SET_IN_A_FILE = {
    "callback": ({"hydra": {"callbacks": {"trap": TRAP}}}, "hydra.callbacks names code"),
    "callback elsewhere": ({"claim": TRAP, "hydra": {"callbacks": {"trap": "${claim}"}}}, "hydra.callbacks names code"),
    "all callbacks elsewhere": ({"claim": {"a": TRAP}, "hydra": {"callbacks": "${claim}"}}, "hydra.callbacks"),
    "factory": ({"hydra": {"job_logging": {"formatters": {"a": {"()": "os.mkdir"}}}}}, "hydra.job_logging names code"),
    "logging elsewhere": ({"hydra": {"hydra_logging": {"handlers": "${claim}"}}}, "hydra.hydra_logging names code"),
    "launcher": ({"hydra": {"launcher": {"_target_": "os.mkdir"}}}, "hydra.launcher._target_=os.mkdir is not a plugin"),
    "launcher elsewhere": ({"hydra": {"launcher": "${claim}"}}, "hydra.launcher"),
    "argument": ({"hydra": {"launcher": {"processes": TRAP}}}, "hydra.launcher.processes._target_ names code"),
    "deep argument": ({"hydra": {"launcher": {"processes": {"a": {"b": TRAP}}}}}, "processes.a.b._target_ names code"),
    "argument elsewhere": ({"hydra": {"launcher": {"processes": "${claim}"}}}, "launcher.processes=${claim} is set"),
    "commands of a job": ({"hydra": {"launcher": {**SUBMITIT, "setup": ["touch sprung"]}}}, "launcher.setup=['touch"),
    "place of a job": ({"hydra": {"launcher": {**SUBMITIT, "submitit_folder": "../a"}}}, "launcher.submitit_folder="),
    "environment": ({"hydra": {"job": {"env_set": {"GIT_DIR": "x"}}}}, "hydra.job.env_set is set in a file"),
    "environment of a job": ({"hydra": {"job": {"env_copy": ["HOME"]}}}, "hydra.job.env_"),
    "environment of a sweep": (
        {"hydra": {"sweeper": {"params": {"hydra.job.env_set.A": 1}}}},
        "names code or a key of",
    ),
    "overrides": ({"hydra": {"overrides": {"hydra": ["hydra.launcher.setup=1"]}}}, "hydra.overrides is set in a file"),
    "variable": ({"name": "${oc.env:HOME}"}, "oc.env:HOME in a file"),
    "variable with a default": ({"tags": ["a ${oc.env:HOME,x} b"]}, "oc.env:HOME in a file"),
    "hidden variable": ({"claim": {"a": "oc.env"}, "name": "${${claim.a}:HOME}"}, "oc.env:HOME in a file"),
    "folder with a variable": (
        {"hydra": {mode: {"dir": "${oc.env:HOME}"} for mode in ("run", "sweep")}},
        "oc.env:HOME in a file",
    ),
}


@pytest.mark.parametrize("more", [(), ("-m", "seed=0,1")])
@pytest.mark.parametrize("case", SET_IN_A_FILE)
def test_a_file_sets_only_plain_values_of_hydra(tmp_path, monkeypatch, case, more):
    monkeypatch.setenv("HOME", "secret")
    values, words = SET_IN_A_FILE[case]
    path = tmp_path / "own" / "experiment" / "trap.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("# @package _global_\n" + yaml.safe_dump(values))
    ended = train(tmp_path, *more, "--config-dir", "own", "experiment=trap", *TINY)
    assert ended.status in ((1, 2) if more else (2,)), (ended.out, ended.err)
    assert words in ended.err
    assert "Traceback" not in ended.err
    written = "".join(path.read_text(errors="replace") for path in (tmp_path / "outputs").rglob("*") if path.is_file())
    assert "secret" not in written
    assert not (tmp_path / "sprung").exists()


def test_the_command_line_is_trusted_with_variables_and_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MINE", "here")
    ended = train(tmp_path, "name=${oc.env:MINE}", "+hydra.job.env_set.GIVEN=x", *TINY)
    assert (ended.status, ended.err) == (0, "")
    assert yaml.safe_load((ended.run / ".hydra" / "config.yaml").read_text())["name"] == "here"


@pytest.mark.parametrize("key", ["resume=run", "rerun=run"])
def test_imports_of_a_run_folder_are_not_repeated_without_asking(tmp_path, key):
    (tmp_path / "mine.py").write_text("from pathlib import Path\nPath('imported').write_text('')\n")
    interrupted(tmp_path, 7, *RUN, "imports=[mine]")
    (tmp_path / "imported").unlink()
    sys.modules.pop("mine")
    assert_refused(train(tmp_path, key), "imports=[mine]")
    assert command(evaluate.main, tmp_path, "run=run").status == 0  # evaluation does not need the module
    assert not (tmp_path / "imported").exists()


def archive(*names: str) -> bytes:
    """Return a tar file with members of these names and a link that leaves its folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"gone"))
        link = tarfile.TarInfo("cifar-10-batches-py")
        link.type, link.linkname = tarfile.SYMTYPE, "../outside"
        tar.addfile(link)
    return buffer.getvalue()


@pytest.mark.parametrize("there", [False, True], ids=["downloaded", "local"])
def test_archive_other_than_the_published_one_is_not_opened(tmp_path, monkeypatch, there):
    """Even if torchvision accepts its md5, for which collisions can be made."""
    content = archive("../outside/a", "/tmp/outside-of-all", "cifar-10-batches-py/data_batch_1")
    published = datasets.CIFAR10
    monkeypatch.setattr(published, "tgz_md5", hashlib.md5(content, usedforsecurity=False).hexdigest())
    data = tmp_path / "data"
    data.mkdir()
    if there:
        (data / published.filename).write_bytes(content)
    with serving({f"/{published.filename}": body(content)}) as url:
        monkeypatch.setattr(published, "url", f"{url}/{published.filename}")
        ended = train(tmp_path / "work", "dataset=cifar10", f"data_dir={data}")
    assert_refused(ended, "invalid hash value")
    left = {path.name for path in data.rglob("*")}
    assert left <= {published.filename}
    assert not (tmp_path / "outside").exists()
    assert not Path("/tmp/outside-of-all").exists()


def test_link_that_leaves_the_image_folder_is_refused(tmp_path):
    pictures.write(tmp_path / "pictures", {"a": 6, "b": 6})
    shutil.copy(tmp_path / "pictures" / "a" / "0.png", tmp_path / "secret.png")
    small = ("dataset=image_folder", "dataset.path=pictures", "dataset.size=4", "dataset.num_workers=0")
    (tmp_path / "pictures" / "a" / "inside.png").symlink_to(tmp_path / "pictures" / "b" / "0.png")
    assert train(tmp_path, *small, "train.steps=2", "hydra.run.dir=inside").status == 0
    (tmp_path / "pictures" / "a" / "out.png").symlink_to("../../secret.png")
    assert_refused(train(tmp_path, *small), "pictures/a/out.png", "is a link out of dataset.path")
