"""Folders, names and choices as users write them."""

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from support.commands import TINY, train

from dl_lab.analysis.comparison import compare
from dl_lab.cli.train_arguments import in_quotes
from dl_lab.runs.reader import read_strict


@pytest.mark.parametrize(
    ("given", "kept"), [("name=1e5", "1e5"), ("name=007", "007"), ("name=1_000", "1_000"), ("name=null", None)]
)
def test_a_name_is_kept_as_it_is_written(tmp_path, given, kept):
    text = (train(tmp_path, given, "tags=[1e3,a]", *TINY).run / ".hydra" / "config.yaml").read_text()
    read = yaml.safe_load(text)
    assert (read["name"], read["tags"]) == (kept, ["1e3", "a"])


@pytest.mark.parametrize("name", ["it's 100% [x], y", "~/runs", 'a "b"=c', "{x}(y)"])
def test_folders_have_any_name(tmp_path, monkeypatch, name):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / name.removeprefix("~/")
    assert train(tmp_path, f"hydra.run.dir={name}/run", *TINY).run == folder / "run"
    ended = train(tmp_path / "b", "-m", f"hydra.sweep.dir={folder}", "seed=0,1", *TINY)
    assert (ended.status, (folder / "sweep.json").is_file()) == (0, True)
    assert (
        train(tmp_path / "b", "-m", f"sweep.resume={name if name[0] == '~' else folder}", "seed=0,1,2", *TINY).err == ""
    )
    assert (folder / "2" / "summary.json").is_file()


@pytest.mark.parametrize("mode", ["run", "sweep"])
def test_the_home_folder_is_meant_wherever_a_folder_is_given(tmp_path, monkeypatch, mode):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "b" / "own" / "experiment" / "here.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"# @package _global_\nhydra:\n  {mode}:\n    dir: ~/yaml-${{seed}}\n")
    multirun = ["-m"] if mode == "sweep" else []
    for given in (["--config-dir", "own", "experiment=here"], [f"hydra.{mode}.dir='~/quoted-${{seed}}'"]):
        assert train(tmp_path / "b", *multirun, *given, *TINY).status == 0
    assert {path.name for path in tmp_path.iterdir()} == {"b", "quoted-0", "yaml-0"}
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"own"}


@pytest.mark.parametrize(
    "given", ["hydra.run.dir=", "hydra.run.dir=a${b}", r"hydra.run.dir='a\${b}'", "data_dir=a${b}", "name=${b.c}"]
)
def test_a_folder_without_a_name_or_with_an_unknown_key_is_refused(tmp_path, given):
    ended = train(tmp_path, given, *TINY)
    assert (ended.status, ended.err.count("\n"), list(tmp_path.iterdir())) == (2, 1, [])
    key, _, value = given.replace("'", "").partition("=")
    assert ended.err.replace("'", "").startswith(f"error: {key}={value} ")


def test_an_empty_variable_is_as_if_it_were_not_set(tmp_path):
    run = train(tmp_path, "data_dir=''", *TINY).run
    assert OmegaConf.load(run / ".hydra" / "config.yaml").data_dir is None


def test_a_command_with_config_dir_is_repeated_with_resume(tmp_path):
    (tmp_path / "own").mkdir()
    run = train(tmp_path, "--config-dir", "own", *TINY).run
    ended = train(tmp_path, "--config-dir", "own", f"resume={run}", "train.steps=8")
    assert (ended.status, ended.err) == (0, "")


def test_a_choice_with_a_name_of_ours_is_refused(tmp_path):
    path = tmp_path / "own" / "model" / "mlp.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("name: mlp\nhidden_sizes: [3]\nactivation: tanh\n")
    ended = train(tmp_path, "--config-dir", "own", *TINY)
    assert ended.status == 2
    assert ended.err == f"error: {path} is never read, because dl_lab has model/mlp.yaml; allowed: another name\n"


def test_close_values_have_labels_of_their_own(tmp_path):
    ended = train(tmp_path, "-m", "optimizer.lr=.0100001,.0100002,.3", *TINY)
    compared, _ = compare([read_strict(run) for run in ended.runs], "best/loss")
    labels = {compared.label(each) for each in compared.configurations}
    assert labels == {"lr 0.0100001", "lr 0.0100002", "lr 0.3"}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("dataset.targets=[Gekündigt, Satisfied (1-5),Age group]", ["Gekündigt", "Satisfied (1-5)", "Age group"]),
        ("dataset.features=['a, b',\"c\"]", ["a, b", "c"]),
        ("dataset.drop=[]", []),
        ("dataset.path=München (1).csv", "München (1).csv"),
        ("dataset.group=Kunde & Ort", "Kunde & Ort"),
        ("dataset.group='a, b'", "a, b"),
    ],
)
def test_columns_and_files_of_a_table_need_no_quotes_of_hydra(given: str, read: object) -> None:
    (override,) = OverridesParser.create().parse_overrides([in_quotes(given)])
    assert override.value() == read
    assert in_quotes(in_quotes(given)) == in_quotes(given)


def test_values_of_a_sweep_stay_several() -> None:
    for given in ("dataset.path=choice(a.csv,b.csv)", "dataset.group=a,b", "dataset.targets=[a],[b]"):
        assert in_quotes(given) == given
