"""The usual first mistakes on a command line, and the arguments with which they are answered."""

import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from support.commands import TINY, command, train

import dl_lab
from dl_lab import __main__ as dl_lab_main
from dl_lab.cli.train_arguments import in_quotes, options_first
from dl_lab.config import hints, quoting
from dl_lab.core.errors import ConfigError, near

LIST = "'dataset.targets=[COLUMN]'"


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (["--lr", "0.1"], "optimizer.lr=0.1"),
        (["-m", "--lr=0.1,0.2"], "optimizer.lr=0.1,0.2"),
        (["optimizer=sgd", "--momentum", "0.9"], "optimizer.momentum=0.9"),
        (["-epochs", "3"], "train.epochs=3"),
        (["--batch-size=16"], "train.batch_size=16"),
        (["--model", "cnn"], "model=cnn"),
        (["--dropout", "0.5"], "dropout=dropout dropout.p=0.5"),
        (["--optimizer.lr=0.1"], "optimizer.lr=0.1"),
        (["--seed"], "seed=VALUE"),
        (["--resume", "my run"], "'resume=my run'"),
        (["--gpu"], "device=cuda"),
        (["--foo", "1"], ""),
        (["dropout=0.5"], "dropout=dropout dropout.p=0.5"),
        (["dropout=null"], "dropout=none"),
        (["model=[64,32]"], "model=mlp 'model.hidden_sizes=[64,32]'"),
        (["train=10"], "train=default train.epochs=10"),
        (["learning-rate=0.1"], "optimizer.lr=0.1"),
        (["optimizer/lr=0.1"], "optimizer.lr=0.1"),
        (["lr==0.1"], "optimizer.lr=0.1"),
        (["lr", "0.1"], "optimizer.lr=0.1"),
        (["optimizer.lr", "=", "0.1"], "optimizer.lr=0.1"),
        (["optimizer.lr=", "0.1"], "optimizer.lr=0.1"),
        (["lr:", "0.1"], "optimizer.lr=0.1"),
        (["optimizer.lr:0.1"], "optimizer.lr=0.1"),
        (["cnn"], "model=cnn or experiment=cnn"),
        (["Adam", "seed=1"], "optimizer=adam"),
        (["vectorized"], "hydra/launcher=vectorized"),
        (["multirun"], "--multirun"),
        (["runs"], "resume=runs continues a run"),
        (["a,b.csv"], f"dataset=table \"dataset.path='a,b.csv'\" {LIST}"),
        (["-m", "seed=0,", "1"], "seed=0,1"),
        (["dataset.path=my", "file.csv"], "'dataset.path=my file.csv'"),
        (["dataset.path=it's", "a", "b.csv", "seed=1"], "\"dataset.path='it\\\\'s a b.csv'\""),
        (["hydra.run.dir=my", "run"], "'hydra.run.dir=my run'"),
        (["model.hidden_sizes=[64,", "32]"], "'model.hidden_sizes=[64, 32]'"),
        (["dataset.targets=[it's,", "b", "c]"], "\"dataset.targets=['it\\\\'s','b c']\""),
        (["model=mlp", "foo"], ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_key_and_value_is_answered_with_what_was_meant(tmp_path, monkeypatch, given, hint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "a,b.csv").touch()
    with pytest.raises(ConfigError) as error:
        options_first(given)
    assert str(error.value).partition("; hint: ")[2] == hint


@pytest.mark.parametrize(
    ("group", "key", "value", "overrides", "hint"),
    [
        ("", "lr", "0.1", [], "optimizer.lr=0.1"),
        ("", "learning_rate", "0.1", [], "optimizer.lr=0.1"),
        ("", "epoch", "3", [], "train.epochs=3"),
        ("", "batch_size", "8", [], "train.batch_size=8"),
        ("", "hidden_sizes", "64", [], "'model.hidden_sizes=[64]'"),
        ("", "num_heads", "2", [], "model=transformer model.num_heads=2"),
        ("", "num_heads", "2", ["model=transformer"], "model.num_heads=2"),
        ("", "path", "a b.csv", ["dataset=csv"], "'dataset.path=a b.csv'"),
        ("", "data", "iris", [], "dataset=iris"),
        ("", "network", "cnn", [], "model=cnn"),
        ("", "kind", "cnn", [], "model=cnn or experiment=cnn"),
        ("", "launcher", "vectorized", [], "hydra/launcher=vectorized"),
        ("", "colour", "red", [], ""),
        ("", "modle.hidden_sizes", "[3]", [], "'model.hidden_sizes=[3]'"),
        ("train", "lr", "0.1", [], "optimizer.lr=0.1"),
        ("train", "device", "cpu", [], "device=cpu"),
        ("model", "dropout", "0.5", [], "dropout=dropout dropout.p=0.5"),
        ("dropout", "rate", "0.5", [], "dropout=dropout dropout.p=0.5 (also a key of spatial, alpha_dropout)"),
        ("optimizer", "foo", "1", [], ""),
        ("", "optimizer_lr", "0.1", [], "optimizer.lr=0.1"),
        ("", "trainer.max_epochs", "3", [], "train.epochs=3"),
        ("", "optim.lr", "0.1", [], "optimizer.lr=0.1"),
        ("", "foo.bar", "0.1", [], ""),
        ("", "sed", "3", [], "seed=3"),
        ("", "opt", "sgd", [], "optimizer=sgd"),
        ("train", "epoch", "3", [], "train.epochs=3"),
        ("model", "depht", "3", [], "model=deep_nn model.depth=3"),
    ],
)
def test_a_key_is_found_where_it_is(group, key, value, overrides, hint):
    assert hints.of_key(group, key, value, hints.present(overrides)) == hint


@pytest.mark.parametrize(
    ("group", "choice", "hint"),
    [
        ("model", "adam", "optimizer=adam"),
        ("loss", "mae", "loss=l1"),
        ("dropout", "yes", "dropout=dropout dropout.p=0.5"),
        ("dataset", "data/my.csv", f"dataset=table dataset.path=data/my.csv {LIST}"),
        ("dataset", "book.txt", "dataset=text dataset.path=book.txt model=transformer"),
        ("dataset", "photos/", "dataset=image_folder dataset.path=photos/ model=cnn"),
        ("model", "resnet", ""),
    ],
)
def test_a_choice_is_found_where_it_is(group, choice, hint):
    assert hints.of_choice(group, choice) == hint


ODD = [
    "it's.csv",
    "a,b.csv",
    "a$b c.csv",
    "a(1) é.csv",
    'say "hi".csv',
    "[x",
    "a\\b'.csv",
    "~/a,b",
    "`x`'!.csv",
    "=#.csv",
]


@pytest.mark.parametrize("text", ODD)
def test_the_quoting_of_a_hint_works_in_the_shell(text):
    for hint in (
        quoting.several(f"dataset.path={text}").partition(" is one")[0],
        quoting.readable(f"dataset.path={text}"),
    ):
        if not hint:  # an open bracket, which cannot be right elsewhere
            assert text == "[x"
            continue
        shown = subprocess.run(["bash", "-c", f"printf '%s\\0' {hint}"], capture_output=True, text=True, check=True)
        (given,) = shown.stdout.split("\0")[:-1]
        (override,) = OverridesParser.create().parse_overrides([in_quotes(given)])
        assert (override.key_or_group, override.value()) == ("dataset.path", text)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("optimizer.lr = 0.1", "optimizer.lr=0.1"),
        ("optimizer.lr=0.1 ,", "optimizer.lr=0.1"),
        ("optimizer.betas=(0.9,0.99)", "'optimizer.betas=[0.9,0.99]'"),
        ("train.best=é", "\"train.best='é'\""),
        ("dataset.targets=[a [x], é]", "\"dataset.targets=['a [x]','é']\""),
        ("optimizer.lr=[0.1", ""),
    ],
)
def test_a_value_that_hydra_cannot_read_is_shown_as_it_can(given, hint):
    assert quoting.readable(given) == hint


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("seed=0,1", "-m runs each"),
        ("optimizer.lr=0,1", "optimizer.lr=0.1 is a number; -m runs each"),
        ("model.hidden_sizes=64,32", "'model.hidden_sizes=[64,32]' is a list; -m runs each"),
    ],
)
def test_several_values_are_a_sweep_or_a_list(given, hint):
    assert quoting.several(given) == hint


