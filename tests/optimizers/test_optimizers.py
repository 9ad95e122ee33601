"""Optimizers: each is torch's of that name, in every field; learns real data; goes on after a pause bit for bit."""

import io
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, replace
from functools import cache
from inspect import isclass, signature
from itertools import islice
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes
from support.configs import compose, parsed
from torch import Tensor, nn

from dl_lab.config.schema import Choice, RunConfig
from dl_lab.core import eager_optim
from dl_lab.core.errors import ConfigError
from dl_lab.data.batching import training_batches
from dl_lab.optimizers.sgd import ASGDConfig
from dl_lab.registry import OPTIMIZERS
from dl_lab.training.loop import learning_rate, train_step
from dl_lab.training.setup import build_data, build_optimizer, build_run
from dl_lab.training.tasks.totals import add_up

TORCH = {
    name.lower(): found
    for name, found in vars(torch.optim).items()
    if isclass(found) and issubclass(found, torch.optim.Optimizer)
}
SAME_AS_TORCH = [name for name in OPTIMIZERS.names() if name in TORCH and name != "muon"]  # which is two of torch's
Step = Callable[[torch.optim.Optimizer, Callable[[], Any]], Any]

# Where a field cannot be changed by itself, or only in one direction.
CHANGED: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9, "dampening": 0.3, "nesterov": False},
    "adafactor": {"beta2_decay": -0.7, "eps": [1e-3, 1e-2], "d": 1.1},
    "rprop": {"etas": [0.4, 1.3], "step_sizes": [1e-3, 0.02]},
    "lbfgs": {"lr": 0.5, "max_eval": 9, "history_size": 2, "line_search_fn": None, "weight_decay": 0.0},
    "asgd": {"t0": 5.0},
    "muon": {"adjust_lr_fn": "match_rms_adamw", "eps": 10.0},
}


@cache
def data() -> tuple[Tensor, Tensor]:
    """64 patients, standardised."""
    inputs, targets = load_diabetes(return_X_y=True)
    inputs, targets = torch.from_numpy(inputs[:64]), torch.from_numpy(targets[:64, None])
    return (inputs - inputs.mean(0)) / inputs.std(0), (targets - targets.mean()) / targets.std()


def network(dtype: torch.dtype = torch.float64) -> nn.Module:
    """Matrices, biases, and a norm."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(10, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 1)).to(dtype)


def as_torch(optimizer: torch.optim.Optimizer, closure: Callable[[], Any]) -> Any:
    """A step as torch's users take it; eager.step is the loop's."""
    return optimizer.step(closure)


def train(
    model: nn.Module, steps: range, *optimizers: torch.optim.Optimizer, step_with: Step = eager_optim.step
) -> None:
    """Steps on batches of 16, in turn, the lr falling as a schedule has it; of several optimizers on one gradient."""
    inputs, targets = (tensor.to(next(model.parameters()).dtype) for tensor in data())
    for step in steps:
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * (1 - step / 30)
        rows = torch.arange(16) + 16 * (step % 4)

        def closure(rows: Tensor = rows) -> Tensor:
            model.zero_grad()
            loss = F.mse_loss(model(inputs[rows]), targets[rows])
            loss.backward()
            return loss.detach()

        if len(optimizers) == 1:
            step_with(optimizers[0], closure)
        else:
            closure()
            for optimizer in optimizers:
                optimizer.step()


@cache
def configured(name: str, changed: bool = False) -> RunConfig:
    """A run with the optimizer's YAML; if changed, with another value in every field that its torch class takes."""
    run = parsed(f"optimizer={name}")
    if not changed:
        return run
    values = {key: other(value) for key, value in asdict(run.optimizer.config).items()} | CHANGED.get(name, {})
    return replace(run, optimizer=Choice(run.optimizer.entry, replace(run.optimizer.config, **values)))


def other(value: Any) -> Any:
    """Another value of the same kind, in range for most fields."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return 0.8 * value + 0.01
    return [other(part) for part in value] if isinstance(value, list) else value


def plain(name: str, parameters: Any, **values: Any) -> torch.optim.Optimizer:
    """torch's own in its plainest form, one tensor after the other."""
    known = signature(TORCH[name]).parameters
    plainly = {key: False for key in ("foreach", "fused") if key in known}
    return TORCH[name](parameters, **{key: value for key, value in values.items() if key in known}, **plainly)


