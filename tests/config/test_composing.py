"""Within the tests Hydra reads its files once (support/composing). What it composes is the same."""

import json

from hydra.errors import HydraException
from omegaconf import OmegaConf
from support.commands import spawn
from support.configs import compose

CASES = [
    [],
    ["model=cnn", "model.channels=[3,4]", "seed=3"],
    ["model=cnn", "model.channels=[5]", "+extra.key=1"],
    ["experiment=transformer", "optimizer=sgd", "~claim"],
    ["dataset=csv", "dataset.path='a b'", "train=overfit"],
    ["model=mine", "hydra.searchpath=[file://own]"],
    ["model=unknown"],
    ["optimizer=adam", "optimizer=sgd"],
    ["model.no_such_key=1"],
]
# Without conftest.py, and so with Hydra as it is.
ALONE = """
import json, sys
from hydra.errors import HydraException
from omegaconf import OmegaConf
from dl_lab.config.compose import compose
for case in json.loads(sys.argv[1]):
    try:
        print(json.dumps(OmegaConf.to_yaml(compose(*case))))
    except HydraException as error:
        print(json.dumps(str(error).partition("Config search path")[0]))  # other tests may have added to this one
"""


def composed(overrides: list[str]) -> str:
    try:
        return OmegaConf.to_yaml(compose(*overrides))
    except HydraException as error:
        return str(error).partition("Config search path")[0]


def test_the_tests_compose_what_hydra_composes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "own" / "model" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    for text in ("name: mine\n", "name: mine\nwidth: 3\n"):  # the second one replaces what has been remembered
        mine.write_text(text)
        ended = spawn(tmp_path, "-c", ALONE, json.dumps(CASES))
        expected = [json.loads(line) for line in ended.stdout.splitlines()]
        assert len(expected) == len(CASES), ended.stderr
        for order in (1, -1):  # the second time, all of them are remembered
            assert [composed(case) for case in CASES[::order]] == expected[::order]
