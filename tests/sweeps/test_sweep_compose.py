"""The quick composition of jobs equals Hydra's own for every form of override."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from dl_lab.config.compose import CONF
from dl_lab.runs.identity import signature
from dl_lab.sweeps.compose import Composer
from dl_lab.sweeps.manifest import resolved

SHAPES = [
    [],
    ["optimizer.lr=0.1", "seed=3"],
    ["seed=1", "seed=2"],
    ["optimizer=sgd", "optimizer.momentum=0.9"],
    ["optimizer.lr=1", "optimizer=adamw"],
    ["model=cnn", "dataset=fashion_mnist", "model.channels=[8,16]"],
    ["model.hidden_sizes=[]"],
    ["model.hidden_sizes=[64,32]", "optimizer.betas=[0.5,0.9]"],
    ["train.steps=null", "train.epochs=3", "name='a, b = c'"],
    ["name=null", "tags=[a,'b c']"],
    ["dataset.path=x", "dataset=csv"],
    ["optimizer={lr:0.5}"],
    ["optimizer=adam", "optimizer={lr:0.5}"],
    ["experiment=deep_nn", "model.activation=relu"],
    ["experiment=deep_nn", "optimizer=adam", "train.steps=5"],
    ["++optimizer.lr=0.25", "optimizer.lr=0.5"],
    ["optimizer.lr=0.5", "++optimizer.lr=0.25"],
    ["+claim.more=1"],
    ["~tags"],
    ["optimizer.lr="],
    ["~dropout", "+dropout=alpha_dropout"],
    ["data_dir=${oc.env:HOME}/x", "name=${optimizer.name}-${seed}"],
    ["sweep=random", "sweep.trials=7"],
    ["hydra.sweep.subdir=x", "seed=4"],
    ["hydra/launcher=basic"],
    ["name=${hydra.job.name}-${.seed}", "optimizer.lr=0.1", "seed=2"],
]
REFUSED = [
    ["~claim"],
    ["experiment=null"],
    ["optimizer=adamm"],
    ["optimizer.learning_rate=1"],
    ["optimizer.lr=1", "colour=red"],
    ["+optimizer.lr=1"],
    ["~colour"],
    ["optimizer.lr=1,2"],
    ["optimizer.lr=[1"],
    ["model=mlp", "model.hidden_sizes=[1", "seed=2"],
    ["optimizer@x=sgd"],
]


@pytest.fixture(scope="module")
def loader_and_master():
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        loader = GlobalHydra.instance().config_loader()
        yield loader, loader.load_configuration("config", ["hydra.sweep.dir=x"], RunMode.MULTIRUN)


@pytest.mark.parametrize("overrides", SHAPES, ids=" ".join)
def test_a_job_is_composed_as_hydra_composes_it(loader_and_master, overrides):
    loader, master = loader_and_master
    composer = Composer(loader, master)
    for _ in range(2):  # the second time from the cached base
        composed = composer.compose(overrides)
        expected = loader.load_sweep_config(master, overrides)
        assert OmegaConf.to_container(composed) == OmegaConf.to_container(expected)
        assert OmegaConf.is_struct(composed) == OmegaConf.is_struct(expected)
        assert signature(resolved(composed)) == signature(resolved(expected))
        composed.optimizer.lr = -1.0  # must not change the next one
        composed.hydra.job.num = 7


@pytest.mark.parametrize("overrides", REFUSED, ids=" ".join)
def test_an_override_that_hydra_rejects_raises_the_same_error(loader_and_master, overrides):
    loader, master = loader_and_master
    with pytest.raises(Exception) as expected:
        loader.load_sweep_config(master, overrides)
    with pytest.raises(type(expected.value)) as refused:
        Composer(loader, master).compose(overrides)
    assert str(refused.value) == str(expected.value)


def test_files_are_read_once_per_set_of_choices(loader_and_master, monkeypatch):
    loader, master = loader_and_master
    composer = Composer(loader, master)
    calls = []
    load = loader.load_sweep_config
    monkeypatch.setattr(loader, "load_sweep_config", lambda *given: calls.append(given[1]) or load(*given))
    for seed in range(20):
        for name in ("sgd", "adam"):
            composer.compose([f"optimizer={name}", f"seed={seed}", f"optimizer.lr={0.1 + seed}"])
    assert calls == [["optimizer=sgd"], ["optimizer=adam"]]
