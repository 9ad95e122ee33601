"""Compiled steps against the same steps uncompiled."""

import shutil
from functools import partial

import pytest
import torch
from support.configs import parsed

from dl_lab.core import devices
from dl_lab.core.errors import ConfigError
from dl_lab.data.batching import training_batches
from dl_lab.training import loop, setup

CPU = torch.device("cpu")
SMALL = ("model=transformer", "model.num_layers=1", "model.num_heads=2", "model.embedding_size=16")
SORTING = (*SMALL, "dataset=sorting", "dataset.examples=100", "train.batch_size=16", "precision=float64")

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs g++")


def trained(*overrides: str) -> torch.nn.Module:
    """A model after nine steps: an epoch's five full batches, its ragged last, and on."""
    run = parsed(*SORTING, *overrides)
    plan, state = setup.build_run(run, setup.build_data(run))
    batches = training_batches(plan.data.train, plan.seed, plan.batch_size, CPU)
    for (inputs, targets), _ in zip(batches, range(9), strict=False):
        loop.train_step(state, plan, inputs, targets)
        state.step += 1
    return state.model


@needs_compiler
@pytest.mark.filterwarnings("default")  # of torch's compiler, about itself
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.faults)])
def test_compiled_model_takes_the_same_steps_with_the_same_dropout(monkeypatch, backend):
    """aot_eager traces the model and its gradients as inductor does, without the half minute that g++ takes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    overrides = ("dropout=dropout", "dropout.p=0.3")
    compiled, eager = trained("compile=true", *overrides), trained("compile=false", *overrides)
    for ours, theirs in zip(compiled.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)  # float64 after nine steps of adam
    assert list(compiled.state_dict()) == list(eager.state_dict())


@needs_compiler
def test_only_long_trainings_of_models_that_gain_are_compiled():
    gaining, plain = torch.nn.Identity(), torch.nn.Identity()
    gaining.gains_from_compiling = True
    long, short = 2 * devices.COMPILING_PAYS, devices.COMPILING_PAYS / 2
    assert devices.should_compile(None, gaining, CPU, long)
    assert not devices.should_compile(None, gaining, CPU, short)
    assert not devices.should_compile(None, plain, CPU, long)
    assert not devices.should_compile(False, gaining, CPU, long)
    assert devices.should_compile(True, plain, CPU, 0.0)


def test_without_a_compiler_nothing_is_compiled_and_asking_is_refused(monkeypatch):
    monkeypatch.setenv("PATH", "")
    gaining = torch.nn.Identity()
    gaining.gains_from_compiling = True
    assert not devices.should_compile(None, gaining, CPU, 1e18)
    with pytest.raises(ConfigError, match=r"compile=true needs a C\+\+ compiler"):
        devices.should_compile(True, gaining, CPU, 1e18)