@pytest.mark.parametrize("name", SAME_AS_TORCH)
def test_a_yaml_speaks_torchs_names(name: str) -> None:
    ours = {"name", "weight_decay"} if name == "lbfgs" else {"name"}
    assert set(compose(f"optimizer={name}").optimizer) - ours <= set(signature(TORCH[name]).parameters)


def test_muons_yaml_speaks_torchs_names_but_for_what_is_adamws() -> None:
    keys = set(compose("optimizer=muon").optimizer) - {"name"}
    of_adamw = {key.removeprefix("adamw_") for key in keys if key.startswith("adamw_")}
    assert {key for key in keys if not key.startswith("adamw_")} == set(signature(torch.optim.Muon).parameters) - {
        "params"
    }
    assert of_adamw <= set(signature(torch.optim.AdamW).parameters)


@pytest.mark.parametrize("changed", [False, True], ids=["as in the YAML", "every field changed"])
@pytest.mark.parametrize("name", SAME_AS_TORCH)
def test_an_optimizer_is_torchs_of_its_name(name: str, changed: bool) -> None:
    run = configured(name, changed)
    ours, theirs = network(), network()
    train(ours, range(20), build_optimizer(run, ours))
    reference = plain(name, theirs.parameters(), **asdict(run.optimizer.config))
    train(theirs, range(20), reference, step_with=as_torch)
    # Fused and foreach steps round in another order, 1e-16 a step, which 20 steps of training multiply by 1e3 or so.
    # ASGD holds its rate in float32 whatever the weights are, and rounds it by 1e-7.
    tolerance = 1e-6 if name == "asgd" else 1e-11
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=tolerance, atol=tolerance)
    assert not torch.equal(ours.state_dict()["0.weight"], network().state_dict()["0.weight"])


def test_sgd_with_nesterovs_momentum_is_torchs() -> None:
    run = parsed("optimizer=sgd", "optimizer.momentum=0.9", "optimizer.nesterov=true")
    ours, theirs = network(), network()
    train(ours, range(20), build_optimizer(run, ours))
    reference = plain("sgd", theirs.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    train(theirs, range(20), reference, step_with=as_torch)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("changed", [False, True], ids=["as in the YAML", "every field changed"])
def test_muon_is_torchs_for_matrices_and_adamw_for_all_else(changed: bool) -> None:
    run = configured("muon", changed)
    values = asdict(run.optimizer.config)
    adamw = {"lr": values.pop("adamw_lr"), "betas": values.pop("adamw_betas")}
    ours, theirs = network(), network()
    matrices = [parameter for parameter in theirs.parameters() if parameter.ndim == 2]
    others = [parameter for parameter in theirs.parameters() if parameter.ndim != 2]
    assert len(matrices) == 2
    assert len(others) == 4
    first = torch.optim.Muon(matrices, **values)
    second = torch.optim.AdamW(others, **adamw, weight_decay=values["weight_decay"], fused=True)
    train(theirs, range(20), first, second)
    train(ours, range(20), build_optimizer(run, ours))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)