@pytest.mark.parametrize(
    ("given", "names", "nearest"),
    [
        ("modle", ["model", "mode_x"], "model"),
        ("sdg", ["sgd", "adam"], "sgd"),
        ("bmj", ["age", "bmi"], "bmi"),
        ("Batch-Size", ["batch_size", "best"], "batch_size"),
        ("opt", ["dropout", "optimizer"], "optimizer"),
        ("cosine_annealing", ["cosine", "constant"], "cosine"),
        ("foo", ["float", "of"], None),
        ("lr", ["l1", "linear", "log_every"], None),
        ("resnet", ["linear", "seed"], None),
    ],
)
def test_only_a_name_that_is_near_is_suggested(given, names, nearest):
    assert near(given, names) == nearest


def test_python_gets_the_same_hints():
    with pytest.raises(ConfigError, match=r"^lr is not a key; allowed: .*; hint: optimizer\.lr=0\.1$"):
        dl_lab.run("lr=0.1")
    with pytest.raises(ConfigError, match=r"hint: 'model\.hidden_sizes=\[64\]'$"):
        dl_lab.run("model.hidden_sizes=64")


def test_every_name_of_another_library_leads_to_a_key_or_choice():
    known = {key for own in hints.choices().values() for keys in own.values() for key in keys}
    known |= {*hints.choices(), *hints.settings(), *(name for own in hints.choices().values() for name in own)}
    assert set(hints.OTHER_NAMES) <= known
    assert not known & {other for others in hints.OTHER_NAMES.values() for other in others} - {"batch"}
    for group, (choice, key) in hints.USUAL.items():
        assert key in hints.choices()[group][choice]


def test_a_run_folder_alone_is_enough(tmp_path):
    train(tmp_path, *TINY, "hydra.run.dir=my run")
    first, *others = [
        command(dl_lab_main.main, tmp_path, *arguments)
        for arguments in (["evaluate", "my run"], ["evaluate", "run=my run"], ["evaluate", "split=test", "my run"])
    ]
    assert (first.status, first.err) == (0, "")
    assert [first, first] == others
    for mistake, hint in (
        (["evaluate", "my", "run"], "'run=my run'"),
        (["evaluate"], "see --help"),
        (["export", "--run", "my run"], "'run=my run'"),
        (["compare", "my", "run"], "'my run'"),
        (["train", "my run"], "'resume=my run' continues a run"),
        (["train", "resume=my", "run"], "'resume=my run'"),
        (["train", "resume=my run", "epochs=5"], "train.epochs=5"),
        (["train", "rerun=my run", "lr=0.1"], "start a new run"),
    ):
        ended = command(dl_lab_main.main, tmp_path, *mistake)
        assert (ended.status, ended.err.count("\n"), ended.err.partition("; hint: ")[2]) == (2, 1, f"{hint}\n")
