"""What the commands print when they are asked for help."""

import re
import tomllib
from pathlib import Path

from omegaconf import OmegaConf
from support.commands import command, train
from support.configs import choices, container

import dl_lab
from dl_lab import __main__ as every
from dl_lab.config.comments import keys
from dl_lab.config.compose import CONF

GROUPS = sorted({path.parent.name for path in Path(CONF).glob("*/*.yaml")})
DEFAULTS = dict(next(iter(each.items())) for each in OmegaConf.load(CONF / "config.yaml").defaults if each != "_self_")


def test_help_lists_every_group_with_its_choices_and_explains_the_keys_of_the_defaults(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    ended = train(tmp_path, "--help")
    assert (ended.status, ended.err) == (0, "")
    shown = dict(re.split(": +", line, maxsplit=1) for line in ended.out.splitlines() if re.match(r"\w+: ", line))
    for group in GROUPS:
        assert shown[group].split(", ") == choices(group)
    printed = ended.out.split("The current choices")[1]
    for key, value in container().items():
        meanings = keys(Path(CONF) / key / f"{DEFAULTS.get(key)}.yaml") if isinstance(value, dict) else {}
        for inner, (_, meaning) in meanings.items():
            assert meaning
            assert re.search(rf"\n  {key}\.{inner}=\S+ +{re.escape(meaning)}\n", printed)
        assert f"\n  {key}=" in printed or f"\n{key}={DEFAULTS[key]} " in printed
    assert "Length by default: 20 epochs, or as many as make 2,000 steps." in printed
    assert "hidden_sizes=[128] " in printed
    assert "model.name=" not in printed


def test_help_explains_the_choices_on_the_command_line_and_fits_the_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    out = train(tmp_path, "model=transformer", "dataset=table", "dropout.p=0.3", "dropout=dropout", "--help").out
    assert "tied_embeddings" in out
    assert "\n  dataset.path=???\n      required; the file\n" in out
    assert "\n  dropout.p=0.3\n      probability of dropping a value between layers\n" in out
    indented = [line for line in out.partition("More:")[0].splitlines() if line.startswith("      ")]
    assert max(map(len, indented)) < 60
    assert "Length: 3 epochs." in train(tmp_path, "train.epochs=3", "--help").out


def test_the_package_lists_its_commands_and_calls_them(tmp_path):
    listed = command(every.main, tmp_path)
    assert listed == command(every.main, tmp_path, "--help")
    assert listed.status == 0
    names = re.findall(r"^  ([a-z]+) {2,}\w", listed.out, re.MULTILINE)
    programs = tomllib.loads((Path(CONF).parent / "pyproject.toml").read_text())["project"]["scripts"]
    assert programs == {"dl-lab": "dl_lab.__main__:main"} | {f"dl-lab-{each}": f"dl_lab.{each}:main" for each in names}
    for arguments in (["--version"], *([name, "--version"] for name in names)):
        assert command(every.main, tmp_path, *arguments).out == f"dl_lab {dl_lab.__version__}\n"
    for name in names[1:]:
        assert f"python -m dl_lab.{name} " in command(every.main, tmp_path, name, "--help").out
    mistaken = command(every.main, tmp_path, "trian")
    assert (mistaken.status, "(nearest: train)" in mistaken.err) == (2, True)
    mistaken = command(every.main, tmp_path, "model=cnn", "name=a b")
    assert mistaken.err.endswith("; hint: python -m dl_lab train model=cnn 'name=a b'\n")