def test_muon_is_built_for_a_model_of_vectors_or_of_matrices_alone() -> None:
    for model in (nn.LayerNorm(3), nn.Linear(3, 3, bias=False)):
        optimizer = build_optimizer(configured("muon"), model)
        assert [parameter for group in optimizer.param_groups for parameter in group["params"]] == list(
            model.parameters()
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_training_goes_on_bit_for_bit_from_a_saved_state(name: str, dtype: torch.dtype) -> None:
    run, straight = configured(name), network(dtype)
    optimizer = build_optimizer(run, straight)
    train(straight, range(10), optimizer)
    file = io.BytesIO()
    torch.save({"model": straight.state_dict(), "optimizer": optimizer.state_dict()}, file)
    train(straight, range(10, 20), optimizer)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = network(dtype)
    restored = build_optimizer(run, resumed)
    train(resumed, range(3, 5), restored)  # elsewhere, before the state is loaded over it
    resumed.load_state_dict(saved["model"])
    eager_optim.restore(restored, saved["optimizer"])
    train(resumed, range(10, 20), restored)
    torch.testing.assert_close(resumed.state_dict(), straight.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_every_weight_is_in_one_group_that_knows_its_first_rate(name: str) -> None:
    model = network()
    optimizer = build_optimizer(configured(name), model)
    for _ in range(2):
        weights = [id(weight) for group in optimizer.param_groups for weight in group["params"]]
        assert sorted(weights) == sorted(id(weight) for weight in model.parameters())
        assert all(group["initial_lr"] == group["lr"] > 0 for group in optimizer.param_groups)
        optimizer.load_state_dict(deepcopy(optimizer.state_dict()))  # and again after this


@pytest.mark.parametrize("dataset", ["diabetes", "iris"])
@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_every_optimizer_learns_real_data_with_the_values_of_its_yaml(name: str, dataset: str) -> None:
    overrides = ("train.batch_size=full", "model.hidden_sizes=[16]", "model.activation=tanh")
    run = parsed(f"dataset={dataset}", f"optimizer={name}", *overrides)
    plan, state = build_run(run, build_data(run))
    losses = []
    for inputs, targets in islice(training_batches(plan.data.train, 0, plan.batch_size, plan.device), 100):
        totals = train_step(state, plan, inputs, targets)
        losses.append(plan.task.metrics(add_up(totals))["loss"])
    # The slowest, RAdam, has only just left its warm-up; most halve the loss.
    assert losses[-1] < 0.92 * losses[0]
    assert min(losses) > 0


@pytest.mark.parametrize(
    "given",
    [
        "sgd lr=0",
        "sgd momentum=1",
        "sgd nesterov=true",
        "sgd weight_decay=-0.1",
        "adam betas=[0.9]",
        "adam betas=[0.9,1.0]",
        "adam eps=0",
        "rmsprop alpha=1",
        "adadelta rho=1.1",
        "rprop etas=[1.2,0.5]",
        "rprop step_sizes=[1,0.5]",
        "adafactor d=0.5",
        "adafactor eps=[0.1,null]",
        "lbfgs max_iter=0",
        "lbfgs line_search_fn=armijo",
        "muon ns_coefficients=[1.0,2.0]",
        "muon adamw_lr=0",
        "muon adjust_lr_fn=none",
    ],
)
def test_a_value_out_of_range_is_refused_by_its_key(given: str) -> None:
    name, override = given.split()
    with pytest.raises(
        ConfigError, match=rf"^optimizer\.{override.split('=')[0]}=.* is not (allowed|known).*; allowed: "
    ):
        parsed(f"optimizer={name}", f"optimizer.{override}")


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_every_optimizer_trains_the_cnn_with_its_channels_last(name: str) -> None:
    run = parsed(
        "model=cnn", f"optimizer={name}", "train.batch_size=16", "model.channels=[4,4]", "model.head_sizes=[8]"
    )
    plan, state = build_run(run, build_data(run))
    before = [parameter.detach().clone() for parameter in state.model.parameters()]
    train_step(state, plan, *next(training_batches(plan.data.train, 0, 16, plan.device)))
    assert all(not torch.equal(old, new) for old, new in zip(before, state.model.parameters(), strict=True))


def test_asgd_records_the_rate_of_its_step() -> None:
    config = ASGDConfig(lr=0.1, lambd=0.3, alpha=0.75, t0=1e6, weight_decay=0.0)
    run = replace(configured("asgd"), optimizer=Choice(OPTIMIZERS["asgd"], config))
    model = network()
    optimizer = build_optimizer(run, model)
    for step in range(8):
        before = model[0].weight.detach().clone()
        train(model, range(step, step + 1), optimizer)
        with torch.no_grad():  # w' = w - rate * (gradient + lambd * w)
            rates = (before - model[0].weight) / (model[0].weight.grad + 0.3 * before)
        assert learning_rate(optimizer) == pytest.approx(float(rates.median()), rel=1e-5)  # float32 in torch


def test_asgd_decays_no_biases_if_they_are_excluded() -> None:
    run = parsed("optimizer=asgd", "train.decay_biases=false", "optimizer.lambd=0.3", "optimizer.lr=0.1")
    ours, theirs = network(), network()
    train(ours, range(20), build_optimizer(run, ours))
    matrices = [parameter for parameter in theirs.parameters() if parameter.ndim >= 2]
    others = {"params": [parameter for parameter in theirs.parameters() if parameter.ndim < 2], "lambd": 0.0}
    train(theirs, range(20), torch.optim.ASGD([{"params": matrices}, others], lr=0.1, lambd=0.3))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-6, atol=1e-6)


def test_a_copy_of_muon_trains_the_copied_model() -> None:
    state = {"model": network()}
    state["optimizer"] = build_optimizer(configured("muon"), state["model"])
    copy = deepcopy(state)
    for each in (state, copy):
        train(each["model"], range(3), each["optimizer"])
    torch.testing.assert_close(copy["model"].state_dict(), state["model"].state_dict(), rtol=0, atol=0)
    assert not torch.equal(copy["model"].state_dict()["0.weight"], network().state_dict()["0.weight"])
